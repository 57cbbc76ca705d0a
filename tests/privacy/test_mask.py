"""Masks are consistent inside a record, leave nothing to find, and can be taken back exactly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slmops.core.errors import DataError
from slmops.privacy.find import find
from slmops.privacy.mask import mask_value, unmask_value
from slmops.privacy.types import Found
from tests.privacy.test_find import PARTS

TEXTS = st.text(max_size=60) | st.lists(PARTS, max_size=8).map("".join)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


def test_the_same_text_has_the_same_mask_all_through_a_record() -> None:
    record = {"text": "ann@x.org and bob@x.org", "messages": [{"content": "I am bob@x.org"}], "n": 4155552671}
    masked = mask_value(record)
    assert masked.value == {
        "text": "<EMAIL_1> and <EMAIL_2>",
        "messages": [{"content": "I am <EMAIL_2>"}],
        "n": 4155552671,
    }
    assert masked.masks == {"<EMAIL_1>": "ann@x.org", "<EMAIL_2>": "bob@x.org"}
    assert masked.counts == {"email": 3}


def test_a_mask_that_somebody_typed_stays_what_it_is() -> None:
    masked = mask_value(["my <EMAIL_1> is ann@x.org", "<EMAIL_3>"])
    assert masked.value == ["my <EMAIL_1> is <EMAIL_2>", "<EMAIL_3>"]
    assert unmask_value(masked.value, masked.masks) == ["my <EMAIL_1> is ann@x.org", "<EMAIL_3>"]


def test_names_of_fields_are_masked_too() -> None:
    assert mask_value({"ann@x.org": 1}).value == {"<EMAIL_1>": 1}


def test_names_are_masked_where_somebody_finds_them() -> None:
    def find_ann(text: str) -> list[Found]:
        return [Found("name", text.index("Ann"), text.index("Ann") + 3), Found("name", 0, len(text))]

    masked = mask_value("I, Ann, ann@x.org", find_names=find_ann)
    assert masked.value == "I, <NAME_1>, <EMAIL_1>"
    assert unmask_value(masked.value, masked.masks) == "I, Ann, ann@x.org"


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(DataError, match="found a bytes, expected JSON"):
        mask_value({"text": b"ann@x.org"})


@given(VALUES)
def test_masking_can_be_taken_back_exactly(value: object) -> None:
    masked = mask_value(value)
    assert unmask_value(masked.value, masked.masks) == value


@given(TEXTS)
def test_masked_text_has_nothing_more_to_find(text: str) -> None:
    once = mask_value(text)
    assert find(once.value) == []
    again = mask_value(once.value)
    assert (again.value, again.masks) == (once.value, {})
