"""Adapters of one base: trained, merged, refused, and switched between in torch and in ONNX."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from slmops.core.errors import FullDiskError, ModelError, ProofError, SlmopsError
from slmops.models.adapters import CONFIG, WEIGHTS, read_adapter
from slmops.models.forward import load_causal_lm
from slmops.optimization.config import OptimizationConfig
from slmops.optimization.onnx import write_onnx
from slmops.runtimes.local import LocalModel
from slmops.runtimes.probes import PROBES, replay_probes
from slmops.runtimes.proof import read_chain
from slmops.runtimes.types import Request, Sampling
from slmops.stages import adapters, learning, verbs
from slmops.stages.adapters import AdapterConfig, merge_adapters, merge_into, train
from slmops.stages.verbs import ask, convert
from slmops.tasks.types import Message
from tests.stages.tiny_project import write_project

FREE = Sampling(max_tokens=8)
NAMES = (None, "all", "few", None, "few", "all")
CHOICES = {"number_format": "float32", "threads": 1}
TAUGHT = {
    "all": {"rank": 4, "upper_layers": 1.0, "rank_stabilized": True},
    "few": {"rank": 2, "targets": ["q_proj", "v_proj", "down_proj"]},
    "dora": {"rank": 2, "method": "dora"},
}


def config_of(**options: object) -> AdapterConfig:
    return AdapterConfig.model_validate({"train": {"epochs": 3, "learning_rate": 0.02, "noise": 0} | options})


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, rows, and three adapters."""
    folder = tmp_path_factory.mktemp("home")
    write_project(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adapters, "frozen_choices", lambda place: CHOICES)
        for name, options in TAUGHT.items():
            train(f"file:{folder / 'model'}", folder / "data" / "labelled.jsonl", folder / name, config_of(**options))
    return folder


@pytest.fixture(scope="module")
def onnx(home: Path) -> Path:
    return convert(
        f"file:{home / 'model'}",
        home / "onnx",
        OptimizationConfig(precision="fp32"),
        adapters={name: home / name for name in ("all", "few")},
    )


@pytest.fixture(params=["torch", "onnx"])
def open_model(request: pytest.FixtureRequest, home: Path, onnx: Path) -> Callable[[], LocalModel]:
    if request.param == "onnx":
        return lambda: LocalModel(onnx)
    return lambda: LocalModel(home / "model", adapters={name: home / name for name in ("all", "few")})


def messages(text: str) -> list[Message]:
    return [Message("system", "Answer with one label."), Message("user", text)]


def answers(model: LocalModel, name: str | None) -> tuple[str, float]:
    reply = model.ask(messages("where is my parcel"), sampling=FREE, adapter=name)
    return reply.text, reply.logprob


def changed(home: Path, to: Path, name: str = "few", **keys: object) -> Path:
    """A copy of an adapter whose config says something else."""
    shutil.copytree(home / name, to)
    told = json.loads((to / CONFIG).read_text())
    (to / CONFIG).write_text(json.dumps(told | keys))
    return to


def test_an_adapter_is_loaded_by_peft_and_computes_what_was_trained(home: Path) -> None:
    from peft import PeftModel

    ids = torch.tensor([[20, 30, 40, 50]])
    for name in TAUGHT:
        theirs = PeftModel.from_pretrained(load_causal_lm(home / "model"), home / name)
        ours = LocalModel(home / "model", adapters={"x": home / name})
        assert replay_probes(ours.runtime, home / name / PROBES, "x").max_probability_difference < 1e-3
        ours.runtime._use("x")  # type: ignore[attr-defined]
        with torch.inference_mode():
            assert torch.allclose(ours.runtime.model(ids).logits, theirs(ids).logits, atol=1e-5)  # type: ignore[attr-defined]


def test_switching_leaves_no_trace_of_the_adapter_before(open_model: Callable[[], LocalModel]) -> None:
    used = open_model()
    fresh = {name: answers(open_model(), name) for name in NAMES}
    assert len({logprob for _, logprob in fresh.values()}) == 3
    for name in NAMES:
        text, logprob = answers(used, name)
        assert (text, logprob) == (fresh[name][0], pytest.approx(fresh[name][1], abs=1e-4))


