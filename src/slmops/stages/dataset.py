"""`dataset`: the user's files, read, checked and split. Makes train, validation, test and unlabelled records."""

from __future__ import annotations

import json

from slmops.core.artifact import hash_file
from slmops.core.errors import DataError
from slmops.core.files import write_whole
from slmops.core.pipeline import Estimate, Stage, Work
from slmops.data.check import check_splits
from slmops.data.read import labels_of, read_jsonl
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
    }
    size_mb = sum(path.stat().st_size for path in files.values() if path) / 1e6
    return Stage("dataset", 1, {}, section, lambda work: _make(project, work), Estimate(0.02 + size_mb / 500, size_mb))


def _make(project: Project, work: Work) -> None:
    data = project.data
    asked = None if project.task.labels == "from-data" else set(project.task.labels)
    train = read_jsonl(data.train, labels=asked, max_row_bytes=data.max_row_bytes)
    labels = labels_of(train) if asked is None else tuple(project.task.labels)
    known = set(labels)
    test = read_jsonl(data.test, labels=known, max_row_bytes=data.max_row_bytes)
    unlabelled = []
    if data.unlabelled:
        unlabelled = read_jsonl(data.unlabelled, max_row_bytes=data.max_row_bytes)
    work.progress(0.3, "looking for messages that train and test share")
    check_splits([*train, *unlabelled], test)
    if isinstance(data.validation, float):
        train, validation = split(train, data.validation, project.seed)
    else:
        validation = read_jsonl(data.validation, labels=known, max_row_bytes=data.max_row_bytes)
        check_splits(train, validation)
    parts = dict(zip(PARTS, (train, validation, test, unlabelled), strict=True))
    for name, records in parts.items():
        write_records(work.out / f"{name}.jsonl", records)
        work.measure("rows", "rows", float(len(records)), subject=name)
    task = {"name": project.task.type, "options": {"labels": labels, "instruction": project.task.instruction}}
    write_whole(work.out / "task.json", json.dumps(task, ensure_ascii=False, indent=2) + "\n")
