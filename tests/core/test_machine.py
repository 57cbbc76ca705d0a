"""How much of this machine a process takes."""

from __future__ import annotations

import pytest

from slmops.core.machine import default_threads


@pytest.mark.parametrize("said", ["1", " 1 ", "1,4"])
def test_fewer_threads_are_used_where_the_environment_says_so(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert default_threads() == 1


@pytest.mark.parametrize("said", ["", "0", "-1", "all", "100000"])
def test_what_is_no_smaller_number_changes_nothing(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cores = default_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert default_threads() == cores