def test_what_one_adapter_computed_is_not_reused_by_another(open_model: Callable[[], LocalModel]) -> None:
    model = open_model()
    reused = [
        model.ask(messages("where is my parcel"), sampling=FREE, adapter=name).reused_tokens
        for name in ("all", "all", "few", "few", None)
    ]
    assert reused[0] == reused[2] == reused[4] == 0
    assert reused[1] == reused[3] > 0


def test_requests_of_several_adapters_are_written_at_once_like_one_by_one(open_model: Callable[[], LocalModel]) -> None:
    model = open_model()
    prompt = model.prompt(messages("where is my parcel"))
    together = model.runtime.write([Request(str(n), prompt, FREE, adapter=name) for n, name in enumerate(NAMES)])
    for name, written in zip(NAMES, together, strict=True):
        assert model.tokenizer.decode(written.ids) == answers(open_model(), name)[0]


def test_an_adapter_that_is_not_there_is_named(open_model: Callable[[], LocalModel]) -> None:
    with pytest.raises(ModelError, match=r"no adapter is called 'fw' — known are: all, few"):
        answers(open_model(), "fw")


def test_onnx_says_with_each_adapter_what_torch_does_and_without_any_what_the_base_says(home: Path, onnx: Path) -> None:
    model = LocalModel(onnx)
    for name in ("all", "few"):
        assert replay_probes(model.runtime, home / name / PROBES, name).max_probability_difference < 1e-4
    plain = LocalModel(home / "model")
    assert answers(model, None) == (answers(plain, None)[0], pytest.approx(answers(plain, None)[1], abs=1e-3))


