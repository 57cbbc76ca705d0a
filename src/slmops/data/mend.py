"""Mends a text: mojibake, control and invisible characters, line ends, Unicode's composed form, spaces at the ends.

In comes a string, out goes what it should have been, with the name of each step that changed it. A mended text is not
changed again. Knows no row and no file. Leaves quotes, dashes, spelling and spaces inside a text alone.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from slmops.core.errors import need

_ROUNDS = 8  # taking one thing out may bring two others together; texts that need more rounds are made, not met
_PLAIN = re.compile(r"[\t\n\x20-\x7e]*")
_LINE_END = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_CONTROL = re.compile("[\0-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")
# Zero-width spaces, soft hyphens, marks of direction, a byte order mark, and tags outside a flag's emoji. What joins
# letters of Persian and Hindi or parts of an emoji (U+200C, U+200D) stays between characters that are not ASCII.
_FORMAT = "\u00ad\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\ufff9-\ufffb"
_ANY_INVISIBLE = re.compile(f"[{_FORMAT}\u200c\u200d\U000e0000-\U000e007f]")
_INVISIBLE = re.compile(
    f"[{_FORMAT}]"
    "|(?<![\U0001f3f4\U000e0020-\U000e007f])[\U000e0000-\U000e007f]+"
    "|(?<![^\0-\x7f])[\u200c\u200d]+|[\u200c\u200d]+(?![^\0-\x7f])"
)
_MOJIBAKE = re.compile("[^\0-\x7f]{2}|[ÂÃ] ")  # UTF-8 read as another encoding: one character became two or more


@dataclass(frozen=True)
class Step:
    """What was done to a text."""

    did: str
    before: str
    after: str


def mend(text: str) -> tuple[str, tuple[Step, ...]]:
    """The text as it should be, and what was done to it."""
    if text.strip() == text and _PLAIN.fullmatch(text):  # most are
        return text, ()
    steps: list[Step] = []
    for _ in range(_ROUNDS):
        begun = text
        for did, repair in _REPAIRS:
            after = repair(text)
            if after != text:
                steps.append(Step(did, text, after))
                text = after
        if text == begun:
            break
    return text, tuple(steps)


def _mojibake(text: str) -> str:
    return need("ftfy", "data").fix_encoding(text) if _MOJIBAKE.search(text) else text


def _visible(text: str) -> str:
    return _INVISIBLE.sub("", text) if _ANY_INVISIBLE.search(text) else text


_REPAIRS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("mojibake repaired", _mojibake),
    ("line ends", lambda text: _LINE_END.sub("\n", text)),
    ("control characters removed", lambda text: _CONTROL.sub("", text)),
    ("invisible characters removed", _visible),
    ("Unicode composed (NFC)", lambda text: unicodedata.normalize("NFC", text)),
    ("spaces at the ends removed", str.strip),
)
