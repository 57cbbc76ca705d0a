"""A model's folder: what may stand in it, and what slmops writes beside the weights. Loads no weights."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from slmops.core.errors import ModelError, need
from slmops.core.files import write_whole
from slmops.tasks.types import Prompt

CARD = "slmops.json"
CHAT_TEMPLATE = "chat_template.jinja"  # beside the tokenizer, unless it stands in tokenizer_config.json
_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_MAX_CONFIG_BYTES = 10_000_000
_NAMES_A_FILE = re.compile(r".*filename|data_file|tokenizer_dir")
_OPTIONS = {  # of a session, that change how it computes and nothing else
    *("intra_op_num_threads", "inter_op_num_threads", "graph_optimization_level", "execution_mode", "log_id"),
    *("log_severity_level", "log_verbosity_level", "enable_cpu_mem_arena", "enable_mem_pattern", "use_env_allocators"),
    *("disable_cpu_ep_fallback", "disable_quant_qdq", "enable_quant_qdq_cleanup", "provider_options"),
    *("session.intra_op.allow_spinning", "session.inter_op.allow_spinning", "config_entries"),
}
_WRITES = re.compile(r"profil|dump|cache_(dir|path)|context_file")
_FORMAT = 1  # of the cards that we write
_NAMES_CODE = re.compile(r".*(library|_path)")  # custom_ops_library, backend_path: loaded, so run


@dataclass(frozen=True)
class Card:
    """slmops.json: how a model of ours is asked. `task` holds the task's name and options."""

    task: dict[str, Any]
    prompt: Prompt
    licence: str
    format: int = _FORMAT


AnyCard = TypeVar("AnyCard")


def write_card(folder: Path, card: Any) -> None:
    """Writes a card: `Card`, or an adapter's."""
    write_whole(folder / CARD, json.dumps(asdict(card), indent=2, ensure_ascii=False, sort_keys=True) + "\n")


def read_card(folder: Path) -> Card | None:
    """The card of a model that slmops made, None for any other model.

    Raises:
        ModelError: it is damaged, or of a newer slmops.
    """
    return read_card_as(Card, folder)


def read_card_as(shape: type[AnyCard], folder: Path) -> AnyCard | None:
    """The card in `folder` as a dataclass of that shape, None where there is none.

    Raises:
        ModelError: it is damaged, or of a newer slmops.
    """
    path = folder / CARD
    if not path.is_file():
        return None
    told = read_json(path)
    if isinstance(told, dict) and isinstance(told.get("format"), int) and told["format"] > _FORMAT:
        what = f"was written by a newer slmops (format {told['format']}, this one knows {_FORMAT})"
        raise ModelError(what, where=str(path), remedy="pip install -U slmops")
    try:
        card = TypeAdapter(shape).validate_python(told)
    except ValidationError as error:
        first = error.errors()[0]
        told_of = ".".join(map(str, first["loc"])) or "the card"
        raise ModelError(
            f"is no card of slmops: {told_of}: {first['msg']}", where=str(path), remedy="fetch the folder again"
        ) from error
    task = getattr(card, "task", None)
    if task is not None and not {"name", "options"} <= set(task):
        raise ModelError("names no task", where=str(path), remedy="fetch the folder again")
    return card


def is_onnx(folder: Path) -> bool:
    return (folder / "genai_config.json").is_file()


def check_model_folder(folder: Path) -> None:
    """Refuses a folder that lacks config or weights, has pickled weights, points outside itself, or would run code.

    Raises:
        ModelError: naming the file and the remedy.
    """
    if not folder.is_dir():
        raise ModelError("there is no such folder", where=str(folder), remedy="check the path")
    check_links(folder)
    if is_onnx(folder):
        _check_genai_config(folder / "genai_config.json")
        return
    config = folder / "config.json"
    if not config.is_file():
        raise ModelError("there is no config.json", where=str(folder), remedy="give a Hugging Face model folder")
    told = read_json(config)
    if not isinstance(told, dict):
        raise ModelError("is no JSON object", where=str(config))
    if "transformers_weights" in told:
        raise ModelError("names weights of its own", where=str(config), remedy="name them model.safetensors")
    if (adapter := folder / "adapter_config.json").is_file():
        what = "an adapter lies in a model's folder, and would be put into it unasked"
        raise ModelError(what, where=str(adapter), remedy="move the adapter's files elsewhere, or merge it")
    weights = sorted(folder.glob("*.safetensors"))
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        found = read_json(index)
        weight_map = found.get("weight_map") if isinstance(found, dict) else None
        if not isinstance(weight_map, dict):
            raise ModelError("has no weight_map", where=str(index), remedy="fetch the whole model")
        for name in weight_map.values():
            if not isinstance(name, str) or not _stays_inside(folder, folder / name):
                raise ModelError(f"names {name!r}, which leaves the folder", where=str(index), remedy="do not trust it")
            if not (folder / name).is_file():
                raise ModelError(f"names {name}, which is not there", where=str(index), remedy="fetch the whole model")
    if weights:
        return
    check_not_pickled(folder)
    raise ModelError("there are no weights (*.safetensors)", where=str(folder), remedy="fetch the whole model")


