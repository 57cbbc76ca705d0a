"""Rows to be cleaned and divided, of which it is known which are nearly the same: words of public texts, spliced.

In come the texts of SLMOPS_BENCH_DATA and a seed, out go rows of so many words, pieces of two to five from all over,
one row in fifty followed by a copy in which 5 % of the words, or of the characters, are edited. Knows no command.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

How = Literal["words", "characters"]

EDITED = 0.05
_COPIED = 0.02
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_LABELS = 8
_TEXTS = {
    "gsm8k/train.jsonl": ("question", "answer"),
    "dialogsum/train.jsonl": ("document",),
    "xquad_en/train.jsonl": ("context",),
    "clinc150/train.jsonl": ("text",),
    "sick/train.jsonl": ("premise",),
}


@dataclass(frozen=True)
class Planted:
    """A row and its edited copy, by their numbers from 0."""

    row: int
    copy: int
    how: How


def read_words(data: Path) -> list[str]:
    """All words of the public texts, in order."""
    words = (data / "wikitext2" / "test.txt").read_text().split()
    for name, columns in _TEXTS.items():
        for line in (data / name).read_text().splitlines():
            row = json.loads(line)
            words += (word for column in columns for word in row[column].split())
    return words


def write_rows(
    stream: IO[str],
    words: list[str],
    *,
    rows: int = 0,
    size_bytes: int = 0,
    length: tuple[int, int] = (15, 60),
    seed: int,
) -> tuple[int, list[Planted]]:
    """Writes `rows` rows, or rows of `size_bytes` in all; how many there are, and which are copies."""
    draw = random.Random(seed)
    planted: list[Planted] = []
    written = number = 0
    for text, how in _texts(words, length, draw):
        if number >= rows if rows else written >= size_bytes:
            break
        label = f"label {(number - bool(how)) % _LABELS}"
        written += stream.write(json.dumps({"text": text, "label": label}, ensure_ascii=False) + "\n")
        if how:
            planted.append(Planted(number - 1, number, how))
        number += 1
    return number, planted


def _texts(words: list[str], length: tuple[int, int], draw: random.Random) -> Iterator[tuple[str, How | None]]:
    last = len(words) - 5
    while True:
        wanted = draw.randint(*length)
        chosen: list[str] = []
        while len(chosen) < wanted:
            start = int(draw.random() * last)
            chosen += words[start : start + 2 + int(draw.random() * 4)]
        del chosen[wanted:]
        yield " ".join(chosen), None
        if draw.random() < _COPIED:
            if draw.random() < 0.5:
                yield _edit_words(chosen, words, draw), "words"
            else:
                yield _edit_characters(" ".join(chosen), draw), "characters"


def _edit_words(chosen: list[str], words: list[str], draw: random.Random) -> str:
    """5 % of the words, one at least: half exchanged, a quarter left out, a quarter followed by another."""
    edited = list(chosen)
    for place in draw.sample(range(len(edited)), max(1, round(EDITED * len(edited)))):
        edited[place] = _edit(edited[place], draw.choice(words), " ", draw)
    return " ".join(word for word in edited if word)


def _edit_characters(text: str, draw: random.Random) -> str:
    edited = list(text)
    for place in draw.sample(range(len(edited)), max(1, round(EDITED * len(edited)))):
        edited[place] = _edit(edited[place], draw.choice(_LETTERS), "", draw)
    return "".join(edited)


def _edit(old: str, new: str, between: str, draw: random.Random) -> str:
    chance = draw.random()
    return new if chance < 0.5 else "" if chance < 0.75 else old + between + new
