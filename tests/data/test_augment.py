"""Texts made of others: none that judges, and none changed that was not to be."""

from __future__ import annotations

from slmops.data.augment import augment_texts, noisy_copies
from slmops.tasks.types import Record, Source

TEXT = "please  cancel\nmy order"


def record(text: str, id: str = "1") -> Record:
    return Record(id, {"text": text}, None, Source("train", 1))


def test_without_noise_every_epoch_reads_the_text_as_it_is() -> None:
    copies = noisy_copies([(record(TEXT), "cancel")], 3, 0.0, 7, "text")
    assert [copy.inputs["text"] for copy, _ in copies] == [TEXT] * 3
    noisy = noisy_copies([(record(TEXT), "cancel")], 3, 0.5, 7, "text")
    assert noisy[0][0].inputs["text"] == TEXT and any(copy.inputs["text"] != TEXT for copy, _ in noisy[1:])


def test_what_is_written_without_spaces_is_varied_too() -> None:
    text = "我昨天买的灯坏了我想要退款请帮助我谢谢你们"
    made = [
        one.inputs["text"] for one in augment_texts([record(text), record("请问我的订单在哪里", "2")], 4, 7, "text")
    ]
    assert len(made) > 4 and all(" " not in one for one in made)
    copies = noisy_copies([(record(text), "refund")], 3, 0.3, 7, "text")
    assert all(0 < len(copy.inputs["text"]) < len(text) for copy, _ in copies[1:])


def test_no_text_is_made_that_is_held_out() -> None:
    rows = [record(TEXT)]
    made = {one.inputs["text"] for one in augment_texts(rows, 40, 7, "text")}
    assert "cancel my order" in made
    held_out = [record("Cancel my order!", "test")]
    apart = {one.inputs["text"] for one in augment_texts(rows, 40, 7, "text", held_out)}
    assert apart == made - {"cancel my order"}
