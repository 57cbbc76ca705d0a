"""The classical baseline for extraction: every word is tagged by what it and its neighbours look like.

In come texts with their slots, out go slots of other texts, by logistic regression over a window of words with
begin/inside/outside tags (Ramshaw and Marcus 1995; features as Tjong Kim Sang and De Meulder 2003 describe them).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

from slmops.core.errors import need
from slmops.tasks.types import Json

_WORD = re.compile(r"\w+|[^\w\s]")
_EXTRA = "evaluation"
_OUTSIDE = "outside"


def tag(train: Sequence[tuple[str, Json]], texts: Sequence[str]) -> list[Json] | None:
    """The slots of `texts`, learned from `train`; None where its slots are not plain words of their texts."""
    if not all(_is_flat(slots) for _, slots in train):
        return None
    listed = {name for _, slots in train for name, value in slots.items() if isinstance(value, list)}
    words, tags = [], []
    for text, slots in train:
        found = list(_WORD.finditer(text))
        words += [_features(found, place) for place in range(len(found))]
        tags += _tags(text, slots, found)
    if len(set(tags)) < 2:
        return None
    pipeline, limits = need("sklearn.pipeline", _EXTRA), need("threadpoolctl", _EXTRA)
    features, linear = need("sklearn.feature_extraction", _EXTRA), need("sklearn.linear_model", _EXTRA)
    with limits.threadpool_limits(1):
        model = pipeline.make_pipeline(features.DictVectorizer(), linear.LogisticRegression(C=10, max_iter=500))
        model.fit(words, tags)
        return [_slots(text, model, listed) for text in texts]


def _is_flat(slots: Json) -> bool:
    return isinstance(slots, Mapping) and all(
        value is None
        or isinstance(value, str)
        or (isinstance(value, list) and all(isinstance(item, str) for item in value))
        for value in slots.values()
    )


def _tags(text: str, slots: Mapping[str, Json], words: Sequence[re.Match[str]]) -> list[str]:
    tags = [_OUTSIDE] * len(words)
    for name, value in slots.items():
        for item in value if isinstance(value, list) else [value] if value else []:
            start = text.find(item)
            inside = (
                [p for p, word in enumerate(words) if start <= word.start() < start + len(item)] if start >= 0 else []
            )
            for place in inside:
                tags[place] = f"{'begin' if place == inside[0] else 'inside'} {name}"
    return tags


def _features(words: Sequence[re.Match[str]], place: int) -> dict[str, str]:
    features = {"bias": "1"}
    for offset in (-2, -1, 0, 1, 2):
        at = place + offset
        word = words[at].group() if 0 <= at < len(words) else ""
        features[f"word{offset}"] = word.lower()
        features[f"shape{offset}"] = re.sub(r"\d", "0", re.sub(r"[^\W\d_]", "a", re.sub(r"[A-Z]", "A", word)))[:4]
    word = words[place].group()
    features |= {f"end{size}": word[-size:].lower() for size in (1, 2, 3)}
    return features | {f"begin{size}": word[:size].lower() for size in (1, 2, 3)}


def _slots(text: str, model: object, listed: set[str]) -> dict[str, Json]:
    words = list(_WORD.finditer(text))
    if not words:
        return {}
    tags = list(model.predict([_features(words, place) for place in range(len(words))]))  # type: ignore[attr-defined]
    spans: dict[str, list[tuple[int, int]]] = {}
    for word, (before, tagged) in zip(words, pairwise(["", *tags]), strict=True):
        if tagged == _OUTSIDE:
            continue
        name = tagged.partition(" ")[2]
        goes_on = tagged.startswith("inside") and before.endswith(f" {name}")
        of_name = spans.setdefault(name, [])
        if goes_on and of_name:
            of_name[-1] = (of_name[-1][0], word.end())
        else:
            of_name.append((word.start(), word.end()))
    found = {name: [text[start:end] for start, end in places] for name, places in spans.items()}
    return {name: values if name in listed else values[0] for name, values in found.items()}
