"""What can be done to any one model, by reference: ask, convert, evaluate, bench. Nothing here is a stage: nothing is
kept but what the user asked to be written."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slmops.core.errors import DataError, ModelError, SlmopsError
from slmops.core.files import folder_written_whole
from slmops.core.machine import default_threads
from slmops.core.measurement import Interval
from slmops.core.store import Store
from slmops.data.config import DataConfig
from slmops.data.read import MAX_ROW_BYTES, read_records, recognise_file
from slmops.evaluation.benchmark import Benchmarked, Subject, benchmark
from slmops.evaluation.compare import cost_figures, parse_all, quality_figures
from slmops.evaluation.config import EvaluationConfig
from slmops.models.adapters import ONNX_FOLDER, AdapterCard, read_adapter_card
from slmops.models.folder import Card, read_card
from slmops.models.references import Model, resolve
from slmops.optimization.config import OptimizationConfig
from slmops.optimization.onnx import write_onnx
from slmops.privacy.mask import mask_value
from slmops.runtimes.local import LocalModel, Reply
from slmops.runtimes.probes import PROBES
from slmops.runtimes.proof import read_chain, require, write_chain
from slmops.runtimes.torch_lm import TorchRuntime
from slmops.runtimes.types import Sampling
from slmops.stages.converted import check_answers, check_converted
from slmops.stages.placed import check_plainly, put_adapters
from slmops.tasks import load_task, metrics_of, read_row
from slmops.tasks.types import Message, Record, Source, Task, messages_for

Report = Callable[[int, int], None]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Evaluated:
    """A model's figures on labelled rows."""

    reference: str
    rows: int
    figures: dict[str, Interval]


def find_model(reference: str, store: Store | None, say: Say = lambda text: None) -> Model:
    """A model by reference; a name of the store needs no `store:` before it where nothing else is called so.
    `say` hears of a download."""
    opened = store.open if store else None
    if ":" not in reference.split("/", 1)[0] and store is not None and _in_store(store, reference):
        reference = f"store:{reference}"
    return resolve(reference, open_stored=opened, say=say)


def ask(
    reference: str,
    prompt: str,
    *,
    adapter: str | None = None,
    adapters: Mapping[str, Path] | None = None,
    store: Store | None = None,
    max_tokens: int = 256,
    threads: int = 0,
    say: Say = lambda text: None,
) -> Reply:
    """One answer. A model that slmops made for a task is asked the task's way, inside its grammar; any other chats.
    `adapter` is one of `adapters`, or of those that stand in an ONNX model, and is asked the way of its own task."""
    with Store.keep_in_use(store):
        folder = find_model(reference, store, say).folder
        model = LocalModel(folder, threads=threads, adapters=adapters)
    card: Card | AdapterCard | None = read_card(folder)
    if adapter is not None:
        own = read_adapter_card((adapters or {}).get(adapter, folder / ONNX_FOLDER / adapter))
        card = own if own and own.task else card
    if card is None or card.task is None:
        return model.ask([Message("user", prompt)], sampling=Sampling(max_tokens), adapter=adapter)
    task = load_task(card.task["name"], **card.task["options"])
    try:
        record = Record("", read_row(task, _parts(prompt))[0], None, Source("prompt"))
    except KeyError as error:
        example = json.dumps(dict.fromkeys(("text", error.args[0]), "…"), ensure_ascii=False)
        what = f"this model is asked with {error.args[0]!r}, too"
        raise DataError(what, where="prompt", remedy=f"write a row of all that it asks with: '{example}'") from error
    messages = messages_for(task, card.prompt, record)
    return model.ask(messages, grammar=task.grammar, sampling=Sampling(max_tokens), adapter=adapter)


def convert(
    reference: str,
    out: Path,
    config: OptimizationConfig,
    *,
    adapters: Mapping[str, Path] | None = None,
    store: Store | None = None,
    say: Say = lambda text: None,
) -> Path:
    """Writes the model as ONNX into the new folder `out`, whole or not at all, with `adapters` to switch between.

    Raises:
        ModelError: it cannot be converted, or is no longer the same model.
        ProofError: so it is on the probes that lie beside it.
    """
    with Store.keep_in_use(store), folder_written_whole(out) as written:
        source = find_model(reference, store, say).folder
        say(f"writing {config.precision}")
        write_onnx(source, written, config)
        say("comparing with torch")
        _prove(source, written, config, say)
        if adapters:
            put_adapters(source, written, adapters, config.precision)
    return out


def _prove(source: Path, converted: Path, config: OptimizationConfig, say: Say) -> None:
    """That what was made of `source` is the same model: on its probes, where it has some. `say` hears where torch has
    no such model to compare with."""
    if not (source / PROBES).is_file():
        try:
            runtime = TorchRuntime(source, ends=frozenset())
        except ModelError as error:
            say(f"warning: not compared with torch: {error.what}")
            return
        check_plainly(runtime, source, converted, config.precision)
        return
    model, card = LocalModel(converted), read_card(source)
    links = check_converted(config.precision, converted, model, source, config)
    if card and card.task:
        links.append(check_answers(config.precision, model, source, 0))
    write_chain(converted, [*read_chain(source), *links])
    require(links)


