"""Writes and checks a Foundry Local model folder: the model, its chat template, greedy settings and an id.

In comes an ONNX Runtime GenAI folder, out goes one that Foundry Local feeds the very text that our own runtime is fed.
Found by asking Foundry Local 2.2.1: it writes prompts with the chat template of tokenizer_config.json (with
chat_template.jinja only where that has none) and never with `PromptTemplate`, which older command-line services read;
it samples where a request names no temperature, whatever `do_sample` says, but keeps to `top_k`; and it refuses a
request whose prompt and answer, 2,048 tokens unless limited, exceed the context. Knows no task.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from slmops.core.errors import ModelError
from slmops.core.files import write_whole
from slmops.deployment.chat_template import chat_template
from slmops.models.families import end_token, family_of
from slmops.models.folder import CHAT_TEMPLATE, check_model_folder, is_onnx, read_json
from slmops.models.tokenizer import Tokenizer

_REWRITTEN = ("genai_config.json", "tokenizer_config.json", CHAT_TEMPLATE, "inference_model.json")
_GREEDY = {"do_sample": False, "top_k": 1, "num_beams": 1, "min_length": 0}
_UNPENALIZED = {"no_repeat_ngram_size": 0, "repetition_penalty": 1.0, "diversity_penalty": 0.0}


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


class _GenaiModel(_Strict):
    context_length: PositiveInt
    decoder: dict[str, Any]


class _GenaiConfig(_Strict):
    model: _GenaiModel
    search: dict[str, Any]


class _TokenizerConfig(_Strict):
    chat_template: str


class _InferenceModel(_Strict):
    name: str = Field(alias="Name", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*:(0|[1-9][0-9]{0,8})$")


def write_folder(model: Path, out: Path, *, name: str, version: int) -> None:
    """Writes `model` into `out` as Foundry Local's `name:version`. inference_model.json comes last: a folder cut short
    is none that Foundry Local would recognise.

    Raises:
        ModelError: `model` is no ONNX Runtime GenAI folder of a known chat family, or the name cannot stand in an id.
    """
    check_model_folder(model)
    if not is_onnx(model):
        raise ModelError("is no ONNX Runtime GenAI folder", where=str(model), remedy="convert it first: slmops convert")
    tokenizer = Tokenizer(model)
    family = family_of(tokenizer)
    genai = _read(model / "genai_config.json", _GenaiConfig)
    genai["model"]["eos_token_id"] = end_token(tokenizer, family)
    genai["search"] |= _GREEDY | _UNPENALIZED | {"max_length": genai["model"]["context_length"]}
    tokenizer_config = _read(model / "tokenizer_config.json", _Strict)
    tokenizer_config["chat_template"] = chat_template(family, tokenizer.special_ids)
    described = {"Name": f"{name}:{version}", "PromptTemplate": family.prompt_template()}
    _check(
        described, _InferenceModel, f"{name}:{version}", "use letters, digits, '.', '_' and '-', then a whole number"
    )

    shutil.copytree(model, out, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*_REWRITTEN))
    _write(out / "genai_config.json", genai)
    _write(out / "tokenizer_config.json", tokenizer_config)
    _write(out / "inference_model.json", described)


def verify(folder: Path) -> str:
    """The id under which Foundry Local is to know `folder`, which may come from anyone.

    Raises:
        ModelError: the folder is incomplete or malformed, leads out of itself, or would run code of its own.
    """
    check_model_folder(folder)
    if (folder / "download.tmp").exists():
        raise ModelError("is a download that did not finish", where=str(folder), remedy="fetch it again")
    _read(folder / "genai_config.json", _GenaiConfig)
    Tokenizer(folder)
    _read(folder / "tokenizer_config.json", _TokenizerConfig)
    identifier: str = _read(folder / "inference_model.json", _InferenceModel)["Name"]
    return identifier


def _read(path: Path, schema: type[BaseModel]) -> dict[str, Any]:
    if not path.is_file():
        raise ModelError("is not there", where=str(path), remedy="fetch the whole model")
    data: dict[str, Any] = read_json(path)
    _check(data, schema, str(path), "convert the model again")
    return data


def _check(data: Any, schema: type[BaseModel], where: str, remedy: str) -> None:
    try:
        schema.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ModelError(f"{field}: {first['msg']}", where=where, remedy=remedy) from error


def _write(path: Path, data: dict[str, Any]) -> None:
    write_whole(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")
