from __future__ import annotations

import numpy as np
import pytest

from slmops.core.errors import ConfigError, InvalidAnswer
from slmops.tasks import load_task
from slmops.tasks.classification import Classification
from slmops.tasks.types import Message, Record, Source

TASK = Classification(["order_status", "membership"])


def record(text: str, gold: str | None = None) -> Record:
    return Record(text, {"text": text}, gold, Source("train.jsonl", 1))


def test_the_instruction_lists_every_label_before_the_message() -> None:
    system, user = TASK.messages(record("Where is it?"))
    assert system.role == "system" and "order_status, membership" in system.content
    assert user == Message("user", "Where is it?")


def test_only_the_answer_is_learned() -> None:
    learned = [message.learn for message in TASK.messages(record("Where is it?"), "order_status")]
    assert learned == [False, False, True]


def test_a_student_is_asked_without_instruction() -> None:
    asked = TASK.short_messages(record("Where is it?"), "order_status")
    assert asked == [Message("user", "Where is it?"), Message("assistant", "order_status", learn=True)]


def test_a_users_instruction_replaces_ours() -> None:
    system = Classification(("a", "b"), instruction="Sort this.").messages(record("x"))[0]
    assert system.content == "Sort this.\nLabels: a, b"


def test_an_answer_is_a_label_and_nothing_else() -> None:
    assert TASK.parse(" membership\n") == "membership"
    for text in ("", "Membership", "membership.", "order_status membership"):
        with pytest.raises(InvalidAnswer):
            TASK.parse(text)


def test_one_label_is_no_choice() -> None:
    with pytest.raises(ConfigError, match="two labels"):
        Classification(["a", "a"])


def test_a_task_is_loaded_by_its_name() -> None:
    assert load_task("classification", labels=["a", "b"]).name == "classification"
    with pytest.raises(ConfigError, match="did you mean classification"):
        load_task("clasification", labels=["a", "b"])


TRAIN = [record(f"{verb} {thing}", label) for verb in ("where is", "when comes", "no sign of") for thing, label in [
    ("my parcel", "order_status"), ("the lamp I ordered", "order_status"),
    ("the plus discount", "membership"), ("my monthly plus plan", "membership"),
]]  # fmt: skip


def test_the_classical_baseline_learns_and_repeats_itself() -> None:
    test = [record("any sign of the parcel?"), record("plus plan, monthly")]
    assert TASK.baseline(TRAIN, test) == ["order_status", "membership"]
    first, second = (TASK.fit_baseline(TRAIN).probabilities([one.text for one in test]) for _ in range(2))
    assert np.array_equal(first, second) and np.allclose(first.sum(axis=1), 1)


def test_the_baseline_tells_what_it_takes() -> None:
    fitted = TASK.fit_baseline(TRAIN)
    assert len(fitted.latencies_ms(["a parcel", "plus"])) == 2 and min(fitted.latencies_ms(["a parcel"])) > 0
    more = [record(f"{one.text} {number}", str(one.gold)) for number, one in enumerate(TRAIN)]
    assert 0 < fitted.size_bytes < TASK.fit_baseline(more).size_bytes


def test_the_baseline_gives_a_label_it_never_saw_no_probability() -> None:
    wider = Classification(["a_new_label", *TASK.labels])
    assert (wider.fit_baseline(TRAIN).probabilities([one.text for one in TRAIN[:2]])[:, 0] == 0).all()


def test_the_baseline_learns_from_a_single_message_of_a_label() -> None:
    lonely = [record("where is my parcel", "order_status"), record("plus plan", "membership")]
    assert TASK.baseline(lonely, [record("a parcel")]) == ["order_status"]


def test_spaces_around_a_label_are_not_the_labels() -> None:
    _, gold = TASK.read({"text": "Where is it?", "answer": f" {TASK.labels[0]}"})
    assert gold == TASK.labels[0] == TASK.parse(f" {TASK.labels[0]}\n")


def test_a_baseline_that_knows_one_label_says_that() -> None:
    alike = [row for row in TRAIN if row.gold == TRAIN[0].gold]
    assert set(TASK.baseline(alike, TRAIN)) == {TRAIN[0].gold}
