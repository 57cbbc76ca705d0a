"""Finds labels that look wrong: those that a model which has not seen the row holds for much less likely than another.

In come labelled texts, out go suspects, the surest first. Out-of-fold probabilities of TF-IDF and logistic regression,
as in confident learning (Northcutt, Jiang, Chuang, JAIR 2021), and a plain rule on them: another label is `ODDS` times
as likely. Penalty and odds were chosen on CLINC150's intents 31–60 with 5 % of the labels exchanged (100 rows a label:
recall 0.99, precision 0.88; 20 rows: 0.97, 0.91); of labels left as they are, 0.6 % were doubted. cleanlab 2.9 on the
same probabilities, by its default rule, had 0.80 and 0.90 there, and brings pandas; so it is not used. Both on other
intents: benchmarks/results/label_errors.json. Where the model finds few of the labels (SICK: 60 %), its doubts are
worth nothing (precision 0.18): then there are none. Knows no file.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slmops.core.errors import need

ODDS = 3.0
FOLDS = 5
KNOWS = 0.7  # the share of labels that a model must find to have doubts about the others

_INVERSE_PENALTY = 3.0  # scikit-learn's C
_TOLERANCE, _MAX_STEPS = 1e-3, 60  # hard data stops there; on CLINC150 it is done sooner
_MAX_NGRAMS = 30_000  # of words, and as many of characters: what is rarer costs most of the time in long texts
_EXTRA = "evaluation"


@dataclass(frozen=True)
class Doubt:
    """The label of a row (by its number) that looks wrong, what the model would say, and how many times as likely."""

    row: int
    suggested: str
    odds: float


def doubt_labels(texts: Sequence[str], labels: Sequence[str]) -> tuple[float, list[Doubt]]:
    """The share of labels that the model found in rows it had not seen, and those that look wrong, the surest first.

    Rows of labels that have fewer than five are left out.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    counts = Counter(labels)
    rows = [row for row, label in enumerate(labels) if counts[label] >= FOLDS]
    names, given = np.unique([labels[row] for row in rows], return_inverse=True)
    if len(names) < 2:
        return 1.0, []
    probabilities = out_of_fold([texts[row] for row in rows], given)
    found = float((probabilities.argmax(axis=1) == given).mean())
    if found < KNOWS:
        return found, []
    odds = odds_against(probabilities, given)
    doubted = [place for place in np.argsort(-odds, kind="stable") if odds[place] > ODDS]
    suggested = names[_without_own(probabilities, given).argmax(axis=1)]
    return found, [Doubt(rows[place], str(suggested[place]), float(odds[place])) for place in doubted]


def out_of_fold(texts: Sequence[str], given: NDArray[np.int64]) -> NDArray[np.float64]:
    """(text, label) probabilities by models that have not seen the text. On one thread, and the same each time."""
    selection = need("sklearn.model_selection", _EXTRA)
    folds = selection.StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    with _quiet():
        features = _ngrams().fit_transform(texts)  # once: what a fold holds out decides no weight but rarity
        return np.asarray(selection.cross_val_predict(_model(), features, given, cv=folds, method="predict_proba"))


def likeliest_labels(texts: Sequence[str], labels: Sequence[str]) -> Callable[[Sequence[str]], list[str]]:
    """Tells texts' likeliest labels, by a model that has seen all of these."""
    ngrams, model = _ngrams(), _model()
    with _quiet():
        model.fit(ngrams.fit_transform(texts), labels)
    return lambda others: [str(label) for label in model.predict(ngrams.transform(others))] if others else []


def odds_against(probabilities: NDArray[np.float64], given: NDArray[np.int64]) -> NDArray[np.float64]:
    """For each row, how many times as likely as its own label the likeliest other one is."""
    own = probabilities[np.arange(len(given)), given]
    return np.asarray(_without_own(probabilities, given).max(axis=1) / np.maximum(own, 1e-12))


def _without_own(probabilities: NDArray[np.float64], given: NDArray[np.int64]) -> NDArray[np.float64]:
    others = probabilities.copy()
    others[np.arange(len(given)), given] = 0.0
    return others


def _model() -> Any:
    linear = need("sklearn.linear_model", _EXTRA)
    return linear.LogisticRegression(C=_INVERSE_PENALTY, tol=_TOLERANCE, max_iter=_MAX_STEPS)


@contextmanager
def _quiet() -> Iterator[None]:
    """On one thread, and without a word about steps that did not suffice."""
    with need("threadpoolctl", _EXTRA).threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", need("sklearn.exceptions", _EXTRA).ConvergenceWarning)
        yield


def _ngrams() -> Any:
    """Words and pairs of words, and runs of 3 or 4 characters within words: a third of the time that 2 to 5 take."""
    text, join = need("sklearn.feature_extraction.text", _EXTRA), need("sklearn.pipeline", _EXTRA)
    options = {"sublinear_tf": True, "dtype": np.float32, "max_features": _MAX_NGRAMS}
    return join.make_union(
        text.TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b", **options),
        text.TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 4), **options),
    )
