"""How well and how fast personal data is found, beside Presidio's pattern recognisers: `python -m benchmarks.privacy`.

2,000 records of `benchmarks/personal_data.py` inside sentences of the training files of dialogsum and
sgd_conversations, which nobody looked at while the patterns were made. A finding is right if its kind is and it covers
the value, no more and no less. Presidio answers for the kinds it knows, at its defaults and at the best F2 of a grid of
settings (all its recognisers of these kinds, the eight countries' phones, leniency, score from 0 to 0.6); without it,
ours is measured alone. Times are CPU seconds of one core.
"""

from __future__ import annotations

import functools
import importlib.util
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.personal_data import Marked, make_records, sentences_of
from benchmarks.public import DATA
from benchmarks.results import Asked, Group, Measured, Target, of_one, parser, run
from slmops.core.errors import DataError
from slmops.core.measurement import Interval
from slmops.core.statistics import bootstrap
from slmops.privacy.find import KINDS, find

RECORDS, ROWS, SEED = 2000, 1_000_000, 20_252
SCORES = (0.0, 0.3, 0.45, 0.6)

Spans = frozenset[tuple[str, int, int]]
FindSpans = Callable[[str], Spans]

_PRESIDIO = {
    "CREDIT_CARD": "card",
    "DE_SOCIAL_SECURITY": "de_pension",
    "DE_TAX_ID": "de_tax_id",
    "EMAIL_ADDRESS": "email",
    "ES_NIE": "es_nie",
    "ES_NIF": "es_dni",
    "IBAN_CODE": "iban",
    "IP_ADDRESS": "ip",
    "IT_FISCAL_CODE": "it_codice_fiscale",
    "MAC_ADDRESS": "mac",
    "PHONE_NUMBER": "phone",
    "PL_PESEL": "pl_pesel",
    "UK_NHS": "uk_nhs",
    "UK_NINO": "uk_nino",
    "US_SSN": "us_ssn",
}
_REGIONS = ("US", "GB", "DE", "FR", "ES", "IT", "NL", "PL")
_MEASURED = [kind for kind in KINDS if kind != "pt_nif"]  # Faker has no Portuguese locale among the eight

QUALITY = (
    Asked("precision", "personal data, 2,000 records: precision", "", Target("precision ≥ 0.97", "at least", 0.97)),
    Asked("recall", "personal data, 2,000 records: recall", "", Target("recall ≥ 0.95", "at least", 0.95)),
    *(Asked(f"f2_{kind}", f"{KINDS[kind]}: F2", "") for kind in _MEASURED),
    Asked("shared_kinds", "F2 over the kinds that Presidio knows, ours against Presidio at its best", ""),
    Asked("shared_kinds_touched", "the same, if a finding of the right kind need only touch the value", ""),
)
SPEED = (
    Asked("records_per_second", "these records, one core", "rows/s"),
    Asked(
        "million_rows",
        "1,000,000 rows of 15–60 words, 2 % of them with personal data, one core",
        "s",
        Target("well under 60 s on one core", "under", 60),
    ),
)


@dataclass(frozen=True)
class Peer:
    """Presidio in one setting."""

    name: str
    find: FindSpans


def main() -> int:
    arguments = parser(__doc__.splitlines()[0])
    arguments.add_argument("--rows", type=int, default=ROWS, help="of the large file")
    given = arguments.parse_args()
    return run("privacy", groups(given.rows), given)


def groups(rows: int = ROWS, count: int = RECORDS) -> list[Group]:
    return [
        Group(QUALITY, lambda wanted: measure_quality(_records(count))),
        Group(SPEED, lambda wanted: measure_speed(_records(count), rows)),
    ]


