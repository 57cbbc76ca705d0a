from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from slmops.core.config import keys_of
from slmops.core.errors import ConfigError
from slmops.core.gates import parse_gates
from slmops.data.config import DataConfig
from slmops.evaluation.figures import FIGURES
from slmops.evaluation.gates_config import GatesConfig
from slmops.stages.project import Project, json_schema, project_name, starter_yaml
from slmops.tasks import TASKS
from slmops.tasks.config import TaskConfig
from slmops.training.config import TrainConfig
from slmops.training.distillation_config import LossWeights
from slmops.training.losses import DIVERGENCES

SHORT = """\
name: support-triage
task: classification
data: {train: data/labelled.jsonl, unlabelled: data/unlabelled.jsonl, test: data/test.jsonl}
teacher: smollm2-135m-instruct
student: {from: teacher, layers: 6}
optimization: int4
gates: {keep_accuracy: 0.97}
deployment: foundry-local
"""
LONG = """\
name: support-triage
seed: 7
engine: local
task: {type: classification, labels: from-data}
data:
  train: data/labelled.jsonl
  unlabelled: data/unlabelled.jsonl
  test: data/test.jsonl
  validation: 0.15
teacher:
  model: smollm2-135m-instruct
  train: {method: lora, rank: 16, epochs: 2}
synthesis: {answer: [unlabelled], accept: {confidence: 0.8}}
student:
  from: teacher
  layers: 6
  prompt: short
  train: {method: full, epochs: 8}
distillation: {loss: {forward_kl: 0.9, cross_entropy: 0.1}, temperature: 2.0, cache: {top_k: 64}}
optimization: [{name: int4, target: onnx, precision: int4}]
evaluation: {compare: [teacher, untrained, student, int4, classical], bench: {threads: 2}}
gates: {keep_accuracy: 0.97, max_latency_ratio: 0.10}
deployment: [{target: foundry-local, name: support, version: 1}]
"""
BASE = "name: a\ndata: {train: a.jsonl, test: b.jsonl}\nteacher: t\nstudent: {from: teacher}\n"  # four lines


def load(folder: Path, text: str, variant: str | None = None) -> Project:
    path = folder / "slmops.yaml"
    path.write_text(text, newline="")
    return Project.load(path, variant)


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(folder, text)
    return [line.removeprefix(f"{folder}/slmops.yaml:") for line in str(caught.value).splitlines()]


def test_the_short_file_says_what_the_long_one_says(tmp_path: Path) -> None:
    short, long = load(tmp_path, SHORT), load(tmp_path, LONG)
    told = {"student", "evaluation", "gates", "deployment"}  # where the long one says more …
    told |= {"teacher", "distillation", "synthesis"}  # … or other than what was measured to be better since
    assert short.model_dump(exclude=told) == long.model_dump(exclude=told)
    assert short.student.layers == long.student.layers == 6
    assert short.data.train == tmp_path / "data/labelled.jsonl"
    assert (long.student.train.epochs, long.evaluation.bench.threads, long.deployment[0].name) == (8, 2, "support")


def test_teacher_and_student_have_defaults_of_their_own(tmp_path: Path) -> None:
    project = load(tmp_path, BASE.replace("{from: teacher}", "{from: teacher, train: {epochs: 3}}"))
    assert project.teacher and project.teacher.train == TrainConfig()
    assert (project.student.train.method, project.student.train.epochs) == ("full", 3)


def test_a_teacher_may_be_taken_as_it_is(tmp_path: Path) -> None:
    project = load(tmp_path, BASE.replace("teacher: t\n", "teacher: {model: t, train: false}\n"))
    assert project.teacher and project.teacher.train is None


def test_validation_is_a_share_or_a_file(tmp_path: Path) -> None:
    file = load(tmp_path, BASE.replace("b.jsonl", "b.jsonl, validation: c.jsonl")).data.validation
    assert (file, DataConfig.model_fields["validation"].default) == (tmp_path / "c.jsonl", 0.15)


def test_what_ships_is_the_last_optimization_and_is_always_compared(tmp_path: Path) -> None:
    project = load(
        tmp_path, BASE + "optimization: [int4, {name: small, block_size: 16}]\nevaluation: {compare: teacher}"
    )
    assert (project.shipped(), project.subjects()) == ("small", ["teacher", "small"])
    everything = ["teacher", "untrained", "student", "int4", "teacher_int4", "classical"]
    assert load(tmp_path, BASE).subjects() == everything


def test_without_a_teacher_nothing_of_the_teachers_is_compared(tmp_path: Path) -> None:
    text = BASE.replace("teacher: t\n", "").replace("{from: teacher}", "hf:owner/name")
    assert load(tmp_path, text).subjects() == ["untrained", "student", "int4", "classical"]


