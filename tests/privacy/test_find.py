"""Personal data is found where it stands; what only looks like it is not; no text breaks or slows the search."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from slmops.core.errors import ConfigError
from slmops.privacy.find import _PATTERNS, KINDS, find, find_each, known_kinds
from slmops.privacy.signs import Signs, signs_of

FOUND = [  # (text, kind, value)
    ("write to anna.k+news@mail.example.co.uk.", "email", "anna.k+news@mail.example.co.uk"),
    ("mailto=jürgen@straße.de now", "email", "jürgen@straße.de"),
    ("call +49 (0) 9141 777631, please", "phone", "+49 (0) 9141 777631"),
    ("under +34 600 123 456 12 euros are due", "phone", "+34 600 123 456"),
    ("it is (206) 269-0743x9150.", "phone", "(206) 269-0743x9150"),
    ("mon 06 12 34 56 78 ou", "phone", "06 12 34 56 78"),
    ("tel. 555-0123", "phone", "555-0123"),
    ("paid by 4111 1111 1111 1111 today", "card", "4111 1111 1111 1111"),
    ("amex 378282246310005", "card", "378282246310005"),
    ("to DE89 3704 0044 0532 0130 00 BIC COBADEFF", "iban", "DE89 3704 0044 0532 0130 00"),
    ("to GB29NWBK60161331926819,", "iban", "GB29NWBK60161331926819"),
    ("to KZ42125ABCDEFGHIJKLM.", "iban", "KZ42125ABCDEFGHIJKLM"),
    ("to lu46 001a bcde fghi jklm", "iban", "lu46 001a bcde fghi jklm"),
    ("from 192.168.17.4:8080", "ip", "192.168.17.4"),
    ("from 2001:db8::8a2e:370:7334.", "ip", "2001:db8::8a2e:370:7334"),
    ("device 2a:7a:d7:52:3b:e6 is new", "mac", "2a:7a:d7:52:3b:e6"),
    ("cisco 2a7a.d752.3be6", "mac", "2a7a.d752.3be6"),
    ("mac dead.beef.cafe port 3", "mac", "dead.beef.cafe"),
    ("see https://ann:s3cret@db.example.com/x?y=1.", "credential_url", "https://ann:s3cret@db.example.com/x?y=1"),
    ("key AKIAIOSFODNN7EXAMPLE leaked", "secret", "AKIAIOSFODNN7EXAMPLE"),
    ("AKIAIOSFODNNXEXAMPLE", "secret", "AKIAIOSFODNNXEXAMPLE"),
    ("key AIzaSyABCDEFGHIJKLMNOPQRSTUVWXYZabcdefg costs", "secret", "AIzaSyABCDEFGHIJKLMNOPQRSTUVWXYZabcdefg"),
    ("api_key = 'a8f5f167f44f4964e6c998dee827110c'", "secret", "a8f5f167f44f4964e6c998dee827110c"),
    ("she was born on 12 March 1980 in Rome", "birth_date", "12 March 1980"),
    ("DOB: 1980-03-12", "birth_date", "1980-03-12"),
    ("geb. am 3. Mai 1971", "birth_date", "3. Mai 1971"),
    ("née le 04/11/1990", "birth_date", "04/11/1990"),
    ("born March 12, 1980", "birth_date", "March 12, 1980"),
    ("my number 536-22-8726 there", "us_ssn", "536-22-8726"),
    ("SSN 536228726", "us_ssn", "536228726"),
    ("NI AB 12 34 56 C", "uk_nino", "AB 12 34 56 C"),
    ("NHS number 943 476 5919", "uk_nhs", "943 476 5919"),
    ("IdNr. 36 574 261 809", "de_tax_id", "36 574 261 809"),
    ("Rente 15070649C103", "de_pension", "15070649C103"),
    ("secu 2 95 10 99 126 111 93", "fr_nir", "2 95 10 99 126 111 93"),
    ("DNI 54362315K", "es_dni", "54362315K"),
    ("NIE X-2482300W", "es_nie", "X-2482300W"),
    ("codice RCCMNL83S18D969H", "it_codice_fiscale", "RCCMNL83S18D969H"),
    ("BSN 111222333", "nl_bsn", "111222333"),
    ("PESEL 44051401359", "pl_pesel", "44051401359"),
    ("NIF 501 964 843", "pt_nif", "501 964 843"),
]
OTHER = [
    "order number 4155552671",
    "Bestellnummer 01632960123",
    "tracking number 4111111111111111",
    "a total of 600 123 456 €",
    "$4,155,552,671.50",
    "on 12.03.2024 10:30:15 and 2024-03-12T10:30:15",
    "we met on 12 March 2024",
    "sold 75,000 22.04.2023 10:30",
    "did he phone? 1234567 of them",
    "version 1.2.3.4 of it",
    "upgrade from version 1.2.3.4 to 1.2.3.5",
    "1.2.3.4.5",
    "ISBN 978-3-16-148410-0, 9783161484100 or 0-306-40615-2",
    "room 1204, 3rd floor, seats 12-15",
    "commit 3f786850e387550fdab836ed7e6dc881de23001b",
    "123e4567-e89b-12d3-a456-426614174000",
    "48.137154, 11.576124",
    "std::vector<int> a::b 12:30:45",
    "at 1700000000 it began",
    "the key is to be patient",
    "http://example.com:8080/a@b is no credential? https://example.com/path",
    "4111 1111 1111 1112",
    "DE89 3704 0044 0532 0130 01",
    "36574261890 is no tax number",
    "RCCMNL83S18D969X",
    "000-12-3456 and 666-12-3456",
    "111222333",
]


@pytest.mark.parametrize(("text", "kind", "value"), FOUND, ids=[value for _, _, value in FOUND])
def test_personal_data_is_found_where_it_stands(text: str, kind: str, value: str) -> None:
    assert [(one.kind, text[one.start : one.end]) for one in find(text)] == [(kind, value)]


@pytest.mark.parametrize("text", OTHER)
def test_what_only_looks_like_it_is_left(text: str) -> None:
    assert [(one.kind, text[one.start : one.end]) for one in find(text)] == []


def test_every_kind_is_found_somewhere() -> None:
    assert {kind for _, kind, _ in FOUND} == set(KINDS)


def test_only_the_kinds_asked_for_are_found() -> None:
    text = "ann@example.org, 192.168.17.4"
    assert [one.kind for one in find(text, {"ip"})] == ["ip"]
    assert known_kinds([]) == set(KINDS) and known_kinds(["ip"]) == {"ip"}
    with pytest.raises(ConfigError, match="there is no kind postcode — choose of secret"):
        known_kinds(["postcode"])


def test_a_mask_holds_no_personal_data() -> None:
    assert find("<EMAIL_1> or <PHONE_123456>") == []


PARTS = st.sampled_from(
    [value for _, _, value in FOUND] + [" ", "+", "(0)", "@", ".", ":", "<EMAIL_1>", "born ", "x12"]
)
TEXTS = st.text() | st.text("0123456789 .-+/()x@:abEF<>_", max_size=80) | st.lists(PARTS).map("".join)


@given(TEXTS)
@example("\ud800@a.bc ٣٣٣٣٣٣٣")
def test_spans_are_in_range_and_apart(text: str) -> None:
    at = 0
    for one in find(text):
        assert at <= one.start < one.end <= len(text)
        at = one.end


@given(st.lists(TEXTS, max_size=8))
def test_a_text_without_a_sign_has_nothing_that_its_patterns_would_find(texts: list[str]) -> None:
    signs = Signs(texts)
    for place, text in enumerate(texts):
        alone, digits = signs_of(text)
        assert digits == signs.digits(place) == [match.start() for match in re.finditer("[0-9]+", text)]
        for sign, patterns in _PATTERNS.items():
            if not signs.of[place] & sign or not alone & sign:
                assert [span for pattern in patterns for span in pattern.spans(text, digits)] == []


@given(st.lists(TEXTS, max_size=8))
def test_many_texts_have_what_each_has_alone(texts: list[str]) -> None:
    assert list(find_each(texts)) == [find(text) for text in texts]


@given(st.text("0123456789", min_size=15, max_size=15))
def test_a_wrong_check_digit_is_no_card(digits: str) -> None:
    total = sum(sum(divmod(int(digit) * (2 - place % 2), 10)) for place, digit in enumerate("4" + digits[:14]))
    number = f"4{digits[:14]}{(1 - total) % 10}"  # one more than Luhn's
    assert "card" not in {one.kind for one in find(f"card {number}", {"card"})}


@given(st.text("0123456789", min_size=18, max_size=18), st.integers(1, 96))
def test_a_wrong_check_number_is_no_iban(digits: str, wrong: int) -> None:
    right = 98 - int(f"{digits}131400") % 97
    assert find(f"DE{(right - 2 + wrong) % 97 + 2:02}{digits}", {"iban"}) == []
    assert [one.kind for one in find(f"DE{right:02}{digits}", {"iban"})] == ["iban"]


@pytest.mark.parametrize(
    "part",
    ["a", "a.", "a@", "a@b.", "1", "1-", "12.", "a:", "://", "http://a:", "eyJa.", "key=a1", "AB12", "-----BEGIN "],
)
def test_a_long_text_made_to_slow_the_search_ends(part: str) -> None:
    assert find(part * (200_000 // len(part))) is not None