def measure_quality(records: Sequence[Marked]) -> Iterator[tuple[str, Measured]]:
    """Ours on every kind; the peer's figures beside, where it knows the kind."""
    ours, best, notes = [ours_in(record.text) for record in records], None, "Presidio is not installed: not run"
    if peers := _peers():
        answers = {peer.name: [_fair(record, peer.find(record.text)) for record in records] for peer in peers}
        f2s = {name: f2(_sums(records, found, set(_PRESIDIO.values()))) for name, found in answers.items()}
        name = max(f2s, key=lambda name: f2s[name])
        best, notes = answers[name], f"F2 of Presidio: {', '.join(f'{name} {f2:.3f}' for name, f2 in f2s.items())}"
    every = _counts(records, ours, set(KINDS))
    for id, of in (("precision", precision), ("recall", recall)):
        found = bootstrap(every, of, seed=SEED)
        yield id, Measured(found.value, found)
    for kind in _MEASURED:
        sums = _sums(records, ours, {kind})
        peer = f2(_sums(records, best, {kind})) if best is not None and kind in _PRESIDIO.values() else None
        note = f"precision {precision(sums):.3f}, recall {recall(sums):.3f}, n {int(sums[0] + sums[2])}"
        note += "; Presidio: 0" if peer == 0 else ""
        yield f"f2_{kind}", of_one_interval(float(f2(sums)), peer, note)
    shared = set(_PRESIDIO.values())
    for id, seen in (("shared_kinds", lambda some: some), ("shared_kinds_touched", functools.partial(_snap, records))):
        peer = float(f2(_sums(records, seen(best), shared))) if best is not None else None
        yield id, of_one_interval(float(f2(_sums(records, seen(ours), shared))), peer, notes)


def of_one_interval(value: float, peer: float | None, note: str) -> Measured:
    """A figure whose peer may be nought, so that there is no ratio to speak of."""
    return Measured(value, Interval.exact(value), float(peer) if peer else None, note)


def measure_speed(records: Sequence[Marked], rows: int) -> Iterator[tuple[str, Measured]]:
    texts = [record.text for record in records]
    peers = _peers()
    theirs = len(texts) / _cpu_seconds(peers[0].find, texts) if peers else None
    note = f"peer: Presidio, {peers[0].name}" if peers else "Presidio is not installed: not run"
    yield "records_per_second", of_one(len(texts) / _cpu_seconds(find, texts), theirs, note=note)
    sentences, draw = sentences_of(DATA, "train"), random.Random(SEED)
    seconds = 0.0
    for start in range(0, rows, 50_000):
        some = [_row(sentences, texts, draw) for _ in range(min(50_000, rows - start))]
        seconds += _cpu_seconds(find, some)
    yield "million_rows", of_one(seconds * ROWS / rows, note=f"{rows / seconds:,.0f} rows/s")


def ours_in(text: str) -> Spans:
    return frozenset((one.kind, one.start, one.end) for one in find(text))


def precision(sums: Any) -> Any:
    """Of (…, right, wrong, missed)."""
    return sums[..., 0] / np.maximum(sums[..., 0] + sums[..., 1], 1)


def recall(sums: Any) -> Any:
    return sums[..., 0] / np.maximum(sums[..., 0] + sums[..., 2], 1)


def f2(sums: Any) -> Any:
    return 5 * sums[..., 0] / np.maximum(5 * sums[..., 0] + 4 * sums[..., 2] + sums[..., 1], 1)


def _sums(records: Sequence[Marked], found: Sequence[Spans], kinds: set[str]) -> Any:
    return _counts(records, found, kinds).sum(axis=0)


def _counts(records: Sequence[Marked], found: Sequence[Spans], kinds: set[str]) -> Any:
    """(record, [right, wrong, missed]) of these kinds."""
    rows = []
    for record, spans in zip(records, found, strict=True):
        mine, right = ({span for span in some if span[0] in kinds} for some in (spans, record.spans))
        rows.append((len(mine & right), len(mine - right), len(right - mine)))
    return np.array(rows, float)


