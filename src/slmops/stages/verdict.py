"""Did the teacher help? The same student on the same budget, three ways, several times: distilled, taught the teacher's
answers alone, and taught gold alone.

Teacher, labels, cached targets and cut student are the project's own: only students are trained, each with as many
steps. After every round of seeds all are asked the test together; a way ends as soon as its difference is certain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from slmops.core.errors import SlmopsError
from slmops.core.files import lock, write_whole
from slmops.core.measurement import ArtifactId, Interval
from slmops.core.statistics import Rows, difference_over_runs
from slmops.core.store import Store
from slmops.evaluation.benchmark import Subject
from slmops.evaluation.summary import Against, Verdict
from slmops.stages.base_models import fetch_models
from slmops.stages.before import Progress, check_before
from slmops.stages.parts import read_answered, read_part, read_task
from slmops.stages.project import Project
from slmops.stages.run import open_store, plan
from slmops.stages.seeded import answers_to_test, check_made_alike, make_seeded, name_for
from slmops.stages.targets import accepted
from slmops.training.distillation_config import DistillationConfig

DISTILLED, ANSWERS, ALONE = "distilled", "teacher's answers", "no teacher"
_LEVEL = 0.95  # of all looks together: each may err by its share (Bonferroni)
_WHAT, _FILE = "verdict", "verdict.json"


def judge(project: Project, progress: Progress = lambda stage, share, note: None) -> Verdict:
    """Trains and asks until what each other way lacks is certain, or `evaluation.verdict.seeds` rounds are done. What
    was trained stays in the store, so that it goes on where it was; the verdict is written where the report finds it.

    Raises:
        SlmopsError: there is no teacher to judge, or what is trained would not be the same in all ways.
        BusyError: a run works in this project.
    """
    if not project.teacher:
        raise SlmopsError("there is no teacher to judge", where="verdict", remedy="add teacher: …")
    check_made_alike(project, "a verdict")
    fetch_models(project, progress)
    check_before(project, plan(project, until=project.shipped()), progress)
    store = open_store(project)
    with lock(project.state / "lock"), store.in_use():
        return _judge(project, store, progress)


def _judge(project: Project, store: Store, progress: Progress) -> Verdict:
    arms, steps = _arms(project, store, progress)
    runs: dict[str, list[Rows]] = {name: [] for name in arms}
    shipped, settled = "", dict[str, Against]()
    for number in range(project.evaluation.verdict.seeds):
        made = {name: _student(name, arm, store, number, progress) for name, arm in arms.items() if name not in settled}
        shipped = shipped or made[DISTILLED]
        for name, answered in _ask(project, store, made).items():
            runs[name].append(answered)
        if number == 0:
            continue
        verdict = _weigh(project, store, runs, settled, steps, shipped)
        write_whole(project.state / _FILE, verdict.model_dump_json(indent=1) + "\n")
        settled = {one.arm: one for one in verdict.against if one.word in ("helped", "hurt")}
        if len(settled) == len(verdict.against):
            break
    return verdict


def read_verdict(project: Project, shipped: ArtifactId, dataset: ArtifactId) -> Verdict | None:
    """The project's last one, if it is of what ships and is asked now."""
    path = project.state / _FILE
    if not path.is_file():
        return None
    found = Verdict.model_validate_json(path.read_bytes())
    return found if (found.artifact, found.dataset) == (shipped, dataset) else None


def _arms(project: Project, store: Store, progress: Progress) -> tuple[dict[str, Project], int]:
    """The project and its other ways, and the steps of each: gold alone is fewer rows, seen more often."""
    labels = store.open(_made(project, "labels", store, project.seed, "what all share", progress))
    dataset = store.open(_dataset(project, store))
    gold = read_answered(dataset, "train", read_task(dataset))
    taught = len(gold) + len(accepted(labels, {record.text for record, _ in gold}))
    student, train = project.student, project.student.train
    asked = project.evaluation.model_copy(update={"compare": (project.shipped(),)})
    project = project.model_copy(update={"evaluation": asked, "deployment": ()})
    longer = train.model_copy(update={"epochs": train.epochs * taught / len(gold)})
    own = "scratch" if student.from_scratch else None
    origin = {"from_": own, "model": project.student_origin, "train": longer}
    answers = DistillationConfig(match="answers", teachers=project.distillation.teachers)
    arms = {
        DISTILLED: project,
        ANSWERS: project.model_copy(update={"distillation": answers}),
        ALONE: project.model_copy(update={"teacher": None, "student": student.model_copy(update=origin)}),
    }
    if not project.caches_targets:
        del arms[ANSWERS]  # which is what the project does
    return arms, round(taught * train.epochs / train.batch_size)


def _student(name: str, arm: Project, store: Store, number: int, progress: Progress) -> ArtifactId:
    """What ships of an arm, its student trained with another seed each time; all before it is made the first time,
    with the project's own."""
    made = _made(arm, arm.shipped(), store, arm.seed + number, f"{name}, seed {number + 1}", progress)
    slug = name.replace(" ", "-").replace("'", "")
    store.set_alias(f"{name_for(arm, _WHAT)}/{slug}", f"seed-{number + 1}", made)  # so that none is collected
    return made


def _made(arm: Project, until: str, store: Store, seed: int, told: str, progress: Progress) -> ArtifactId:
    return make_seeded(arm, until, store, seed, what=_WHAT, told=told, progress=progress)


def _dataset(project: Project, store: Store) -> ArtifactId:
    return store.manifest(f"{name_for(project, _WHAT)}/dataset@latest").id


def _ask(project: Project, store: Store, made: Mapping[str, ArtifactId]) -> dict[str, Rows]:
    """The (message, statistic) rows of the test for each model, all asked together."""
    dataset = store.open(_dataset(project, store))
    metric, gold = read_task(dataset).metrics[0], [record.gold for record in read_part(dataset, "test")]
    subjects = [Subject(name, store.open(one), project.student.prompt) for name, one in made.items()]
    return {name: metric.rows(said, gold) for name, said in answers_to_test(project, dataset, subjects).items()}


def _weigh(
    project: Project,
    store: Store,
    runs: Mapping[str, Sequence[Rows]],
    settled: Mapping[str, Against],
    steps: int,
    shipped: ArtifactId,
) -> Verdict:
    """Holds the distilled ones against each other arm; what is settled stays."""
    dataset, seeds = _dataset(project, store), project.evaluation.verdict.seeds
    metric = read_task(store.open(dataset)).metrics[0]
    level = 1 - (1 - _LEVEL) / (seeds - 1)  # after each round but the first it might end
    stacked = {arm: np.stack(of) for arm, of in runs.items()}
    last = len(stacked[DISTILLED]) == seeds
    against = []
    for arm, of in stacked.items():
        if arm in settled:
            against.append(settled[arm])
        elif arm != DISTILLED:
            found = difference_over_runs(stacked[DISTILLED], of, metric.reduce, seed=project.seed, level=level)
            against.append(Against(arm=arm, word=_word(found, last), difference=found))
    figures = {arm: tuple(float(metric.reduce(run.sum(axis=0))) for run in of) for arm, of in stacked.items()}
    rows = stacked[DISTILLED].shape[1]
    return Verdict(
        metric=metric.name,
        against=tuple(against),
        figures=figures,
        steps=steps,
        rows=rows,
        asked=seeds,
        artifact=shipped,
        dataset=dataset,
    )


def _word(difference: Interval, last: bool) -> Literal["helped", "no gain", "hurt", "undecided"]:
    if difference.low > 0:
        return "helped"
    if difference.high < 0:
        return "hurt"
    return "no gain" if last else "undecided"
