"""What the teacher said is cached and given back, token by token."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from slmops.core.errors import DataError
from slmops.models.forward import load_causal_lm, target_logits
from slmops.models.packing import pack
from slmops.training.losses import forward_kl
from slmops.training.targets import cache_targets, kept_tokens, teach_from_cache
from tests.models.architectures import ARCHITECTURES
from tests.training.rows import rows

TEMPERATURE = 2.0


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> torch.nn.Module:
    return load_causal_lm(ARCHITECTURES[1].write(tmp_path_factory.mktemp("teacher") / "model"))


@pytest.fixture
def cache(teacher: torch.nn.Module, tmp_path: Path) -> Path:
    trusted = [f"row-{n}" for n in range(0, 20, 2)]
    fill(teacher, tmp_path, trusted, 8)
    return tmp_path


def fill(teacher: torch.nn.Module, folder: Path, trusted: list[str], top_k: int) -> None:
    cache_targets(
        teacher,
        rows(20),
        trusted,
        folder,
        k=top_k,
        temperature=TEMPERATURE,
        max_tokens=128,
    )


def said_by(teacher: torch.nn.Module) -> dict[tuple[str, int], torch.Tensor]:
    """(row, which target) → the teacher's log-probabilities over the vocabulary, each row computed alone."""
    said = {}
    for example in rows(20):
        (batch,) = pack([example], 1024)
        with torch.inference_mode():
            lines = torch.log_softmax(target_logits(teacher, batch) / TEMPERATURE, -1)
        said |= {(example.row, index): line for index, line in enumerate(lines)}
    return said


@pytest.mark.parametrize("instruction", [(), (33, 34), tuple(range(150, 200))])
def test_a_student_with_another_prompt_is_taught_what_the_teacher_said(
    teacher: torch.nn.Module, cache: Path, instruction: tuple[int, ...]
) -> None:
    said = said_by(teacher)
    asked = list(reversed(rows(20, instruction)))
    teach = teach_from_cache(cache, asked)
    checked = 0
    for batch in pack(asked, 100):
        taught = teach(batch)
        seen: dict[str, int] = {}
        for line, row in enumerate(batch.target_row.tolist()):
            name = batch.rows[row]
            index = seen[name] = seen.get(name, -1) + 1
            expected = said[name, index].topk(8)
            assert taught.ids[line].tolist() == expected.indices.tolist()
            assert taught.logprobs[line].tolist() == pytest.approx(expected.values.tolist(), abs=0.01)
            assert bool(taught.trusted[line]) == (int(name.removeprefix("row-")) % 2 == 0)
            checked += 1
        assert taught.temperature == TEMPERATURE
    assert checked == 20 * 3


def test_the_teacher_itself_has_nothing_to_learn_from_its_cache(teacher: torch.nn.Module, cache: Path) -> None:
    teach = teach_from_cache(cache, rows(20))
    (batch,) = pack(rows(20), 4096)
    with torch.inference_mode():
        loss = forward_kl(target_logits(teacher, batch), batch.target_ids, teach(batch))
    assert loss.abs().max() < 1e-3


def test_more_tokens_than_the_vocabulary_has_are_not_kept(teacher: torch.nn.Module, tmp_path: Path) -> None:
    fill(teacher, tmp_path, [], 4096)
    teach = teach_from_cache(tmp_path, rows(20))
    (batch,) = pack(rows(20), 4096)
    assert teach(batch).ids.shape[1] == teacher.config.vocab_size


def test_a_row_without_cached_targets_is_refused(cache: Path) -> None:
    stranger = replace(rows(1)[0], row="stranger")
    with pytest.raises(ValueError, match="stranger"):
        teach_from_cache(cache, [stranger])


def test_the_same_teacher_caches_the_same_bytes(teacher: torch.nn.Module, cache: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    again.mkdir()
    fill(teacher, again, [f"row-{n}" for n in range(0, 20, 2)], 8)
    for name in ("targets.npy", "targets.json"):
        assert (again / name).read_bytes() == (cache / name).read_bytes()


def test_a_cache_of_other_answers_is_refused(cache: Path) -> None:
    """Of another tokenizer, as a rule: the same row, written in other tokens."""
    first, *others = rows(20)
    other = replace(first, path=(*first.path[:-1], (*first.path[-1][:-2], 111, 2)))
    with pytest.raises(DataError, match=r"1 rows are of other answers.*row-0.*slmops run --from targets"):
        teach_from_cache(cache, [other, *others])


def test_a_student_of_fewer_tokens_is_taught_in_its_own(teacher: torch.nn.Module, tmp_path: Path) -> None:
    kept: list[int | None] = [*range(teacher.config.vocab_size - 1, 1, -1), None]
    new_id = {old: new for new, old in enumerate(kept) if old is not None}
    cache_targets(teacher, rows(20), [], tmp_path, k=4, temperature=TEMPERATURE, max_tokens=128, vocabulary=kept)
    fewer = tmp_path / "more-than-there-are"
    fewer.mkdir()
    cache_targets(teacher, rows(3), [], fewer, k=4096, temperature=TEMPERATURE, max_tokens=128, vocabulary=kept)
    assert kept_tokens(fewer) == len(kept)
    own = [
        replace(row, path=tuple(tuple(new_id[token] for token in ids) for ids in row.path))
        for row in rows(20)
        if min(min(ids) for ids in row.path) >= 2
    ]
    teach, said = teach_from_cache(tmp_path, own), said_by(teacher)
    (batch,) = pack(own[:1], 1024)
    taught = teach(batch)
    for line in range(3):
        of_kept = said[own[0].row, line][[id for id in kept if id is not None]]
        assert taught.ids[line].tolist() == of_kept.topk(4).indices.tolist()
        assert taught.logprobs[line].tolist() == pytest.approx(of_kept.topk(4).values.tolist(), abs=0.01)
