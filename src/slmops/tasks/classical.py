"""The classical baseline for labelled texts: TF-IDF of words and characters, then logistic regression.

In come texts and their labels, out goes what has learned from them. Users will ask whether a language model was
needed; this is the honest other candidate. Deterministic, on one thread.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slmops.core.errors import need

_INVERSE_PENALTIES = (1.0, 10.0, 100.0)  # scikit-learn's C
_FOLDS = 3
_MOST_WEIGHTS = 8_000_000  # of all labels together: fitting them takes 25 times their memory, 1.6 GB
_EXTRA = "evaluation"


@dataclass(frozen=True)
class Classical:
    """A fitted scikit-learn pipeline (`fit_classical`), which answers with one of `labels`."""

    pipeline: Any
    labels: Sequence[str]

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """(text, label); a label that no text had, of which it learned, gets 0."""
        probabilities = np.zeros((len(texts), len(self.labels)))
        columns = [self.labels.index(label) for label in self.pipeline.classes_]
        probabilities[:, columns] = self.pipeline.predict_proba(texts)
        return probabilities

    def answers(self, texts: Sequence[str]) -> list[str]:
        return [self.labels[best] for best in self.probabilities(texts).argmax(axis=1)]

    def latencies_ms(self, texts: Sequence[str]) -> list[float]:
        """What each takes by itself, one after another, on one thread."""
        taken = []
        with need("threadpoolctl", _EXTRA).threadpool_limits(1):
            self.answers(texts[:1])  # what is slow once
            for text in texts:
                begun = time.perf_counter()
                self.answers([text])
                taken.append(1e3 * (time.perf_counter() - begun))
        return taken

    @property
    def size_bytes(self) -> int:
        """Of its weights, and of the n-grams that they are of."""
        union, linear = (part for _, part in self.pipeline.steps)
        numbers = [getattr(linear, name) for name in ("coef_", "intercept_") if hasattr(linear, name)]
        parts = [part for _, part in union.transformer_list]
        grams = sum(len(gram.encode()) for part in parts for gram in part.vocabulary_)
        return grams + sum(array.nbytes for array in [*numbers, *(part.idf_ for part in parts)])


def fit_classical(texts: Sequence[str], labels: Sequence[str]) -> Any:
    """A pipeline with `predict` and `predict_proba` (columns in the order of its `classes_`).

    Word 1–2-grams and character 2–5-grams within words; the penalty is the one that cross-validation on these texts
    likes best, or the middle one where a label has a single text.
    """
    selection, limits = need("sklearn.model_selection", _EXTRA), need("threadpoolctl", _EXTRA)
    join = need("sklearn.pipeline", _EXTRA)
    folds = min(_FOLDS, *Counter(labels).values())
    with limits.threadpool_limits(1):
        ngrams = _ngrams(max(1, _MOST_WEIGHTS // 2 // len(set(labels))))
        features = ngrams.fit_transform(texts)  # once: what a fold holds out decides no weight but its n-grams' rarity
        linear = _linear(_INVERSE_PENALTIES[1])
        if len(set(labels)) == 1:
            linear = need("sklearn.dummy", _EXTRA).DummyClassifier()
        elif folds >= 2:
            splits = selection.StratifiedKFold(folds, shuffle=True, random_state=0)
            linear = selection.GridSearchCV(linear, {"C": _INVERSE_PENALTIES}, cv=splits)
        fitted = linear.fit(features, labels)
        return join.make_pipeline(ngrams, getattr(fitted, "best_estimator_", fitted))


def _ngrams(most: int) -> Any:
    """At most so many of each kind, the most frequent."""
    text, join = need("sklearn.feature_extraction.text", _EXTRA), need("sklearn.pipeline", _EXTRA)
    options: dict[str, Any] = {"sublinear_tf": True, "dtype": np.float32, "max_features": most}
    return join.make_union(
        text.TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b", **options),
        text.TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), **options),
    )


def _linear(inverse_penalty: float) -> Any:
    return need("sklearn.linear_model", _EXTRA).LogisticRegression(C=inverse_penalty, max_iter=1000)
