"""Reads what Microsoft Olive is run with: a run configuration (JSON or YAML), or what `olive finetune` was given.

Out comes what it asks for in our own words (`Finetuning`, with the keys of a `train` section), or one ConfigError with
all that is wrong: file, line, key and the nearest known one. Knows no model, no rows, no training.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from slmops.core.document import Document, Steps, load_yaml
from slmops.core.errors import ConfigError
from slmops.core.mistakes import Problem, as_error, explain, nearest
from slmops.models.references import CATALOGUE
from slmops.optimization.olive_keys import idle_keys
from slmops.optimization.olive_schema import Data, LoadDataset, Pass, Run

_NESTED = ("config", "params", "extra_args", "engine")  # whose keys may as well stand where they do


@dataclass(frozen=True)
class Texts:
    """Which rows, as slmops names them, and what of them is learned: every token of what the `template`, the `columns`
    (joined by a space) or the conversation in the column `messages` says."""

    sources: tuple[str, ...]
    template: str | None
    columns: tuple[str, ...]
    messages: str | None
    marked: bool  # between begin and end tokens
    joined: bool  # one text after another, in blocks of max_tokens; else each alone, cut there
    joiner: str
    max_tokens: int
    most: int | None  # how many blocks, or texts


@dataclass(frozen=True)
class Finetuning:
    """A fine-tuning: `train` are keys of our section of that name; steps, where they are counted, bound it instead of
    its epochs. `notes` tell, one line each, what was asked for and changes nothing; `trusts_code` is where the model's
    own code was to be run, if it was."""

    model: str
    train: Mapping[str, Any]
    steps: int | None
    warmup_steps: int
    eval_steps: int | None
    texts: Texts
    validation: Texts | None
    seed: int
    out: Path
    notes: tuple[str, ...]
    trusts_code: str


def read_run(path: Path, **instead: str) -> Finetuning:
    """The fine-tuning that the run configuration at `path` asks for; `instead` are values for its `model_path` and
    `output_dir`.

    Raises:
        ConfigError: with all that is wrong, in the file's order.
    """
    return read_document(load_yaml(path), **instead)


def read_document(document: Document, model_path: str = "", output_dir: str = "") -> Finetuning:
    """The same of a configuration that is not in a file."""
    lifted = _lifted(document)
    if output_dir:
        lifted.data["output_dir"] = output_dir
    try:
        run = Run.model_validate(lifted.data)
    except ValidationError as error:
        raise as_error(document.path, explain(error, Run, [lifted])) from error
    passes = [one for several in run.passes.values() for one in several]
    if len(passes) > 1:
        raise _error(lifted, ("passes",), f"found {len(passes)} passes", "fine-tune once: leave one")
    (key, _), (asked,) = next(iter(run.passes.items())), passes
    model = run.input_model or run.model
    assert model is not None
    rows, held_out = _data_of(run, asked, "train", lifted, key), _data_of(run, asked, "eval", lifted, key)
    if rows is None:
        remedy = "write train_data_config: the name of one of data_configs"
        raise _error(lifted, ("passes", key, "train_data_config"), "is missing", remedy)
    arguments = asked.training_args
    trust = ("input_model" if run.input_model else "model", "load_kwargs", "trust_remote_code")
    unused = [*idle_keys(run), *((("passes", key, *steps), why) for steps, why in _overruled(asked, held_out))]
    unused.sort(key=lambda found: lifted.place(lifted.follow(found[0])))
    return Finetuning(
        model=_model(model_path or model.model_path, model.load_kwargs.revision, lifted),
        train=_train(asked),
        steps=arguments.max_steps if arguments.max_steps > 0 else None,
        warmup_steps=arguments.warmup_steps if arguments.lr_scheduler_type != "constant" else 0,
        eval_steps=arguments.eval_steps,
        texts=_texts(rows),
        validation=_texts(held_out) if held_out else None,
        seed=arguments.seed,
        out=Path(run.output_dir),
        notes=tuple(f"{_where(lifted, steps)}: {why}" for steps, why in unused),
        trusts_code=_where(lifted, trust) if model.load_kwargs.trust_remote_code else "",
    )


def _overruled(asked: Pass, held_out: Data | None) -> Iterator[tuple[Steps, str]]:
    """Keys of a pass that another of its keys leaves nothing to say."""
    if asked.type == "qlora" and asked.target_modules:
        yield ("target_modules",), "all linear layers get adapters, as in Olive's QLoRA"
    arguments = asked.training_args
    given: dict[str, str] = {}
    if arguments.lr_scheduler_type == "constant":
        given |= dict.fromkeys(
            ("warmup_ratio", "warmup_steps"), "a constant learning rate has no warm-up, as in transformers"
        )
    elif arguments.warmup_steps:
        given["warmup_ratio"] = "warmup_steps says how long"
    if arguments.max_steps > 0:
        given["num_train_epochs"] = "max_steps says how long"
    if held_out is None:
        given["eval_steps"] = "there are no eval rows"
    for name in arguments.model_fields_set & given.keys():
        yield ("training_args", name), given[name]


def _train(asked: Pass) -> dict[str, Any]:
    """Our words for how a pass learns."""
    arguments = asked.training_args
    targets = ("all",) if asked.type == "qlora" else asked.target_modules
    train: dict[str, Any] = {
        "method": asked.type,
        "rank": asked.r,
        "alpha": asked.alpha or asked.lora_alpha or 16.0,
        "dropout": asked.lora_dropout,
        "modules_to_save": asked.modules_to_save,
        "upper_layers": 1.0,
        "noise": 0.0,
        "learning_rate": arguments.learning_rate,
        "schedule": arguments.lr_scheduler_type.removesuffix("_with_warmup"),
        "warmup": 0.0 if arguments.lr_scheduler_type == "constant" else arguments.warmup_ratio,  # as transformers does
        "epochs": arguments.num_train_epochs,
        "batch_size": arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps,
        "weight_decay": arguments.weight_decay,
        "beta1": arguments.adam_beta1,
        "beta2": arguments.adam_beta2,
        "max_grad_norm": arguments.max_grad_norm,
        "label_smoothing": arguments.label_smoothing_factor,
        "neftune_alpha": arguments.neftune_noise_alpha,
        "gradient_checkpointing": arguments.gradient_checkpointing,
        "keep": "best" if arguments.load_best_model_at_end else "last",
    }
    return train | ({"targets": targets} if targets else {})


def _data_of(run: Run, asked: Pass, part: str, document: Document, key: str) -> Data | None:
    """The data that the pass names; to learn from, the only one where it names none."""
    given: str | Data | None = getattr(asked, f"{part}_data_config")
    if given is None and part == "train" and len(run.data_configs) == 1:
        return run.data_configs[0]
    if not isinstance(given, str):
        return given
    known = {data.name: data for data in run.data_configs}
    if given not in known:
        steps = ("passes", key, f"{part}_data_config")
        raise _error(document, steps, f"no data_config is called {given!r}", nearest(given, filter(None, known)))
    return known[given]


def _texts(data: Data) -> Texts:
    text = data.pre_process_data_config
    return Texts(
        sources=_sources(data.load_dataset_config),
        template=text.text_template,
        columns=text.text_cols,
        messages=text.message_col if text.chat_template else None,
        marked=text.add_special_tokens and not text.chat_template,
        joined=text.strategy == "join",
        joiner=text.joiner,
        max_tokens=text.max_seq_len,
        most=text.max_samples,
    )


def _sources(load: LoadDataset) -> tuple[str, ...]:
    """The rows as slmops names them: file, folder#split, or hf:owner/name#split, with [:4096] behind any."""
    _, bracket, part = load.split.partition("[")
    if load.data_files:
        return tuple(f"{file}#train[{part}" if bracket else file for file in load.data_files)
    name = load.data_name or ""
    place = name if Path(name).exists() else f"hf:{name}"
    return (f"{place}/{load.subset}#{load.split}" if load.subset else f"{place}#{load.split}",)


