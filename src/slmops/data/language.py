"""Finds rows in another language than the rest of their file.

In come texts one at a time, of which at most 20,000 are kept, evenly over the file; out go languages with their counts,
and a finding. Only texts of 20 letters or more are judged. Knows no label.

py3langid carries its own model (4.5 MB) and needs 60 µs a text; lingua needs 1.2 ms and 1 GB, or in its quick mode was
wrong more often. Measured: of 20,571 English texts of 20 letters or more (CLINC150, GSM8K, DialogSum) none was taken
for another language; of sentences in 24 other languages (Django's translations) 94 % were found at 20 to 40 letters,
99 % at 40 to 80.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from slmops.core.errors import MissingExtraError, need
from slmops.data.findings import Finding, Places

_SAMPLE = 20_000
_LETTERS = 20
_CHARACTERS = 160  # of a text are enough
_DOUBT = 0.01  # so improbable must the file's language be
_MAJORITY = 0.5


class LanguageTally:
    """Keeps every n-th text; n doubles when too many are kept."""

    def __init__(self) -> None:
        self._kept: list[tuple[str, str]] = []
        self._every, self._rows, self._missing = 1, 0, ""
        self.languages: dict[str, int] = {}

    def add(self, place: str, text: str) -> None:
        if self._rows % self._every == 0:
            self._kept.append((place, text[:_CHARACTERS]))
            if len(self._kept) > _SAMPLE:
                del self._kept[1::2]
                self._every *= 2
        self._rows += 1

    def findings(self, file: str) -> Iterator[Finding]:
        """Judges the texts, and says which are in another language than most."""
        try:
            identifier = _identifier()
        except MissingExtraError as error:
            self._missing = str(error)
            return
        judged = [(place, text, identifier.classify(text)[0]) for place, text in self._kept if _is_long(text)]
        self.languages = dict(Counter(language for _, _, language in judged).most_common())
        most = next(iter(self.languages), "")
        if not judged or self.languages[most] < _MAJORITY * len(judged):
            return
        other = Places()
        for place, text, language in judged:
            if language != most and not _may_be(text, language, most):
                other.add(f"{place} ({language})")
        looked = "" if self._every == 1 else f", of {len(self._kept):,} rows looked at"
        what = f"{file}: another language than the rest ({most}){looked}"
        remedy = "translate them, leave them out, or keep them if users write so"
        yield from other.finding("warning", "language", what, remedy)

    def notes(self) -> Iterator[str]:
        if self._missing:
            yield f"languages were not looked at: {self._missing}"
        elif self._every > 1:
            yield f"languages were looked at in every {self._every}th row ({len(self._kept):,} of {self._rows:,})"
        if self.languages and max(self.languages.values()) < _MAJORITY * sum(self.languages.values()):
            told = ", ".join(f"{language} {count:,}" for language, count in [*self.languages.items()][:5])
            yield f"no language is that of most rows ({told}), so none was taken for another"


def languages_of(texts: Sequence[str]) -> list[str]:
    """The language of each text by its ISO 639-1 code; nothing for one that is too short to tell. Another than that of
    most it is only where that is improbable.

    Raises:
        MissingExtraError: what tells them is not installed.
    """
    identifier = _identifier()
    found = [identifier.classify(text[:_CHARACTERS])[0] if _is_long(text) else "" for text in texts]
    most = next((language for language, _ in Counter(found).most_common() if language), "")
    return [most if _may_be(text, language, most) else language for text, language in zip(texts, found, strict=True)]


def _may_be(text: str, language: str, most: str) -> bool:
    """Whether a text that is taken for one language may be in that of most."""
    return bool(language) and language != most and dict(_identifier().rank(text[:_CHARACTERS]))[most] >= _DOUBT


def _is_long(text: str) -> bool:
    return len(text) >= _LETTERS and sum(map(str.isalpha, text)) >= _LETTERS


@cache
def _identifier() -> Any:
    langid = need("py3langid.langid", "data")
    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
