"""The benchmark counts what it says it counts."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.personal_data import Marked

from benchmarks import privacy

RECORDS = [
    Marked("mail ann@x.org or 192.168.17.4", frozenset({("email", 5, 14), ("ip", 18, 30)})),
    Marked("see https://ann:pw@x.org/", frozenset({("credential_url", 4, 25)})),
]


def test_a_finding_is_right_only_if_kind_and_place_are() -> None:
    found = [frozenset({("email", 5, 14), ("ip", 19, 30)}), frozenset()]
    counts = privacy._counts(RECORDS, found, {"email", "ip", "credential_url"})
    assert counts.tolist() == [[1, 1, 1], [0, 0, 1]]
    sums = counts.sum(axis=0)
    assert (privacy.precision(sums), privacy.recall(sums)) == (0.5, pytest.approx(1 / 3))
    assert privacy.f2(np.array([1.0, 1.0, 2.0])) == pytest.approx(5 / 14)


def test_a_peer_is_not_blamed_for_kinds_it_does_not_know() -> None:
    found = frozenset({("email", 12, 24)})
    assert privacy._fair(RECORDS[1], found) == frozenset()
    assert privacy._fair(RECORDS[0], found) == found


def test_a_finding_that_touches_the_value_can_count_as_right() -> None:
    found = [frozenset({("ip", 19, 40), ("email", 0, 3)}), frozenset()]
    assert privacy._snap(RECORDS, found) == [{("ip", 18, 30), ("email", 0, 3)}, frozenset()]


def test_our_findings_are_those_of_the_room() -> None:
    assert privacy.ours_in(RECORDS[0].text) == RECORDS[0].spans
