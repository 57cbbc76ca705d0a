"""A model that has learned nothing, of another's architecture, with smaller sizes. Reads a config, no weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from slmops.core.errors import ModelError, need
from slmops.models.attention import register
from slmops.optimization.narrow import check_rotary
from slmops.optimization.prune import tell_of_layers

if TYPE_CHECKING:
    from torch import nn

_WITHIN = ("units", "kv_heads", "heads", "width")  # of a layer


def fresh_model(source: Path, sizes: Mapping[str, int], seed: int) -> nn.Module:
    """Random weights in the architecture of the model in `source`, with other `layers`, `units`, `kv_heads`, `heads` or
    `width`; a head stays as wide as it is there, and without `heads` each key-value head has as many queries.

    Raises:
        ModelError: the architecture has none of what is to be smaller, or its rotary embeddings are told by it.
    """
    torch, transformers = need("torch", "train"), need("transformers", "train")
    config = transformers.AutoConfig.from_pretrained(
        source, local_files_only=True, trust_remote_code=False
    ).get_text_config()
    asked = [name for name in _WITHIN if name in sizes]
    if asked and config.model_type == "gpt2":
        remedy = f"remove {', '.join(f'student.{name}' for name in asked)}"
        raise ModelError("of gpt2 only the number of layers can be chosen", remedy=remedy)
    for name in asked:
        if name != "units":
            check_rotary(config, name)
    layers, heads = sizes.get("layers", config.num_hidden_layers), config.num_attention_heads
    tell_of_layers(config, range(min(layers, config.num_hidden_layers)))
    config.num_hidden_layers = layers
    if asked:
        groups = config.num_key_value_heads
        config.head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
        config.num_key_value_heads = sizes.get("kv_heads", groups)
        config.num_attention_heads = sizes.get("heads", config.num_key_value_heads * heads // groups)
        config.intermediate_size = sizes.get("units", config.intermediate_size)
        config.hidden_size = sizes.get("width", config.hidden_size)
    torch.manual_seed(seed)
    model: nn.Module = transformers.AutoModelForCausalLM.from_config(
        config, dtype=torch.float32, attn_implementation=register(), trust_remote_code=False
    )
    return model.eval()
