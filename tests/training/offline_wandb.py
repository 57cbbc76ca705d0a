"""Reads what Weights & Biases writes while offline: LevelDB's log format around protocol buffers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_BLOCK, _HEAD, _MARK = 32768, 7, 7  # bytes: a block, a piece's head (checksum, length, kind), the file's own mark


def history(file: Path) -> list[dict[str, Any]]:
    """What was logged, a row a step."""
    from wandb.proto import wandb_internal_pb2

    rows = []
    for data in _records(file.read_bytes()):
        record = wandb_internal_pb2.Record.FromString(data)
        if record.WhichOneof("record_type") == "history":
            rows.append({(item.key or ".".join(item.nested_key)): _value(item) for item in record.history.item})
    return rows


def _value(item: Any) -> Any:
    kind = item.WhichOneof("value")
    return getattr(item, kind) if kind else json.loads(item.value_json)


def _records(data: bytes) -> Iterator[bytes]:
    at, pieces = _MARK, b""
    while at + _HEAD <= len(data):
        if _BLOCK - at % _BLOCK < _HEAD:  # no piece begins in what is left of the block
            at += _BLOCK - at % _BLOCK
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        pieces += data[at + _HEAD : at + _HEAD + length]
        at += _HEAD + length
        if kind in (1, 4):  # a whole record, or its last piece
            yield pieces
            pieces = b""
