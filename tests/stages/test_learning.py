"""A stage that searches: trials on a tiny model, the best of which is the artifact."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from slmops.core.errors import ConfigError, SlmopsError
from slmops.evaluation.compare import parse_all
from slmops.models.forward import load_causal_lm
from slmops.models.tokenizer import Tokenizer
from slmops.runtimes.local import LocalModel
from slmops.runtimes.types import Sampling
from slmops.stages import learning
from slmops.stages.parts import answer_begins, read_part, read_task
from slmops.stages.project import Project
from slmops.stages.run import open_store, plan, run
from slmops.stages.trials import SEARCH_FILE
from slmops.tasks import load_task
from slmops.training.config import TrainConfig
from slmops.training.curve import Point, read_curve
from slmops.training.trainer import GoesOn, train
from tests.stages.tiny_project import read_rows, write_config, write_project, write_rows

_SEARCH = (
    "{num_trials: 4, search_space: {learning_rate: {type: float, low: 1.0e-5, high: 0.02, log: true}, "
    "epochs: {type: choice, values: [1.0, 2.0]}, targets: {type: choice, values: [all, [q_proj, v_proj]]}}}"
)
_BREAKING = """
from torch.nn import functional

steps = 0

def breaking(logits, target_ids):
    global steps
    steps += 1
    losses = functional.cross_entropy(logits, target_ids, reduction="none")
    return losses + (0 * logits.sum(1)).abs().sqrt() if steps == 10 else losses  # a value, and no gradient