@pytest.mark.parametrize(
    "text, problem",
    [
        (
            "task: {labels: [a, b, a]}",
            "5 · task.labels: found 2 different labels among 3 — name two or more, each once",
        ),
        ("task: {labels: [yes, 1]}", '5 · task.labels.1: found 1, expected text — write "1" in quotes, if you mean it'),
        (
            "task: {labels: [a, ' b']}",
            "5 · task.labels: the label ' b' is blank or has spaces around it — remove the spaces",
        ),
        ("task: {labels: ['', a, b]}", "5 · task.labels: the label '' is blank"),
        (
            "task: {template: 'Ticket: {{text}}'}",
            "5 · task: template 'Ticket: {{text}}' names no column, so that all rows are the same — write columns in",
        ),
        ("task: {template: 'Ticket {text'}", "5 · task: 'Ticket {text' is no template"),
        ("task: {template: '{text:>10000000000}'}", "5 · task: template '{text:>10000000000}' formats"),
        (
            "task: {template: '{text} Kind: {label}'}",
            "5 · task: template asks with {label}, which is the answer — remove {label}",
        ),
        ("engine: azure", "5 · engine: found 'azure', expected local, ray, azureml — did you mean azureml?"),
        ("engine: ray", "5 · engine: one worker needs no Ray — write engine: {type: ray, workers: 2}"),
        ("engine: {address: auto}", "5 · engine: address is that of a Ray cluster, but the type is local"),
        ("seed: -1", "5 · seed: -1 is less than 0 — choose 0 or more, less than 4,294,967,296"),
        ("synthesis: {accept: {confidence: 80}}", "5 · synthesis.accept.confidence: 80 is more than 1 — choose 0…1"),
        ("distillation:\n  cache: 0", "6 · distillation.cache: 0 is less than 1 — choose 1…4,096"),
        (
            "distillation: {loss: {forward_kl: 0}}",
            "5 · distillation.loss: all weights are 0 — give one a weight above 0, as forward_kl: 1",
        ),
        (
            "optimization: {precision: fp32, block_size: 16}",
            "5 · optimization: block_size is for int8 and int4: fp32 rounds nothing — remove block_size",
        ),
        (
            "distillation: {on_policy: 1, representation: {values: 1}}",
            "5 · distillation: representation is learned on rows that keep their answers, and with on_policy: 1 none",
        ),
        ("optimization: in4", "5 · optimization: found 'in4', expected fp32, int8, int4 — did you mean int4?"),
        (
            "optimization:\n- int4\n- {precision: int8, name: int4}",
            "7 · optimization.1.name: two optimizations are called int4 — give one of them another name",
        ),
        (
            "optimization:\n  name: student",
            "6 · optimization.name: student is the name of something else in a run — choose another name",
        ),
        (
            "evaluation:\n  compare:\n  - teacher\n  - clasical",
            "8 · evaluation.compare.1: nothing is called 'clasical' — did you mean classical?",
        ),
        (
            "evaluation: {metrics: blue}",
            "5 · evaluation.metrics: there is no metric 'blue' — write bleu, or module:name, of a file beside",
        ),
        ("gates: {keep_acuracy: 1}", "5 · gates.keep_acuracy: there is no such field — did you mean keep_accuracy?"),
        (
            "gates: {max_score: 0.9}\nevaluation: {metrics: 'mine:score'}",
            "5 · gates.max_score: there is no such field — did you mean min_score?",
        ),
        (
            "gates: {min_score: 90}\nevaluation: {metrics: 'mine:score'}",
            "5 · gates.min_score: 90 is more than 1 — write 0.9 for 90 %",
        ),
        ("gates: {min_acuracy: x}", "5 · gates.min_acuracy: found 'x', expected a number"),
        ("gates: {keep_accuracy: {at_most: 1}}", "5 · gates.keep_accuracy.at_least: is missing — add it: a number, or"),
        ("gates: {min_accuracy: .inf}", "5 · gates.min_accuracy: found inf, expected a finite number"),
        ("gates: {keep_accuracy: 97}", "5 · gates.keep_accuracy: 97 is more than 2 — write 0.97 for 97 %"),
        ("gates: {min_accuracy: {at_least: 90}}", "5 · gates.min_accuracy: 90 is more than 1 — write 0.9 for 90 %"),
        ("gates: {min_accuracy: -5}", "5 · gates.min_accuracy: -5 is less than 0 — choose 0 or more"),
        ("gates: {max_latency_ratio: -1}", "5 · gates.max_latency_ratio: -1 is less than 0 — choose 0 or more"),
        ("gates: {min_latency_reduction: 85}", "5 · gates.min_latency_reduction: 85 is more than 1 — write 0.85 for"),
        ("gates: {max_calibration_error: 5}", "5 · gates.max_calibration_error: 5 is more than 1 — write 0.05 for"),
        (
            "gates: {keep_accuracy: 1}\nevaluation: {compare: [student]}",
            "5 · gates.keep_accuracy: evaluation.compare leaves the teacher out — compare with the teacher, or choose",
        ),
        ("deployment: azure", "5 · deployment: found 'azure', expected foundry-local — it is what runs it"),
        ("optimization: []\ndeployment: foundry-local", "6 · deployment: there is no optimization to deploy — write"),
        ("privacy: {mask: all}", "5 · privacy: there is no such field — known are"),
        (
            "variants:\n  none:\n    teacher: null",
            "4 · student.from: there is no teacher (in the variant none) — add teacher: …, or give the student a model",
        ),
        (
            "variants:\n  b: {}\n  b: {}",
            "7: found the key 'b' again, after line 6 — rename one of the two, or remove it",
        ),
    ],
)
def test_a_mistake_is_told_with_line_field_and_remedy(tmp_path: Path, text: str, problem: str) -> None:
    found = problems(tmp_path, BASE + text)
    assert any(line.startswith(problem) for line in found), found
    assert len(found) == 1 or "at_most" in text


