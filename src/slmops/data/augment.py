"""Cheap new texts from old ones: words dropped, and halves of two texts spliced. Knows no label: a teacher says what
they mean."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from slmops.tasks.types import Record, Source

_DROP = 0.2  # share of words a drop loses


def augment_texts(records: Sequence[Record], per_record: int, seed: int, field: str = "text") -> list[Record]:
    """`per_record` new records for each record, alternately by dropping words and by splicing the beginning of its
    text with the end of another's. Gold and answers are not carried over; no text stands there twice."""
    seen = {record.inputs[field] for record in records}
    made = []
    for row, record in enumerate(records):
        generator = np.random.default_rng((seed, row))
        for turn in range(per_record):
            words = record.inputs[field].split()
            if turn % 2 == 0:
                how, kept = "drop", [word for word in words if generator.random() >= _DROP]
            else:
                other = records[int(generator.integers(len(records)))].inputs[field].split()
                how = "splice"
                kept = words[: max(1, round(len(words) * generator.uniform(0.4, 0.8)))]
                kept = kept + other[round(len(other) * generator.uniform(0.3, 0.7)) :]
            text = " ".join(kept)
            if not kept or text in seen:
                continue
            seen.add(text)
            name = hashlib.sha256(text.encode()).hexdigest()[:16]
            made.append(Record(name, {**record.inputs, field: text}, None, Source("", 0, record.id, how)))
    return made
