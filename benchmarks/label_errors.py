"""How many wrong labels `slmops data check` finds, and how many of those it finds are wrong; beside cleanlab.

Of CLINC150's training rows the first 30 intents by name; 5 % of the labels are exchanged for another one, uniformly, by
several seeds. Odds and penalty were chosen on intents 31–60 (see `slmops.data.label_errors`). cleanlab gets the same
out-of-fold probabilities, by its default rule; it is the peer where it is installed, which nothing else here needs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.public import INTENTS, read_intents
from benchmarks.results import Asked, Group, Measured, Target, of_one, parser, run
from slmops.core.errors import MissingExtraError, need
from slmops.core.statistics import bootstrap
from slmops.data.label_errors import ODDS, doubt_labels, odds_against, out_of_fold

SHARE = 0.05
SEEDS = (0, 1, 2, 3, 4)
PEERS_RULES = (
    "prune_by_noise_rate",
    "prune_by_class",
    "both",
    "confident_learning",
    "predicted_neq_given",
    "low_normalized_margin",
    "low_self_confidence",
)

Find = Callable[[NDArray[np.float64], NDArray[np.int64]], NDArray[np.bool_]]  # probabilities, labels → which look wrong

_SET = "CLINC150, 30 intents, 5 % of the labels exchanged, 5 seeds (peer: cleanlab, default rule, same probabilities)"
RECALL = Asked("recall", f"wrong labels that are found; {_SET}", "share", Target("≥ 70 %", "at least", 0.7))
PRECISION = Asked("precision", f"doubted labels that are wrong; {_SET}", "share", Target("≥ 60 %", "at least", 0.6))
FALSE_ALARMS = Asked("false_alarms", "labels doubted of the same rows with the labels as they are", "share")
SECONDS = Asked("seconds", "looking through 3,000 rows of 30 labels", "s")


def measure(wanted: frozenset[str]) -> Iterator[tuple[str, Measured]]:
    texts, right = read_rows()
    runs = [exchange(right, seed) for seed in SEEDS]
    probabilities = [out_of_fold(texts, given) for given in runs]
    ours = _tally(lambda held, given: odds_against(held, given) > ODDS, probabilities, runs, right)
    try:
        find = need("cleanlab.filter", "bench").find_label_issues
        peers = _tally(lambda held, given: find(given, held, n_jobs=1), probabilities, runs, right)
        note = _say_best(find, probabilities, runs, right)
    except MissingExtraError:
        peers, note = None, "cleanlab is not installed"
    yield "recall", _share(ours, 0, peers, note)
    yield "precision", _share(ours, 1, peers, note)
    if "false_alarms" in wanted:
        doubted = odds_against(out_of_fold(texts, right), right) > ODDS
        yield "false_alarms", of_one(float(doubted.mean()))
    if "seconds" in wanted:
        began = time.perf_counter()
        doubt_labels(texts, [str(label) for label in runs[0]])
        yield "seconds", of_one(time.perf_counter() - began)


def read_rows() -> tuple[list[str], NDArray[np.int64]]:
    """Texts and numbered labels of the first intents by name."""
    rows = read_intents("train")
    names = sorted({row["label"] for row in rows})
    return [row["text"] for row in rows], np.array([names.index(row["label"]) for row in rows])


def exchange(right: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """The labels with a share of them exchanged for any other one."""
    chance = np.random.default_rng(seed)
    wrong = chance.choice(len(right), round(SHARE * len(right)), replace=False)
    given = right.copy()
    given[wrong] = (right[wrong] + chance.integers(1, INTENTS, len(wrong))) % INTENTS
    return given


def _tally(
    find: Find, probabilities: list[NDArray[np.float64]], runs: list[NDArray[np.int64]], right: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(row of any run, [found and wrong, wrong, found])."""
    rows = []
    for held, given in zip(probabilities, runs, strict=True):
        found, wrong = find(held, given), given != right
        rows.append(np.stack([found & wrong, wrong, found], axis=1))
    return np.concatenate(rows).astype(np.float64)


def _say_best(
    find: Any, probabilities: list[NDArray[np.float64]], runs: list[NDArray[np.int64]], right: NDArray[np.int64]
) -> str:
    """cleanlab's rule with the highest F1, which nobody could know beforehand."""
    figures = {}
    for rule in PEERS_RULES:
        sums = _tally(
            lambda held, given, rule=rule: find(given, held, filter_by=rule, n_jobs=1), probabilities, runs, right
        ).sum(axis=0)
        figures[rule] = (2 * sums[0] / (sums[1] + sums[2]), sums[0] / sums[1], sums[0] / sums[2])
    rule, (_, recall, precision) = max(figures.items(), key=lambda item: item[1][0])
    return f"cleanlab's best rule here, {rule}: recall {recall:.2f}, precision {precision:.2f}"


def _share(ours: NDArray[np.float64], of: int, peers: NDArray[np.float64] | None, note: str) -> Measured:
    """Recall (of what is wrong) or precision (of what was found); each row of data is drawn with all its runs."""
    by_row = ours.reshape(len(SEEDS), -1, 3).sum(axis=0)
    decides = bootstrap(by_row, lambda sums: sums[..., 0] / sums[..., 1 + of], seed=0)
    peer = None if peers is None else float(peers[:, 0].sum() / peers[:, 1 + of].sum())
    return Measured(decides.value, decides, peer, note)


def main() -> int:
    given = parser(__doc__ or "").parse_args()
    return run("label_errors", (Group((RECALL, PRECISION, FALSE_ALARMS, SECONDS), measure),), given)


if __name__ == "__main__":
    raise SystemExit(main())