@pytest.mark.parametrize(
    ("space", "told"),
    [
        ("{low: 1, high: 2}", "its type is missing"),
        ("{type: real, low: 1, high: 2}", "found the type 'real'"),
        ("[1, 2]", "found a list, expected keys"),
    ],
)
def test_what_a_search_space_is_made_of_is_told(tmp_path: Path, space: str, told: str) -> None:
    search = f"{{num_trials: 2, search_space: {{epochs: {space}}}}}"
    (problem,) = problems(tmp_path, BASE.replace("from: teacher", f"from: teacher, train: {{search: {search}}}"))
    field = "4 · student.train.search.search_space.epochs"
    assert problem == f"{field}: {told} — it is key → {{type: float|int|choice, …}}"


def test_a_key_that_was_pasted_is_not_told(tmp_path: Path) -> None:
    remote = "teacher: {model: t, endpoint: api.x.com/v1, api_key_env: sk-123}"
    address, key = problems(tmp_path, BASE.replace("teacher: t", remote))
    assert address.startswith("3 · teacher.endpoint: found 'api.x.com/v1', which is not of the form that is asked")
    assert key.startswith("3 · teacher.api_key_env: is the name of no variable — ") and "sk-123" not in key


@pytest.mark.parametrize("student, found", [("{layers: 3}", "neither"), ("{from: teacher, model: x}", "both")])
def test_a_student_has_one_origin(tmp_path: Path, student: str, found: str) -> None:
    (problem,) = problems(tmp_path, BASE.replace("{from: teacher}", student))
    assert problem.startswith(f"4 · student: found {found} ")


def test_a_gate_needs_something_to_compare_with(tmp_path: Path) -> None:
    text = BASE.replace("teacher: t\n", "").replace("{from: teacher}", "hf:owner/name")
    (problem,) = problems(tmp_path, text + "gates: {min_accuracy: 0.9, max_latency_ratio: 0.1}")
    assert problem.startswith("4 · gates.max_latency_ratio: there is no teacher — ")


