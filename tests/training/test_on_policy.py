"""The student writes, the teacher says what it would have said of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from slmops.models.forward import load_causal_lm, target_logits
from slmops.models.packing import Example, pack
from slmops.models.tokenizer import Ids
from slmops.training.config import TrainConfig
from slmops.training.losses import Taught, forward_kl, mix
from slmops.training.methods import prepare
from slmops.training.on_policy import OWN, OnPolicy
from slmops.training.trainer import train
from tests.models.architectures import ARCHITECTURES
from tests.training.rows import INSTRUCTION, rows

OWN_ANSWER = (105, 117, 130, 2)
FULL = {example.row: (*INSTRUCTION, *example.path[-1][: example.learn.index(True)]) for example in rows(20)}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> nn.Module:
    return load_causal_lm(ARCHITECTURES[1].write(tmp_path_factory.mktemp("teacher") / "model"))


def says_the_same(model: nn.Module, prompts: Sequence[Ids], seed: int) -> list[Ids]:
    return [OWN_ANSWER] * len(prompts)


def on_policy(teacher: nn.Module, ratio: float = 0.5, k: int = 400) -> OnPolicy:
    return OnPolicy(ratio, says_the_same, teacher, FULL, k, 2.0, 1024)


def cached(batch) -> Taught:  # type: ignore[no-untyped-def]
    count = len(batch.target_ids)
    assert not any(batch.rows[row].endswith(OWN) for row in batch.target_row.tolist())
    return Taught(batch.target_ids[:, None], torch.full((count, 1), -0.1), torch.ones(count), 2.0)


def test_about_as_many_rows_as_asked_are_answered_anew_and_always_the_same_ones(teacher: nn.Module) -> None:
    some = rows(20)
    found = [on_policy(teacher).rows_of_step(teacher, some, (7, step)) for step in range(40)]
    own = [[example.row.endswith(OWN) for example in step] for step in found]
    assert 0.4 < sum(map(sum, own)) / (20 * 40) < 0.6
    assert own[0] != own[1]
    again = on_policy(teacher).rows_of_step(teacher, some, (7, 0))
    assert again == found[0]
    for before, example in zip(some, found[0], strict=True):
        if example.row.endswith(OWN):
            assert example.answer == OWN_ANSWER
            assert example.path[0] == before.path[0]
            assert example.path[-1][: -len(OWN_ANSWER)] == before.path[-1][:-3]
        else:
            assert example == before


def test_of_its_own_words_the_teacher_says_what_it_thinks_behind_its_own_prompt(teacher: nn.Module) -> None:
    """The student has no instruction; the teacher reads it."""
    own = on_policy(teacher)
    short = rows(12, instruction=(33, 34))
    step = own.rows_of_step(teacher, short, (7, 0))
    checked = 0
    for batch in pack(step, 60):
        taught = own.teach(cached)(batch)
        for target, row in enumerate(batch.target_row.tolist()):
            name = batch.rows[row]
            if not name.endswith(OWN):
                assert taught.ids[target, 0] == batch.target_ids[target] and taught.trusted[target] == 1
                assert taught.logprobs[target, 1:].max() == -torch.inf
                continue
            prompt, place = FULL[name.removesuffix(OWN)], OWN_ANSWER.index(int(batch.target_ids[target]))
            learn = (False,) * len(prompt) + (True,) * len(OWN_ANSWER)
            (alone,) = pack([Example("row", (prompt + OWN_ANSWER,), learn)], 1024)
            with torch.inference_mode():
                expected = torch.log_softmax(target_logits(teacher, alone) / 2.0, -1)[place]
            said = torch.full_like(expected, -torch.inf).scatter(0, taught.ids[target], taught.logprobs[target])
            assert (said.exp() - expected.exp()).abs().max() < 1e-3
            assert taught.trusted[target] == 0
            checked += 1
    assert checked


def test_a_student_with_other_ids_is_scored_in_its_own_and_keeps_an_answer_that_the_teacher_cannot_read(
    teacher: nn.Module,
) -> None:
    last, same = teacher.config.vocab_size - 1, on_policy(teacher, ratio=1.0, k=16)

    def says_it_in_its_own(model: nn.Module, prompts: Sequence[Ids], seed: int) -> list[Ids]:
        return [tuple(last - token for token in OWN_ANSWER)] * len(prompts)

    reversed_ids = tuple(reversed(range(last + 1)))
    other = replace(same, write=says_it_in_its_own, vocabulary=reversed_ids)
    said = []
    for own in (same, other):
        (batch,) = pack(own.rows_of_step(teacher, rows(3), (7, 0)), 4096)
        said.append(own.teach(cached)(batch))
    assert torch.equal(last - said[1].ids, said[0].ids)
    torch.testing.assert_close(said[1].logprobs, said[0].logprobs)
    lacking = replace(other, vocabulary=tuple(None if old == OWN_ANSWER[1] else old for old in reversed_ids))
    assert lacking.rows_of_step(teacher, rows(3), (7, 0)) == rows(3)


def test_a_student_that_is_its_teacher_learns_nothing_from_its_own_words(teacher: nn.Module) -> None:
    own = on_policy(teacher, ratio=1.0)
    (batch,) = pack(own.rows_of_step(teacher, rows(6), (7, 0)), 4096)
    with torch.inference_mode():
        loss = forward_kl(target_logits(teacher, batch), batch.target_ids, own.teach(cached)(batch))
    assert loss.abs().max() < 1e-3


def test_rows_of_several_turns_keep_their_answers(teacher: nn.Module) -> None:
    turns = Example("turns", ((20, 21, 100, 22, 101, 2),), (False, False, True, False, True, True))
    assert on_policy(teacher, ratio=1.0).rows_of_step(teacher, [turns], (7, 0)) == [turns]


@pytest.mark.parametrize("upper_layers", [1.0, 0.5])
def test_a_training_goes_on_exactly_where_it_was(teacher: nn.Module, tmp_path: Path, upper_layers: float) -> None:
    """Above layers that stay, too: what was just written was never read before."""
    config = TrainConfig(method="full", epochs=2, learning_rate=0.01, upper_layers=upper_layers, batch_size=5)

    def learn(scratch: Path, ends_early: bool) -> tuple[list[float], nn.Module]:
        torch.manual_seed(3)
        model, own = prepare(load_causal_lm(ARCHITECTURES[1].write(scratch / "model")), config, 1), on_policy(teacher)
        steps: list[str] = []

        def report(share: float, text: str) -> None:
            steps.append(text)
            if ends_early and len(steps) == 4:
                raise KeyboardInterrupt

        curve = train(
            model,
            rows(20),
            config,
            mix({"forward_kl": 0.9, "cross_entropy": 0.1}),
            teach=own.teach(cached),
            on_policy=own,
            seed=7,
            number_format="float32",
            scratch=scratch,
            checkpoint_every_s=0,
            report=report,
        )
        return [point.loss for point in curve], model

    whole, model = learn(tmp_path / "whole", ends_early=False)
    with pytest.raises(KeyboardInterrupt):
        learn(tmp_path / "killed", ends_early=True)
    resumed, again = learn(tmp_path / "killed", ends_early=False)
    assert resumed == whole
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), again.parameters(), strict=True))
