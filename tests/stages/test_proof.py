"""The chain that proves an export: each fault, made for real where a step would make it, is named by the first stage
that breaks, and nothing is published; where nothing is wrong, every link holds."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slmops.core.errors import ProofError
from slmops.deployment.foundry_local import ask
from slmops.runtimes.proof import Link, read_chain
from slmops.stages import bundle, converted, saved
from slmops.stages.project import Project
from slmops.stages.prove import prove
from slmops.stages.report import summarize, write_report
from slmops.stages.run import open_store, run
from slmops.tasks.types import Message
from tests.stages.tiny_project import write_config, write_project

_ASKING = ["tokenizer", "chat template, by {}", "end token, by {}"]
_OTHER_TEMPLATE = (
    "{{ '<|im_start|>system\\nYou help.<|im_end|>\\n' }}{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{{ '<|im_start|>assistant\\n' }}"
)
_SHORT = "{from: teacher, layers: 1, train: {epochs: 1, learning_rate: 0.01}}"
Fault = Callable[[Path], Any]  # what it does to a folder
After = Callable[[Any, str, Fault], None]


def in_json(name: str, change: Callable[[dict[str, Any]], Any]) -> Fault:
    def spoil(folder: Path) -> None:
        data = json.loads((folder / name).read_text())
        change(data)
        (folder / name).write_text(json.dumps(data))

    return spoil


def one_merge_less(data: dict[str, Any]) -> None:
    """Of two letters that many words have."""
    merges = data["model"]["merges"]
    merges.remove(next(merge for merge in merges if list(merge) == ["r", "e"]))


def tensor_of_zeros(part: str) -> Fault:
    """Writes zeros in the place of the largest tensor whose name holds `part`."""

    def spoil(folder: Path) -> None:
        import onnx

        graph = onnx.load(folder / "model.onnx", load_external_data=False).graph
        tensors = [
            {entry.key: entry.value for entry in tensor.external_data}
            for tensor in graph.initializer
            if part in tensor.name
        ]
        place = max(tensors, key=lambda tensor: int(tensor.get("length", 0)))
        with (folder / place["location"]).open("r+b") as stream:
            stream.seek(int(place["offset"]))
            stream.write(bytes(int(place["length"])))

    return spoil


def in_bf16(folder: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    save_file({name: weight.to(torch.bfloat16) for name, weight in load_file(path).items()}, path, {"format": "pt"})


def one_weight_changed(model: Any) -> Any:
    model.model.layers[0].mlp.down_proj.weight.data[0, 0] += 0.5
    return model


@pytest.fixture
def after(monkeypatch: pytest.MonkeyPatch) -> After:
    """Lets a step that writes a folder be followed by a fault."""

    def follow(stage: Any, step: str, fault: Fault) -> None:
        write = getattr(stage, step)

        def write_and_spoil(*given: Any, **named: Any) -> None:
            write(*given, **named)
            fault(next(value for value in reversed(given) if isinstance(value, Path)))

        monkeypatch.setattr(stage, step, write_and_spoil)

    return follow


def broken(project: Project, first: str) -> str:
    """How a run from `first` on ends; nothing was published by it."""
    before = open_store(project).entries()
    with pytest.raises(ProofError) as raised:
        run(project, first=first)
    assert open_store(project).entries() == before
    assert raised.value.remedy and raised.value.exit_code == 1
    return str(raised.value)


def test_a_changed_weight_is_blamed_on_merging(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved, "merge", one_weight_changed)
    told = broken(with_short_student(copied), "student")
    assert re.match(r"student · merged: row .* a log-probability moved by .*, 0\.001 is rounding", told)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (in_bf16, "merged and saved: row .* moved by"),
        (
            in_json("tokenizer_config.json", lambda data: data.update(chat_template=_OTHER_TEMPLATE)),
            "chat template, by transformers: row .* of the prompt is 's', 'u' was learned",
        ),
        (
            in_json("generation_config.json", lambda data: data.update(eos_token_id=0)),
            "end token, by transformers: answers end with token 2, but it would wait for 0",
        ),
        (in_json("tokenizer.json", one_merge_less), "tokenizer: row .* was learned"),
    ],
)
def test_a_fault_in_the_saved_student_is_named(copied: Path, after: After, fault: Fault, told: str) -> None:
    after(saved, "save_weights", fault)
    assert re.match(f"student · {told}", broken(with_short_student(copied), "student"))


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (
            in_json("genai_config.json", lambda data: data["model"].update(eos_token_id=0)),
            "end token, by ONNX Runtime GenAI: answers end with token 2",
        ),
        (in_json("tokenizer.json", one_merge_less), "tokenizer: row .* was learned"),
        (
            lambda folder: (folder / "chat_template.jinja").write_text(_OTHER_TEMPLATE),
            "chat template, by ONNX Runtime GenAI: row .* of the prompt is 's', 'u' was learned",
        ),
        (tensor_of_zeros("down_proj"), "accuracy on the probes: .* are answered worse"),
    ],
)
def test_a_fault_in_the_quantized_student_is_named(copied: Path, after: After, fault: Fault, told: str) -> None:
    after(converted, "write_onnx", fault)
    assert re.match(f"int4 · {told}", broken(Project.load(copied / "slmops.yaml"), "int4"))


def test_fp32_may_move_by_rounding_only(copied: Path, after: After) -> None:
    project = Project.load(write_config(copied, optimization="fp32", student=_SHORT, evaluation=None))
    found = run(project, until="fp32")
    [link] = [link for link in links_of(project, "fp32") if link.compared == "log-probabilities in fp32"]
    assert found and link.figures["max_logprob_difference"] < 1e-4

    after(converted, "write_onnx", tensor_of_zeros("layernorm"))
    assert broken(project, "fp32").startswith("fp32 · log-probabilities in fp32: row ")


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (
            in_json("tokenizer_config.json", lambda data: data.update(chat_template=_OTHER_TEMPLATE)),
            "chat template, by ONNX Runtime GenAI: row ",
        ),
        (in_json("genai_config.json", lambda data: data["model"].update(eos_token_id=0)), "end token, by ONNX"),
        (in_json("tokenizer.json", one_merge_less), "tokenizer: row "),
        (tensor_of_zeros("down_proj"), "weights: model.onnx.data: not the bytes that were proven"),
    ],
)
def test_a_fault_in_the_bundle_is_named(copied: Path, after: After, fault: Fault, told: str) -> None:
    after(bundle, "write_folder", fault)
    assert broken(Project.load(copied / "slmops.yaml"), "bundle").startswith(f"bundle · {told}")


def test_a_runtime_that_adds_to_the_prompt_is_named(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask_with_more(folder: Path, asked: list[Any], **named: Any) -> Any:
        return ask(folder, [[Message("system", "You help."), *messages] for messages in asked], **named)

    monkeypatch.setattr(bundle, "ask", ask_with_more)
    told = broken(Project.load(copied / "slmops.yaml"), "bundle")
    assert re.match(r"bundle · prompts in Foundry Local: row .* tokens, \d+ were learned", told)


def test_a_proof_says_every_link_and_the_report_shows_them(finished: Project) -> None:
    links = links_of(finished, "bundle")

    assert [(link.stage, link.compared) for link in links] == [
        ("student", "merged and saved"),
        *(("student", what.format("transformers")) for what in _ASKING),
        *(("int4", what.format("ONNX Runtime GenAI")) for what in _ASKING),
        ("int4", "log-probabilities in int4"),
        ("int4", "accuracy on the probes"),
        ("bundle", "weights"),
        *(("bundle", what.format("ONNX Runtime GenAI")) for what in _ASKING),
        ("bundle", "prompts in Foundry Local"),
        ("bundle", "accuracy in Foundry Local"),
    ]
    assert all(link.holds for link in links)
    assert all(link.figures["probes"] == 24 for link in links if "probes" in link.figures)
    shown = summarize(finished).proof
    assert [(link.stage, link.compared) for link in shown[4:]] == [(link.stage, link.compared) for link in links]
    assert {link.stage for link in shown[:4]} == {"teacher"}
    _, page = write_report(finished, finished.root / "report.html")
    assert "Is what ships what was trained?" in page.read_text()


def test_prove_checks_again_and_names_what_a_run_let_pass(copied: Path, after: After, monkeypatch: Any) -> None:
    project = Project.load(copied / "slmops.yaml")
    assert all(link.holds for link in prove(project))

    monkeypatch.setattr(bundle, "require", lambda links: None)  # as if made before there were proofs
    after(bundle, "write_folder", in_json("genai_config.json", lambda data: data["model"].update(eos_token_id=0)))
    run(project, only="bundle")
    done = subprocess.run(
        [Path(sys.executable).with_name("slmops"), "prove", "--json"], cwd=copied, capture_output=True
    )
    told = json.loads(done.stdout)
    assert done.returncode == 1 and not told["holds"]
    link = next(link for link in told["links"] if link["broken"])
    assert (link["stage"], link["compared"]) == ("bundle", "end token, by ONNX Runtime GenAI")


@pytest.mark.parametrize("method", ["lora", "dora", "qlora"])
@pytest.mark.parametrize("number_format", ["float32", "bfloat16"])
def test_every_method_merges_into_what_it_was(tmp_path: Path, method: str, number_format: str) -> None:
    train = f"{{method: {method}, rank: 4, dropout: 0.1, epochs: 1, learning_rate: 0.01}}"
    project = Project.load(write_project(tmp_path, teacher=f"{{model: 'file:model', train: {train}}}"))
    frozen = project.state / "choices.json"
    in_json(frozen.name, lambda data: data.update(number_format=number_format))(project.state)
    run(project, until="teacher")
    links = links_of(project, "teacher")
    assert all(link.holds for link in links) and len(links) == 4
    assert links[0].figures["max_logprob_difference"] < 1e-4


@pytest.mark.real
def test_the_default_model_stays_itself_up_to_foundry_local(tmp_path: Path, default_model: Path) -> None:
    train = "{method: lora, rank: 4, epochs: 1, learning_rate: 0.001}"
    student = f"{{model: smollm2-135m-instruct, layers: 2, train: {train}}}"
    changes = {"task": "{type: classification, max_tokens: 4}", "student": student, "deployment": "foundry-local"}
    project = Project.load(write_project(tmp_path, teacher=None, synthesis=None, **changes))
    run(project)
    assert all(link.holds for link in links_of(project, "bundle"))


def with_short_student(folder: Path) -> Project:
    """The finished project, its student to be made again in no time."""
    return Project.load(write_config(folder, student=_SHORT, evaluation=None, deployment="foundry-local"))


def links_of(project: Project, stage: str) -> list[Link]:
    return read_chain(open_store(project).open(f"{project.name}/{stage}@latest"))
