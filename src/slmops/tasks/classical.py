"""The classical baseline for labelled texts: TF-IDF of words and characters, then logistic regression.

In come texts and their labels, out goes a fitted scikit-learn pipeline. Users will ask whether a language model was
needed; this is the honest other candidate. Deterministic, on one thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from slmops.core.errors import need

_INVERSE_PENALTIES = (1.0, 10.0, 100.0)  # scikit-learn's C
_FOLDS = 5
_EXTRA = "evaluation"


def fit_classical(texts: Sequence[str], labels: Sequence[str]) -> Any:
    """A pipeline with `predict` and `predict_proba` (columns in the order of its `classes_`).

    Word 1–2-grams and character 2–5-grams within words; the penalty is the one that cross-validation on these texts
    likes best, or the middle one where a label has a single text.
    """
    selection, limits = need("sklearn.model_selection", _EXTRA), need("threadpoolctl", _EXTRA)
    folds = min(_FOLDS, *Counter(labels).values())
    with limits.threadpool_limits(1):
        if folds < 2:
            return _pipeline(_INVERSE_PENALTIES[1]).fit(texts, labels)
        search = selection.GridSearchCV(
            _pipeline(_INVERSE_PENALTIES[1]),
            {"logisticregression__C": _INVERSE_PENALTIES},
            cv=selection.StratifiedKFold(folds, shuffle=True, random_state=0),
        )
        return search.fit(texts, labels).best_estimator_


def _pipeline(inverse_penalty: float) -> Any:
    text, linear = need("sklearn.feature_extraction.text", _EXTRA), need("sklearn.linear_model", _EXTRA)
    join = need("sklearn.pipeline", _EXTRA)
    return join.make_pipeline(
        join.make_union(
            text.TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b"),
            text.TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True),
        ),
        linear.LogisticRegression(C=inverse_penalty, max_iter=1000),
    )
