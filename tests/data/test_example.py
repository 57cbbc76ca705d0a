"""The support-triage example holds what its data card says."""

from __future__ import annotations

from benchmarks.example_data import DATA, NAMES, describe_files, describe_overlap

from slmops.data.check import similar_across
from slmops.data.read import read_records

FILES = {name: read_records(DATA / f"{name}.jsonl") for name in NAMES}


def test_the_card_says_what_the_files_hold() -> None:
    card = (DATA / "README.md").read_text().splitlines()
    assert set(describe_files(FILES)) | set(describe_overlap(FILES)) <= set(card)


def test_every_intent_of_the_card_is_in_training_and_test() -> None:
    card = (DATA / "README.md").read_text()
    labelled, test = ({record.gold for record in FILES[name]} for name in ("labelled", "test"))
    assert labelled == test
    assert all(f"| {label} |" in card for label in test)


def test_no_training_message_is_like_one_of_the_test() -> None:
    assert similar_across([*FILES["labelled"], *FILES["unlabelled"]], FILES["test"]) == []
