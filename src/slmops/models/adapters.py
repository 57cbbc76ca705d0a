"""An adapter's folder, in peft's own format with a card of ours beside it: what may stand in it, of which base it is.

In come folders, of which only JSON and the header of the weights are read; out goes what is known of the adapter, or
why it is not to be used. Loads no weights and knows no layer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slmops.core.artifact import hash_file, hash_json
from slmops.core.errors import ModelError, need
from slmops.models.folder import check_links, check_not_pickled, read_card_as, read_json, weight_files
from slmops.models.tokenizer import Tokenizer
from slmops.tasks.types import Prompt

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
ONNX_FOLDER, ONNX_WEIGHTS, ONNX_BASE = "adapters", "weights.onnx_adapter", "base.json"  # of an ONNX model
_TENSOR = re.compile(
    r"base_model\.model\.(?P<module>\w+(?:\.\w+)*)\.(?P<part>lora_A\.weight|lora_B\.weight|lora_magnitude_vector)"
)
_READ = {"peft_type", "r", "lora_alpha", "use_rslora", "use_dora"}
# What says how it was trained, or what its tensors' names say better: it changes nothing of what the adapter computes.
_IDLE = {"base_model_name_or_path", "revision", "inference_mode", "lora_dropout", "task_type", "peft_version"}
_IDLE |= {"auto_mapping", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"}
_USUAL = {"bias": ("none",), "init_lora_weights": (True, "gaussian"), "qalora_group_size": (16,)}
_USUAL |= {"megatron_core": ("megatron.core",)}


@dataclass(frozen=True)
class BaseId:
    """What an adapter's base is: the hash of its weights, and of its vocabulary."""

    weights: str
    vocabulary: str


@dataclass(frozen=True)
class AdapterCard:
    """slmops.json of an adapter: its base, and how the model is asked with it; no task where it has none of its own."""

    base: BaseId
    task: dict[str, Any] | None
    prompt: Prompt
    licence: str
    format: int = 1


@dataclass(frozen=True)
class Adapter:
    """A checked folder: module → (inputs, outputs) of the linear layers it is for. `card` is None for one that slmops
    did not make."""

    folder: Path
    rank: int
    scale: float  # of what its matrices add
    dora: bool
    modules: Mapping[str, tuple[int, int]]
    base_name: str
    size_bytes: int
    card: AdapterCard | None

    @property
    def targets(self) -> list[str]:
        """The layers' own names, each once."""
        return sorted({module.rpartition(".")[2] for module in self.modules})


def read_adapter(folder: Path) -> Adapter:
    """What stands in `folder`.

    Raises:
        ModelError: it is no LoRA or DoRA adapter, or not safe to load.
    """
    if not (folder / CONFIG).is_file():
        raise ModelError(
            f"there is no {CONFIG}", where=str(folder), remedy="give an adapter's folder, as peft saves it"
        )
    check_links(folder)
    path, config = folder / CONFIG, read_json(folder / CONFIG)
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        kind = config.get("peft_type") if isinstance(config, dict) else None
        raise ModelError(f"peft_type is {kind!r}", where=str(path), remedy="LoRA and DoRA can be used")
    for key, value in config.items():
        if value and key not in _READ | _IDLE and value not in _USUAL.get(key, ()):
            raise ModelError(f"{key}: {value!r} is not supported", where=str(path), remedy="merge it with peft itself")
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not isinstance(rank, int) or rank < 1 or not isinstance(alpha, int | float) or not abs(alpha) <= 1e6:
        raise ModelError(f"r is {rank!r}, lora_alpha {alpha!r}", where=str(path), remedy="check its origin")
    dora = config.get("use_dora") is True
    return Adapter(
        folder,
        rank,
        alpha / (math.sqrt(rank) if config.get("use_rslora") else rank),
        dora,
        _modules(folder, rank, dora),
        str(config.get("base_model_name_or_path")),
        (folder / WEIGHTS).stat().st_size,
        read_adapter_card(folder),
    )


