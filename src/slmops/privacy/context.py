"""What the words in front of a number say about it: that it is a phone's, an order's, money, a birth date …

In come a text and a place in it, out goes whether such a word stands shortly before it. Languages: English, German,
French, Spanish, Italian, Dutch, Polish. Knows no shape of any number.
"""

from __future__ import annotations

import re

_BEFORE, _AFTER = 48, 14  # characters looked at


_PHONE = (
    r"(?:tele)?phones?|tel|telefon\w*|t[ée]l[ée]phon\w*|tel[ée]fono\w*|telefoon\w*|cell(?:phone)?|mobiles?|mobil\w*"
    r"|m[óo]vil\w*|cellulare|portable|handy\w*|rufnummer|fax|whatsapp|hotline|landline|sms|kom[óo]rk\w*|my number"
    r"|contact number|caller id|anruf\w*|anzurufen|appel\w*|joindre|ll[áa]m\w+|chiam\w+|bereikbaar|(?:za)?dzwo\w+"
)
_CALL = (
    r"(?:call(?:ing|ed)?|ring|dial|text|reach(?:ed|able)?)(?: (?:me|us|him|her|them|back|on|at|under|this|the|number))*"
)
_PHONE_BEFORE = re.compile(
    rf"(?<![^\W_])(?:(?:{_PHONE})(?![^\W_])[^0-9\n?!;]{{0,24}}|{_CALL}(?![^\W_])\W{{0,3}})$", re.IGNORECASE
)
_REFERENCE = (
    r"orders?|invoices?|tickets?|tracking|parcels?|shipments?|ref(?:erence)?|isbn(?:-1[03])?|issn|ean|upc|gtin|sku"
    r"|serial|parts?|items?|products?|articles?|models?|bookings?|reservations?|confirmation|cases?|claims?|policy"
    r"|customer|account|accession|transactions?|id|uuid|version|build|timestamp|epoch|checksum|barcode|docket|imei"
    r"|bestell\w*|auftrag\w*|rechnung\w*|sendung\w*|artikel\w*|vorgang\w*|kunden\w*|seriennummer|aktenzeichen|buchung\w*"
    r"|commandes?|factures?|colis|r[ée]f[ée]rence|suivi|pedidos?|factura|referencia|env[íi]o|ordine|fattura|spedizione"
    r"|bestelling|factuur|zending|zam[óo]wieni\w*|faktur\w*|paczk\w*|przesy[łl]k\w*"
)
_REFERENCE_BEFORE = re.compile(
    rf"(?<![^\W_])(?:{_REFERENCE})(?:\W{{1,3}}(?:numbers?|num|no|nr|n[°º]|code|ids?|is|was|nummer|lautet|num[ée]ro|n[úu]mero"
    r"|numer|est|es|è|to|of|de|di))*\W{0,3}$|[#№]\s?$",
    re.IGNORECASE,
)
MONEY_BEFORE = re.compile(r"(?:[$€£¥]|\b(?:USD|EUR|GBP|PLN|CHF|Rs\.?))\s?$")
MONEY_AFTER = re.compile(
    r"\s?(?:[$€£¥%]|USD|EUR|GBP|PLN|CHF|z[łl]|(?:euros?|dollars?|pounds?|zloty\w*|people|persons?|users|rows|times"
    r"|inhabitants|kilomet\w+|met(?:er|re)s|km|kg|miles|bytes|years)\b)",
    re.IGNORECASE,
)
VERSION = re.compile(
    r"(?<![^\W_])(?:v|ver|versions?|versi[óo]n|versione|wersj\w+|versie|releases?|build|firmware|revision|rev|sections?"
    r"|chapter|clause|paragraph|abschnitt|kapitel|oid|upgraded?|updated?|patch)\W{0,3}"
    r"(?:(?:number|no|is|to|from|and|[0-9]+(?:\.[0-9]+)+)\W{1,3}){0,5}$",
    re.IGNORECASE,
)
_BORN = (
    r"(?:born|birth|birth\s?date|birthday|b-?day|d\.?o\.?b|date of birth|geboren|geb|geburts(?:datum|tag)|n[ée]+e?"
    r"|naissance|nacid[oa]|nac[íi]|naci[óo]|nacimiento|nat[oa]|nascita|geboorte\s?datum|urodzon[yae]|urodzenia"
    r"|urodzi[łl]\w*|ur|nascid[oa]|nascimento)"
)
_BORN_BEFORE = re.compile(rf"(?:(?<![^\W_]){_BORN}(?![^\W_])\.?|\*)(?:[^0-9?!;\n.]|\.(?!\s))*$", re.IGNORECASE)
_BORN_AFTER = re.compile(r"\s?[(,\-–]?\s?(?:dob|date of birth|birth\s?date|geboren|geburtsdatum)\b", re.IGNORECASE)


def before(text: str, start: int) -> str:
    return text[max(0, start - _BEFORE) : start]


def is_reference(text: str, start: int) -> bool:
    """Whether the number at `start` is said to be an order's, a book's or the like."""
    return _REFERENCE_BEFORE.search(before(text, start)) is not None


def is_phone(text: str, start: int) -> bool:
    """Whether the number at `start` is said to be called, or a phone's."""
    return _PHONE_BEFORE.search(before(text, start)) is not None


def is_money(text: str, start: int, end: int) -> bool:
    return bool(MONEY_BEFORE.search(before(text, start)) or MONEY_AFTER.match(text[end : end + _AFTER]))


def is_version(text: str, start: int) -> bool:
    return VERSION.search(before(text, start)) is not None


def is_birth(text: str, start: int, end: int) -> bool:
    """Whether the date there is said to be somebody's birth."""
    return bool(_BORN_BEFORE.search(before(text, start)) or _BORN_AFTER.match(text[end : end + 2 * _AFTER]))
