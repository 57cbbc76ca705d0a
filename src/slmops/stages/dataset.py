"""`dataset`: the user's files, read, checked and split. Makes train, validation, test and unlabelled records."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from slmops.core.artifact import hash_file
from slmops.core.errors import DataError
from slmops.core.files import write_whole
from slmops.core.pipeline import Estimate, Stage, Work
from slmops.data.check import check_splits
from slmops.data.read import labels_of, read_texts
from slmops.data.records import write_records
from slmops.data.split import split
from slmops.stages.project import Project

PARTS = ("train", "validation", "test", "unlabelled")


def dataset_stage(project: Project) -> Stage:
    data = project.data
    files = {"train": data.train, "test": data.test, "unlabelled": data.unlabelled}
    if not isinstance(data.validation, float):
        files["validation"] = data.validation
    digests = {}
    for role, path in files.items():
        if path is None:
            continue
        if not path.is_file():
            raise DataError("there is no such file", where=str(path), remedy=f"correct data.{role} in slmops.yaml")
        digests[role] = hash_file(path).sha256
    section = {
        "files": digests,
        "labels": project.task.labels,
        "validation": data.validation if isinstance(data.validation, float) else "file",
        "seed": project.seed,
        "max_row_bytes": data.max_row_bytes,
        "fields": data.fields.model_dump(),
        "on_error": data.on_error,
    }
    size_mb = sum(path.stat().st_size for path in files.values() if path) / 1e6
    return Stage("dataset", 1, {}, section, lambda work: _make(project, work), Estimate(0.02 + size_mb / 500, size_mb))


def _make(project: Project, work: Work) -> None:
    data = project.data
    refused: list[dict[str, Any]] = []
    read = partial(
        read_texts,
        text_field=data.fields.text,
        label_field=data.fields.label,
        max_row_bytes=data.max_row_bytes,
        on_error=None if data.on_error == "stop" else lambda error, row: refused.append(_refused(error, row)),
    )
    asked = None if project.task.labels == "from-data" else set(project.task.labels)
    train = read(data.train, labels=asked, labelled=True)
    labels = labels_of(train) if asked is None else tuple(project.task.labels)
    known = set(labels)
    test = read(data.test, labels=known)
    unlabelled = read(data.unlabelled) if data.unlabelled else []
    work.progress(0.3, "looking for messages that train and test share")
    check_splits([*train, *unlabelled], test)
    if isinstance(data.validation, float):
        train, validation = split(train, data.validation, project.seed)
    else:
        validation = read(data.validation, labels=known)
        check_splits(train, validation)
    parts = dict(zip(PARTS, (train, validation, test, unlabelled), strict=True))
    for name, records in parts.items():
        write_records(work.out / f"{name}.jsonl", records)
        work.measure("rows", "rows", float(len(records)), subject=name)
    if data.on_error != "stop":
        work.measure("rows", "rows", float(len(refused)), subject="refused")
    if data.on_error == "quarantine":
        lines = (json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in refused)
        write_whole(work.out / "quarantine.jsonl", "".join(lines))
    task = {"name": project.task.type, "options": {"labels": labels, "instruction": project.task.instruction}}
    write_whole(work.out / "task.json", json.dumps(task, ensure_ascii=False, indent=2) + "\n")


def _refused(error: DataError, row: Any) -> dict[str, Any]:
    return {"where": error.where, "reason": str(error), "row": row}
