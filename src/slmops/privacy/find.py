"""Finds personal data in a text by patterns and check digits.

In comes any text, out go the places of personal data with its kind, in order, none over another. A text without a sign
of any kind (an @, digits near one another, colons, a long word) is dismissed at once: that is what makes millions of
rows cheap. Knows nothing of names and addresses, which no pattern finds: see `names`.
"""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Collection, Sequence

from slmops.core.errors import ConfigError
from slmops.privacy import births, money, national, network, phones, secrets
from slmops.privacy.types import Found, Pattern

KINDS: dict[str, str] = {  # by who wins where two are found at one place
    "secret": "API keys, tokens and private keys",
    "credential_url": "URLs with credentials",
    "email": "e-mail addresses",
    "iban": "bank accounts (IBAN)",
    "it_codice_fiscale": "Italian tax codes",
    "fr_nir": "French social security numbers",
    "de_pension": "German pension insurance numbers",
    "es_dni": "Spanish identity numbers (DNI)",
    "es_nie": "Spanish foreigners' numbers (NIE)",
    "uk_nino": "British national insurance numbers",
    "mac": "MAC addresses",
    "ip": "IP addresses",
    "birth_date": "dates of birth",
    "card": "payment cards",
    "us_ssn": "US social security numbers",
    "de_tax_id": "German tax numbers",
    "pl_pesel": "Polish identity numbers (PESEL)",
    "uk_nhs": "British NHS numbers",
    "nl_bsn": "Dutch citizen service numbers",
    "pt_nif": "Portuguese tax numbers",
    "phone": "phone numbers",
}
MASK = re.compile(rf"<(?:{'|'.join(kind.upper() for kind in (*KINDS, 'name', 'address'))})_[1-9][0-9]{{0,5}}>")

_RANKS = {kind: rank for rank, kind in enumerate(KINDS)}
_RUN = re.compile(r"[0-9]+")
_NUMBER = re.compile(r"[0-9](?:[ ./()\-]{0,3}[0-9]){5}")
_YEAR = re.compile(r"(?:19|20)[0-9]{2}|[0-9][./-] ?[0-9]{1,2}[./-]")
_LONG = 14  # the shortest MAC address; every known token is longer
_WITHOUT_DIGITS = ("_", "-", "AKIA", "ASIA")  # what is in a long word, if no digit is, where the word is a token


def find(text: str, kinds: Collection[str] = frozenset(KINDS)) -> list[Found]:
    """Personal data of these kinds in `text`. What stands in a mask already is none."""
    digits = [match.start() for match in _RUN.finditer(text)]
    found = [
        Found(pattern.kind, start, end)
        for pattern in _patterns_for(text, digits)
        if pattern.kind in kinds
        for start, end in pattern.spans(text, digits)
    ]
    return _apart(found, text) if found else found


def known_kinds(names: Collection[str]) -> frozenset[str]:
    """`names`, or all kinds where there are none.

    Raises:
        ConfigError: there is no such kind.
    """
    if wrong := sorted(set(names) - set(KINDS)):
        raise ConfigError(f"there is no kind {', '.join(wrong)}", remedy=f"choose of {', '.join(KINDS)}")
    return frozenset(names or KINDS)


def _patterns_for(text: str, digits: Sequence[int]) -> list[Pattern]:
    """The patterns whose signs the text has; the cheapest signs first."""
    patterns: list[Pattern] = []
    if "@" in text:
        patterns += network.WITH_AT
    if text.count(":") > 1:
        patterns += network.WITH_COLONS
    if digits:
        if text.count(".") > 2:
            patterns += network.WITH_DOTS
        if _YEAR.search(text, digits[0]):
            patterns += births.WITH_YEAR
        if _NUMBER.search(text, digits[0]):
            patterns += money.WITH_DIGITS + national.WITH_DIGITS + phones.WITH_DIGITS
    if (digits or any(sign in text for sign in _WITHOUT_DIGITS)) and max(map(len, text.split()), default=0) >= _LONG:
        patterns += network.LONG + national.LONG + secrets.LONG
    return patterns


def _apart(found: list[Found], text: str) -> list[Found]:
    """The findings by rank, then by length, as long as they touch no other one and no mask."""
    taken = [match.span() for match in MASK.finditer(text)] if "<" in text else []  # in order, none over another
    kept: list[Found] = []
    for one in sorted(found, key=lambda one: (_RANKS[one.kind], one.start - one.end, one.start)):
        at = bisect(taken, (one.start, one.end))
        free_before = at == 0 or taken[at - 1][1] <= one.start
        if free_before and (at == len(taken) or one.end <= taken[at][0]):
            kept.append(one)
            taken.insert(at, (one.start, one.end))
    return sorted(kept, key=lambda one: one.start)
