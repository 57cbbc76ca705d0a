"""Probabilities of labels come back as distributions over tokens, and lose nothing on the way."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slmops.models.packing import Example, pack
from slmops.training.label_targets import teach_labels, write_label_targets
from slmops.training.losses import forward_kl

END = 2
LABELS = ("refund", "refund_late", "track", "try")
ANSWERS = {"refund": (10, END), "refund_late": (10, 11, END), "track": (12, 13, END), "try": (12, 14, END)}


def example(row: str, label: str) -> Example:
    answer = ANSWERS[label]
    return Example(row, ((5, 6, 7, *answer),), (False,) * 3 + (True,) * len(answer))


def written(folder: Path, probabilities: list[list[float]], temperature: float = 1.0) -> Path:
    rows = [f"row-{n}" for n in range(len(probabilities))]
    write_label_targets(folder, LABELS, rows, np.array(probabilities), rows[:1], temperature)
    return folder


@given(weights=st.lists(st.floats(0.01, 1), min_size=4, max_size=4), label=st.sampled_from(LABELS))
def test_along_a_label_the_tokens_probabilities_multiply_to_the_labels(
    tmp_path_factory: pytest.TempPathFactory, weights: list[float], label: str
) -> None:
    probabilities = [weight / sum(weights) for weight in weights]
    folder = written(tmp_path_factory.mktemp("targets"), [probabilities])
    (batch,) = pack([example("row-0", label)], 100)
    taught = teach_labels(folder, [example("row-0", label)], ANSWERS)(batch)
    along = 1.0
    for line, token in enumerate(batch.target_ids.tolist()):
        found = taught.logprobs[line][taught.ids[line] == token].exp().max()
        assert float(taught.logprobs[line].exp().sum()) == pytest.approx(1, abs=1e-5)
        along *= float(found)
    assert along == pytest.approx(probabilities[LABELS.index(label)], rel=1e-3)


def test_at_any_temperature_the_same_is_learned(tmp_path: Path) -> None:
    """Whose softened distribution is matched is, not softened, the teacher's: of a token, all of its labels' mass."""
    folder = written(tmp_path, [[0.64, 0.04, 0.16, 0.16]], temperature=2.0)
    (batch,) = pack([example("row-0", "track")], 100)
    taught = teach_labels(folder, [example("row-0", "track")], ANSWERS)(batch)
    assert taught.temperature == 2.0
    learned = (taught.logprobs[0] * 2).softmax(0)
    first = dict(zip(taught.ids[0].tolist(), learned.tolist(), strict=True))
    assert (first[10], first[12]) == pytest.approx((0.68, 0.32), abs=1e-4)


def test_noisy_copies_are_taught_as_their_row_and_only_trusted_rows_are_trusted(tmp_path: Path) -> None:
    folder = written(tmp_path, [[1.0, 0, 0, 0], [0, 0, 0, 1.0]])
    examples = [example("row-1#3", "try"), example("row-0", "refund")]
    (batch,) = pack(examples, 100)
    taught = teach_labels(folder, examples, ANSWERS)(batch)
    for line, (row, token) in enumerate(zip(batch.target_row.tolist(), batch.target_ids.tolist(), strict=True)):
        assert taught.ids[line][taught.logprobs[line].argmax()] == token
        assert bool(taught.trusted[line]) == (batch.rows[row] == "row-0")


def test_the_loss_of_a_certain_row_is_finite(tmp_path: Path) -> None:
    folder = written(tmp_path, [[1.0, 0, 0, 0]])
    (batch,) = pack([example("row-0", "refund")], 100)
    taught = teach_labels(folder, [example("row-0", "refund")], ANSWERS)(batch)
    loss = forward_kl(torch.randn(2, 40), batch.target_ids, taught)
    assert all(math.isfinite(value) for value in loss.tolist())


def test_a_row_without_targets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stranger"):
        teach_labels(written(tmp_path, [[1.0, 0, 0, 0]]), [example("stranger", "try")], ANSWERS)
