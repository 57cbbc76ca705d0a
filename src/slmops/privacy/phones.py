"""Phone numbers: international forms, national ones of the countries whose shapes are clear, others where the text says
that it is a phone's.

Candidates are taken by shape; what stands before them (order, ISBN, a currency) may refuse them. Knows no numbering
plan beyond the lengths of some countries, so that a number of a region unknown today is still masked.
"""

from __future__ import annotations

import re

from slmops.privacy.context import is_money, is_phone, is_reference
from slmops.privacy.types import Pattern, Span, digits_of, shape

_FROM = r"(?<![\w.,:+#$€£/-])"
_EXTENSION = r"(?:[ ,]{0,2}(?:x|ext\.?|extension|dw\.?|durchwahl)[ .:]{0,2}[0-9]{1,6})?"
_TO = r"(?![^\W_]|[.,:/-][0-9]|@)"
_INTERNATIONAL = shape(
    rf"(?<![\w.+-])\(?\+ ?[1-9](?:[ .\-/()]{{0,3}}[0-9]){{6,15}}{_EXTENSION}(?![^\W_])", ignore_case=True
)
_DOUBLE_ZERO = shape(
    rf"(?<![0-9]{{4}} ){_FROM}00[1-9](?:[ .\-/()]{{0,3}}[0-9]){{8,14}}{_EXTENSION}{_TO}", ignore_case=True
)
_TRUNK_ZERO = shape(
    rf"(?<![0-9]{{4}} ){_FROM}(?:\(0[0-9]{{1,5}}\)[ \-/]{{0,2}}|0[0-9]{{1,5}} ?[\-/ .] ?|0)"
    rf"(?:[0-9]{{5,11}}|[0-9]{{2,4}}(?:[ \-./][0-9]{{2,4}}){{0,5}})"
    rf"{_EXTENSION}{_TO}",
    ignore_case=True,
)
_FIVE_PAIRS = shape(rf"(?<![0-9]{{4}} ){_FROM}0[1-9](?P<by>[ .-])[0-9]{{2}}(?:(?P=by)[0-9]{{2}}){{3}}{_TO}")
_NORTH_AMERICAN = shape(
    rf"{_FROM}(?:1[ .-])?(?:\([2-9][0-9]{{2}}\) ?-?|[2-9][0-9]{{2}}[ .-])"
    rf"[2-9][0-9]{{2}}[ .-][0-9]{{4}}{_EXTENSION}{_TO}",
    ignore_case=True,
)
_TEN_DIGITS = shape(rf"{_FROM}(?:[2-9][0-9]{{2}}[2-9][0-9]{{6}}|3[1-9][0-9]{{7,8}}){_EXTENSION}{_TO}", ignore_case=True)
_NINE_DIGITS = shape(
    rf"(?<![0-9] ){_FROM}(?:[5-9][0-9]{{2}}(?:(?: [0-9]{{3}}){{2}}|(?: [0-9]{{2}}){{3}}|(?:-[0-9]{{3}}){{2}})"
    rf"|[1-9][0-9] [0-9]{{3}} [0-9]{{2}} [0-9]{{2}}){_TO}(?! [0-9])"
)
_ANY = shape(
    rf"(?<![0-9] ){_FROM}\(?[0-9](?:[ .\-/()]{{0,2}}[0-9]){{6,13}}{_EXTENSION}{_TO}(?! ?[0-9])", ignore_case=True
)
_DATE = shape(
    r"\(?(?:[0-9]{1,2}(?P<by>[./-])[0-9]{1,2}(?P=by)[0-9]{2,4}|[0-9]{4}([./-])[0-9]{1,2}\2[0-9]{1,2})(?![0-9])"
)
_SSN = shape(r"[0-9]{3}-[0-9]{2}-[0-9]{4}(?![0-9])")
_LONGEST = {  # digits with the country's: 1 is North America, 7 Russia and Kazakhstan
    "1": 11, "7": 11, "31": 11, "32": 11, "33": 11, "34": 11, "351": 12, "39": 13, "41": 11, "44": 12, "45": 10,
    "46": 12, "47": 10, "48": 11, "49": 13,
}  # fmt: skip


def _is_international(text: str, start: int, end: int) -> Span | None:
    """As many groups as the country's longest number has digits: not the amount in `+34 600 123 456 12 euros`."""
    digits = _count(text[start:end])
    prefix = len(digits) - len(digits.removeprefix("00"))
    country = (digits[prefix : prefix + size] for size in (3, 2, 1))
    longest = next((_LONGEST[code] for code in country if code in _LONGEST), 15)
    return start, _cut(text, start, end, prefix + longest)


def _is_trunk(text: str, start: int, end: int) -> Span | None:
    date = _DATE.search(text, start, end)
    if date or _FIVE_PAIRS.match(text, start) or _SSN.match(text, start) or is_reference(text, start):
        return None
    end = _cut(text, start, end, 12)
    return (start, end) if 9 <= len(_count(text[start:end])) <= 12 else None


def _no_reference(text: str, start: int, end: int) -> Span | None:
    return None if is_reference(text, start) else (start, end)


def _plain(text: str, start: int, end: int) -> Span | None:
    """Digits that nothing else lays claim to: no date, amount, order or book."""
    is_book = len(_count(text[start:end])) == 13 and text.startswith(("978", "979"), start)
    is_decimal = text[start:end].replace(".", "", 1).isdigit() and "." in text[start:end]
    other = is_book or is_decimal or _DATE.match(text, start) or is_money(text, start, end) or is_reference(text, start)
    return None if other else (start, end)


def _is_said(text: str, start: int, end: int) -> Span | None:
    return _plain(text, start, end) if is_phone(text, start) else None


def _count(value: str) -> str:
    """The digits that count: neither the zero that is dialled within the country only, nor an extension's."""
    return digits_of(re.split(r"[a-z]", value.replace("(0)", ""), flags=re.IGNORECASE)[0])


def _cut(text: str, start: int, end: int, longest: int) -> int:
    """Where the number ends if groups beyond `longest` digits, and a last digit that stands alone, are not its own."""
    if re.search(r"[0-9] [0-9]$", text[start:end]):
        end -= 2
    if len(_count(text[start:end])) <= longest:
        return end
    cuts = [start + match.start() for match in re.finditer(r"[ ./-]+[0-9]", text[start:end])]
    return next((cut for cut in reversed(cuts) if 8 <= len(_count(text[start:cut])) <= longest), end)


WITH_DIGITS = (
    Pattern("phone", _INTERNATIONAL, _is_international, leads=(1, 2, 3)),
    Pattern("phone", _DOUBLE_ZERO, _is_international, leads=(0,)),
    Pattern("phone", _TRUNK_ZERO, _is_trunk, leads=(1, 0)),
    Pattern("phone", _FIVE_PAIRS, _no_reference, leads=(0,)),
    Pattern("phone", _NORTH_AMERICAN, _no_reference, leads=(1, 0)),
    Pattern("phone", _TEN_DIGITS, _plain, leads=(0,)),
    Pattern("phone", _NINE_DIGITS, _plain, leads=(0,)),
    Pattern("phone", _ANY, _is_said, leads=(1, 0)),
)
