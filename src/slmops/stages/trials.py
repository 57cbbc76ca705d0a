"""A search: some keys of `train` are tried in trainings of their own, and the best one is the stage's.

In come a config that says what is searched for, and how to learn by one; out come the best config and its training,
which goes on to its end. A search that was killed goes on with the trial it was at. Knows no rows and no model.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from pydantic import ValidationError

from slmops.core.errors import SlmopsError
from slmops.core.files import write_whole
from slmops.core.pipeline import Progress, Work
from slmops.core.search import Tell, Trial, Values, say_values, search
from slmops.training.config import TrainConfig
from slmops.training.curve import Point, held_out_losses, kept_loss
from slmops.training.diagnosis import Fault
from slmops.training.trackers import Run
from slmops.training.trainer import GoesOn

if TYPE_CHECKING:
    from torch import nn

SEARCH_FILE = "search.json"
_LOOKS = 9  # at validation rows in a trial at least: successive halving decides at the first, third and ninth

Learned: TypeAlias = "tuple[nn.Module, list[Point], list[Fault]]"
Learn = Callable[[TrainConfig, Work, Run, GoesOn | None, Progress], Learned]


def best_trial(config: TrainConfig, work: Work, run: Run, learn: Learn) -> tuple[TrainConfig, Run]:
    """The config of the best trial, and its run, which goes on to its end."""
    asked = config.search
    assert asked is not None
    base = config.model_copy(update={"validations": max(config.validations, _LOOKS)})

    def judge(number: int, values: Values, tell: Tell) -> float:
        def goes_on(curve: Sequence[Point]) -> bool:
            score = kept_loss(curve, chosen.keeps_best)
            return score is None or tell(len(held_out_losses(curve)), score)

        def report(share: float, text: str) -> None:
            done = (number + share) / asked.num_trials
            work.progress(done, f"trial {number + 1}/{asked.num_trials} ({say_values(values)}): {text}")

        try:
            chosen = base.tried(values)
        except ValidationError as error:
            raise SlmopsError(f"{say_values(values)} do not fit together: {error.errors()[0]['msg']}") from error
        _, curve, _ = learn(chosen, work, replace(run, trial=number), goes_on, report)
        return score_of(curve, chosen)

    def after(trial: Trial, best: Trial | None) -> None:
        for folder in work.scratch.glob("trial-*"):
            if best is None or folder != scratch_of(work, replace(run, trial=best.number)):
                shutil.rmtree(folder)

    def mark(number: int) -> int:
        saved = scratch_of(work, replace(run, trial=number)) / "checkpoint" / "state.json"
        return saved.stat().st_mtime_ns if saved.is_file() else 0

    begin = base.begin_of_search()
    folder, halving = work.scratch / "search", asked.halving
    found = search(asked, judge, halving=halving, default=begin, seed=work.seed, folder=folder, mark=mark, after=after)
    write_whole(work.out / SEARCH_FILE, json.dumps(found.to_json(), indent=1))
    return base.tried(found.best.values), replace(run, trial=found.best.number)


def scratch_of(work: Work, run: Run) -> Path:
    """Where a training keeps what it goes on from: each trial in a folder of its own."""
    return work.scratch if run.trial is None else work.scratch / f"trial-{run.trial}"


def score_of(curve: Sequence[Point], config: TrainConfig) -> float:
    """By what a trial is judged: the loss on validation rows with the weights that it keeps.

    Raises:
        SlmopsError: there are no such rows.
    """
    score = kept_loss(curve, config.keeps_best)
    if score is None:
        raise SlmopsError("there are no validation rows to judge a trial by", remedy="give data.validation")
    return score
