"""In which language a text is."""

from __future__ import annotations

from slmops.data.language import languages_of

GERMAN = ["Wo ist meine Bestellung geblieben, bitte?", "Ich möchte das Paket gerne zurückschicken."]
ENGLISH = [
    "Where is my order now, please tell me",
    "I would like to send this parcel back",
    "My card was charged twice",
]


def test_texts_are_told_apart_and_short_ones_are_not_judged() -> None:
    assert languages_of([*GERMAN, *ENGLISH, "ok", ""]) == ["de", "de", "en", "en", "en", "", ""]


def test_what_may_be_in_the_language_of_most_is() -> None:
    """Taken alone, such a text is Nigerian Pidgin to what tells languages; among English ones it is English."""
    doubtful = "pay visa bill from checking"
    assert set(languages_of([*ENGLISH * 5, doubtful])) == {"en"}
    assert languages_of([]) == []