def evaluate(
    reference: str,
    data: Path,
    *,
    store: Store | None = None,
    evaluation: EvaluationConfig | None = None,
    reading: DataConfig | None = None,
    fields: Mapping[str, str] | None = None,
    threads: int = 0,
    seed: int = 7,
    report: Report = lambda done, total: None,
    say: Say = lambda text: None,
) -> Evaluated:
    """The task's metrics, with intervals, of a model that slmops made, on a labelled file; and those that `evaluation`
    adds. The file is read as `reading` says that a project's are, where it has their columns; `fields` says which
    columns are which parts otherwise."""
    by = evaluation or EvaluationConfig()
    rows = _Rows(data, reading, fields or {})
    task, records, (done,) = _ask_all([reference], rows, store, by, threads, 0, report, say)
    return Evaluated(reference, len(records), _quality(task, records, done, seed))


def bench(
    references: Sequence[str],
    data: Path,
    *,
    store: Store | None = None,
    evaluation: EvaluationConfig | None = None,
    reading: DataConfig | None = None,
    fields: Mapping[str, str] | None = None,
    threads: int = 0,
    seed: int = 7,
    report: Report = lambda done, total: None,
    say: Say = lambda text: None,
) -> list[Evaluated]:
    """Speed and memory of models on the same prompts, taking turns, each in a process of its own, beside their quality;
    `evaluation` says what a machine costs, and which metrics are added. The file is read as `evaluate` reads it."""
    by = evaluation or EvaluationConfig()
    rows = _Rows(data, reading, fields or {})
    task, records, done = _ask_all(references, rows, store, by, threads, None, report, say)
    return [
        Evaluated(
            reference,
            len(records),
            _quality(task, records, result, seed) | cost_figures(result, by.cost.usd_per_hour, seed),
        )
        for reference, result in zip(references, done, strict=True)
    ]


def _quality(task: Task, rows: Sequence[Record], done: Benchmarked, seed: int) -> dict[str, Interval]:
    return quality_figures(task, parse_all(task, done.texts), [row.gold for row in rows], seed)


@dataclass(frozen=True)
class _Rows:
    """A file of labelled rows, and how it is read."""

    file: Path
    reading: DataConfig | None
    fields: Mapping[str, str]

    def read(self, task: Task) -> list[Record]:
        by, fields = self.reading, self.fields
        kinds, longest = (by.privacy.kinds(), by.max_row_bytes) if by else ((), MAX_ROW_BYTES)
        if by and by.fields and not fields:
            with suppress(DataError):  # it has other columns than the project's files
                recognise_file(self.file, by.fields, longest)
                fields = by.fields
        return read_records(
            self.file,
            read=lambda parts: read_row(task, mask_value(parts, kinds).value if kinds else parts),
            check=task.check,
            answered=True,
            fields=fields,
            max_row_bytes=longest,
        )


def _ask_all(
    references: Sequence[str],
    rows: _Rows,
    store: Store | None,
    by: EvaluationConfig,
    threads: int,
    timed: int | None,
    report: Report,
    say: Say,
) -> tuple[Task, list[Record], list[Benchmarked]]:
    with Store.keep_in_use(store):
        folders = [find_model(reference, store, say).folder for reference in references]
        return _ask_folders(references, folders, rows, by, threads, timed, report)


def _ask_folders(
    references: Sequence[str],
    folders: Sequence[Path],
    rows: _Rows,
    by: EvaluationConfig,
    threads: int,
    timed: int | None,
    report: Report,
) -> tuple[Task, list[Record], list[Benchmarked]]:
    cards = [_card_of(reference, folder) for reference, folder in zip(references, folders, strict=True)]
    spec: dict[str, Any] = cards[0].task
    if any(card.task != spec for card in cards):
        raise SlmopsError("these models were made for different tasks", remedy="bench those of one task together")
    task = load_task(spec["name"], **spec["options"])
    task.metrics = metrics_of(task, by.metrics)
    records = rows.read(task)
    subjects = [
        Subject(str(index), folder, card.prompt)
        for index, (folder, card) in enumerate(zip(folders, cards, strict=True))
    ]
    threads = threads or by.bench.threads or default_threads()
    return (
        task,
        records,
        benchmark(subjects, records, records[:3], task=spec, threads=threads, timed=timed, report=report),
    )


def _card_of(reference: str, folder: Path) -> Card:
    card = read_card(folder)
    if card is None:
        raise ModelError(
            f"{reference} was not made for a task", where=str(folder), remedy="name a model that slmops made"
        )
    return card


def _in_store(store: Store, reference: str) -> bool:
    try:
        store.manifest(reference)
    except SlmopsError:
        return False
    return True


def _parts(prompt: str) -> dict[str, Any]:
    """What a prompt says: a text; or, written as a JSON object, the parts that the task names (premise, context …)."""
    try:
        parts = json.loads(prompt) if prompt.lstrip().startswith("{") else None
    except ValueError:
        parts = None
    return {"text": prompt} | (parts if isinstance(parts, dict) else {})
