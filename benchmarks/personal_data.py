"""Records with personal data whose places are known: values by Faker in eight locales, inside sentences of dialogues.

In come sentences and a seed, out go records: half of the values stand between two words of a sentence with nothing said
about them, half behind a phrase of the locale's language. A fifth of the records has none, but a number that looks like
one. Knows no finder.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOCALES = ("en_US", "en_GB", "de_DE", "fr_FR", "es_ES", "it_IT", "nl_NL", "pl_PL")
_UNKNOWN = re.compile(r"@|(?:[0-9][ ()./-]{0,2}){7}|://")  # a sentence's own data, which nobody has marked
_WITHOUT = 0.2  # of the records have no personal data
_NEEDS_WORDS = ("birth_date", "nl_bsn")  # nobody could tell them without

_SAID = {
    "phone": "My phone number is|You can call me on|Meine Telefonnummer ist|Mon numéro de téléphone est le|"
    "Mi teléfono es el|Il mio numero di telefono è|Mijn telefoonnummer is|Mój numer telefonu to",
    "birth_date": "I was born on|Date of birth:|Ich bin geboren am|Je suis né le|Nací el|Sono nato il|"
    "Ik ben geboren op|Data urodzenia:",
    "national": "My social security number is|My national insurance number is|Meine Nummer beim Amt lautet|"
    "Mon numéro de sécurité sociale est|Mi número de identidad es|Il mio codice fiscale è|Mijn BSN is|Mój PESEL to",
    "other": "Here it is:|Please use|Bitte verwenden Sie|Voici :|Aquí está:|Ecco:|Hier is het:|Oto dane:",
}


@dataclass(frozen=True)
class Marked:
    """A text, and the personal data in it: (kind, start, end)."""

    text: str
    spans: frozenset[tuple[str, int, int]]


def sentences_of(data: Path, split: str) -> list[str]:
    """The sentences of dialogsum and sgd_conversations that have no personal data of their own."""
    texts: list[str] = []
    for row in _rows(data / "dialogsum" / f"{split}.jsonl"):
        texts += [turn.partition(":")[2] for turn in row["document"].splitlines()]
    for row in _rows(data / "sgd_conversations" / f"{split}.jsonl"):
        texts += [message["content"] for message in row["messages"] if message["role"] != "system"]
    cut = (sentence.strip() for text in texts for sentence in re.split(r"(?<=[.!?])\s+", text))
    return [sentence for sentence in dict.fromkeys(cut) if len(sentence.split()) > 3 and not _UNKNOWN.search(sentence)]


def make_records(sentences: Sequence[str], count: int, seed: int) -> list[Marked]:
    """`count` records, each locale and kind in its turn."""
    from faker import Faker

    draw = random.Random(seed)
    fakers = {locale: Faker(locale) for locale in LOCALES}
    for number, faker in enumerate(fakers.values()):
        faker.seed_instance(seed * 100 + number)
    turns = {locale: _forever(list(_values(locale))) for locale in LOCALES}
    made = []
    for row in range(count):
        locale = LOCALES[row % len(LOCALES)]
        around = draw.sample(list(sentences), 3)
        if draw.random() < _WITHOUT:
            made.append(_insert(around, "", "", draw.choice(_LOOKALIKES)(draw), draw))
        else:
            kind, make = next(turns[locale])
            said = _phrase(kind, locale) if kind in _NEEDS_WORDS or draw.random() < 0.5 else ""
            made.append(_insert(around, kind, said, str(make(fakers[locale], draw)), draw))
    return made


def _insert(around: Sequence[str], kind: str, said: str, value: str, draw: random.Random) -> Marked:
    """Behind the phrase as a sentence of its own, or between two words."""
    first, second, third = around
    if said:
        before, after = f"{first} {said} ", draw.choice((". ", " ", ", ", "! ")) + third
    else:
        words = second.split(" ")
        at = draw.randint(1, len(words))
        before, after = " ".join([first, *words[:at]]) + " ", " " + " ".join([*words[at:], third])
    marked = {(kind, len(before), len(before) + len(value))} if kind else set()
    return Marked(before + value + after, frozenset(marked))


Make = Callable[[Any, random.Random], object]


def _values(locale: str) -> Iterator[tuple[str, Make]]:
    """Every kind for this locale; phones twice, as they vary most."""
    yield "email", lambda faker, draw: faker.email()
    yield "phone", lambda faker, draw: faker.phone_number()
    yield "card", lambda faker, draw: _grouped_card(faker.credit_card_number(), draw)
    yield "iban", lambda faker, draw: _grouped(faker.iban(), draw)
    yield "ip", lambda faker, draw: faker.ipv4() if draw.random() < 0.6 else faker.ipv6()
    yield "mac", lambda faker, draw: faker.mac_address()
    yield "credential_url", lambda faker, draw: _credential_url(faker)
    yield "secret", lambda faker, draw: draw.choice(_SECRETS)(draw)
    yield "birth_date", lambda faker, draw: _written(faker.date_of_birth(), locale, draw)
    yield "phone", lambda faker, draw: faker.phone_number()
    yield from _NATIONAL[locale]


def _de_tax_id(faker: Any, draw: random.Random) -> str:
    """One digit twice, one not at all, and the check digit of ISO 7064 mod 11, 10."""
    digits = draw.sample("0123456789", 9)
    digits.insert(draw.randint(0, 9), draw.choice(digits))
    if digits[0] == "0":
        return _de_tax_id(faker, draw)
    rest = 10
    for digit in digits:
        rest = ((int(digit) + rest) % 10 or 10) * 2 % 11
    number = "".join(digits) + str((11 - rest) % 10)
    return f"{number[:2]} {number[2:5]} {number[5:8]} {number[8:]}" if draw.random() < 0.5 else number


def _nhs(faker: Any, draw: random.Random) -> str:
    digits = [draw.randint(0, 9) for _ in range(9)]
    check = 11 - sum(digit * (10 - place) for place, digit in enumerate(digits)) % 11
    if check == 10:
        return _nhs(faker, draw)
    number = "".join(map(str, [*digits, check % 11]))
    return f"{number[:3]} {number[3:6]} {number[6:]}"


_NATIONAL: Mapping[str, tuple[tuple[str, Make], ...]] = {
    "en_US": (("us_ssn", lambda faker, draw: faker.ssn()),),
    "en_GB": (("uk_nino", lambda faker, draw: faker.ssn()), ("uk_nhs", _nhs)),
    "de_DE": (("de_pension", lambda faker, draw: faker.rvnr()), ("de_tax_id", _de_tax_id)),
    "fr_FR": (("fr_nir", lambda faker, draw: faker.ssn()),),
    "es_ES": (("es_dni", lambda faker, draw: faker.nif()), ("es_nie", lambda faker, draw: faker.nie())),
    "it_IT": (("it_codice_fiscale", lambda faker, draw: faker.ssn()),),
    "nl_NL": (("nl_bsn", lambda faker, draw: faker.ssn()),),
    "pl_PL": (("pl_pesel", lambda faker, draw: faker.pesel()),),
}


def _phrase(kind: str, locale: str) -> str:
    group = kind if kind in _SAID else "national" if "_" in kind and kind != "credential_url" else "other"
    return _SAID[group].split("|")[LOCALES.index(locale)]


def _grouped(value: str, draw: random.Random) -> str:
    return " ".join(value[at : at + 4] for at in range(0, len(value), 4)) if draw.random() < 0.5 else value


def _grouped_card(value: str, draw: random.Random) -> str:
    return _grouped(value, draw) if len(value) == 16 else value


def _credential_url(faker: Any) -> str:
    password = faker.password(length=12, special_chars=False)
    return f"https://{faker.user_name()}:{password}@{faker.domain_name()}/{faker.uri_path()}"


_MONTHS = {
    "en_US": "January February March April May June July August September October November December",
    "de_DE": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "fr_FR": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "es_ES": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    "it_IT": "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
    "nl_NL": "januari februari maart april mei juni juli augustus september oktober november december",
    "pl_PL": "stycznia lutego marca kwietnia maja czerwca lipca sierpnia września października listopada grudnia",
}


def _written(date: Any, locale: str, draw: random.Random) -> str:
    if draw.random() < 0.3:
        return str(date.isoformat())
    if draw.random() < 0.5:
        by = {"de_DE": ".", "pl_PL": ".", "nl_NL": "-"}.get(locale, "/")
        parts = (date.month, date.day) if locale == "en_US" else (date.day, date.month)
        return by.join((f"{parts[0]:02}", f"{parts[1]:02}", str(date.year)))
    month = _MONTHS.get(locale, _MONTHS["en_US"]).split()[date.month - 1]
    forms = {"en_US": "{m} {d}, {y}", "de_DE": "{d}. {m} {y}", "es_ES": "{d} de {m} de {y}"}
    return forms.get(locale, "{d} {m} {y}").format(d=date.day, m=month, y=date.year)


_ALNUM = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def _random(draw: random.Random, length: int, alphabet: str = _ALNUM) -> str:
    return "".join(draw.choices(alphabet, k=length))


_SECRETS: tuple[Callable[[random.Random], str], ...] = (
    lambda draw: "AKIA" + _random(draw, 16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"),
    lambda draw: "ghp_" + _random(draw, 36),
    lambda draw: "glpat-" + _random(draw, 20),
    lambda draw: f"xoxb-{draw.randint(10**11, 10**12)}-{draw.randint(10**11, 10**12)}-{_random(draw, 24)}",
    lambda draw: "sk_live_" + _random(draw, 24),
    lambda draw: "sk-proj-" + _random(draw, 48),
    lambda draw: "AIza" + _random(draw, 35),
    lambda draw: "hf_" + _random(draw, 34),
    lambda draw: f"eyJ{_random(draw, 33)}.eyJ{_random(draw, 60)}.{_random(draw, 43)}",
)
_LOOKALIKES: tuple[Callable[[random.Random], str], ...] = (
    lambda draw: f"order number {draw.randint(10**9, 10**10 - 1)}",
    lambda draw: f"Bestellnummer {draw.randint(10**7, 10**11)}",
    lambda draw: f"tracking number {draw.randint(10**15, 10**16 - 1)}",
    lambda draw: f"invoice #{draw.randint(2020, 2026)}-{draw.randint(10**4, 10**6)}",
    lambda draw: f"version {draw.randint(1, 9)}.{draw.randint(0, 20)}.{draw.randint(0, 20)}.{draw.randint(0, 200)}",
    lambda draw: (
        f"ISBN 978-{draw.randint(0, 9)}-{draw.randint(10, 99)}-{draw.randint(100000, 999999)}-{draw.randint(0, 9)}"
    ),
    lambda draw: f"978{draw.randint(10**9, 10**10 - 1)}",
    lambda draw: f"${draw.randint(1, 999)},{draw.randint(100, 999)},{draw.randint(100, 999)}.{draw.randint(10, 99)}",
    lambda draw: f"{draw.randint(100, 999)} {draw.randint(100, 999)} {draw.randint(100, 999)} €",
    lambda draw: (
        f"{draw.randint(1, 28):02}.{draw.randint(1, 12):02}.{draw.randint(2000, 2026)} {draw.randint(10, 23)}:30"
    ),
    lambda draw: (
        f"{draw.randint(2000, 2026)}-{draw.randint(1, 12):02}-{draw.randint(1, 28):02} at {draw.randint(1, 12)}:45:10"
    ),
    lambda draw: (
        f"room {draw.randint(100, 9999)}, seats {draw.randint(1, 50)}, {draw.randint(1, 50)} and {draw.randint(1, 50)}"
    ),
    lambda draw: f"{draw.uniform(-90, 90):.6f}, {draw.uniform(-180, 180):.6f}",
    lambda draw: _random(draw, 40, "0123456789abcdef"),
    lambda draw: "-".join(_random(draw, size, "0123456789abcdef") for size in (8, 4, 4, 4, 12)),
    lambda draw: f"{draw.randint(1_600_000_000, 1_799_999_999)}",
    lambda draw: f"{draw.randint(10**5, 10**6 - 1)} people, or {draw.uniform(1, 99):.4f} %",
    lambda draw: f"std::vector, a::b and {draw.randint(1, 12)}:{draw.randint(10, 59)}:{draw.randint(10, 59)}",
)


def _forever(values: list[tuple[str, Make]]) -> Iterator[tuple[str, Make]]:
    while True:
        yield from values


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    return map(json.loads, path.read_text().splitlines())
