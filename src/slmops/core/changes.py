"""What is asked of a stage now and was not before, in words. Works on JSON values; knows no stage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_SHOWN = 3
_LONGEST = 40  # characters of a value
_ABSENT = object()


def describe_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """`train.rank 16 → 8, seed 7 → 8`; empty where nothing changed."""
    found = list(_changes("", before, now))
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(found[:_SHOWN]) + more


def _changes(where: str, before: Any, now: Any) -> Iterator[str]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys([*before, *now]):
            yield from _changes(
                f"{where}.{key}" if where else str(key), before.get(key, _ABSENT), now.get(key, _ABSENT)
            )
    elif before != now:
        yield f"{where} {_said(before)} → {_said(now)}"


def _said(value: Any) -> str:
    if value is _ABSENT or value is None:
        return "none"
    said = str(value)
    return said if len(said) <= _LONGEST else said[: _LONGEST - 1] + "…"