def check_weights(folder: Path) -> None:
    """Raises ModelError where a file of safetensors is cut off, or none. Reads their headers only."""
    safetensors = need("safetensors", "train")
    for path in sorted(folder.glob("*.safetensors")):
        try:
            safetensors.safe_open(path, "np")
        except safetensors.SafetensorError as error:
            remedy = "fetch it again (in a clone: git lfs pull)"
            raise ModelError(f"is no whole file of weights: {error}", where=str(path), remedy=remedy) from error


def check_links(folder: Path) -> None:
    """Raises ModelError where a link leads out of the folder."""
    for path in folder.rglob("*"):
        if not _stays_inside(folder, path):
            raise ModelError("this link leaves the model's folder", where=str(path), remedy="replace it by the file")


def check_not_pickled(folder: Path) -> None:
    """Raises ModelError where weights are of a kind that we do not load."""
    if pickled := next((path for path in sorted(folder.iterdir()) if path.suffix in _PICKLED), None):
        raise ModelError(
            "weights are pickled: loading them could run any program",
            where=str(pickled),
            remedy="convert them to safetensors where you trust their origin",
        )


def weight_files(folder: Path) -> list[Path]:
    """The files that hold weights: safetensors, or an ONNX graph with its data."""
    patterns = ("*.onnx", "*.onnx.data") if is_onnx(folder) else ("*.safetensors",)
    return sorted(path for pattern in patterns for path in folder.glob(pattern))


def read_json(path: Path, *, once: bool = False) -> Any:
    """What the file says; `once`: a key that an object has twice is refused, since others may take the other one."""
    if path.stat().st_size > _MAX_CONFIG_BYTES:
        raise ModelError("is larger than 10 MB", where=str(path), remedy="check its origin")
    try:
        return json.loads(path.read_bytes(), object_pairs_hook=_with_each_key_once if once else None)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"is no JSON: {error}", where=str(path)) from error


def _with_each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands there twice")
    return found


def ends_told(path: Path) -> set[int]:
    """The end tokens that a config.json or generation_config.json tells; none where there is no such file."""
    found = read_json(path).get("eos_token_id") if path.is_file() else None
    return {one for one in (found if isinstance(found, list) else [found]) if isinstance(one, int)}


def text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a config.json says of the model; of one that sees images, too, of its text part."""
    return config.get("text_config") or config


def positions_of(config: Mapping[str, Any]) -> int:
    """How many tokens a model of that config.json can read and write together; 0 where it does not say."""
    text = text_part(config)
    return int(text.get("max_position_embeddings") or text.get("n_positions") or 0)


def context_of(folder: Path) -> int:
    """That of the model in its folder; without end where its config.json does not say."""
    return positions_of(read_json(folder / "config.json")) or sys.maxsize


def _check_genai_config(path: Path) -> None:
    """Refuses a configuration that has ONNX Runtime GenAI open anything but files of the folder, or any library."""
    waiting: list[Any] = [read_json(path, once=True)]
    while waiting:  # not by recursion: how deep it is nested is the sender's choice
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, dict):
            waiting += part.values()
            for key, value in part.items():
                _check_entry(path, key, value)


def _check_entry(path: Path, key: str, value: Any) -> None:
    if _NAMES_CODE.fullmatch(key):
        raise ModelError(f"{key} would load and run a library", where=str(path), remedy="do not trust this model")
    if key == "session_options" and isinstance(value, dict):
        unknown = sorted(name for name in value.keys() - _OPTIONS if not _NAMES_CODE.fullmatch(name))
        if unknown:
            remedy = "remove it, if you trust this model"
            raise ModelError(f"session_options.{unknown[0]} may do more than run it", where=str(path), remedy=remedy)
    if _WRITES.search(key):
        raise ModelError(f"{key} would write files", where=str(path), remedy="remove it, if you trust this model")
    if not _NAMES_A_FILE.fullmatch(key):
        return
    target = path.parent / str(value)
    if not _stays_inside(path.parent, target):
        raise ModelError(f"{key} {value!r} leaves the folder", where=str(path), remedy="do not trust this model")
    if not target.exists():
        raise ModelError(f"{key} {value!r} is not there", where=str(path), remedy="fetch the whole model")


def _stays_inside(folder: Path, path: Path) -> bool:
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # a link to itself, a name that no file can have
        return False