def _fair(record: Marked, found: Spans) -> Spans:
    """Without what lies in values of kinds that Presidio does not know."""
    others = [(start, end) for kind, start, end in record.spans if kind not in _PRESIDIO.values()]
    return frozenset(one for one in found if not any(_overlap(one[1:], other) for other in others))


def _snap(records: Sequence[Marked], found: Sequence[Spans]) -> list[Spans]:
    """Findings that touch a value of their kind, as if they covered it exactly."""
    return [
        frozenset(
            next((real for real in record.spans if real[0] == one[0] and _overlap(one[1:], real[1:])), one)
            for one in spans
        )
        for record, spans in zip(records, found, strict=True)
    ]


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] < other[1] and other[0] < one[1]


@functools.cache
def _records(count: int) -> list[Marked]:
    if not (DATA / "dialogsum" / "train.jsonl").is_file():
        raise DataError(
            "the benchmark's sentences are not there",
            where=str(DATA),
            remedy="write DialogSum (github.com/cylnlp/dialogsum) and the dev dialogues of Schema-Guided Dialogue "
            "(github.com/google-research-datasets/dstc8-schema-guided-dialogue) there, or set SLMOPS_BENCH_DATA",
        )
    return make_records(sentences_of(DATA, "train"), count, SEED)


def _row(sentences: Sequence[str], texts: Sequence[str], draw: random.Random) -> str:
    """15 to 60 words of dialogue; two in a hundred are records with personal data."""
    if draw.random() < 0.02:
        return draw.choice(texts)
    words: list[str] = []
    wanted = draw.randint(15, 60)
    while len(words) < wanted:
        words += draw.choice(sentences).split(" ")
    return " ".join(words[:wanted])


def _cpu_seconds(find_in: Callable[[str], object], texts: Sequence[str]) -> float:
    started = time.process_time()
    for text in texts:
        find_in(text)
    return time.process_time() - started


@functools.cache
def _peers() -> tuple[Peer, ...]:
    """Presidio's recognisers as they are loaded by default, then the grid; none where it is not installed."""
    if importlib.util.find_spec("presidio_analyzer") is None:
        return ()
    from presidio_analyzer import PatternRecognizer, RecognizerRegistry, predefined_recognizers

    registry = RecognizerRegistry()
    registry.load_predefined_recognizers(languages=["en"])
    phone = predefined_recognizers.PhoneRecognizer
    default = [one for one in registry.recognizers if isinstance(one, PatternRecognizer | phone)]
    patterns = [one for one in default if isinstance(one, PatternRecognizer)]
    national = [
        getattr(predefined_recognizers, f"{name}Recognizer")(supported_language="en")
        for name in ("DeSocialSecurity", "DeTaxId", "EsNie", "EsNif", "ItFiscalCode", "PlPesel", "UkNino")
    ]
    peers = [Peer("its defaults", functools.partial(_presidio, default, 0.0))]
    for leniency in (0, 1):
        recognizers = [*patterns, *national, phone(supported_regions=_REGIONS, leniency=leniency)]
        peers += [
            Peer(f"all, leniency {leniency}, score {score}", functools.partial(_presidio, recognizers, score))
            for score in SCORES
        ]
    return tuple(peers)


def _presidio(recognizers: Sequence[Any], score: float, text: str) -> Spans:
    """Of findings over one another the surest stays, then the longest, as in Presidio's anonymizer."""
    results: list[Any] = []
    for one in recognizers:
        if wanted := [entity for entity in one.supported_entities if entity in _PRESIDIO]:
            results += one.analyze(text, wanted, None) or []
    kept: list[tuple[str, int, int]] = []
    for one in sorted(results, key=lambda one: (-one.score, one.start - one.end)):
        if one.score >= score and not any(_overlap((one.start, one.end), other[1:]) for other in kept):
            kept.append((_PRESIDIO[one.entity_type], one.start, one.end))
    return frozenset(kept)


if __name__ == "__main__":
    sys.exit(main())