def test_what_would_be_ignored_in_silence_is_refused(tmp_path: Path) -> None:
    aware = BASE.replace("teacher: t", "teacher: {model: t, train: {quantization_aware: 0.5}}")
    (problem,) = problems(tmp_path, aware)
    assert problem.startswith(
        "3 · teacher.train.quantization_aware: the teacher does not ship — set it for the student"
    )
    ready = BASE.replace("{from: teacher}", "{model: 'hf:owner/name', vocabulary: 1}")
    (problem,) = problems(
        tmp_path, ready + "distillation: {match: tokens, cache: {kind: sampled}, loss: {forward_kl: 1}}"
    )
    assert "distillation.cache.kind: a student's tokens may be others than a teacher's" in problem
    (problem,) = problems(tmp_path, ready + "distillation: {match: tokens, on_policy: 0.5}")
    assert "distillation.on_policy: the teacher scores what the student writes, token by token" in problem
    for task, augment in (("inference", 1), ("summarization", 5)):
        (problem,) = problems(tmp_path, f"{BASE}task: {task}\nsynthesis: {{augment: {augment}}}")
        assert f"synthesis.augment: a word less would change what {task} asks, or answers: nothing is varied" in problem
    search = "{search: {num_trials: 2, search_space: {epochs: {type: int, low: 1, high: 2}}}}"
    (problem,) = problems(tmp_path, BASE.replace("teacher}", f"teacher, train: {search}}}") + "engine: {workers: 2}")
    assert "engine.workers: student.train is searched for: a trial that fails would end the other" in problem
    free = BASE.replace("teacher}", "teacher, train: {target_replication: 5}}") + "task: summarization"
    (problem,) = problems(tmp_path, free)
    assert "student.train.target_replication: answers of summarization are no closed set" in problem
    (problem,) = problems(
        tmp_path, BASE.replace("teacher}", "teacher, train: {quantization_aware: 0.8}}") + "optimization: int8"
    )
    assert "student.train.quantization_aware: no symmetric int4 ships, so nothing is rounded" in problem
    several = BASE.replace("teacher: t", "teacher: [t, u]")
    (problem,) = problems(tmp_path, several + "distillation: {match: tokens, on_policy: 1}")
    assert "distillation.on_policy: the first teacher alone scores what the student writes" in problem
    (problem,) = problems(tmp_path, BASE + "distillation: {match: tokens, classical: 0.5}")
    assert "distillation.classical: the classical baseline has an opinion of labels, not of tokens" in problem
    smooth = BASE.replace("{from: teacher}", "{from: teacher, train: {label_smoothing: 0.1}}")
    (problem,) = problems(tmp_path, smooth + "distillation: {loss: {forward_kl: 1}}")
    assert "student.train.label_smoothing: it takes the place of cross_entropy, which" in problem


def test_gates_reach_the_room_that_judges_them(tmp_path: Path) -> None:
    gates = load(tmp_path, BASE + "gates: {keep_accuracy: 0.97, max_latency_ms: {at_most: 9, bound: high}}").gates
    keep, most = parse_gates(gates.asked())
    assert load(tmp_path, BASE + "gates: {keep_accuracy: 1.2, max_latency_ratio: 50, max_latency_ms: 800}")
    assert (keep.figure, keep.threshold, most.figure, most.bound) == ("accuracy_kept", 0.97, "latency_ms", "high")


def test_every_gate_has_a_figure_and_every_figure_that_can_be_better_a_gate() -> None:
    gates = parse_gates({name: 1.0 for name in keys_of(GatesConfig)})
    saved = {gate.figure for gate in gates if gate.figure.endswith("_reduction")}
    assert {gate.figure for gate in gates if gate.kind == "min"} - saved == {
        n for n, f in FIGURES.items() if f.better == "higher"
    }
    assert {gate.figure for gate in gates if gate.kind == "max"} == {
        n for n, f in FIGURES.items() if f.better == "lower"
    }


def test_the_config_knows_the_tasks_and_losses_there_are() -> None:
    assert [TaskConfig(type=name).type for name in TASKS] == list(TASKS)
    assert LossWeights(cross_entropy=1).weights.keys() == {*DIVERGENCES, "cross_entropy"}


def test_every_field_is_described_for_editors() -> None:
    schema = json_schema()
    sections = [schema, *schema["$defs"].values()]
    keys = [section["anyOf"][1] if "anyOf" in section else section for section in sections]
    lacking = [
        name
        for section in keys
        for name, field in section["properties"].items()
        if not {"description", "$ref"} & field.keys()
    ]
    assert lacking == []
    assert schema["$schema"].endswith("2020-12/schema") and schema["$id"] and json.dumps(schema)


@given(name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True))
@example(name="123")
@example(name="null")
@example(name="1e3")
@example(name="0x1F")
def test_the_starter_file_loads_under_any_name(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert load(tmp_path_factory.getbasetemp(), starter_yaml(name)).name == name


def test_a_starter_file_that_would_not_load_is_not_made() -> None:
    with pytest.raises(ConfigError, match=r"command line · name: 'a b' cannot be a name"):
        starter_yaml("a b")


def test_a_folder_name_becomes_a_project_name() -> None:
    assert project_name("Mon Café (2)") == "mon-caf-2"


LINES = [line + "\n" for line in (SHORT + LONG).splitlines()]
PIECES = st.sampled_from(
    [*LINES, "- ", "  ", ": ", "{", "}", "[", "]", "&a ", "*a", "!x ", "'", '"', "#", "\t", "? ", "| ", "%"]
)


@given(text=st.text(max_size=40) | st.lists(PIECES | st.text(max_size=4), max_size=20).map("".join))
@settings(max_examples=300)
def test_any_text_is_a_project_or_a_config_error(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        Project.load(path)
    except ConfigError as error:
        assert str(path) in str(error)
