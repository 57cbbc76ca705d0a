"""`dataset`: the user's files, read, checked and split. Makes train, validation, test and unlabelled records."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from slmops.core.errors import DataError, InvalidAnswer
from slmops.core.files import write_whole
from slmops.core.named import code_of
from slmops.core.pipeline import Estimate, Stage, Work
from slmops.data.check import check_splits
from slmops.data.formats import Row
from slmops.data.grams import normalise
from slmops.data.read import read_records, recognise_file
from slmops.data.records import write_records
from slmops.data.sources import find_rows
from slmops.data.split import split
from slmops.privacy.mask import mask_value
from slmops.stages.project import Project
from slmops.tasks import TASKS, load_task, read_row
from slmops.tasks.types import Json, Labels, Record, Task

PARTS = ("train", "validation", "test", "unlabelled")


def dataset_stage(project: Project) -> Stage:
    data = project.data
    files = {"train": data.train, "test": data.test, "unlabelled": data.unlabelled}
    if not isinstance(data.validation, float):
        files["validation"] = data.validation
    origins = {}
    for role, path in files.items():
        if path is None:
            continue
        try:
            origins[role] = find_rows(path)
        except DataError as error:
            remedy = f"correct data.{role} in slmops.yaml: {error.remedy}"
            raise DataError(error.what, where=error.where, remedy=remedy) from error
    section = {
        "files": {role: origin.digest() for role, origin in origins.items()},
        "task": project.task.type,
        "code": _code_of(project),
        "options": project.task.given(),
        "validation": data.validation if isinstance(data.validation, float) else "file",
        "seed": project.seed,
        "max_row_bytes": data.max_row_bytes,
        "fields": data.fields,
        "on_error": data.on_error,
        "mask": data.privacy.kinds(),
    }
    size_mb = sum(origin.size_bytes for origin in origins.values()) / 1e6
    return Stage("dataset", 3, {}, section, lambda work: _make(project, work), Estimate(0.02 + size_mb / 500, size_mb))


def _make(project: Project, work: Work) -> None:
    data = project.data
    refused: list[dict[str, Any]] = []
    masked: Counter[str] = Counter()
    kinds = data.privacy.kinds()
    given = project.task.given()
    draft = load_task(project.task.type, **given)  # reads rows; what it is to learn from data, it does not know yet

    def mask(value: Any) -> Any:
        if not kinds:
            return value
        found = mask_value(value, kinds)
        masked.update(found.counts)
        return found.value

    def refuse(error: DataError, row: Row | None) -> None:
        refused.append({"where": error.where, "reason": mask(str(error)), "row": mask(row)})

    found = recognise_file(data.train, data.fields, data.max_row_bytes)
    like = found.unanswered() if found else None

    def read(path: Path, task: Task, check: Callable[[Json], None], answered: bool = True) -> list[Record]:
        return read_records(
            path,
            read=lambda parts: read_row(task, mask(parts)),
            check=check,
            answered=answered,
            fields=data.fields,
            like=like,
            max_row_bytes=data.max_row_bytes,
            on_error=None if data.on_error == "stop" else refuse,
        )

    train = read(data.train, draft, draft.check)
    options = given | dict(draft.learned([record.gold for record in train]))
    task = load_task(project.task.type, **options)
    check = partial(_check_learned, task.check) if "schema" in options.keys() - given.keys() else task.check
    test = read(data.test, task, check)
    unlabelled = read(data.unlabelled, task, check, answered=False) if data.unlabelled else []
    work.progress(0.3, "looking for messages that are both learned and judged")
    check_splits([*train, *unlabelled], test)
    if isinstance(data.validation, float):
        train, validation = split(train, data.validation, project.seed, stratum=stratum_of(task))
    else:
        validation = read(data.validation, task, check)
        check_splits(train, validation)
        check_splits(validation, test)
    judges = {normalise(record.text) for record in validation}
    apart = [record for record in unlabelled if normalise(record.text) not in judges]
    if shared := len(unlabelled) - len(apart):
        work.progress(0.6, f"{shared} unlabelled messages are left out: they stand in validation")
        work.measure("rows", "rows", float(shared), subject="unlabelled, in validation")
    unlabelled = apart
    parts = dict(zip(PARTS, (train, validation, test, unlabelled), strict=True))
    for name, records in parts.items():
        write_records(work.out / f"{name}.jsonl", records)
        work.measure("rows", "rows", float(len(records)), subject=name)
    for kind, count in sorted(masked.items()):
        work.measure("masked", "", float(count), subject=kind)
    if data.on_error != "stop":
        work.measure("rows", "rows", float(len(refused)), subject="refused")
    if data.on_error == "quarantine":
        lines = (json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in refused)
        write_whole(work.out / "quarantine.jsonl", "".join(lines))
    spec = {"name": project.task.type, "options": options, "code": _code_of(project)}
    write_whole(work.out / "task.json", json.dumps(spec, ensure_ascii=False, indent=2) + "\n")


def _check_learned(check: Callable[[Json], None], gold: Json) -> None:
    """What the user must mend where the rows to train on told the schema, and another row does not fit it."""
    try:
        check(gold)
    except InvalidAnswer as error:
        remedy = "write task.schema: FILE, since the schema of train does not allow it, or mend the row"
        raise InvalidAnswer(error.what, remedy=remedy) from error


def _code_of(project: Project) -> str:
    """What decides how a task of the user's own works; nothing for one of ours."""
    return "" if project.task.type in TASKS else code_of(project.task.type, "task")


def stratum_of(task: Task) -> Callable[[Record], str]:
    """What is to be on both sides of a split: each label; where answers are free, anything."""
    return (lambda record: str(record.gold)) if isinstance(task.grammar, Labels) else (lambda record: "")
