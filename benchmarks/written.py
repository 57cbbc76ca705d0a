"""Which loss teaches a student to write best: DialogSum's summaries, a table over seeds.

The teacher is the default model, tuned on some dialogues; it summarizes others. Twenty of its layers learn from it, by
each loss on the same rows in the same steps. Told are, on dialogues that none has seen, how far the student's next
token is from its teacher's behind the gold summary so far, and ROUGE-L of what it writes. What the student writes
itself, and what goes on inside, are learned beside the loss that did best. The default is chosen here, on rows of the
training set, never on the test.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.projects import write_jsonl
from benchmarks.public import read_public
from benchmarks.results import Asked, Measured
from slmops.core.errors import need
from slmops.core.measurement import Interval
from slmops.core.store import Store
from slmops.evaluation.benchmark import Subject, benchmark
from slmops.evaluation.compare import parse_all
from slmops.models.forward import load_causal_lm, target_logits
from slmops.models.packing import pack
from slmops.models.tokenizer import Tokenizer
from slmops.stages.parts import answered_examples, read_part, read_task, read_task_spec
from slmops.stages.project import Project
from slmops.stages.run import choices, open_store
from slmops.stages.seeded import make_seeded
from slmops.tasks.types import Prompt

_LABELLED, _UNLABELLED, _JUDGED, _SEEDS = 150, 150, 60, 3
_TOKENS: dict[str, Any] = {"match": "tokens", "cache": {"top_k": 64}}
ARMS: Mapping[str, dict[str, Any]] = {
    "answers": {"match": "answers"},
    "forward-kl": {**_TOKENS, "loss": {"forward_kl": 1.0}},
    "reverse-kl": {**_TOKENS, "loss": {"reverse_kl": 1.0}},
    "skewed": {**_TOKENS, "loss": {"skewed_forward_kl": 1.0}},
    "on-policy": {**_TOKENS, "loss": {"forward_kl": 1.0}, "on_policy": 0.25},
    "inside": {**_TOKENS, "loss": {"forward_kl": 1.0}, "representation": {"values": 1.0, "hidden_states": 1.0}},
}
CONFIG: dict[str, Any] = {
    "name": "written",
    "task": {"type": "summarization", "max_tokens": 80},
    "data": {"train": "labelled.jsonl", "unlabelled": "unlabelled.jsonl", "test": "judged.jsonl"},
    "teacher": {"model": "smollm2-135m-instruct", "train": {"epochs": 2}},
    "synthesis": {"accept": {"confidence": 0}},
    "student": {"from": "teacher", "layers": 20, "train": {"epochs": 2}},
    "optimization": [],
    "evaluation": {"compare": ["student"]},
}
ROWS = tuple(
    Asked(f"written-{figure}-{arm}", f"{words}, {_SEEDS} seeds: {arm}", unit)
    for arm in ARMS
    for figure, words, unit in (
        ("kl", "DialogSum: KL a token of the teacher and its student", "nats"),
        ("rouge", "DialogSum: ROUGE-L of the student (peer: its teacher's)", "share"),
    )
)


def measure(place: Path, wanted: frozenset[str]) -> Iterator[tuple[str, Measured]]:
    """Every arm in turn; students stay in the store, so that it goes on where it was."""
    write_rows(place)
    rouge_of_teacher = None
    for arm, distillation in ARMS.items():
        if not wanted & {f"written-kl-{arm}", f"written-rouge-{arm}"}:
            continue
        path = place / f"{arm}.yaml"
        path.write_text(json.dumps(CONFIG | {"distillation": distillation}))
        project = Project.load(path)
        store = open_store(project)
        made = [_make(project, "student", store, seed) for seed in range(_SEEDS)]
        teacher, dataset = (store.manifest(f"written/{stage}@latest").id for stage in ("teacher", "dataset"))
        folders = {f"student {seed}": store.open(one) for seed, one in enumerate(made)}
        far = [_apart(store.open(teacher), folder, store.open(dataset)) for folder in folders.values()]
        yield f"written-kl-{arm}", _over_seeds(far)
        asked = {name: (folder, "short") for name, folder in folders.items()}
        if rouge_of_teacher is None:
            asked["teacher"] = (store.open(teacher), "full")
        found = _rouge(asked, store.open(dataset), choices(project)["threads"])
        rouge_of_teacher = rouge_of_teacher or found["teacher"]
        yield f"written-rouge-{arm}", _over_seeds([found[name] for name in folders], rouge_of_teacher)


def write_rows(place: Path) -> None:
    """All from the training set: rows of the test stay unseen."""
    place.mkdir(parents=True, exist_ok=True)
    rows = read_public("dialogsum", "train")[: _LABELLED + _UNLABELLED + _JUDGED]
    parts = {
        "labelled": rows[:_LABELLED],
        "unlabelled": [{"document": row["document"]} for row in rows[_LABELLED : _LABELLED + _UNLABELLED]],
        "judged": rows[_LABELLED + _UNLABELLED :],
    }
    for name, kept in parts.items():
        write_jsonl(place / f"{name}.jsonl", kept)


def _make(project: Project, until: str, store: Store, seed: int) -> str:
    def report(stage: str, share: float, note: str) -> None:
        if share in (0.0, 1.0):
            print(f"{project.path.stem}, seed {seed}: {stage} {share:.0%} {note}", flush=True)

    folder = project.state / project.path.stem
    return make_seeded(project, until, store, project.seed + seed, name="written", folder=folder, progress=report)


def _apart(teacher: Path, student: Path, dataset: Path) -> float:
    """Mean KL(teacher ∥ student) a token of the gold summaries, over all tokens; each behind its own prompt."""
    torch = need("torch", "train")
    task, total, count = read_task(dataset), 0.0, 0
    rows = [(record, task.write(record.gold)) for record in read_part(dataset, "test")]
    prompts: tuple[tuple[Path, Prompt], ...] = ((teacher, "full"), (student, "short"))
    models = [load_causal_lm(folder) for folder, _ in prompts]
    asked = [answered_examples(Tokenizer(folder), task, rows, prompt) for folder, prompt in prompts]
    for examples in zip(*asked, strict=True):
        with torch.inference_mode():
            (batch, other) = (next(pack([example], 4096)) for example in examples)
            p, q = (
                torch.log_softmax(target_logits(model, one), -1)
                for model, one in zip(models, (batch, other), strict=True)
            )
            total += float((p.exp() * (p - q)).sum())
            count += len(p)
    return total / count


def _rouge(asked: Mapping[str, tuple[Path, Any]], dataset: Path, threads: int) -> dict[str, float]:
    task, rows = read_task(dataset), read_part(dataset, "test")
    metric = next(one for one in task.metrics if one.name == "rougel")
    found = {}
    for name, (folder, prompt) in asked.items():  # one in memory at a time
        (done,) = benchmark(
            [Subject(name, folder, prompt)], rows, rows[:1], task=read_task_spec(dataset), threads=threads, timed=0
        )
        sums = metric.rows(parse_all(task, done.texts), [record.gold for record in rows]).sum(axis=0)
        found[name] = float(metric.reduce(sums))
    return found


def _over_seeds(values: list[float], peer: float | None = None) -> Measured:
    """The mean, with Student's t over seeds."""
    stats = need("scipy.stats", "evaluation")
    mean = float(np.mean(values))
    half = float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5)
    told = ", ".join(f"{value:.4f}" for value in values)
    return Measured(mean, Interval(mean, mean - half, mean + half, 0.95, len(values)), peer, note=told)