def _model(path: str, revision: str | None, document: Document) -> str:
    """Our reference: a folder that is there, else the hub's."""
    path = re.sub(r"^https://huggingface\.co/([^/]+/[^/]+).*", r"\1", path)
    if path.startswith("azureml:"):
        raise ConfigError("models of Azure ML are not fetched", where=str(document.path), remedy="name a folder")
    if Path(path).is_dir() or path in CATALOGUE or ":" in path:
        return path
    return f"hf:{path}@{revision}" if revision else f"hf:{path}"


def _lifted(document: Document) -> Document:
    """The document with all that is nested only by Olive's custom one level higher, each with its own line."""
    lines: dict[Steps, int] = {}

    def lift(value: Any, written: Steps, steps: Steps) -> Any:
        if written in document.lines:
            lines.setdefault(steps, document.lines[written])
        if isinstance(value, list):
            return [lift(item, (*written, at), (*steps, at)) for at, item in enumerate(value)]
        if not isinstance(value, dict):
            return value
        found: dict[str, Any] = {}
        for key, item in value.items():
            nested = key in _NESTED and isinstance(item, dict)
            inside = lift(item, (*written, key), steps) if nested else {key: lift(item, (*written, key), (*steps, key))}
            if twice := next(iter(found.keys() & inside.keys()), None):
                raise ConfigError(f"found {twice} twice", where=_where(document, (*written, key)), remedy="leave one")
            found |= inside
        return found

    return Document(document.path, lift(document.data, (), ()), lines)


def _where(document: Document, steps: Steps) -> str:
    line, field = document.place(document.follow(steps))
    return f"{document.path}:{line} · {field}" if line else f"{document.path} · {field}"


def _error(document: Document, steps: Steps, what: str, remedy: str) -> ConfigError:
    return as_error(document.path, [Problem(*document.place(steps), what, remedy)])
