"""Where were points lost? Students that were made less small, taught as the project's own was: nothing cut, then cut
with all tokens, then its own. Each differs from the one before by one step.

Teacher, labels and, where the tokens are the same, cached targets are the project's own: only students are trained,
each once with the project's seed, and all are asked the test together.
"""

from __future__ import annotations

from slmops.core.errors import SlmopsError
from slmops.core.files import lock, write_whole
from slmops.core.measurement import ArtifactId
from slmops.core.store import Store
from slmops.evaluation.benchmark import Subject
from slmops.evaluation.compare import compare_pairs
from slmops.evaluation.summary import Ledger, LedgerStep
from slmops.stages.base_models import fetch_models
from slmops.stages.before import Progress, check_before
from slmops.stages.parts import read_part, read_task
from slmops.stages.project import Project
from slmops.stages.run import open_store, plan
from slmops.stages.seeded import answers_to_test, check_made_alike, make_seeded, name_for

TEACHER, WHOLE, CUT, TRIMMED = "the teacher", "taught, nothing cut", "cut", "fewer tokens"
_PARTS = ("layers", "units", "kv_heads", "heads", "width")
_WHAT, _FILE = "ledger", "ledger.json"


def account(project: Project, progress: Progress = lambda stage, share, note: None) -> Ledger:
    """Trains the students between the teacher and the project's own, and asks all of them the test. What was trained
    stays in the store, so that it goes on where it was; the ledger is written where the report finds it.

    Raises:
        SlmopsError: there is no teacher that runs here, nothing was made smaller, or students would not be made alike.
        BusyError: a run works in this project.
    """
    if not project.local_teacher:
        raise SlmopsError("no teacher runs here to begin with", where="ledger", remedy="add teacher: …")
    if project.student.from_scratch:
        raise project.error("student.from", "from scratch nothing is cut", "write from: teacher, or model: …")
    check_made_alike(project, "a ledger")
    ways = _ways(project)
    fetch_models(project, progress)
    check_before(project, plan(project, until="student"), progress)
    store = open_store(project)
    with lock(project.state / "lock"), store.in_use():
        made = {after: _make(way, after, store, progress) for after, way in ways.items()}
        ledger = _compare(project, store, made)
    write_whole(project.state / _FILE, ledger.model_dump_json(indent=1) + "\n")
    return ledger


def read_ledger(project: Project, student: ArtifactId, dataset: ArtifactId) -> Ledger | None:
    """The project's last one, if it ends with its student as it is now, asked what is asked now."""
    path = project.state / _FILE
    if not path.is_file():
        return None
    found = Ledger.model_validate_json(path.read_bytes())
    return found if (found.student, found.dataset) == (student, dataset) else None


def _ways(project: Project) -> dict[str, Project]:
    """The projects whose students come one after another, by the last step to each.

    Raises:
        ConfigError: nothing was made smaller.
    """
    student = project.student
    every_token = student.model_copy(update={"vocabulary": "all"})
    whole = every_token.model_copy(update=dict.fromkeys(_PARTS) | {"rounds": 1})
    is_cut, is_trimmed = student.layers is not None or student.is_narrower, student.vocabulary != "all"
    if not (is_cut or is_trimmed):
        raise project.error("student", "nothing of it was made smaller", "give layers, units, heads or vocabulary")
    steps = {WHOLE: whole} | ({CUT: every_token} if is_cut else {}) | ({TRIMMED: student} if is_trimmed else {})
    return {after: project.model_copy(update={"student": of}) for after, of in steps.items()}


def _make(way: Project, after: str, store: Store, progress: Progress) -> ArtifactId:
    made = make_seeded(way, "student", store, way.seed, what=_WHAT, told=after, progress=progress)
    slug = after.replace(", ", "-").replace(" ", "-")
    store.set_alias(f"{name_for(way, _WHAT)}/{slug}", "student", made)  # so that none is collected
    return made


def _compare(project: Project, store: Store, made: dict[str, ArtifactId]) -> Ledger:
    name = name_for(project, _WHAT)
    dataset = store.manifest(f"{name}/dataset@latest").id
    task, test = read_task(store.open(dataset)), read_part(store.open(dataset), "test")
    teacher = Subject(TEACHER, store.open(store.manifest(f"{name}/teacher@latest").id), project.prompt_of("teacher"))
    students = [Subject(after, store.open(one), project.student.prompt) for after, one in made.items()]
    said = answers_to_test(project, store.open(dataset), [teacher, *students])
    gold, order, metric = [record.gold for record in test], [TEACHER, *made], task.metrics[0]
    figures = {after: float(metric.reduce(metric.rows(said[after], gold).sum(axis=0))) for after in order}
    compared = compare_pairs(task, list(zip(order[1:], order, strict=False)), said, gold, project.seed)
    steps = [LedgerStep(after=one.a, figure=figures[one.a], difference=one.difference) for one in compared]
    return Ledger(
        metric=metric.name,
        steps=(LedgerStep(after=TEACHER, figure=figures[TEACHER]), *steps),
        student=made[order[-1]],
        dataset=dataset,
    )
