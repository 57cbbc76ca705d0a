"""A student of every family, cut in all directions, goes the whole way: made, distilled, int4, asked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from slmops.core.errors import ConfigError
from slmops.stages.project import Project
from slmops.stages.run import open_store, plan, run
from slmops.stages.sizes import sizes
from slmops.stages.verbs import ask
from tests.models.architectures import ARCHITECTURES, Architecture
from tests.stages.tiny_project import LABELS, write_config, write_project
from tests.tiny import write_model

TRAIN = "train: {epochs: 2, learning_rate: 0.01}"
TEACHER = "{model: 'file:model', train: {method: full, epochs: 1, learning_rate: 0.01, upper_layers: 1}}"


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda one: one.name)
def test_a_student_of_every_family_answers(architecture: Architecture, tmp_path: Path) -> None:
    wide = {"num_attention_heads": 8, "num_key_value_heads": 2, "hidden_size": 64, "intermediate_size": 128}
    fixed = {"hidden_size": 256, "num_attention_heads": 4}  # its rotary embeddings are of a head of 64
    more = {"phi-4-mini": fixed}.get(architecture.name, {})
    cut = {"units": 64, "kv_heads": 1, "heads": 1, "width": 32}
    for name in {"gemma-3": ["width"], "phi-4-mini": ["kv_heads", "heads", "width"]}.get(architecture.name, []):
        del cut[name]
    options = ", ".join(f"{name}: {value}" for name, value in cut.items())
    student = f"{{from: teacher, layers: 1, keep: dissimilar, {options}, vocabulary: 1, {TRAIN}}}"
    project = Project.load(write_project(tmp_path, teacher=TEACHER, student=student, synthesis="{augment: 0}"))
    shutil.rmtree(tmp_path / "model")
    write_model(tmp_path / "model", architecture.model_type, architecture.markers, **wide | architecture.changes | more)
    run(project, until="int4")

    store = open_store(project)
    config = json.loads((store.open("tiny/student@latest") / "config.json").read_text())
    assert (config["num_hidden_layers"], config["intermediate_size"]) == (1, 64)
    assert (config["num_key_value_heads"], config["num_attention_heads"]) == ((1, 1) if "kv_heads" in cut else (2, 4))
    assert config["hidden_size"] == (32 if "width" in cut else more.get("hidden_size", 64))
    assert ask("tiny/int4@latest", "Where is my parcel?", store=store).text in LABELS


@pytest.mark.parametrize("keep", ["lower", "greedy"])
def test_a_student_of_gpt2_has_fewer_layers_and_is_no_onnx_model(tmp_path: Path, keep: str) -> None:
    """ONNX Runtime GenAI's builder has no such architecture, which is told before anything is learned; in torch it
    answers."""
    student = f"{{from: teacher, layers: 1, keep: {keep}, vocabulary: 1, {TRAIN}}}"
    project = Project.load(write_project(tmp_path, teacher=TEACHER, student=student, synthesis="{augment: 0}"))
    shutil.rmtree(tmp_path / "model")
    sizes = {"n_embd": 64, "n_layer": 3, "n_head": 2, "n_positions": 512}
    write_model(tmp_path / "model", "gpt2", ("<|im_start|>", "<|im_end|>"), **sizes)
    with pytest.raises(ConfigError, match=r"slmops.yaml:\d+ · optimization.*cannot convert GPT2LMHeadModel"):
        run(project)
    assert not open_store(project).entries()
    run(project, until="student")

    store = open_store(project)
    config = json.loads((store.open("tiny/student@latest") / "config.json").read_text())
    assert config["n_layer"] == 1
    assert ask("tiny/student@latest", "Where is my parcel?", store=store).text in LABELS


def test_a_shorter_context_takes_fewer_bytes(tmp_path: Path) -> None:
    sizes = {}
    write_project(tmp_path)
    for context in (512, 128):
        student = f"{{from: teacher, layers: 1, context: {context}, {TRAIN}}}"
        project = Project.load(write_config(tmp_path, teacher=TEACHER, student=student))
        run(project, until="int4")
        store = open_store(project)
        sizes[context] = sum(path.stat().st_size for path in store.open("tiny/int4@latest").glob("*.onnx*"))
        assert ask("tiny/int4@latest", "Where is my parcel?", store=store).text in LABELS
    head_width = 16  # of each position the table has a sine and a cosine, in fp32, for half of it
    assert sizes[512] - sizes[128] == pytest.approx((512 - 128) * head_width * 4, rel=0.05)


def test_a_phi_3_of_shorter_context_is_converted_as_one_of_plain_rotary_embeddings(tmp_path: Path) -> None:
    student = f"{{from: teacher, layers: 1, context: 128, {TRAIN}}}"
    project = Project.load(write_project(tmp_path, teacher=TEACHER, student=student, synthesis="{augment: 0}"))
    shutil.rmtree(tmp_path / "model")
    next(one for one in ARCHITECTURES if one.name == "phi-3").write(tmp_path / "model")
    run(project, until="int4")
    assert ask("tiny/int4@latest", "Where is my parcel?", store=open_store(project)).text in LABELS


@pytest.mark.parametrize("how", ["least-missed", "greedy"])
def test_layers_are_kept_by_what_is_missed_without_them(tmp_path: Path, how: str) -> None:
    student = f"{{from: teacher, layers: 1, keep: {how}, {TRAIN}}}"
    project = Project.load(write_project(tmp_path, student=student))
    told: list[str] = []
    run(project, until="pruned", progress=lambda stage, share, note: told.append(f"{stage}: {note}"))
    assert "pruned: asked without one layer, 2 times" in told
    config = json.loads((open_store(project).open("tiny/pruned@latest") / "config.json").read_text())
    assert config["num_hidden_layers"] == 1


@pytest.mark.parametrize(
    ("cut", "told"),
    [
        ("layers: 3", r"student.layers: 3 is more than the teacher's 2 — choose at most 2"),
        ("units: 1024", r"student.units: 1024 is more than the teacher's 64 — choose at most 64"),
        ("kv_heads: 5", r"student.kv_heads: 5 is more than the teacher's 1"),
        ("heads: 3", r"student.heads: 3 is more than the teacher's 2 — choose at most 2"),
        ("width: 640", r"student.width: 640 is more than the teacher's 64"),
        ("context: 1024", r"student.context: 1024 is more than the teacher's 512 — choose at most 512"),
        ("units: 33", r"student.units.*multiple of 32"),
    ],
)
def test_more_than_the_teacher_has_cannot_be_kept(tmp_path: Path, cut: str, told: str) -> None:
    """Before anything is made."""
    path = write_project(tmp_path, student=f"{{from: teacher, {cut}}}")
    for asked in (sizes, plan, run):
        with pytest.raises(ConfigError, match=told):
            asked(Project.load(path))


@pytest.mark.parametrize(
    ("name", "cut", "told"),
    [
        ("phi-4-mini", "width: 64", r"student.width: .* long rotary embeddings .* — remove it; cut layers or units"),
        ("phi-4-mini", "kv_heads: 1", r"student.kv_heads: .* long rotary embeddings"),
        ("gemma-3", "width: 32", r"student.width: the model scales its embeddings by their width — remove it"),
    ],
)
def test_what_an_architecture_cannot_lose_is_told_before_anything_is_made(
    name: str, cut: str, told: str, tmp_path: Path
) -> None:
    path = write_project(tmp_path, student=f"{{from: teacher, {cut}}}")
    shutil.rmtree(tmp_path / "model")
    next(architecture for architecture in ARCHITECTURES if architecture.name == name).write(tmp_path / "model")
    with pytest.raises(ConfigError, match=told):
        plan(Project.load(path))


def test_of_gpt2_only_layers_are_cut(tmp_path: Path) -> None:
    path = write_project(tmp_path, student="{from: teacher, units: 32}")
    shutil.rmtree(tmp_path / "model")
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 512}
    write_model(tmp_path / "model", "gpt2", ("<|im_start|>", "<|im_end|>"), **sizes)
    with pytest.raises(ConfigError, match=r"student.units: of gpt2 only layers can be cut"):
        plan(Project.load(path))


@pytest.mark.parametrize(
    ("shared", "cut", "told"),
    [
        (2, "heads: 5", "5 heads cannot .* evenly, 1 to 3 for each of 2 key-value heads — choose one of 2, 4, 6"),
        (2, "heads: 4, kv_heads: 1", "4 heads .* 1 to 3 for each of 1 key-value head — choose one of 1, 2, 3"),
        (6, "heads: 4", "4 heads .*, 1 for each of 6 key-value heads — write kv_heads: 4"),
        (6, "width: 64", "student.width: a width of 64 is no multiple of 6 heads: .* — choose a multiple of 96"),
        (6, "kv_heads: 5", "student.kv_heads: a width of 96 is no multiple of 5 heads: .* — choose heads"),
    ],
)
def test_heads_are_shared_out_evenly_and_divide_the_width(shared: int, cut: str, told: str, tmp_path: Path) -> None:
    path = write_project(tmp_path, student=f"{{from: teacher, {cut}}}")
    shutil.rmtree(tmp_path / "model")
    sizes = {"hidden_size": 96, "num_attention_heads": 6, "num_key_value_heads": shared}
    write_model(tmp_path / "model", "llama", ("<|im_start|>", "<|im_end|>"), **sizes)
    with pytest.raises(ConfigError, match=told):
        plan(Project.load(path))