"""
_TEACHER = (
    f"{{model: 'file:model', train: {{learning_rate: 0.01, epochs: 2, batch_size: 8, rank: 4, search: {_SEARCH}}}}}"
)


def found_in(project: Project) -> dict[str, object]:
    folder = open_store(project).open(f"{project.name}/teacher@latest")
    return json.loads((folder / SEARCH_FILE).read_text())  # type: ignore[no-any-return]


@pytest.mark.parametrize("labels", [("10", "11", "12"), ("LABEL_0", "LABEL_1"), ("refund", "track")])
def test_where_answers_part_is_behind_what_all_of_them_begin_with(
    tiny_tokenizer: Path, labels: tuple[str, ...]
) -> None:
    tokenizer = Tokenizer(tiny_tokenizer)
    begins = answer_begins(tokenizer, load_task("classification", labels=labels))
    spelled = [tokenizer.encode(label) for label in labels]
    assert len({ids[: begins.behind] for ids in spelled}) == 1
    assert set(begins.ids) == {ids[begins.behind] for ids in spelled} and len(begins.ids) > 1


def test_a_teacher_sees_few_rows_often_enough_to_learn_unless_told_how_often(tmp_path: Path) -> None:
    """42 rows less those for validation, 8 a step."""
    write_project(tmp_path)
    ends = {}
    for epochs in ("", "epochs: 1, "):
        teacher = f"{{model: 'file:model', train: {{method: full, {epochs}learning_rate: 0.01}}}}"
        project = Project.load(write_config(tmp_path, teacher=teacher))
        run(project, until="teacher")
        *_, last = read_curve(open_store(project).open("tiny/teacher@latest") / "curve.jsonl")
        ends[epochs] = last.step
    assert ends["epochs: 1, "] in (4, 5) and 100 <= ends[""] < 105
    assert TrainConfig().lasting(3000).epochs == 1


def test_a_search_that_was_killed_makes_the_same_teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [tmp_path / "alone", tmp_path / "killed"]
    for folder in folders:
        folder.mkdir()
    alone, killed = (Project.load(write_project(folder, teacher=_TEACHER)) for folder in folders)
    notes: list[str] = []
    run(alone, until="teacher", progress=lambda stage, share, note: notes.append(note))
    assert any(note.startswith("trial 2/4 (learning_rate ") and ": step " in note for note in notes)
    calls: list[int] = []

    def dying(*given: Any, goes_on: GoesOn, **named: Any) -> list[Point]:
        calls.append(len(calls))

        def until(curve: Sequence[Point]) -> bool:
            if len(curve) >= {0: 4, 2: 1}.get(calls[-1], len(curve) + 1):
                raise KeyboardInterrupt
            return goes_on(curve)

        return train(*given, goes_on=until, **named)

    monkeypatch.setattr(learning, "train", dying)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(killed, until="teacher")
    run(killed, until="teacher")
    found = found_in(killed)
    assert found == found_in(alone)
    trials = found["trials"]
    assert isinstance(trials, list) and len(trials) == 4
    assert trials[0]["values"] == {"learning_rate": 0.01, "epochs": 2.0, "targets": "all"}
    scores = [trial["score"] for trial in trials if trial["state"] == "complete"]
    assert trials[found["best"]]["score"] == min(scores)
    stored = [open_store(project).manifest(f"{project.name}/teacher@latest").id for project in (alone, killed)]
    assert stored[0] == stored[1]
    assert [item.why for item in plan(alone)][:2] == ["unchanged", "unchanged"]


@pytest.mark.parametrize("task", ["classification", "extraction"])
def test_a_training_judged_by_the_metric_keeps_the_weights_that_answered_best(tmp_path: Path, task: str) -> None:
    train = "{method: full, epochs: 12, batch_size: 4, learning_rate: 0.03, noise: 0, validations: 6, judge: metric"
    teacher = f"{{model: 'file:model', train: {train}, keep: best}}}}"
    write_project(tmp_path, teacher=teacher)
    if task == "extraction":
        for part in ("labelled", "test"):
            path = tmp_path / "data" / f"{part}.jsonl"
            write_rows(path, [{"text": row["text"], "slots": {"about": row["label"]}} for row in read_rows(path)])
    project = Project.load(write_config(tmp_path, teacher=teacher, task=task))
    run(project, until="teacher")
    store = open_store(project)
    folder, dataset = (store.open(f"tiny/{stage}@latest") for stage in ("teacher", "dataset"))
    judged = [point.metric for point in read_curve(folder / "curve.jsonl") if point.metric is not None]
    asked, rows = read_task(dataset), read_part(dataset, "validation")
    model = LocalModel(folder)
    grammar = model.constraint(asked.grammar)
    replies = model.ask_all([asked.messages(row) for row in rows], Sampling(asked.max_tokens), grammar)
    metric, answers = asked.metrics[0], parse_all(asked, [reply.text for reply in replies])
    found = metric.reduce(metric.rows(answers, [row.gold for row in rows]).sum(axis=0))
    assert len(judged) == 6 and float(found) == pytest.approx(max(judged))


def test_half_an_epoch_sees_half_of_the_rows_and_one_and_a_half_see_half_of_them_twice(tmp_path: Path) -> None:
    write_project(tmp_path)
    steps = {}
    for epochs in (0.5, 1.0, 1.5):
        teacher = f"{{model: 'file:model', train: {{epochs: {epochs}, batch_size: 2, rank: 2}}}}"
        project = Project.load(write_config(tmp_path, teacher=teacher))
        run(project, until="teacher")
        curve = read_curve(open_store(project).open("tiny/teacher@latest") / learning.CURVE_FILE)
        steps[epochs] = [point.step for point in curve][-1]
    assert steps[0.5] == pytest.approx(steps[1.0] / 2, abs=1)
    assert steps[1.5] == pytest.approx(steps[1.0] * 1.5, abs=1)


def test_a_model_for_which_there_is_no_room_is_refused_before_it_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Project.load(write_project(tmp_path))
    monkeypatch.setattr(learning, "free_memory_bytes", lambda: -1e12)
    monkeypatch.setattr(learning, "load_causal_lm", lambda folder: pytest.fail("it was loaded"))
    with pytest.raises(SlmopsError, match=r"training needs about .* GB of memory"):
        run(project, until="teacher")


def test_what_was_learned_before_a_loss_broke_is_a_model_to_go_on_from(tmp_path: Path) -> None:
    train = "{method: full, epochs: 3, batch_size: 8, learning_rate: 0.01, loss: 'breaking:breaking'}"
    path = write_project(tmp_path, teacher=f"{{model: 'file:model', train: {train}}}")
    (tmp_path / "breaking.py").write_text(_BREAKING)
    with pytest.raises(SlmopsError, match=r"the gradient is nan at step 9; its rows: .* learned by step 8 ") as caught:
        run(Project.load(path), until="teacher")
    reference = re.search(r"file:(\S+)", caught.value.remedy)
    assert reference
    before, learned = load_causal_lm(tmp_path / "model"), load_causal_lm(Path(reference[1]))
    moved = [
        float((one - other).detach().abs().max())
        for one, other in zip(before.parameters(), learned.parameters(), strict=True)
    ]
    assert 0.01 < max(moved) < 1
    write_config(tmp_path, teacher=f"{{model: '{reference[0]}', train: {{method: full, epochs: 1}}}}")
    run(Project.load(path), until="teacher")


def test_a_cache_that_does_nothing_is_told(tmp_path: Path) -> None:
    write_project(tmp_path)
    project = Project.load(write_config(tmp_path, distillation="{cache: {top_k: 8}}"))
    notes: list[str] = []
    run(project, until="dataset", progress=lambda stage, share, note: notes.append(note))
    assert "warning: distillation.cache does nothing: probabilities of labels are kept whole" in notes


def test_a_teacher_whose_probabilities_nothing_follows_is_told(tmp_path: Path) -> None:
    write_project(tmp_path)
    project = Project.load(write_config(tmp_path, distillation="{loss: {cross_entropy: 0.5}}"))
    notes: list[str] = []
    run(project, until="dataset", progress=lambda stage, share, note: notes.append(note))
    assert [note for note in notes if note.startswith("warning: distillation.loss: no loss follows")]


def test_noise_that_does_nothing_is_refused(tmp_path: Path) -> None:
    write_project(tmp_path)
    path = write_config(tmp_path, teacher="{model: 'file:model', train: {noise: 0.3, epochs: 1}}")
    with pytest.raises(ConfigError, match="from the second epoch on, and there is one — remove noise, or add epochs"):
        Project.load(path)


@pytest.mark.parametrize(
    ("search", "told"),
    [
        ("{search_space: {ranc: {type: int, low: 1, high: 4}}}", "ranc is no key of train — did you mean rank?"),
        ("{search_space: {rank: {type: int, low: 0, high: 4}}}", "rank cannot be 0"),
        ("{search_space: {learning_rate: {type: float, low: 0.1, high: 7}}}", "learning_rate cannot be 7"),
        ("{search_space: {rank: {type: int, low: 8, high: 4}}}", "low: 8 is not below high: 4"),
        ("{search_space: {method: {type: choice, values: [lora, lore]}}}", "method cannot be 'lore'"),
        ("{search_strategy: bayes, search_space: {rank: {type: int, low: 1, high: 4}}}", "search_strategy"),
        ("{search_space: {rank: {type: int, low: 1, high: 4, step: 2}}}", "step"),
        ("{search_space: {quantization_aware: {type: float, low: 0, high: 1}}}", "judged unrounded, and all others"),
        ("{search_space: {}}", "search_space"),
    ],
)
def test_a_search_that_cannot_be_is_refused_with_its_line(tmp_path: Path, search: str, told: str) -> None:
    write_project(tmp_path)
    path = write_config(tmp_path, teacher=f"{{model: 'file:model', train: {{search: {search}}}}}")
    with pytest.raises(ConfigError) as caught:
        Project.load(path)
    assert told in str(caught.value)
    assert "slmops.yaml:4" in str(caught.value)
