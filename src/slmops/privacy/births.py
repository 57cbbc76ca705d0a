"""Dates of birth: a date that the text says somebody was born on.

Any other date is left alone. Months by their names in English, German, French, Spanish, Italian, Dutch and Polish.
"""

from __future__ import annotations

import re

from slmops.privacy.context import is_birth
from slmops.privacy.types import Pattern, Span, shape

_MONTHS = re.compile(
    r"(?:jan|feb|f[ée]v|mar|m[äa]r|maa|mrt|apr|avr|abr|kwi|ma[iyj]|may|mag|me[ij]|giu|jun|juin|jul|juil|lug|lip|aug|ao[ûu]|ago"
    r"|sie|sep|set|wrz|okt|oct|ott|pa[źz]|nov|nob|lis|d[ée]c|dez|dic|gru|ene|gen|sty|lut|cze)[^\W\d_]*\.?",
    re.IGNORECASE,
)
_YEAR = r"(?:19|20)[0-9]{2}"
_NUMERIC = shape(
    rf"(?<![\w./-])(?:[0-9]{{1,2}}(?P<by>[./-]) ?[0-9]{{1,2}}(?P=by) ?(?:{_YEAR}|[0-9]{{2}})"
    rf"|{_YEAR}(?P<two>[./-])[0-9]{{1,2}}(?P=two)[0-9]{{1,2}})(?![\w/]|[.-][0-9])"
)
_DAY_FIRST = shape(
    rf"(?<![\w./-])[0-9]{{1,2}}(?:st|nd|rd|th|er|\.|º|°)?(?: (?:of|de|di))?[ -](?P<month>[^\W\d_]{{3,12}}\.?)"
    rf",?(?: del?| dell')?[ -]{_YEAR}(?![\w/])"
)
_MONTH_FIRST = shape(rf"(?<![\w./-])[0-9]{{1,2}}(?:st|nd|rd|th)?,? {_YEAR}(?![\w/])")
_WORD_BEFORE = re.compile(r"(?<![^\W_])[^\W\d_]{3,12}\.? $")
_LONGEST_MONTH = 16


def _is_birth(text: str, start: int, end: int) -> Span | None:
    return (start, end) if is_birth(text, start, end) else None


def _with_month_inside(text: str, start: int, end: int) -> Span | None:
    match = _DAY_FIRST.match(text, start)
    return _is_birth(text, start, end) if match and _MONTHS.fullmatch(match["month"]) else None


def _with_month_before(text: str, start: int, end: int) -> Span | None:
    word = _WORD_BEFORE.search(text, max(0, start - _LONGEST_MONTH), start)
    return _is_birth(text, word.start(), end) if word and _MONTHS.fullmatch(word[0].strip()) else None


WITH_YEAR = (
    Pattern("birth_date", _NUMERIC, _is_birth, leads=(0,)),
    Pattern("birth_date", _DAY_FIRST, _with_month_inside, leads=(0,)),
    Pattern("birth_date", _MONTH_FIRST, _with_month_before, leads=(0,)),
)
