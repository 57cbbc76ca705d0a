"""Records as a file of our own: JSON Lines, one record a line, nothing lost. Knows no split and no stage."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from slmops.core.errors import DataError
from slmops.core.files import write_whole
from slmops.tasks.types import Answer, Record, Source, TokenLogprobs


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Writes `records` whole or not at all; the same records give the same bytes."""
    lines = (json.dumps(asdict(record), ensure_ascii=False, sort_keys=True, allow_nan=False) for record in records)
    write_whole(path, "".join(line + "\n" for line in lines))


def without_tokens(records: Iterable[Record]) -> list[Record]:
    """The records without what teachers told of their answers' tokens, which is many times the answers."""
    return [
        replace(record, answers=tuple(replace(answer, token_logprobs=None) for answer in record.answers))
        for record in records
    ]


def read_records(path: Path) -> list[Record]:
    """The records that `write_records` wrote.

    Raises:
        DataError: a line is no record.
    """
    records = []
    with path.open("rb") as stream:
        for line, raw in enumerate(stream, 1):
            try:
                data = json.loads(raw)
                data["source"] = Source(**data["source"])
                data["answers"] = tuple(map(_to_answer, data["answers"]))
                records.append(Record(**data))
            except (ValueError, TypeError, KeyError) as error:
                raise DataError("found no record", where=f"{path}:{line}", remedy="run the stage again") from error
    return records


def _to_answer(data: dict[str, Any]) -> Answer:
    told = data.pop("token_logprobs", None)
    return Answer(**data, token_logprobs=None if told is None else tuple(TokenLogprobs(**token) for token in told))
