"""Every kind of task goes the whole way, on the random two-layer model: what it says is nonsense, all else is real."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slmops.core.errors import ConfigError, DataError
from slmops.stages.project import Project
from slmops.stages.report import write_report
from slmops.stages.run import figures_of, open_store, run
from slmops.stages.verbs import ask, evaluate
from tests.stages.tiny_project import read_rows, write_project

CITIES = ["Rome", "Oslo", "Lima", "Cairo", "Quito", "Hanoi", "Bern", "Riga", "Sofia", "Delhi", "Minsk", "Tunis"]
SCHEMA = (
    "{type: object, properties: {city: {type: string, maxLength: 8}, nights: {type: string, maxLength: 3}}, "
    "additionalProperties: false}"
)
TRAIN = "train: {method: full, epochs: 2, learning_rate: 0.01}"
CHANGES: dict[str, str | None] = {
    "teacher": f"{{model: 'file:model', {TRAIN}}}",
    "student": f"{{from: teacher, layers: 1, {TRAIN}}}",
    "synthesis": "{accept: {confidence: 0}}",
    "evaluation": "{compare: [teacher, int4, classical], bench: {messages: 2}}",
    "deployment": "foundry-local",
    "gates": None,
}


def _turns(city: str, number: int) -> list[dict[str, str]]:
    said = [f"I go to {city}.", "When?", f"On day {number}.", f"Then take train {number}. [{city.upper()}]"]
    return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(said)]


ROWS: dict[str, Any] = {
    "inference": lambda city, n: {
        "premise": f"{city} has {n} gates.",
        "hypothesis": f"{city} has gates." if n % 2 else f"{city} has no gate.",
        "label": "entailment" if n % 2 else "contradiction",
    },
    "extraction": lambda city, n: {"text": f"Book {n} nights in {city}", "slots": {"city": city, "nights": str(n)}},
    "question-answering": lambda city, n: {
        "context": f"{city} has {n} gates. It is old.",
        "question": f"How many gates has {city}?",
        "answers": [str(n), f"{n} gates"],
    },
    "conversation": lambda city, n: {"messages": _turns(city, n), "code": city.upper()},
    "mathematics": lambda city, n: {"question": f"{city} has {n} gates and builds one.", "answer": f"#### {n + 1}"},
    "summarization": lambda city, n: {
        "article": f"{city} has {n} gates. It is old and big.",
        "summary": f"{city} is old.",
    },
    "translation": lambda city, n: {"source": f"{city} hat {n} Tore", "target": f"{city} has {n} gates"},
    "code": lambda city, n: {
        "prompt": f"For {city} write f that returns {n}",
        "code": f"f = lambda: {n}",
        "tests": f"assert f() == {n}",
    },
    "generation": lambda city, n: {"prompt": f"Greet {city} {n} times", "completion": f"Hello {city}"},
}


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def project_of(folder: Path, name: str, **changes: str | None) -> Path:
    own = {"conversation": "success: '[{code}]'", "extraction": f"schema: {SCHEMA}"}.get(name, "instruction: Go on.")
    task = f"{{type: {name}, max_tokens: 60, {own}}}"
    path = write_project(folder, **(CHANGES | {"task": task} | changes))
    row = ROWS[name]
    write(folder / "data" / "labelled.jsonl", [row(city, n) for n, city in enumerate(CITIES * 2)])
    write(folder / "data" / "test.jsonl", [row(city, n) for n, city in enumerate(CITIES[:5], 100)])
    asked = {"text", "premise", "hypothesis", "context", "question", "article", "source", "prompt", "messages"}
    rows = [{part: value for part, value in row(city, 50).items() if part in asked} for city in CITIES[:3]]
    for unlabelled in rows:
        if "messages" in unlabelled:
            unlabelled["messages"].pop()
    write(folder / "data" / "unlabelled.jsonl", rows)
    return path


@pytest.mark.parametrize("name", ROWS)
def test_a_task_goes_the_whole_way(tmp_path: Path, name: str) -> None:
    project = Project.load(project_of(tmp_path, name))
    run(project)

    evidence = open_store(project).manifest("tiny/evidence@latest")
    figures = figures_of(evidence)
    summary, page = write_report(project)
    quality = summary.quality
    assert {subject for subject, figure, against in figures if figure == quality and not against} >= {"teacher", "int4"}
    assert ("int4", f"{quality}_kept", "teacher") in figures
    assert summary.quality_kept is None or summary.quality_kept.n == 5
    assert summary.foundry_local and summary.foundry_local.same_as_artifact
    assert (summary.confusion is not None) == (name == "inference")
    assert "answers" in page.read_text() and quality
    if name == "extraction":
        assert figures["int4", "valid_answers", ""].value == 1.0  # held to the schema
        assert json.loads(ask("tiny/int4@latest", "Two nights in Rome", store=open_store(project)).text)
    found = evaluate("tiny/int4@latest", tmp_path / "data" / "test.jsonl", store=open_store(project))
    assert found.rows == 5 and quality in found.figures


def test_a_ready_answer_of_a_file_is_checked_before_anything_is_learned(tmp_path: Path) -> None:
    path = project_of(tmp_path, "extraction")
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "additionalProperties": False}
    (tmp_path / "data" / "schema.json").write_text(json.dumps(schema))
    text = path.read_text().replace(SCHEMA, "data/schema.json")
    path.write_text(text)
    with pytest.raises(DataError, match=r"labelled\.jsonl:1 · slots: .*'nights' was unexpected"):
        run(Project.load(path), until="dataset")
    (tmp_path / "data" / "schema.json").write_text("[1]")
    with pytest.raises(ConfigError, match=r"schema\.json: is no JSON object"):
        run(Project.load(path), until="dataset")


def test_personal_data_is_masked_as_rows_are_read(tmp_path: Path) -> None:
    data = "{train: data/labelled.jsonl, test: data/test.jsonl, privacy: all, on_error: quarantine}"
    path = project_of(tmp_path, "generation", data=data)
    rows = [
        {"prompt": f"{city}, {CITIES[n - 1]}: me@example.com", "completion": f"Hi {city}, me@example.com"}
        for n, city in enumerate(CITIES)
    ]
    write(tmp_path / "data" / "labelled.jsonl", [*rows, {"prompt": "me@example.com", "completion": " "}])
    run(Project.load(path), until="dataset")

    store = open_store(Project.load(path))
    dataset = store.open("tiny/dataset@latest")
    written = "".join(file.read_text() for file in dataset.iterdir())
    assert "example.com" not in written and "Hi Rome, <EMAIL_1>" in written
    assert len(read_rows(dataset / "quarantine.jsonl")) == 1
    masked = [item.value.value for item in store.manifest("tiny/dataset@latest").measurements if item.name == "masked"]
    assert masked and masked[0] >= 2 * len(CITIES)


@pytest.mark.parametrize(
    "task, told",
    [
        (
            "{type: extraction, labels: [a, b]}",
            "extraction has no labels — it is for classification and inference",
        ),
        ("{type: conversation, schema: data/schema.json}", "conversation has no schema"),
        ("{type: summarization, options: {a: 1}}", "summarization has no options"),
        ("summarisation", "there is no task 'summarisation' — did you mean summarization?"),
    ],
)
def test_what_a_task_does_not_know_is_told(tmp_path: Path, task: str, told: str) -> None:
    path = write_project(tmp_path, task=task)
    with pytest.raises(ConfigError) as refused:
        Project.load(path)
    assert told in str(refused.value)
