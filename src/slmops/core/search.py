"""Search: values are tried, each judged by one number, the lower the better; the next ones learn from those before.

In come a space and a function that judges one trial; out come all trials. What was decided stands in a study on disk
(optuna, SQLite), so that a search that was killed goes on with the very trial it was at. Knows no model and no config.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from slmops.core.config import Section, one_or_many, wrong
from slmops.core.errors import BusyError, FullDiskError, MissingExtraError, SlmopsError, StoreError, need

_NO_FAULT_OF_A_TRIAL = (BusyError, FullDiskError, MissingExtraError, StoreError)
_FACTOR = 3  # successive halving: of so many trials that came as far, one goes on
_TELLING = 5  # complete trials from which importance can be told
_DEATHS = 2  # of a trial at one place, after which it has failed
_APART = 1_000_003  # seeds of values that are drawn one after another, which those of trials do not reach
_STARTUP = 6  # trials at random before TPE has something to learn from

Values = Mapping[str, Any]
Tell = Callable[[int, float], bool]  # (how many looks there were, what the last one found) → whether the trial goes on


class _Range(Section):
    """Numbers between two, both included."""

    low: float = Field(description="the smallest")
    high: float = Field(description="the largest")
    log: bool = Field(default=False, description="whether to draw by order of magnitude")

    @model_validator(mode="after")
    def _is_a_range(self) -> _Range:
        if self.low >= self.high:
            raise wrong(f"low: {self.low} is not below high: {self.high}", "exchange them, or fix the value in train")
        if self.log and self.low <= 0:
            raise wrong(f"low: {self.low} has no logarithm", "give a low above 0, or remove log")
        return self

    def ends(self) -> tuple[float, float]:
        return self.low, self.high


class FloatRange(_Range):
    """A number between two."""

    type: Literal["float"] = Field(description="float: any number between")


class IntRange(_Range):
    """A whole number between two."""

    type: Literal["int"] = Field(description="int: a whole number between")
    low: int = Field(description="the smallest")
    high: int = Field(description="the largest")


class Choice(Section):
    """One of several values of any kind."""

    type: Literal["choice"] = Field(description="choice: one of several")
    values: Annotated[tuple[Any, ...], one_or_many(Any)] = Field(min_length=1, description="what to choose from")

    def ends(self) -> tuple[Any, ...]:
        return self.values


Space = Annotated[FloatRange | IntRange | Choice, Field(discriminator="type")]


class Trials(Section):
    """Which values are tried, and how many times."""

    num_trials: int = Field(default=20, ge=1, le=10_000, description="how many trials there are in all")
    search_strategy: Literal["tpe", "random"] = Field(
        default="tpe", description="tpe (learns from the trials before), or random"
    )
    search_space: dict[str, Space] = Field(min_length=1, description="key → {type: float|int|choice, …}")


class SearchConfig(Trials):
    """Which values are tried in trainings, and how many times."""

    halving: bool = Field(default=True, description="whether trials that fall behind end early (successive halving)")


@dataclass(frozen=True)
class Trial:
    """What was tried, and what came of it. `looks` is how far it came; a failed trial has a reason, and no score."""

    number: int
    values: dict[str, Any]
    state: Literal["complete", "pruned", "failed"]
    score: float | None
    looks: int
    reason: str = ""


@dataclass(frozen=True)
class Found:
    """All trials, and how much of the scores' spread each key explains; none where there are too few trials."""

    trials: tuple[Trial, ...]
    importance: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Trials, importance, and the number of the best one."""
        trials = [asdict(trial) for trial in self.trials]
        return {"trials": trials, "importance": self.importance, "best": self.best.number}

    @property
    def best(self) -> Trial:
        """The complete trial with the lowest score; the first of equals.

        Raises:
            SlmopsError: all have failed.
        """
        best = _best(self.trials)
        if best is None:
            reason = next((trial.reason for trial in self.trials if trial.reason), "none came to its end")
            raise SlmopsError(f"every trial failed: {reason}", where="search", remedy="mend that, or narrow the space")
        return best


def begin_of(space: Mapping[str, Space], own: Callable[[str], Any], tried: Callable[[str, Any], Any]) -> dict[str, Any]:
    """What is searched for, as it stands (`own`), where that lies in the space; `tried` tells what a key would hold if
    it were given a value."""
    found: dict[str, Any] = {}
    for key, of_key in space.items():
        now, ends = own(key), of_key.ends()
        if isinstance(of_key, Choice):
            same = [value for value in ends if tried(key, value) == now]
        else:
            is_number = isinstance(now, int | float) and not isinstance(now, bool)
            same = [now] if is_number and ends[0] <= now <= ends[1] else []
        if same:
            found[key] = same[0]
    return found


def say_values(values: Values) -> str:
    """What is tried, for people."""
    told = {name: f"{value:.3g}" if isinstance(value, float) else value for name, value in values.items()}
    return ", ".join(f"{name} {value}" for name, value in told.items())


def search(
    config: Trials,
    judge: Callable[[int, Values, Tell], float],
    *,
    halving: bool = False,
    default: Values,
    seed: int,
    folder: Path,
    mark: Callable[[int], object] = lambda number: None,
    after: Callable[[Trial, Trial | None], None] = lambda trial, best: None,
) -> Found:
    """Tries `default` first (what it does not say is drawn), then what the strategy draws. `judge` gets a trial's
    number, its values, and whom to tell what it finds on its way; it ends when told so. `after` hears of each trial,
    and of the best one so far.

    With `halving`, trials end early by asynchronous successive halving (Li et al. 2020, arXiv 1810.05934); TPE is that
    of Bergstra et al. 2011. What raises SlmopsError or runs out of memory has failed, and the search goes on,
    unless it is no fault of a trial's: a full disk, a damaged store. So has what the system killed twice at one place,
    where looks told and `mark`, something that changes as the trial of a number gets on, were the same. Where all have
    failed, a search that is started again begins anew.
    """
    optuna = need("optuna", "search")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder.mkdir(parents=True, exist_ok=True)
    storage, pruner = sqlite_url(folder / "study.db"), optuna.pruners.NopPruner()
    if halving:
        pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=_FACTOR)
    begun = partial(optuna.create_study, storage=storage, study_name="search", load_if_exists=True, pruner=pruner)
    study = begun()
    if len(study.trials) >= config.num_trials and all(trial.state.name == "FAIL" for trial in study.trials):
        optuna.delete_study(study_name=study.study_name, storage=storage)  # what made them fail may be mended by now
        study = begun()
    if not study.trials:
        study.enqueue_trial({name: _written(config.search_space[name], value) for name, value in default.items()})
    killed = next((trial for trial in study.trials if trial.state.name == "RUNNING"), None)
    finished = _finished(study, config)
    while killed or len(finished) < config.num_trials:
        own = seed + len(finished)
        study.sampler = _sampler(config, own)
        trial = optuna.trial.Trial(study, killed._trial_id) if killed else study.ask()
        _ = trial.relative_params  # what TPE draws at once is drawn here: later, some would be known
        _run(study, trial, config, judge, mark, own)
        killed, finished = None, _finished(study, config)
        after(next(one for one in finished if one.number == trial.number), _best(finished))
    return Found(tuple(finished), _importance(study))


def _finished(study: Any, config: Trials) -> list[Trial]:
    return [_trial(config, trial) for trial in study.trials if trial.state.is_finished()]


def _best(trials: Sequence[Trial]) -> Trial | None:
    complete = [trial for trial in trials if trial.state == "complete"]
    return min(complete, key=lambda trial: (trial.score, trial.number)) if complete else None


def _run(
    study: Any,
    trial: Any,
    config: Trials,
    judge: Callable[[int, Values, Tell], float],
    mark: Callable[[int], object],
    seed: int,
) -> None:
    """One trial to its end; of one that was killed, what it was to be stands in the study."""
    states = need("optuna", "search").trial.TrialState
    values = {}
    for number, (name, space) in enumerate(config.search_space.items()):
        study.sampler = _sampler(config, seed + number * _APART)
        values[name] = _drawn(trial, name, space)
    known = study.trials[trial.number].intermediate_values  # told before it was killed

    def tell(looks: int, score: float) -> bool:
        if looks not in known:
            trial.report(score, looks)
        if trial.should_prune():
            trial.set_user_attr("pruned", True)
        return "pruned" not in trial.user_attrs

    before, place = trial.user_attrs.get("begun", []), [len(known), mark(trial.number)]
    if before.count(place) == _DEATHS:
        _fail(study, trial, "was killed twice at one place: it may take more memory than there is")
        return
    trial.set_user_attr("begun", [*before, place])
    try:
        score = None if "pruned" in trial.user_attrs else judge(trial.number, values, tell)
    except BaseException as error:
        if not _is_fault_of_a_trial(error):  # mended, the search goes on with this one
            trial.set_user_attr("begun", before)
            raise
        _fail(study, trial, str(error)[:500])
        return
    if "pruned" in trial.user_attrs:
        study.tell(trial, state=states.PRUNED)
    else:
        study.tell(trial, score)


def _is_fault_of_a_trial(error: BaseException) -> bool:
    if isinstance(error, RuntimeError):
        return "memory" in str(error) or "bad_alloc" in str(error)
    return isinstance(error, SlmopsError | MemoryError) and not isinstance(error, _NO_FAULT_OF_A_TRIAL)


def _fail(study: Any, trial: Any, reason: str) -> None:
    trial.set_user_attr("reason", reason)
    study.tell(trial, state=need("optuna", "search").trial.TrialState.FAIL)


def _sampler(config: Trials, seed: int) -> Any:
    """Seeded for each trial anew, and for each value that is drawn alone, so that a search that was killed draws what
    it would have drawn, of whatever was left to draw."""
    samplers = need("optuna", "search").samplers
    if config.search_strategy == "random":
        return samplers.RandomSampler(seed=seed)
    return samplers.TPESampler(seed=seed, n_startup_trials=_STARTUP)


def sqlite_url(path: Path) -> str:
    """The database at `path`, as SQLAlchemy is told of it, whatever signs are in the path."""
    url: str = need("sqlalchemy", "search").URL.create("sqlite", database=str(path)).render_as_string()
    return url


def _drawn(trial: Any, name: str, space: FloatRange | IntRange | Choice) -> Any:
    match space:
        case FloatRange(low=low, high=high, log=log):
            return trial.suggest_float(name, low, high, log=log)
        case IntRange(low=low, high=high, log=log):
            return trial.suggest_int(name, low, high, log=log)
        case Choice(values=values):
            return json.loads(trial.suggest_categorical(name, [json.dumps(value) for value in values]))


def _written(space: FloatRange | IntRange | Choice, value: Any) -> Any:
    return json.dumps(value) if isinstance(space, Choice) else value


def _trial(config: Trials, trial: Any) -> Trial:
    states: dict[str, Literal["complete", "pruned", "failed"]] = {"COMPLETE": "complete", "PRUNED": "pruned"}
    values = {
        name: json.loads(value) if isinstance(config.search_space[name], Choice) else value
        for name, value in trial.params.items()
    }
    score = None if trial.value is None else float(trial.value)
    looks = max(trial.intermediate_values, default=0)
    state = states.get(trial.state.name, "failed")
    return Trial(trial.number, values, state, score, looks, trial.user_attrs.get("reason", ""))


def _importance(study: Any) -> dict[str, float]:
    """Each key's share of what explains the scores of complete trials (PED-ANOVA: Watanabe et al. 2023, arXiv
    2304.10255); nothing where they are too few, or all alike."""
    importance = need("optuna", "search").importance
    scores = [trial.value for trial in study.trials if trial.state.name == "COMPLETE"]
    if len(scores) < _TELLING or len(set(scores)) < 2:
        return {}
    found = importance.get_param_importances(study, evaluator=importance.PedAnovaImportanceEvaluator())
    return {name: float(share) for name, share in found.items()}