def _modules(folder: Path, rank: int, dora: bool) -> dict[str, tuple[int, int]]:
    """Module → (inputs, outputs), from the header of the weights."""
    path = folder / WEIGHTS
    if not path.is_file():
        check_not_pickled(folder)
        raise ModelError(f"there is no {WEIGHTS}", where=str(folder), remedy="fetch the whole adapter")
    shapes: dict[str, dict[str, list[int]]] = {}
    try:
        with need("safetensors", "train").safe_open(path, "np") as tensors:
            for name in tensors.keys():  # noqa: SIM118  it is no mapping
                match = _TENSOR.fullmatch(name)
                if match is None:
                    raise ModelError(
                        f"{name} belongs to no linear layer's adapter", where=str(path), remedy="retrain it"
                    )
                shapes.setdefault(match["module"], {})[match["part"]] = tensors.get_slice(name).get_shape()
    except need("safetensors", "train").SafetensorError as error:
        raise ModelError(f"is damaged: {error}", where=str(path), remedy="fetch it again") from error
    modules = {}
    for module, parts in shapes.items():
        a, b = parts.get("lora_A.weight", []), parts.get("lora_B.weight", [])
        magnitude = parts.get("lora_magnitude_vector")
        if len(a) != 2 or len(b) != 2 or (a[0], b[1]) != (rank, rank) or magnitude != ([b[0]] if dora else None):
            raise ModelError(
                f"the shapes at {module} are none of rank {rank}", where=str(path), remedy="check its origin"
            )
        modules[module] = (a[1], b[0])
    if not modules:
        raise ModelError("holds no weights", where=str(path), remedy="fetch the whole adapter")
    return modules


def read_adapter_card(folder: Path) -> AdapterCard | None:
    """The card of an adapter that slmops made, None for any other.

    Raises:
        ModelError: it is damaged, or of a newer slmops.
    """
    return read_card_as(AdapterCard, folder)


def base_id(folder: Path) -> BaseId:
    """The id of a model folder as the base of adapters."""
    weights = hash_json([hash_file(path).sha256 for path in weight_files(folder)])
    return BaseId(weights, Tokenizer(folder).vocabulary_id)


def check_base(adapters: Iterable[Adapter], folder: Path) -> BaseId:
    """Refuses adapters that were not made for the model in `folder`; returns its id.

    Raises:
        ModelError: one's base has other weights or another vocabulary, or one is larger than its base.
    """
    base, size = base_id(folder), sum(path.stat().st_size for path in weight_files(folder))
    for adapter in adapters:
        where = str(adapter.folder)
        if adapter.card:
            check_same_base(adapter.card.base, base, where, f"{adapter.base_name}; this is {folder}")
        elif (adapter.folder / "tokenizer.json").is_file():
            own = BaseId(base.weights, Tokenizer(adapter.folder).vocabulary_id)
            check_same_base(own, base, where, adapter.base_name)
        if adapter.size_bytes > size:
            raise ModelError("is larger than the model it is for", where=where, remedy="check its origin")
    return base


def check_same_base(made_for: BaseId, base: BaseId, where: str, names: str) -> None:
    """Raises ModelError where an adapter's base is not the one it is to be used with."""
    for part in ("weights", "vocabulary"):
        wanted, found = getattr(made_for, part), getattr(base, part)
        if wanted != found:
            raise ModelError(
                f"was made for a base whose {part} are {str(wanted)[:12]}, not {found[:12]} ({names})",
                where=where,
                remedy="give that base, or train an adapter for this one",
            )


def onnx_adapters(model: Path, more: Mapping[str, Path]) -> dict[str, Path]:
    """Name → file of the adapters of an ONNX model: those that stand in it, and folders of `more`.

    Raises:
        ModelError: one was made for another base, or was not converted.
    """
    folders = {path.parent.name: path.parent for path in sorted(model.glob(f"{ONNX_FOLDER}/*/{ONNX_WEIGHTS}"))}
    files = {}
    for name, folder in (folders | dict(more)).items():
        card = read_adapter_card(folder)
        if card is None or not (folder / ONNX_WEIGHTS).is_file():
            remedy = f"slmops convert MODEL --adapter {name}={folder} --out FOLDER"
            raise ModelError("is no adapter converted for an ONNX model", where=str(folder), remedy=remedy)
        check_links(folder)
        check_same_base(card.base, read_onnx_base(model), str(folder), f"this is {model}")
        files[name] = folder / ONNX_WEIGHTS
    return files


def read_onnx_base(model: Path) -> BaseId:
    """Of which model an ONNX model with places for adapters was made.

    Raises:
        ModelError: it has no such places.
    """
    path = model / ONNX_FOLDER / ONNX_BASE
    if not path.is_file():
        raise ModelError("has no place for adapters", where=str(model), remedy="slmops convert MODEL --adapter …")
    try:
        return BaseId(**read_json(path))
    except TypeError as error:
        raise ModelError(f"names no base: {error}", where=str(path), remedy="convert the model again") from error
