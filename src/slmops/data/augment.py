"""Cheap new texts from old ones: words dropped, halves of two texts spliced, or what a function of the user's own makes
of each. Knows no label: a teacher says what they mean."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from slmops.core.errors import SlmopsError
from slmops.core.named import call_named, load_named
from slmops.data.grams import normalise
from slmops.tasks.text_metrics import UNITS, UNSPACED
from slmops.tasks.types import Record, Source

_WITH_SPACE = re.compile(rf"(?:{UNITS.pattern})\s*")
_DROP = 0.2  # share of words a drop loses

Vary = Callable[[str, np.random.Generator], str]  # a text as another one, by chance


def noisy_copies(
    rows: Sequence[tuple[Record, str]], epochs: float, noise: float, seed: int, field: str | None
) -> list[tuple[Record, str]]:
    """The rows of `epochs` epochs: as they are in the first, with other words of their input `field` dropped in every
    further one, or none where there is no field that may be varied, or no `noise`.

    A copy's id is its record's with `#` and the epoch behind it; a last epoch that is not whole has the first rows.
    """
    copies = list(rows)
    for epoch in range(1, max(1, math.ceil(epochs))):
        share = min(1.0, epochs - epoch)
        for row, (record, answer) in enumerate(rows[: round(share * len(rows))]):
            inputs = record.inputs
            if field is not None and noise:
                generator = np.random.default_rng((seed, epoch, row))
                text = "".join(_drop(_words(inputs[field]), noise, generator)).strip() or inputs[field]
                inputs = {**inputs, field: text}
            source = Source("", 0, record.id, "noise")
            copies.append((replace(record, id=f"{record.id}#{epoch}", inputs=inputs, source=source), answer))
    return copies


def augment_texts(
    records: Sequence[Record],
    per_record: int,
    seed: int,
    field: str,
    held_out: Iterable[Record] = (),
    vary: Vary | None = None,
) -> list[Record]:
    """`per_record` new records for each record, by `vary`; without it, alternately by dropping words and by splicing
    the beginning of its text with the end of another's. Gold and answers are not carried over; no text stands there
    twice, none is blank, and none `held_out`, but for case, spaces and punctuation."""
    seen = {record.inputs[field] for record in records}
    judges = {normalise(record.inputs[field]) for record in held_out}
    made = []
    for row, record in enumerate(records):
        generator = np.random.default_rng((seed, row))
        for turn in range(per_record):
            text = record.inputs[field]
            if vary:
                how, text = "vary", vary(text, generator).strip()
            elif turn % 2 == 0:
                how, text = "drop", "".join(_drop(_words(text), _DROP, generator)).strip()
            else:
                other = records[int(generator.integers(len(records)))].inputs[field]
                how, text = "splice", _splice(_words(text), _words(other), generator)
            if not text or text in seen or normalise(text) in judges:
                continue
            seen.add(text)
            name = hashlib.sha256(text.encode()).hexdigest()[:16]
            made.append(Record(name, {**record.inputs, field: text}, None, Source("", 0, record.id, how)))
    return made


def own_variation(name: str) -> Vary:
    """A function of the user's own: (text, NumPy generator) → another text; checked at every call.

    Raises:
        ConfigError: there is no such thing.
    """
    where = "synthesis.vary"
    function = load_named(name, where)

    def checked(text: str, generator: np.random.Generator) -> str:
        varied = call_named(name, where, function, text, generator)
        if not isinstance(varied, str):
            raise SlmopsError(f"{name} returned a {type(varied).__name__}, expected a text", where=where)
        call_named(name, where, varied.encode)  # what is no Unicode could not be written
        return varied

    return checked


def _splice(words: list[str], other: list[str], generator: np.random.Generator) -> str:
    beginning = words[: max(1, round(len(words) * generator.uniform(0.4, 0.8)))]
    end = other[round(len(other) * generator.uniform(0.3, 0.7)) :]
    return "".join([*beginning, *end]).strip()


def _words(text: str) -> list[str]:
    """A text's words, each with one space behind where there is any; characters, where it is written without."""
    ends = re.search(rf"[{UNSPACED}]$", text)
    found = [one.group() for one in _WITH_SPACE.finditer(text if ends else f"{text} ")]
    return [f"{one.rstrip()} " if one[-1].isspace() else one for one in found]


def _drop(words: list[str], share: float, generator: np.random.Generator) -> list[str]:
    return [word for word in words if generator.random() >= share]
