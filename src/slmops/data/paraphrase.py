"""Texts in other words, written by a model, and which of them can be trusted to mean the same.

In come texts and a function that answers conversations, out go new texts, or None where what was written is no other
text: blank, cut off, with other numbers, much longer or shorter, or the same but for case and punctuation. Whether a
label was kept is asked of a TF-IDF model that knows all rows: it must hold that label for likelier than any other. That
is no proof: look at some. Knows no file and no model.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

from slmops.core.errors import DataError
from slmops.data.grams import normalise
from slmops.data.label_errors import FOLDS, KNOWS, doubt_labels, likeliest_labels
from slmops.tasks.types import Message

Ask = Callable[[Sequence[Sequence[Message]]], Sequence[str | None]]  # conversations → answers; None: cut off

_ASK = "Write this message in other words. Keep its meaning, names and numbers.\n\n"
_INTRODUCED = re.compile(r"^[^\n]{0,60}:\s*\n+")  # "Here is the message in other words:"
_QUOTED = ('""', "''", "“”", "„“", "«»")
_LONGEST, _SHORTEST = 2.5, 0.4  # times the text, in words
_NUMBER = re.compile(r"\d+")


def reworded(texts: Sequence[str], ask: Ask) -> list[str | None]:
    """Each text in other words; None where what was written cannot be used."""
    answers = ask([[Message("user", _ASK + text)] for text in texts])
    return [_usable(text, answer) for text, answer in zip(texts, answers, strict=True)]


class LabelKeeper:
    """Says whether texts still mean their label.

    Raises:
        DataError: the labels cannot be told from the texts by such a model, so that nothing could be checked.
        MissingExtraError: scikit-learn is not installed.
    """

    def __init__(self, texts: Sequence[str], labels: Sequence[str], where: str) -> None:
        counts = Counter(labels)
        found, _ = doubt_labels(texts, labels)
        if found < KNOWS or sum(count >= FOLDS for count in counts.values()) < 2:
            raise DataError(
                f"a TF-IDF model finds {found:.0%} of the labels, too few to check whether other words keep them",
                where=where,
                remedy=f"label {FOLDS} rows or more of each, or add copies with --noise",
            )
        self._likeliest = likeliest_labels(texts, labels)

    def keeps(self, texts: Sequence[str], labels: Sequence[str]) -> list[bool]:
        """For each text, whether its label is the likeliest."""
        return [said == label for said, label in zip(self._likeliest(texts), labels, strict=True)]


def _usable(text: str, answer: str | None) -> str | None:
    if answer is None:
        return None
    new = _INTRODUCED.sub("", answer.strip()).strip()
    if len(new) > 1 and new[0] + new[-1] in _QUOTED and new[1:-1].find(new[-1]) < 0:
        new = new[1:-1].strip()
    words, before = len(new.split()), len(text.split())
    if not _SHORTEST * before <= words <= _LONGEST * before + 2 or "\n\n" in new:
        return None
    if sorted(_NUMBER.findall(new)) != sorted(_NUMBER.findall(text)) or normalise(new) == normalise(text):
        return None
    return new