def test_adapters_of_a_quantized_base_come_without_probes_too(home: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    for name in (CONFIG, WEIGHTS):
        shutil.copyfile(home / "few" / name, foreign / name)
    model = f"file:{home / 'model'}"
    made = convert(model, tmp_path / "int4", OptimizationConfig(), adapters={"few": foreign, "all": home / "all"})
    assert ask(str(made), "where is my parcel", adapter="all").text in ("refund", "track", "login")
    assert ask(str(made), "where is my parcel", adapter="few", max_tokens=3).tokens <= 3


def test_one_converted_adapter_more_is_given_at_run_time(home: Path, onnx: Path, tmp_path: Path) -> None:
    shutil.copytree(onnx / "adapters" / "few", tmp_path / "more")
    assert ask(str(onnx), "my card", adapter="x", adapters={"x": tmp_path / "more"}) == ask(
        str(onnx), "my card", adapter="few"
    )
    with pytest.raises(ModelError, match="is no adapter converted for an ONNX model"):
        ask(str(onnx), "my card", adapter="x", adapters={"x": home / "few"})


def test_dora_stays_out_of_onnx_but_merges_into_its_base(home: Path, tmp_path: Path) -> None:
    model = f"file:{home / 'model'}"
    with pytest.raises(ModelError, match=r"DoRA .*--into MODEL"):
        convert(model, tmp_path / "onnx", OptimizationConfig(), adapters={"dora": home / "dora"})
    assert not (tmp_path / "onnx").exists()
    for name in TAUGHT:
        plain = merge_into(model, home / name, tmp_path / name)
        assert replay_probes(LocalModel(plain).runtime, plain / PROBES).max_probability_difference < 1e-3
        assert ask(str(plain), "reset my password").text in ("refund", "track", "login")


def test_cat_is_the_weighted_sum_and_takes_any_ranks(home: Path, tmp_path: Path) -> None:
    made = merge_adapters([home / "all", home / "few"], tmp_path / "cat", "cat", [0.7, -0.3])
    assert made.rank == 6
    module = "model.layers.1.self_attn.q_proj"
    sums = {name: _delta(tmp_path / "cat" if name == "cat" else home / name, module) for name in ("cat", "all", "few")}
    assert torch.allclose(sums["cat"], 0.7 * sums["all"] - 0.3 * sums["few"], atol=1e-5)


@pytest.mark.parametrize(
    ("method", "density"), [("linear", None), ("ties", 0.5), ("dare_linear", 0.5), ("dare_ties", 0.5)]
)
def test_a_merge_is_an_adapter_of_the_same_base_and_the_same_again(
    home: Path, tmp_path: Path, method: adapters.Method, density: float | None
) -> None:
    pair = [home / "all", home / "all"]
    made = [merge_adapters(pair, tmp_path / name, method, density=density) for name in ("one", "two")]
    assert (made[0].rank, made[0].card) == (4, read_adapter(home / "all").card)
    weights = [load_file(one.folder / WEIGHTS) for one in made]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert answers(LocalModel(home / "model", adapters={"m": made[0].folder}), "m")[1] < 0


def _delta(folder: Path, module: str) -> torch.Tensor:
    weights, adapter = load_file(folder / WEIGHTS), read_adapter(folder)
    a, b = (weights[f"base_model.model.{module}.lora_{part}.weight"] for part in "AB")
    return adapter.scale * b @ a


def test_merges_that_cannot_be_are_refused(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for names, method, weights, density, told in [
        (("all", "few"), "linear", None, None, "ranks 4 and 2, linear needs the same — --method cat"),
        (("all", "all"), "ties", None, None, "ties keeps a share of each"),
        (("all", "all"), "linear", None, 0.5, "linear keeps all"),
        (("all", "all"), "linear", [1.0], None, "found 2 adapters and 1 weights"),
        (("all", "all"), "ties", None, 0.0, "ties keeps a share of each"),
        (("all", "all"), "linear", [float("nan"), 1.0], None, "found .nan, 1.0."),
        (("all", "all"), "linear", [0.0, 0.0], None, "found .0.0, 0.0."),
        (("dora", "dora"), "cat", None, None, "DoRA"),
    ]:
        with pytest.raises(SlmopsError, match=told):
            merge_adapters([home / name for name in names], out, method, weights, density)  # type: ignore[arg-type]
    assert not out.exists()


def test_an_adapter_of_another_base_is_refused_by_id(home: Path, onnx: Path, tmp_path: Path) -> None:
    other = shutil.copytree(home / "model", tmp_path / "other")
    weights = load_file(other / "model.safetensors")
    save_file({name: weight + 1e-3 for name, weight in weights.items()}, other / "model.safetensors", {"format": "pt"})
    card = read_adapter(home / "few").card
    assert card
    weights_id = card.base.weights[:12]
    told = rf"a base whose weights are {weights_id}, not [0-9a-f]{{12}} \(file:.*model; this is .*other\)"
    with pytest.raises(ModelError, match=told):
        LocalModel(other, adapters={"few": home / "few"})
    with pytest.raises(ModelError, match=told):
        convert(f"file:{other}", tmp_path / "onnx", OptimizationConfig(), adapters={"few": home / "few"})
    moved = shutil.copytree(onnx, tmp_path / "moved")
    (moved / "adapters" / "base.json").write_text(json.dumps({"weights": "f" * 64, "vocabulary": "0"}))
    with pytest.raises(ModelError, match="not ffffffffffff"):
        LocalModel(moved)


def test_another_vocabulary_is_refused_whoever_made_the_adapter(home: Path, tmp_path: Path) -> None:
    other = shutil.copytree(home / "model", tmp_path / "other")
    told = json.loads((other / "tokenizer.json").read_text())
    first, second = list(told["model"]["vocab"])[40:42]
    vocabulary = told["model"]["vocab"]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    (other / "tokenizer.json").write_text(json.dumps(told))
    with pytest.raises(ModelError, match="whose vocabulary are"):
        LocalModel(other, adapters={"few": home / "few"})
    foreign = shutil.copytree(home / "few", tmp_path / "foreign")
    (foreign / "slmops.json").unlink()
    shutil.copyfile(home / "model" / "tokenizer.json", foreign / "tokenizer.json")
    with pytest.raises(ModelError, match="whose vocabulary are"):
        LocalModel(other, adapters={"few": foreign})


def test_hostile_adapters_are_refused_before_a_weight_is_read(home: Path, tmp_path: Path) -> None:
    model, few = home / "model", home / "few"
    weights = load_file(few / WEIGHTS)

    def refused(folder: Path, told: str) -> None:
        with pytest.raises(ModelError, match=told):
            LocalModel(model, adapters={"x": folder})

    pickled = changed(home, tmp_path / "pickled")
    (pickled / WEIGHTS).rename(pickled / "adapter_model.bin")
    refused(pickled, "pickled")
    linked = changed(home, tmp_path / "linked")
    (linked / WEIGHTS).unlink()
    (linked / WEIGHTS).symlink_to(few / WEIGHTS)
    refused(linked, "leaves the model's folder")
    refused(changed(home, tmp_path / "kind", peft_type="IA3"), "peft_type is 'IA3'")
    refused(changed(home, tmp_path / "saved", modules_to_save=["lm_head"]), "modules_to_save")
    refused(changed(home, tmp_path / "begun", init_lora_weights="pissa"), "init_lora_weights")
    refused(changed(home, tmp_path / "rank", r=10**9), "none of rank 1000000000")
    refused(changed(home, tmp_path / "alpha", lora_alpha=10**400), "lora_alpha")
    for number, (change, told) in enumerate(
        [
            ({"base_model.model.model.layers.0.mlp.up_proj.lora_A.weight": torch.zeros(2, 64)}, "the shapes at"),
            ({"base_model.model.lm_head.weight": torch.zeros(2, 2)}, "belongs to no linear layer's adapter"),
            ({name: torch.zeros(2, 7) for name in weights if name.endswith("lora_A.weight")}, "64 inputs .*7 and"),
            (
                {
                    f"base_model.model.model.layers.9.mlp.up_proj.lora_{part}.weight": torch.zeros(size)
                    for part, size in (("A", (2, 64)), ("B", (64, 2)))
                },
                r"no linear layer model\.layers\.9\.mlp\.up_proj — did you mean",
            ),
        ]
    ):
        wrong = changed(home, tmp_path / f"wrong{number}")
        save_file(weights | change, wrong / WEIGHTS)
        refused(wrong, told)
    large = changed(home, tmp_path / "large")
    save_file(
        weights
        | {
            f"base_model.model.model.layers.{layer}.mlp.up_proj.lora_{part}.weight": torch.zeros(size)
            for layer in range(90)
            for part, size in (("A", (2, 640)), ("B", (640, 2)))
        },
        large / WEIGHTS,
    )
    refused(large, "larger than the model it is for")
    damaged = changed(home, tmp_path / "damaged")
    (damaged / WEIGHTS).write_bytes((few / WEIGHTS).read_bytes()[:900])
    refused(damaged, "is damaged")


def test_a_name_that_is_a_path_makes_no_folder(home: Path, tmp_path: Path) -> None:
    with pytest.raises(SlmopsError, match="cannot be a name"):
        convert(f"file:{home / 'model'}", tmp_path / "o", OptimizationConfig(), adapters={"../x": home / "few"})


def test_a_damaged_onnx_adapter_is_refused(onnx: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(onnx, tmp_path / "moved")
    path = moved / "adapters" / "few" / "weights.onnx_adapter"
    path.write_bytes(path.read_bytes()[:500])
    model = LocalModel(moved)
    with pytest.raises(ModelError, match="cannot be loaded"):
        answers(model, "few")
    assert answers(model, "all") == answers(LocalModel(onnx), "all")


def test_a_killed_training_goes_on_to_the_same_adapter(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapters, "frozen_choices", lambda place: CHOICES)
    steps: list[float] = []

    def dying(share: float, note: str) -> None:
        steps.append(share)
        if note.startswith("step 7/"):
            raise KeyboardInterrupt

    slow = learning.train
    monkeypatch.setattr(learning, "train", lambda *given, **named: slow(*given, checkpoint_every_s=0, **named))
    out, asked = tmp_path / "few", (f"file:{home / 'model'}", home / "data" / "labelled.jsonl")
    with pytest.raises(KeyboardInterrupt):
        train(*asked, out, config_of(**TAUGHT["few"]), report=dying)
    assert not out.exists()
    steps.clear()
    train(*asked, out, config_of(**TAUGHT["few"]), report=lambda share, note: steps.append(share))
    assert (out / WEIGHTS).read_bytes() == (home / "few" / WEIGHTS).read_bytes()
    assert len(steps) < 15
    assert [path.name for path in tmp_path.iterdir()] == ["few"]


def test_a_full_disk_is_told_with_the_folder_where_an_adapter_learns(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fill_disk: Callable[[int], None]
) -> None:
    monkeypatch.setattr(adapters, "frozen_choices", lambda place: CHOICES)
    rows, asked = home / "data" / "labelled.jsonl", config_of(rank=4, epochs=1)
    with pytest.raises(FullDiskError, match=rf"{tmp_path}/\.new\.begun: the disk is full.* or write to a larger disk"):
        train(f"file:{home / 'model'}", rows, tmp_path / "new", asked, report=lambda share, note: fill_disk(2_000))


def test_a_training_that_is_asked_otherwise_says_what_changed_and_begins_anew(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapters, "frozen_choices", lambda place: CHOICES)
    asked = (f"file:{home / 'model'}", home / "data" / "labelled.jsonl", tmp_path / "few")

    def dying(share: float, note: str) -> None:
        if note.startswith("step 2/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(*asked, config_of(**TAUGHT["few"]), report=dying)
    told: list[str] = []
    changed = config_of(**TAUGHT["few"] | {"rank": 3, "epochs": 1})
    made = train(*asked, changed, report=lambda share, note: told.append(note))
    assert "warning: since it was begun, train.rank 2 → 3, train.epochs 3.0 → 1.0: it begins anew" in told
    assert made.rank == 3 and [path.name for path in tmp_path.iterdir()] == ["few"]


def spoil_weights(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    save_file({name: 1.5 * weight for name, weight in weights.items()}, folder / WEIGHTS, {"format": "pt"})


def test_an_adapter_that_is_not_what_was_trained_is_not_written(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapters, "frozen_choices", lambda place: CHOICES)
    write = adapters.write_adapter

    def write_and_spoil(network: torch.nn.Module, name: str, folder: Path, *more: Any) -> None:
        write(network, name, folder, *more)
        spoil_weights(folder)

    monkeypatch.setattr(adapters, "write_adapter", write_and_spoil)
    asked = (f"file:{home / 'model'}", home / "data" / "labelled.jsonl", tmp_path / "few")
    with pytest.raises(ProofError, match=r"adapter · saved: row .* a log-probability moved by"):
        train(*asked, config_of(**TAUGHT["few"]))
    assert not (tmp_path / "few").exists()


def test_an_adapter_tells_how_far_it_is_from_what_was_trained(home: Path, tmp_path: Path) -> None:
    links = [read_chain(home / name)[0] for name in TAUGHT]
    assert all(link.holds and link.figures["max_logprob_difference"] < 1e-4 for link in links)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adapters, "frozen_choices", lambda place: CHOICES)
        asked = (f"file:{home / 'model'}", home / "data" / "labelled.jsonl", tmp_path / "made")
        train(*asked, config_of(method="qlora", rank=2, epochs=1))
    (link,) = read_chain(tmp_path / "made")
    assert link.compared == "saved, its base no longer in four bits" and link.figures["max_logprob_difference"] > 1e-3


def test_a_merge_that_changes_the_model_is_named(home: Path, tmp_path: Path) -> None:
    model, spoiled = f"file:{home / 'model'}", shutil.copytree(home / "few", tmp_path / "spoiled")
    spoil_weights(spoiled)
    with pytest.raises(ProofError, match="adapter · merged and saved: row"):
        merge_into(model, spoiled, tmp_path / "plain")
    assert not (tmp_path / "plain").exists()
    merged = merge_into(model, home / "few", tmp_path / "plain")
    assert [link.holds for link in read_chain(merged)] == [True] * 4


def test_what_came_without_probes_is_held_against_torch_on_plain_questions(home: Path, tmp_path: Path) -> None:
    model, bare = f"file:{home / 'model'}", shutil.copytree(home / "few", tmp_path / "bare")
    (bare / PROBES).unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adapters, "merge", lambda network: load_causal_lm(home / "model"))  # as if nothing were folded in
        with pytest.raises(ProofError, match="adapter · merged and saved"):
            merge_into(model, bare, tmp_path / "plain")
    assert not (tmp_path / "plain").exists()
    assert (merge_into(model, bare, tmp_path / "plain") / "model.safetensors").is_file()
    assert convert(model, tmp_path / "fp32", OptimizationConfig(precision="fp32")).is_dir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verbs, "write_onnx", lambda source, out, config: write_onnx(home / "model", out, config))
        with pytest.raises(ModelError, match="fp32 is no longer the same model"):
            convert(f"file:{tmp_path / 'plain'}", tmp_path / "other", OptimizationConfig(precision="fp32"))
    assert not (tmp_path / "other").exists()


def test_what_makes_no_adapter_is_refused() -> None:
    for key, values, told in (
        ("method", ["lora", "full"], "full makes no adapter"),
        ("method", ["lora", "qlora"], "bases in four bits and whole ones are not compared"),
        ("modules_to_save", [[], ["lm_head"]], "a part that learned whole is no adapter"),
    ):
        search = {"num_trials": 2, "search_space": {key: {"type": "choice", "values": values}}}
        with pytest.raises(ValueError, match=told):
            AdapterConfig.model_validate({"train": {"search": search}})
    with pytest.raises(ValueError, match="full makes no adapter"):
        config_of(method="full")
