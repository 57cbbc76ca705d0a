"""A small random model of every supported family, from its architecture's own config class."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.tiny import write_model

CHATML = ("<|im_start|>", "<|im_end|>")
PHI = ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
DEEPSEEK = ("<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>")


@dataclass(frozen=True)
class Architecture:
    """A transformers model type, the marker tokens of the chat family it comes with, and what its config needs."""

    name: str
    family: str
    model_type: str
    markers: tuple[str, ...]
    changes: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        """The model with weights wide enough for its answers to differ: a near-uniform one would hide errors."""
        write_model(folder, self.model_type, self.markers, **{"initializer_range": 0.3, **self.changes})
        return folder


_PLAIN_ROPE = {"original_max_position_embeddings": 512}
_LONG_ROPE = {
    "original_max_position_embeddings": 256,
    "partial_rotary_factor": 0.75,
    "hidden_size": 128,
    "head_dim": 64,
    "rope_parameters": {
        "rope_type": "longrope",
        "rope_theta": 10_000.0,
        "factor": 2.0,
        "short_factor": [1.0] * 24,
        "long_factor": [2.0] * 24,
    },
}
_GEMMA = {
    "sliding_window": 8,
    "query_pre_attn_scalar": 16,
    "layer_types": ["sliding_attention", "full_attention"],
}

ARCHITECTURES = (
    Architecture(
        "llama-3",
        "llama-3",
        "llama",
        ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    ),
    Architecture("smollm", "chatml", "llama", CHATML),
    Architecture("qwen-2", "chatml", "qwen2", CHATML),
    Architecture("qwen-3", "qwen-3", "qwen3", ("<think>", "</think>", *CHATML)),
    Architecture("phi-3", "phi-3", "phi3", PHI, {"tie_word_embeddings": False, "sliding_window": 8} | _PLAIN_ROPE),
    Architecture("phi-4-mini", "phi-4-mini", "phi3", ("<|tool|>", *PHI), _LONG_ROPE),
    Architecture("phi-4", "phi-4", "phi3", ("<|im_start|>", "<|im_sep|>", "<|im_end|>"), _PLAIN_ROPE),
    Architecture("gemma-3", "gemma-3", "gemma3_text", ("<bos>", "<start_of_turn>", "<end_of_turn>"), _GEMMA),
    Architecture(
        "mistral-sliding",
        "mistral",
        "mistral",
        ("<s>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "</s>"),
        {"sliding_window": 8},
    ),
    Architecture("mistral-v3", "mistral-v3", "mistral", ("<s>", "[INST]", "[/INST]", "</s>"), {"sliding_window": None}),
    Architecture(
        "smollm-3",
        "smollm-3",
        "smollm3",
        ("<|begin_of_text|>", "<think>", "</think>", *CHATML),
        {"no_rope_layers": [1, 0]},
    ),
    Architecture("deepseek-qwen", "deepseek-r1", "qwen2", ("<think>", "</think>", *DEEPSEEK)),
    Architecture("deepseek-llama", "deepseek", "llama", DEEPSEEK),
)
