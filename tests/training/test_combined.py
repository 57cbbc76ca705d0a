"""Caches of several teachers made into one."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from slmops.training.combined import combine_targets
from slmops.training.target_codes import decode, encode_likeliest
from slmops.training.targets import Index, read_cache, write_cache

SURE = [{1: 0.9, 2: 0.1}, {3: 0.8, 4: 0.2}, {5: 0.5, 6: 0.5}]
UNSURE = [{1: 0.3, 7: 0.7}, {3: 0.6}, {5: 1.0}]


def cache(
    folder: Path,
    targets: list[dict[int, float]],
    order: tuple[str, ...],
    sure: dict[str, float],
    unlike: tuple[str, ...] = (),
) -> Path:
    """Row a has two targets, row b one; they may lie in another order."""
    folder.mkdir()
    by_row = {"a": targets[:2], "b": targets[2:]}
    laid, rows = [], {}
    for row in order:
        rows[row] = [len(laid), row == "a", 7]
        laid += by_row[row]
    write_cache(folder, encode_likeliest(laid, 3), Index(2.0, rows, sure, unlike=unlike))
    return folder


def told(folder: Path, row: str, count: int) -> list[dict[int, float]]:
    codes, index = read_cache(folder)
    first = index.rows[row][0]
    ids, logprobs = decode(codes[first : first + count])
    return [
        {id: float(np.exp(value)) for id, value in zip(of, values, strict=True) if value > -np.inf}
        for of, values in zip(ids.tolist(), logprobs.tolist(), strict=True)
    ]


@pytest.mark.parametrize(
    ("how", "of_a", "of_b"),
    [
        ("average", [{1: 0.6, 7: 0.35, 2: 0.05}, {3: 0.7, 4: 0.1}], [{5: 0.75, 6: 0.25}]),
        ("surest", SURE[:2], UNSURE[2:]),
    ],
)
def test_each_row_is_what_all_say_or_whoever_is_surest_of_it(
    tmp_path: Path, how: Literal["average", "surest"], of_a: list[dict[int, float]], of_b: list[dict[int, float]]
) -> None:
    folders = [
        cache(tmp_path / "one", SURE, ("a", "b"), {"a": 0.85, "b": 0.5}),
        cache(tmp_path / "two", UNSURE, ("b", "a"), {"a": 0.65, "b": 0.9}),
    ]
    (out := tmp_path / "out").mkdir()
    combine_targets(folders, out, 3, how)
    for row, expected in (("a", of_a), ("b", of_b)):
        for found, wanted in zip(told(out, row, len(expected)), expected, strict=True):
            assert found == pytest.approx(wanted, abs=5e-3)
    codes, index = read_cache(out)
    assert index.rows["a"][1:] == [True, 7]
    assert (index.temperature, codes.shape) == (2.0, (3, 3))


@pytest.mark.parametrize("how", ["average", "surest"])
def test_who_writes_an_answer_in_other_bytes_is_not_heard_of_it(
    tmp_path: Path, how: Literal["average", "surest"]
) -> None:
    folders = [
        cache(tmp_path / "one", [{9: 1.0}, {9: 1.0}, {5: 1.0}], ("a", "b"), {"a": 0.99, "b": 0.99}, ("a",)),
        cache(tmp_path / "two", UNSURE, ("b", "a"), {"a": 0.65, "b": 0.9}),
    ]
    (out := tmp_path / "out").mkdir()
    combine_targets(folders, out, 3, how)
    for found, wanted in zip(told(out, "a", 2), UNSURE[:2], strict=True):
        assert found == pytest.approx(wanted, abs=5e-3)
