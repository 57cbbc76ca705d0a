"""Noise as people make it: keys beside the right one, case, spaces, accents left out.

In come a text and a random generator, out goes the text with one kind of noise, or as it was where the kind changes
nothing. Leaves digits alone: another number is another meaning. Knows no row and no label.
"""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable
from typing import Literal, get_args

Kind = Literal["typos", "casing", "whitespace", "accents"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_RATE = 0.04  # of the letters, or of the spaces: about a slip in five words
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


def add_noise(text: str, kind: Kind, generator: random.Random) -> str:
    """`text` with one kind of noise."""
    return _NOISES[kind](text, generator)


def _typos(text: str, generator: random.Random) -> str:
    """One slip at least: a key beside the right one, a letter left out, doubled, or before its time."""
    chars = list(text)
    letters = [place for place, char in enumerate(chars) if char.lower() in _BESIDE]
    for place in generator.sample(letters, min(len(letters), max(1, round(_RATE * len(letters))))):
        char = chars[place]
        match generator.randrange(4):
            case 0:
                beside = generator.choice(_BESIDE[char.lower()])
                chars[place] = beside.upper() if char.isupper() else beside
            case 1:
                chars[place] = ""
            case 2:
                chars[place] = char * 2
            case _ if place + 1 < len(chars) and chars[place + 1].isalpha():
                chars[place], chars[place + 1] = chars[place + 1], char
    return "".join(chars)


def _casing(text: str, generator: random.Random) -> str:
    return generator.choice((str.lower, str.upper, str.title, str.swapcase))(text)


def _whitespace(text: str, generator: random.Random) -> str:
    """Spaces doubled, or left out before a letter."""
    spaces = [place for place, char in enumerate(text) if char == " "]
    chosen = set(generator.sample(spaces, min(len(spaces), max(1, round(_RATE * len(spaces))))))
    chars = [generator.choice(("", "  ")) if place in chosen else char for place, char in enumerate(text)]
    return "".join(chars)


def _accents(text: str, generator: random.Random) -> str:
    plain = "".join(char for char in unicodedata.normalize("NFD", text) if not unicodedata.combining(char))
    return unicodedata.normalize("NFC", plain)


def _beside() -> dict[str, str]:
    near: dict[str, str] = {}
    for above, row in enumerate(_ROWS):
        for place, char in enumerate(row):
            others = [row[place - 1 : place], row[place + 1 : place + 2]]
            others += [_ROWS[other][place : place + 1] for other in (above - 1, above + 1) if 0 <= other < len(_ROWS)]
            near[char] = "".join(others)
    return near


_BESIDE = _beside()
_NOISES: dict[Kind, Callable[[str, random.Random], str]] = {
    "typos": _typos,
    "casing": _casing,
    "whitespace": _whitespace,
    "accents": _accents,
}
