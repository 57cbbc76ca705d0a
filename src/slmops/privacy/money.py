"""Payment cards (issuers' ranges, Luhn) and IBANs (a country's structure, mod 97).

Knows no national account numbers: without check digits they look like any other number.
"""

from __future__ import annotations

from slmops.core.errors import need
from slmops.privacy.context import is_money, is_reference
from slmops.privacy.types import Pattern, Span, digits_of, shape

_CARD = shape(
    r"(?<![\w.+#$€£-])(?:[0-9]{12,19}|[0-9]{4}(?P<by>[ -])[0-9]{4}(?P=by)[0-9]{4}(?P=by)[0-9]{1,4}(?:(?P=by)[0-9]{3})?"
    r"|[0-9]{4}(?P<two>[ -])[0-9]{6}(?P=two)[0-9]{4,5})(?![\w]|[.,-][0-9])"
)
_ISSUERS = shape(  # by the ranges of ISO/IEC 7812 that the networks publish, with the lengths they use
    r"4(?:[0-9]{12}|[0-9]{15}|[0-9]{18})|(?:5[1-5][0-9]{2}|222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720)[0-9]{12}"
    r"|3[47][0-9]{13}|3(?:0[0-59]|[68][0-9])[0-9]{11,16}|35[0-9]{14}|(?:2131|1800)[0-9]{11}"
    r"|6(?:011|4[4-9][0-9]|5[0-9]{2})[0-9]{12,15}|62[0-9]{14,17}|220[0-4][0-9]{12,15}"
    r"|(?:50(?:18|20|38)|5[678][0-9]{2}|6(?:304|390|759|76[1-3])|0604)[0-9]{8,15}"
)
_IBAN = shape(r"(?<![^\W_])[A-Z]{2}[0-9]{2}(?:[ -]?[A-Z0-9]){11,36}(?![^\W_])", ignore_case=True)
_ENDS = shape(r"[A-Z0-9](?![A-Z0-9])", ignore_case=True)


def _is_card(text: str, start: int, end: int) -> Span | None:
    number = digits_of(text[start:end])
    if _ISSUERS.fullmatch(number) is None or not need("stdnum.luhn", "privacy").is_valid(number):
        return None
    if is_money(text, start, end) or is_reference(text, start):
        return None
    return start, end


def _is_iban(text: str, start: int, end: int) -> Span | None:
    """The candidate may have eaten the words behind it: an IBAN ends where a group of characters does."""
    iban = need("stdnum.iban", "privacy")
    for match in reversed(list(_ENDS.finditer(text, start + 14, end))):
        if iban.is_valid(text[start : match.end()], check_country=False):
            return start, match.end()
    return None


IBAN = (Pattern("iban", _IBAN, _is_iban, leads=(2,)),)
WITH_DIGITS = (Pattern("card", _CARD, _is_card, leads=(0,)),)
