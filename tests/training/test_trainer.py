"""The training loop: it learns, goes on where it was, and says where it failed."""

from __future__ import annotations

import os
import random
import re
import subprocess
from functools import partial
from pathlib import Path

import pytest
import torch

from slmops.core.errors import SlmopsError
from slmops.models.forward import last_states, load_causal_lm, target_logits
from slmops.models.packing import pack
from slmops.training.config import TrainConfig
from slmops.training.curve import Point, read_curve, write_curve
from slmops.training.looks import mean_loss
from slmops.training.losses import Taught, cross_entropy
from slmops.training.methods import merge, prepare
from slmops.training.trainer import train
from tests.models.architectures import ARCHITECTURES
from tests.training.killed_runs import DRAWN, STEPS
from tests.training.rows import rows


@pytest.fixture(scope="module")
def runs(tiny_model: Path, warm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What runs left behind that were left alone, and that were killed at a random step and started again."""
    folder = tmp_path_factory.mktemp("runs")
    step = random.randrange(2, STEPS - 4)  # the kill may come before the checkpoint of the step that was told
    command = [str(warm), "-m", "tests.training.killed_runs", str(tiny_model), str(folder), str(step)]
    subprocess.run(command, check=True, env=dict(os.environ) | {"OMP_NUM_THREADS": "1"})
    return folder


@pytest.mark.parametrize("method", DRAWN)
@pytest.mark.parametrize("file", ["model.safetensors", "curve.jsonl"])
def test_a_killed_run_goes_on_to_the_same_bits(runs: Path, method: str, file: str) -> None:
    assert (runs / f"{method}-killed" / file).read_bytes() == (runs / f"{method}-alone" / file).read_bytes()


def config(**changes: object) -> TrainConfig:
    return TrainConfig.model_validate({"epochs": 10, "batch_size": 8, "max_tokens": 256, **changes})


@pytest.mark.parametrize("method", ["lora", "full"])
def test_it_learns(tmp_path: Path, method: str) -> None:
    folder = ARCHITECTURES[1].write(tmp_path / "model")
    model = prepare(load_causal_lm(folder), config(method=method), 1)
    read = partial(last_states, model)
    before = mean_loss(model, rows(20), 1024, cross_entropy, read)
    curve = train(
        model,
        rows(40),
        config(method=method, learning_rate=0.01),
        cross_entropy,
        validation=rows(20),
        seed=1,
        number_format="float32",
        scratch=tmp_path / "scratch",
    )
    assert curve[-1].validation_loss is not None
    assert curve[-1].validation_loss < before / 3
    assert curve[-1].validation_loss == pytest.approx(
        mean_loss(model, rows(20), 1024, cross_entropy, partial(last_states, model))
    )
    assert [point.step for point in curve] == sorted({point.step for point in curve})
    assert curve[-1].step == 50


@pytest.mark.parametrize("epochs", [0.01, 0.5, 1.0, 1.5])
def test_a_part_of_an_epoch_is_a_part_of_its_steps(tiny_model: Path, tmp_path: Path, epochs: float) -> None:
    model = prepare(load_causal_lm(tiny_model), config(), 1)
    seen: list[str] = []
    train(
        model,
        rows(32),
        config(epochs=epochs),
        cross_entropy,
        seed=1,
        number_format="float32",
        scratch=tmp_path,
        report=lambda share, text: seen.append(text),
    )
    steps, expected = [text.split(",")[0] for text in seen if text.startswith("step")], max(1, round(4 * epochs))
    assert steps == [f"step {step}/{expected}" for step in range(1, expected + 1)]


def test_every_row_is_seen_once_an_epoch(tiny_model: Path, tmp_path: Path) -> None:
    model = prepare(load_causal_lm(tiny_model), config(), 1)
    seen: list[str] = []

    def watch(batch):  # type: ignore[no-untyped-def]
        seen.extend(batch.rows)
        count = len(batch.target_ids)
        return Taught(torch.zeros(count, 1, dtype=torch.long), torch.zeros(count, 1), torch.ones(count), 1.0)

    settings = config(epochs=2, batch_size=5)
    train(model, rows(23), settings, cross_entropy, teach=watch, seed=1, number_format="float32", scratch=tmp_path)
    names = sorted(example.row for example in rows(23))
    assert sorted(seen[:23]) == sorted(seen[23:]) == names
    assert seen[:23] != seen[23:]


def test_a_loss_that_is_no_number_names_the_step_and_its_rows(tiny_model: Path, tmp_path: Path) -> None:
    model = prepare(load_causal_lm(tiny_model), config(), 1)

    def broken(logits: torch.Tensor, target_ids: torch.Tensor, taught: Taught | None) -> torch.Tensor:
        return cross_entropy(logits, target_ids, taught) * torch.where(target_ids == 104, torch.nan, 1.0)

    with pytest.raises(SlmopsError, match=r"the loss is nan at step 1; its rows: row-4 \('row 4 of 5'\) —") as caught:
        train(
            model,
            rows(8),
            config(batch_size=40),
            broken,
            seed=1,
            number_format="float32",
            scratch=tmp_path,
            show=lambda row: f"{row.replace('-', ' ')} of 5",
        )
    assert "learning_rate" in caught.value.remedy
    assert not (tmp_path / "checkpoint" / "state.json").exists()


def test_rows_that_make_the_loss_leap_are_told_in_a_warning(tiny_model: Path, tmp_path: Path) -> None:
    model, calls, notes = prepare(load_causal_lm(tiny_model), config(), 1), [0], list[str]()

    def leaping(logits: torch.Tensor, target_ids: torch.Tensor, taught: Taught | None) -> torch.Tensor:
        calls[0] += logits.requires_grad
        return cross_entropy(logits, target_ids, taught) * (50 if calls[0] == 30 and logits.requires_grad else 1)

    train(
        model,
        rows(8),
        config(epochs=40),
        leaping,
        seed=1,
        number_format="float32",
        scratch=tmp_path,
        show=lambda row: f"text of {row}",
        report=lambda share, note: notes.append(note),
    )
    (told,) = (note for note in notes if note.startswith("warning: "))
    assert re.match(r"warning: at step 30 the loss leapt to [\d.]+: row-\d \('text of row-\d'\), ", told)


def test_merged_adapters_give_the_same_logits(tiny_model: Path, tmp_path: Path) -> None:
    settings = config(method="lora", learning_rate=0.01)
    model = prepare(load_causal_lm(tiny_model), settings, 1)
    (batch,) = pack(rows(8), 1024)
    with torch.inference_mode():
        untrained = target_logits(model, batch)
    train(model, rows(40), settings, cross_entropy, seed=1, number_format="float32", scratch=tmp_path / "scratch")
    with torch.inference_mode():
        before = target_logits(model, batch)
        after = target_logits(merge(model), batch)
    assert (before - untrained).abs().max() > 0.1
    assert torch.allclose(before, after, atol=1e-5)
    model.save_pretrained(tmp_path / "merged")
    with torch.inference_mode():
        assert torch.allclose(target_logits(load_causal_lm(tmp_path / "merged"), batch), after, atol=1e-6)


def test_merging_a_model_without_adapters_changes_nothing(tiny_model: Path) -> None:
    model = load_causal_lm(tiny_model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert all(torch.equal(value, before[name]) for name, value in merge(model).state_dict().items())


@pytest.mark.parametrize("method", ["lora", "full"])
def test_training_leaves_the_embeddings_untouched(tiny_model: Path, tmp_path: Path, method: str) -> None:
    settings = config(method=method, epochs=1)
    model = prepare(load_causal_lm(tiny_model), settings, 1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train(model, rows(40), settings, cross_entropy, seed=1, number_format="float32", scratch=tmp_path)
    after = model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert not [name for name in changed if "embed_tokens" in name or "lm_head" in name]


def test_the_curve_is_read_as_it_was_written(tiny_model: Path, tmp_path: Path) -> None:
    model = prepare(load_causal_lm(tiny_model), config(), 1)
    curve = train(model, rows(8), config(), cross_entropy, seed=1, number_format="float32", scratch=tmp_path)
    write_curve(tmp_path / "curve.jsonl", curve)
    assert list(read_curve(tmp_path / "curve.jsonl")) == curve


@pytest.mark.parametrize("method", ["lora", "full"])
def test_only_upper_layers_learn(tiny_model: Path, tmp_path: Path, method: str) -> None:
    settings = config(method=method, epochs=1, upper_layers=0.5)
    model = prepare(load_causal_lm(tiny_model), settings, 1)
    learning = {name for name, value in model.named_parameters() if value.requires_grad}
    assert any("layers.1." in name for name in learning)
    assert not any("layers.0." in name for name in learning)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_in_bf16_steps_too_small_for_it_are_not_lost(tiny_model: Path, tmp_path: Path, method: str) -> None:
    """A weight of 1 moved by 1e-4 is the same number in bf16: the optimizer has to see fp32."""
    settings = config(method=method, epochs=4, learning_rate=1e-4, schedule="constant", upper_layers=1)
    weights = {}
    for number_format in ("float32", "bfloat16"):
        model = prepare(load_causal_lm(tiny_model), settings, 1)
        scratch = tmp_path / number_format
        train(model, rows(40), settings, cross_entropy, seed=1, number_format=number_format, scratch=scratch)
        weights[number_format] = torch.cat([p.detach().flatten() for p in model.parameters() if p.requires_grad])
    model = prepare(load_causal_lm(tiny_model), settings, 1)
    before = torch.cat([p.detach().flatten() for p in model.parameters() if p.requires_grad])
    moved = {name: value - before for name, value in weights.items()}
    alike = torch.cosine_similarity(moved["float32"], moved["bfloat16"], dim=0)
    assert moved["bfloat16"].abs().mean() > 1e-4
    assert alike > 0.8


def test_a_run_that_was_killed_behind_its_last_step_ends_with_the_same_curve(tiny_model: Path, tmp_path: Path) -> None:
    settings = config(method="lora", rank=4, dropout=0.3, epochs=1)

    def learn() -> list[Point]:
        model = prepare(load_causal_lm(tiny_model), settings, 1)
        given = {"validation": rows(6), "seed": 1, "number_format": "float32", "scratch": tmp_path}
        return train(model, rows(24), settings, cross_entropy, **given, checkpoint_every_s=0.0)  # type: ignore[arg-type]

    whole = learn()
    assert whole[-1].twice_as_far is not None
    assert learn() == whole
