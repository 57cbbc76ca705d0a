"""Small real models for tests: random weights, a tokenizer trained on a few sentences."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TEXTS = (
    "Where is my order? I want to cancel it and get a refund, please.",
    "The parcel came damaged; can I return the lamp? My password does not work.",
    "order_status cancel_order refund_status membership account_access change_order",
)


def write_tokenizer(folder: Path, markers: tuple[str, ...], more: tuple[str, ...] = ()) -> int:
    """Trains a byte-level BPE tokenizer with `markers` as special tokens; returns its vocabulary's size."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", *markers, *more]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=markers[-1], pad_token="<|endoftext|>")
    fast.save_pretrained(folder)
    return tokenizer.get_vocab_size()


def write_sentencepiece(folder: Path, markers: tuple[str, ...] = ()) -> None:
    """A tokenizer as Mistral's, Gemma's and Phi 3's are: spaces are letters, what is unknown falls back to bytes."""
    from tokenizers import Tokenizer, decoders, models, normalizers, trainers

    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    rust = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    rust.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    rust.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = ["<unk>", "<s>", "</s>", *markers]
    rust.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=500, special_tokens=special, show_progress=False))
    described = json.loads(rust.to_str())
    vocabulary = described["model"]["vocab"]
    described["model"]["vocab"] = vocabulary | {byte: len(vocabulary) + at for at, byte in enumerate(bytes_)}
    folder.mkdir()
    (folder / "tokenizer.json").write_text(json.dumps(described))


def write_model(folder: Path, architecture: str, markers: tuple[str, ...], **changes: Any) -> None:
    """A random two-layer model of `architecture` (a transformers model type) with its tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    size = write_tokenizer(folder, markers)
    options: dict[str, Any] = {
        "vocab_size": size,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,  # what ONNX Runtime's attention takes is a multiple of 16
        "max_position_embeddings": 512,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "tie_word_embeddings": True,
    }
    config = AutoConfig.for_model(architecture, **(options | changes))
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).float().save_pretrained(folder)
