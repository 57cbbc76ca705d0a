"""Every supported family: recognised, taught in packed batches, converted, pruned and asked."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from slmops.core.errors import ModelError
from slmops.models.families import encode_answer, encode_lesson, encode_prompt, end_token, family_of, render_prompt
from slmops.models.forward import load_causal_lm
from slmops.models.packing import Example
from slmops.models.tokenizer import Tokenizer
from slmops.optimization.config import OptimizationConfig
from slmops.optimization.onnx import write_onnx
from slmops.optimization.prune import keep_layers
from slmops.runtimes.local import LocalModel
from slmops.runtimes.probes import Parity, Probe, record_probes, replay_probes
from slmops.tasks.types import Labels, Message
from tests.models.architectures import ARCHITECTURES, Architecture
from tests.models.test_packing import packed_gradient, padded_gradient, relative_difference
from tests.tiny import write_model, write_tokenizer

LABELS = Labels(("order_status", "order_status_late", "cancel_order"))
MESSAGES = [
    Message("system", "You sort messages to a support team."),
    Message("user", "Where is my order? I want to cancel it and get a refund, please."),
]
SLIDING = [chosen for chosen in ARCHITECTURES if chosen.changes.get("sliding_window")]

each_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda chosen: chosen.name)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model of each architecture with probes of its own."""
    root = tmp_path_factory.mktemp("architectures")
    return {chosen.name: with_probes(chosen.write(root / chosen.name)) for chosen in ARCHITECTURES}


def with_probes(folder: Path) -> Path:
    model = LocalModel(folder)
    prompt = model.prompt(MESSAGES)
    asked = [Probe(prompt, model.answer_ids(label)) for label in LABELS.values]
    record_probes(model.runtime, asked, folder / "probes.jsonl")
    return folder


def converted(folder: Path, out: Path, precision: str) -> tuple[LocalModel, Parity]:
    write_onnx(folder, out, OptimizationConfig.model_validate(precision))
    model = LocalModel(out)
    return model, replay_probes(model.runtime, out / "probes.jsonl")


def examples() -> list[Example]:
    return [
        Example(str(n), (tuple(range(20, 50)), tuple(range(60 + n, 70 + 2 * n))), (True,) * (10 + n)) for n in range(4)
    ]


@each_architecture
def test_the_family_is_told_from_the_tokenizer(architecture: Architecture, folders: dict[str, Path]) -> None:
    assert family_of(Tokenizer(folders[architecture.name])).name == architecture.family


@pytest.mark.parametrize(
    ("template", "family"),
    [("<|im_start|>assistant\n<think>\n\n</think>\n\n", "qwen-3"), ("<|im_start|>assistant\n", "chatml")],
)
def test_who_never_writes_a_thought_is_asked_without_one(tmp_path: Path, template: str, family: str) -> None:
    write_tokenizer(tmp_path, ("<think>", "</think>", "<|im_start|>", "<|im_end|>"))
    (tmp_path / "chat_template.jinja").unlink(missing_ok=True)
    told = json.loads((tmp_path / "tokenizer_config.json").read_text())
    for said in (template, [{"name": "default", "template": template}]):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(told | {"chat_template": said}))
        assert family_of(Tokenizer(tmp_path)).name == family
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(told))
    assert family_of(Tokenizer(tmp_path)).name == "qwen-3"
    (tmp_path / "chat_template.jinja").write_text(template)
    assert family_of(Tokenizer(tmp_path)).name == family


@each_architecture
def test_the_packed_gradient_equals_the_padded_one(architecture: Architecture, folders: dict[str, Path]) -> None:
    model = load_causal_lm(folders[architecture.name])
    expected = padded_gradient(model, examples())
    assert relative_difference(expected, packed_gradient(model, examples(), 128, 1)) <= 1e-5


@pytest.mark.parametrize("architecture", SLIDING, ids=lambda chosen: chosen.name)
def test_packed_attention_honours_a_window_shorter_than_the_example(
    architecture: Architecture, folders: dict[str, Path]
) -> None:
    model = load_causal_lm(folders[architecture.name])
    honoured = packed_gradient(model, examples(), 128, 1)
    model.config.sliding_window = 10_000
    for layer in model.model.layers:
        layer.self_attn.sliding_window = 10_000  # Gemma's layers keep their own
    assert relative_difference(honoured, packed_gradient(model, examples(), 128, 1)) > 0.01


@each_architecture
def test_the_model_as_onnx_says_what_torch_says(
    architecture: Architecture, folders: dict[str, Path], tmp_path: Path
) -> None:
    model, parity = converted(folders[architecture.name], tmp_path / "fp32", "fp32")
    assert parity.max_probability_difference <= 1e-3
    assert parity.agreeing == 1
    torch_reply = LocalModel(folders[architecture.name]).ask(MESSAGES, grammar=LABELS)
    reply = model.ask(MESSAGES, grammar=LABELS)
    assert reply.text == torch_reply.text
    assert reply.logprob == pytest.approx(torch_reply.logprob, abs=1e-3)


