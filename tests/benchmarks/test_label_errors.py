"""Labels are exchanged as the benchmark says."""

from __future__ import annotations

import numpy as np
from benchmarks.label_errors import INTENTS, SHARE, exchange


def test_one_label_in_twenty_becomes_another_one() -> None:
    right = np.arange(3000) % INTENTS
    given = exchange(right, seed=1)
    assert (given != right).mean() == SHARE
    assert set(given) == set(range(INTENTS))
    assert (given == exchange(right, seed=1)).all() and (given != exchange(right, seed=2)).any()
