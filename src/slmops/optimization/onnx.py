"""Writes a model folder in the format of ONNX Runtime GenAI: fp32, int8 or int4.

In comes a folder of safetensors, out goes a folder that the onnx runtime and Foundry Local load. Knows no data; that
the result still says the same is checked by `runtimes.probes`.
"""

from __future__ import annotations

import contextlib
import io
import logging
import shutil
import tempfile
from pathlib import Path
from typing import Any

from slmops.core.errors import ModelError, need
from slmops.core.files import full_disk_explained
from slmops.models.folder import check_model_folder, read_json
from slmops.optimization.config import OptimizationConfig
from slmops.runtimes.probes import PROBES

_CARRIED = ("slmops.json", PROBES)


def write_onnx(model: Path, out: Path, config: OptimizationConfig) -> None:
    """Converts `model` into `out`.

    Raises:
        ModelError: the builder knows no such architecture, or fails.
    """
    _build(model, out, config)
    _forget_where(out / "model.onnx")
    for name in _CARRIED:
        if (model / name).is_file():
            shutil.copyfile(model / name, out / name)


def check_convertible(model: Path, config: OptimizationConfig) -> None:
    """That there is an ONNX form of such models, found out without their weights.

    Raises:
        ModelError: the builder knows no such architecture.
    """
    with tempfile.TemporaryDirectory() as out:
        _build(model, Path(out), config, "config_only=true")


def _build(model: Path, out: Path, config: OptimizationConfig, *more: str) -> None:
    check_model_folder(model)
    builder = need("onnxruntime_genai.models.builder", "onnx")
    options = ["prune_lm_head=true"]  # only the last position's logits are ever asked for
    options += ["windowed_kv_cache=false"]  # a cache that forgets cannot be rewound to a shared prefix
    if config.precision in ("int4", "int8"):
        options += [f"block_size={config.block_size}", f"is_symmetric={str(config.symmetric).lower()}"]
        options += ["accuracy_level=4", "op_types_to_quantize=MatMul/Gather"]
    said = io.StringIO()
    with (
        full_disk_explained(out),
        tempfile.TemporaryDirectory(dir=out.parent) as cache,
        contextlib.redirect_stdout(said),  # the builder prints its progress
        contextlib.redirect_stderr(said),
        _quiet(),
    ):
        try:
            prepared = builder.parse_extra_options(
                "", str(model), str(out), config.precision, "cpu", cache, [*options, *more]
            )
            _say_what_the_builder_looks_for(prepared["hf_details"]["hf_config"])
            _leave_rotation_out(builder.SmolLM3Model)
            builder.create_model("", str(model), str(out), config.precision, "cpu", cache, **prepared)
        except Exception as error:
            named = ", ".join(read_json(model / "config.json").get("architectures") or ["an unnamed architecture"])
            raise ModelError(
                f"the ONNX builder cannot convert {named}: {error}",
                where=str(model),
                remedy="see the architectures that onnxruntime-genai's model builder lists",
            ) from error


def _forget_where(graph: Path) -> None:
    """Takes out of the graph which git commit the builder was called in: the same model shall be the same bytes."""
    onnx = need("onnx", "onnx")
    proto = onnx.load(str(graph), load_external_data=False)
    proto.producer_version = proto.producer_version.partition("+")[0]
    graph.write_bytes(proto.SerializeToString(deterministic=True))


def _say_what_the_builder_looks_for(config: Any) -> None:
    """Puts what transformers 5 keeps elsewhere where the builder of onnxruntime-genai 0.18 looks for it: the kind of
    long rotary embeddings, Gemma 3's two bases, and the sliding window of models all of whose layers have it (it would
    be ignored in silence)."""
    rope = getattr(config, "rope_parameters", None) or {}
    if config.model_type in ("llama", "smollm3") and rope.get("rope_type", "default") not in ("default", "llama3"):
        raise NotImplementedError(f"rotary embeddings of the kind {rope['rope_type']}")  # left out in silence
    if rope.get("rope_type") == "longrope":
        rope.setdefault("type", "longrope")
    if "sliding_attention" in rope:
        full, sliding = rope["full_attention"], rope["sliding_attention"]
        if full["rope_type"] != "default":
            raise NotImplementedError(f"two rotary embeddings, one of them {full['rope_type']}")
        config.rope_theta, config.rope_local_base_freq = full["rope_theta"], sliding["rope_theta"]
        config.rope_parameters = full
    if getattr(config, "sliding_window", None) and not getattr(config, "layer_types", None):
        config.layer_types = ["sliding_attention"] * config.num_hidden_layers


def _leave_rotation_out(smollm3: Any) -> None:
    """Has the builder write SmolLM 3's layers without rotary embeddings as such: onnxruntime-genai 0.18 puts them in,
    and asks for positions that are no input."""

    def make_attention_qk_rope(model: Any, layer_id: int, **inputs: Any) -> Any:
        if not model.attention_attrs["use_rope_in_attn"]:
            return "", ""
        return super(smollm3, model).make_attention_qk_rope(layer_id, **inputs)

    smollm3.make_attention_qk_rope = make_attention_qk_rope


@contextlib.contextmanager
def _quiet():  # type: ignore[no-untyped-def]
    """Keeps converters' progress logs off the user's screen; warnings stay."""
    loggers = [logging.getLogger(name) for name in ("onnxruntime", "onnx_ir", "onnxruntime_genai")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
