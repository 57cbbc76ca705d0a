"""National numbers of persons, by their shapes and check digits: US, UK, DE, FR, ES, IT, NL, PL, PT.

Check digits are those of python-stdnum. A number whose check digit one in eleven numbers has by chance is believed only
where the text says what it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from slmops.core.errors import need
from slmops.privacy.context import before, is_phone, is_reference
from slmops.privacy.types import Judge, Pattern, Span, digits_of, shape

_FROM = r"(?<![\w.+#$€£-])(?<!\+[0-9] )(?<!\+[0-9]{2} )(?<!\+[0-9]{3} )"  # `+39 ` begins a phone's number
_TO = r"(?![\w]|[.,-][0-9])"


def _named(words: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![^\W_])(?:{words})(?![^\W_])", re.IGNORECASE)


_US = _named(r"ssn|social security(?: (?:number|no|card))?|itin")
_UK_NHS = _named(r"nhs|national health(?: service)?|health (?:number|service number)")
_DE_TAX = _named(r"steuer\w*|idnr|tin|tax\s?id\w*|tax (?:number|identification\w*)|identifikationsnummer")
_NL = _named(r"bsn|burgerservice\w*|sofi\w*|citizen service number")
_PL = _named(r"pesel")
_PT = _named(r"nif|contribuinte|n[úu]mero fiscal|tax (?:number|id)")


def _checked(module: str) -> Judge:
    def judge(text: str, start: int, end: int) -> Span | None:
        return (start, end) if _is_valid(module, text[start:end]) else None

    return judge


def _checked_and_named(module: str, words: re.Pattern[str]) -> Judge:
    def judge(text: str, start: int, end: int) -> Span | None:
        return (start, end) if words.search(before(text, start)) and _is_valid(module, text[start:end]) else None

    return judge


def _checked_unless_other(module: str, words: re.Pattern[str]) -> Judge:
    """Digits alone: neither an order's nor, unless `words` say so, a phone's."""

    def judge(text: str, start: int, end: int) -> Span | None:
        if not _is_valid(module, text[start:end]) or is_reference(text, start):
            return None
        return None if is_phone(text, start) and not words.search(before(text, start)) else (start, end)

    return judge


def _is_valid(module: str, value: str) -> bool:
    is_valid: Callable[[str], bool] = need(f"stdnum.{module}", "privacy").is_valid
    return is_valid(value)


def _is_ssn(text: str, start: int, end: int) -> Span | None:
    """Area, group and serial are never zero, and no area is 666; 9xx are the tax office's (ITIN)."""
    area, group, serial = (digits_of(text[start:end])[part] for part in (slice(3), slice(3, 5), slice(5, 9)))
    if area in ("000", "666") or group == "00" or serial == "0000":
        return None
    bare = text[start:end].isdigit() or " " in text[start:end]
    return None if bare and not _US.search(before(text, start)) else (start, end)


def _is_pension_number(text: str, start: int, end: int) -> Span | None:
    """Deutsche Rentenversicherung: the letter counts as two digits, products are added digit by digit, mod 10."""
    value = re.sub(r"\W", "", text[start:end]).upper()
    digits = value[:8] + f"{ord(value[8]) - 64:02}" + value[9:11]
    weighted = (int(digit) * weight for digit, weight in zip(digits, (2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1), strict=True))
    return (start, end) if sum(sum(divmod(part, 10)) for part in weighted) % 10 == int(value[11]) else None


def _number(kind: str, pattern: str, judge: Judge | None = None, leads: tuple[int, ...] = (0,)) -> Pattern:
    return Pattern(kind, shape(_FROM + pattern + _TO, ignore_case=True), judge, leads)


WITH_DIGITS = (
    _number("us_ssn", r"[0-9]{3}(?P<by>[- ]?)[0-9]{2}(?P=by)[0-9]{4}", _is_ssn),
    _number(  # the first two letters as HMRC gives them out, and ZZ, which is nobody's
        "uk_nino",
        r"(?:(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z](?: ?[0-9]{2}){3} ?[A-D]"
        r"|ZZ(?: ?[0-9]{2}){3} ?[A-Z])",
        leads=(2, 3),
    ),
    _number("uk_nhs", r"[0-9]{3} [0-9]{3} [0-9]{4}", _checked_unless_other("gb.nhs", _UK_NHS)),
    _number("uk_nhs", r"[0-9]{3}-?[0-9]{3}-?[0-9]{4}", _checked_and_named("gb.nhs", _UK_NHS)),
    _number("de_tax_id", r"[1-9][0-9](?: ?[0-9]{3}){3}", _checked_unless_other("de.idnr", _DE_TAX)),
    _number("de_pension", r"[0-9]{2} ?[0-9]{2}(?:0[1-9]|1[0-2])[0-9]{2} ?[A-Z] ?[0-9]{2} ?[0-9]", _is_pension_number),
    _number("fr_nir", r"[1-478](?: ?[0-9]{2}){2} ?(?:[0-9]{2}|2[AB])(?: ?[0-9]{3}){2} ?[0-9]{2}", _checked("fr.nir")),
    _number("es_dni", r"[0-9]{2}\.?[0-9]{3}\.?[0-9]{3}[ -]?[A-Z]", _checked("es.dni")),
    _number("es_nie", r"[XYZ][ -]?[0-9]{7}[ -]?[A-Z]", _checked("es.nie"), leads=(1, 2)),
    _number("nl_bsn", r"[0-9]{4}[ .]?[0-9]{2}[ .]?[0-9]{3}", _checked_and_named("nl.bsn", _NL)),
    _number("pl_pesel", r"[0-9]{11}", _checked_unless_other("pl.pesel", _PL)),
    _number("pt_nif", r"[1235689][0-9]{2} ?[0-9]{3} ?[0-9]{3}", _checked_and_named("pt.nif", _PT)),
)
LONG = (
    Pattern(
        "it_codice_fiscale",
        shape(
            r"(?<![\w-])[A-Z]{6}[0-9LMNP-V]{2}[A-EHLMPRST][0-9LMNP-V]{2}[A-Z][0-9LMNP-V]{3}[A-Z](?![\w-])",
            ignore_case=True,
        ),
        _checked("it.codicefiscale"),
    ),
)
