"""A search: what it tries, what it makes of failures, and that a kill changes nothing."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from pydantic import ValidationError

from slmops.core.errors import FullDiskError, SlmopsError
from slmops.core.search import Found, SearchConfig, Tell, Trial, Values, search

SPACE = {
    "learning_rate": {"type": "float", "low": 1e-4, "high": 1.0, "log": True},
    "rank": {"type": "int", "low": 1, "high": 64},
    "targets": {"type": "choice", "values": ["all", ["q_proj", "v_proj"]]},
}
DEFAULT = {"learning_rate": 0.5, "rank": 8, "targets": "all"}
Judge = Callable[[int, Values, Tell], float]


def config(**changes: Any) -> SearchConfig:
    return SearchConfig.model_validate({"num_trials": 8, "search_space": SPACE} | changes)


def judge(number: int, values: Values, tell: Tell) -> float:
    """Nine looks at a loss that falls to how far the learning rate is from a hundredth."""
    score = math.inf
    for look in range(1, 10):
        score = abs(math.log10(values["learning_rate"] * 100)) + 0.01 * values["rank"] + 1 / look
        if not tell(look, score):
            break
    return score


@pytest.mark.parametrize("strategy", ["tpe", "random"])
def test_it_begins_with_what_is_there_and_stays_within_the_space(tmp_path: Path, strategy: str) -> None:
    found = search(config(search_strategy=strategy), judge, default=DEFAULT, seed=1, folder=tmp_path)
    assert [trial.number for trial in found.trials] == list(range(8))
    assert found.trials[0].values == DEFAULT
    assert found.trials[0].state == "complete"
    for trial in found.trials:
        assert 1e-4 <= trial.values["learning_rate"] <= 1
        assert trial.values["rank"] in range(1, 65)
        assert trial.values["targets"] in ("all", ["q_proj", "v_proj"])
        assert trial.looks == {"complete": 9}.get(trial.state, trial.looks)
        assert trial.state != "pruned" or trial.looks in (1, 3)
    assert found.best.score == min(trial.score for trial in found.trials if trial.state == "complete")


def test_a_search_that_is_killed_goes_on_with_the_trial_it_was_at(tmp_path: Path) -> None:
    alone = search(config(), judge, default=DEFAULT, seed=1, folder=tmp_path / "alone")
    begun: list[int] = []

    def dying(number: int, values: Values, tell: Tell) -> float:
        begun.append(number)

        def until(looks: int, score: float) -> bool:
            if begun.count(number) == 1 and number in (0, 3, 4) and looks == 1 + number % 3:
                raise KeyboardInterrupt
            return tell(looks, score)

        return judge(number, values, until)

    killed = 0
    while True:
        try:
            found = search(config(), dying, default=DEFAULT, seed=1, folder=tmp_path / "killed")
            break
        except KeyboardInterrupt:
            killed += 1
    assert killed == sum(begun.count(number) - 1 for number in set(begun)) >= 2
    assert found == alone


@pytest.mark.parametrize("strategy", ["tpe", "random"])
def test_so_does_one_that_was_killed_between_two_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    asked = config(search_strategy=strategy, num_trials=9)
    alone = search(asked, judge, default=DEFAULT, seed=1, folder=tmp_path / "alone")
    draw = optuna.trial.Trial.suggest_int

    def dying(trial: optuna.trial.Trial, *key: Any, **more: Any) -> int:
        if trial.number == 7:
            raise KeyboardInterrupt
        return draw(trial, *key, **more)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(optuna.trial.Trial, "suggest_int", dying)
        search(asked, judge, default=DEFAULT, seed=1, folder=tmp_path / "killed")
    assert search(asked, judge, default=DEFAULT, seed=1, folder=tmp_path / "killed") == alone


def test_a_folder_may_be_called_by_any_sign(tmp_path: Path) -> None:
    asked = config(num_trials=2)
    found = [search(asked, judge, default=DEFAULT, seed=1, folder=tmp_path / name) for name in ("why?", "why", "%41")]
    assert found[0] == found[1] == found[2]
    assert {path.name for path in tmp_path.iterdir()} == {"why?", "why", "%41"}


def test_a_trial_that_the_system_kills_twice_at_one_place_has_failed(tmp_path: Path) -> None:
    deaths = tmp_path / "deaths"
    deaths.touch()

    def dying(number: int, values: Values, tell: Tell) -> float:
        for look in range(1, 5):
            died = deaths.read_text().count("2")
            if number == 1 or (number == 2 and died < 3 and look == died + 1):
                deaths.write_text(f"{deaths.read_text()}{number}")
                os.kill(os.getpid(), signal.SIGKILL)
            tell(look, 1 / look)
        return 0.25

    def found() -> Found:
        return search(config(num_trials=4), dying, default=DEFAULT, seed=1, folder=tmp_path / "study")

    for _ in range(5):
        if os.fork() == 0:
            found()
            os._exit(0)
        os.wait()
    assert deaths.read_text() == "11222"
    assert [trial.state for trial in found().trials] == ["complete", "failed", "complete", "complete"]
    assert "was killed twice at one place" in found().trials[1].reason


def test_more_trials_may_be_asked_for_later(tmp_path: Path) -> None:
    few = search(config(num_trials=3), judge, default=DEFAULT, seed=1, folder=tmp_path)
    more = search(config(num_trials=5), judge, default=DEFAULT, seed=1, folder=tmp_path)
    assert more.trials[:3] == few.trials
    assert len(more.trials) == 5


def test_a_trial_that_fails_is_told_with_its_reason_and_the_search_goes_on(tmp_path: Path) -> None:
    heard: list[tuple[int, int | None]] = []

    def failing(number: int, values: Values, tell: Tell) -> float:
        if number == 0:
            raise SlmopsError("the loss is nan")
        if number == 1:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return judge(number, values, tell)

    def after(trial: Trial, best: Trial | None) -> None:
        heard.append((trial.number, best.number if best else None))

    found = search(config(num_trials=3, halving=False), failing, default=DEFAULT, seed=1, folder=tmp_path, after=after)
    assert [trial.state for trial in found.trials] == ["failed", "failed", "complete"]
    assert "nan" in found.trials[0].reason and "allocate memory" in found.trials[1].reason
    assert heard == [(0, None), (1, None), (2, 2)]
    full = [FullDiskError("the disk is full")]

    def on_a_full_disk(number: int, values: Values, tell: Tell) -> float:
        if number == 1 and full:
            raise full.pop()
        return judge(number, values, tell)

    with pytest.raises(FullDiskError):
        search(config(num_trials=3), on_a_full_disk, default=DEFAULT, seed=1, folder=tmp_path / "full")
    found = search(config(num_trials=3), on_a_full_disk, default=DEFAULT, seed=1, folder=tmp_path / "full")
    assert [trial.number for trial in found.trials if trial.state != "failed"] == [0, 1, 2]
    with pytest.raises(ZeroDivisionError):  # a mistake of ours is no failed trial
        search(config(), lambda number, values, tell: 1 / 0, default=DEFAULT, seed=1, folder=tmp_path / "other")


def test_where_every_trial_failed_there_is_no_best(tmp_path: Path) -> None:
    def failing(number: int, values: Values, tell: Tell) -> float:
        raise MemoryError("no room")

    found = search(config(num_trials=2), failing, default={}, seed=1, folder=tmp_path)
    with pytest.raises(SlmopsError, match="every trial failed: no room"):
        _ = found.best
    again = search(config(num_trials=2), judge, default={}, seed=1, folder=tmp_path)  # there is room now
    assert [trial.number for trial in again.trials if trial.state != "failed"] == [0, 1] and again.best


@pytest.mark.parametrize(
    ("space", "told"),
    [
        ({"type": "float", "low": 2.0, "high": 1.0}, "low: 2.0 is not below high: 1.0"),
        ({"type": "int", "low": 4, "high": 4}, "low: 4 is not below high: 4"),
        ({"type": "float", "low": 0.0, "high": 1.0, "log": True}, "low: 0.0 has no logarithm"),
        ({"type": "choice", "values": []}, "at least 1 item"),
        ({"type": "normal", "low": 1, "high": 2}, "does not match any of the expected tags"),
        ({"type": "int", "low": 1.5, "high": 2}, "valid integer"),
    ],
)
def test_a_space_that_cannot_be_is_refused(space: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError) as caught:
        config(search_space={"rank": space})
    assert told in str(caught.value)