@each_architecture
@pytest.mark.parametrize("precision", ["int4", "int8"])
def test_quantized_it_answers_with_one_of_the_labels(
    architecture: Architecture, precision: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    model, parity = converted(folders[architecture.name], tmp_path / precision, precision)
    assert parity.mean_probability_difference < 0.05
    assert model.ask(MESSAGES, grammar=LABELS).text in LABELS.values


@each_architecture
@pytest.mark.parametrize("kept", [0, 1])
def test_cut_to_one_layer_it_still_converts(
    architecture: Architecture, kept: int, folders: dict[str, Path], tmp_path: Path
) -> None:
    whole = folders[architecture.name]
    cut = tmp_path / "cut"
    keep_layers(load_causal_lm(whole), [kept]).save_pretrained(cut)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (cut / name).write_bytes((whole / name).read_bytes())
    _, parity = converted(with_probes(cut), tmp_path / "onnx", "fp32")
    assert parity.max_probability_difference <= 1e-3


def test_rotary_embeddings_the_converter_would_get_wrong_are_refused(tmp_path: Path) -> None:
    gemma = next(chosen for chosen in ARCHITECTURES if chosen.name == "gemma-3")
    folder = gemma.write(tmp_path / "gemma")
    config = json.loads((folder / "config.json").read_text())
    config["rope_parameters"]["full_attention"] |= {"rope_type": "linear", "factor": 8.0}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"cannot convert \w+: .*linear"):
        write_onnx(folder, tmp_path / "onnx", OptimizationConfig.model_validate("fp32"))


def test_rotary_embeddings_that_the_converter_would_leave_out_are_refused(tmp_path: Path) -> None:
    rope = {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10_000.0}}
    write_model(tmp_path / "model", "llama", ("<|im_start|>", "<|im_end|>"), **rope)
    with pytest.raises(ModelError, match=r"cannot convert \w+: rotary embeddings of the kind linear"):
        write_onnx(tmp_path / "model", tmp_path / "onnx", OptimizationConfig.model_validate("fp32"))


def test_an_architecture_that_the_builder_does_not_know_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path / "model", "gpt_neox", ("<|im_start|>", "<|im_end|>"))
    with pytest.raises(ModelError, match="the ONNX builder cannot convert GPTNeoXForCausalLM"):
        write_onnx(tmp_path / "model", tmp_path / "onnx", OptimizationConfig.model_validate("int4"))


def test_a_model_that_onnx_runtime_cannot_run_is_refused_when_asked(tmp_path: Path) -> None:
    write_model(tmp_path / "model", "llama", ("<|im_start|>", "<|im_end|>"), head_dim=8)
    write_onnx(tmp_path / "model", tmp_path / "onnx", OptimizationConfig.model_validate("fp32"))
    with pytest.raises(ModelError, match="head_size"):
        LocalModel(tmp_path / "onnx").ask(MESSAGES)


def test_a_tokenizer_without_known_markers_has_no_family(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, ("<|turn|>",))
    with pytest.raises(ModelError, match="no known chat format"):
        family_of(Tokenizer(tmp_path))


@each_architecture
def test_the_prompt_opens_the_answer_and_the_answer_ends(architecture: Architecture, folders: dict[str, Path]) -> None:
    tokenizer = Tokenizer(folders[architecture.name])
    family = family_of(tokenizer)
    text = render_prompt(family, MESSAGES)
    assert all(text.count(message.content) == 1 for message in MESSAGES)
    assert text.startswith(family.begin) and text.endswith(family.assistant[0])
    assert encode_answer(tokenizer, family, "cancel_order")[-1] == end_token(tokenizer, family)


@each_architecture
def test_ids_of_a_prompt_are_those_of_its_text(architecture: Architecture, folders: dict[str, Path]) -> None:
    from transformers import AutoTokenizer

    folder = folders[architecture.name]
    tokenizer = Tokenizer(folder)
    family = family_of(tokenizer)
    reference = AutoTokenizer.from_pretrained(folder)
    expected = reference(render_prompt(family, MESSAGES), add_special_tokens=False)["input_ids"]
    assert list(encode_prompt(tokenizer, family, MESSAGES)) == expected


def test_a_family_without_system_turns_accepts_a_system_message_alone(folders: dict[str, Path]) -> None:
    tokenizer = Tokenizer(folders["gemma-3"])
    assert "Be short." in render_prompt(family_of(tokenizer), [Message("system", "Be short.")])


@pytest.mark.real
def test_the_default_models_prompt_equals_its_own_chat_template(default_model: Path) -> None:
    from transformers import AutoTokenizer

    reference = AutoTokenizer.from_pretrained(default_model)
    turns = [
        *MESSAGES,
        Message("assistant", "cancel_order"),
        Message("user", "  Thanks \n\n— and where's my 2nd parcel? 😀 "),
    ]
    ids = reference.apply_chat_template(
        [{"role": turn.role, "content": turn.content} for turn in turns], add_generation_prompt=True, return_dict=False
    )
    tokenizer = Tokenizer(default_model)
    assert list(encode_prompt(tokenizer, family_of(tokenizer), turns)) == ids


def test_pruning_keeps_the_layers_that_were_asked_for(folders: dict[str, Path]) -> None:
    whole = load_causal_lm(folders["gemma-3"])
    weights = whole.model.layers[1].mlp.up_proj.weight.clone()
    cut = keep_layers(whole, [1])
    assert torch.equal(cut.model.layers[0].mlp.up_proj.weight, weights)
    assert cut.config.layer_types == ["full_attention"]


@each_architecture
def test_a_lesson_asks_as_the_model_is_asked_in_every_turn(
    architecture: Architecture, folders: dict[str, Path]
) -> None:
    """Those that think, with an empty thought before every answer."""
    tokenizer = Tokenizer(folders[architecture.name])
    family = family_of(tokenizer)
    turns = [*MESSAGES, Message("assistant", "Done.", learn=True), Message("user", "Thank you.")]
    ids, learn = encode_lesson(tokenizer, family, [*turns, Message("assistant", "Gladly.", learn=True)])
    begins = [place for place, (before, now) in enumerate(pairwise((False, *learn))) if now > before]
    for place, asked in zip(begins, (MESSAGES, turns), strict=True):
        assert ids[:place] == encode_prompt(tokenizer, family, asked)
    thoughts = 2 if architecture.family in ("qwen-3", "smollm-3", "deepseek-r1") else 0
    assert render_prompt(family, turns).count("<think>") == thoughts
