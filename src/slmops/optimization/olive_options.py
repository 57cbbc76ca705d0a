"""What `olive finetune` is given on its command line, as the run configuration that Olive makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from slmops.core.document import Document
from slmops.core.errors import ConfigError
from slmops.core.mistakes import nearest
from slmops.optimization.olive import Finetuning, read_document
from slmops.optimization.olive_training import TrainingArgs

_TEXT = ("text_template", "text_field", "use_chat_template")


def read_options(options: Mapping[str, Any], more: Sequence[str]) -> Finetuning:
    """The fine-tuning that Olive's own `options`, by name, and `more`, training arguments of transformers, ask for.

    Raises:
        ConfigError: an option is not known, or says what cannot be done.
    """
    given = {name: value for name, value in options.items() if value is not None and value is not False}
    if len(several := [name for name in _TEXT if name in given]) > 1:
        raise ConfigError(f"found --{several[0]} and --{several[1]}", where="olive finetune", remedy="give one")
    load = _named(given, data_name="data_name", train_split="split", train_subset="subset")
    if "data_files" in given:
        load["data_files"] = given["data_files"].split(",")
    text = _named(given, text_field="text_cols", use_chat_template="chat_template")
    text |= _named(given, max_seq_len="max_seq_len", max_samples="max_samples")
    text["add_special_tokens"] = str(given.get("add_special_tokens", False)).lower() not in ("false", "0")
    if "text_template" in given:
        text["text_template"] = _unescaped(given["text_template"])
    finetune = _named(given, method="type", lora_r="r", lora_alpha="alpha", torch_dtype="torch_dtype")
    if "target_modules" in given:
        finetune["target_modules"] = given["target_modules"].split(",")
    learned = {"pre_process_data_config": text, **_named(given, batch_size="dataloader_config")}
    data = [{"name": "train_data", "load_dataset_config": load, **learned}]
    if "eval_split" in given:
        held_out = load | {"split": given["eval_split"]} | _named(given, eval_subset="subset")
        data.append({"name": "eval_data", "load_dataset_config": held_out, **learned})
        finetune["eval_data_config"] = "eval_data"
    finetune |= {"train_data_config": "train_data", "training_args": _training_arguments(more, [*options])}
    model: dict[str, Any] = {"model_path": given["model_name_or_path"], **_named(given, task="task")}
    model |= {"load_kwargs": _named(given, trust_remote_code="trust_remote_code")}
    run = {"input_model": model, "data_configs": data, "passes": {"finetune": finetune}}
    run |= _named(given, output_path="output_dir", log_level="log_severity_level")
    return read_document(Document(Path("olive finetune"), run, {}))


def _named(given: Mapping[str, Any], **names: str) -> dict[str, Any]:
    """The values of the options that are given, by the names that a configuration has for them."""
    return {names[name]: given[name] for name in names if name in given}


def _training_arguments(words: Sequence[str], options: Sequence[str]) -> dict[str, Any]:
    values: dict[str, list[Any]] = {}
    known, name = list(TrainingArgs.model_fields), ""
    for word in words:
        if not word.startswith("--"):
            if not name:
                raise ConfigError(
                    f"found {word!r}, which no option asks for", where="olive finetune", remedy="remove it"
                )
            values[name].append(_value(word))
            continue
        name, equals, value = word.removeprefix("--").partition("=")
        if name not in known:
            raise ConfigError(
                "there is no such option",
                where=f"--{name}",
                remedy=nearest(word, [f"--{one}" for one in (*known, *options)]),
            )
        values[name] = [_value(value)] if equals else []
    return {name: True if not many else many[0] if len(many) == 1 else many for name, many in values.items()}


def _value(word: str) -> Any:
    try:
        return YAML(typ="safe").load(word)
    except YAMLError:  # text that means something in YAML
        return word


def _unescaped(text: str) -> str:
    """With `\\n` and the like as what they stand for."""
    return text.encode("latin-1", "backslashreplace").decode("unicode_escape")
