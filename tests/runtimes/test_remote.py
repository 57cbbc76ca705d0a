"""A model behind an address is asked, tried again when it is busy, and not trusted."""

from __future__ import annotations

from contextlib import closing

import pytest

from slmops.core.errors import ModelError
from slmops.runtimes.remote import RemoteModel
from slmops.runtimes.types import Sampling
from slmops.tasks.types import Message
from tests.endpoint import Say, completion, served

ASKED = [[Message("system", "Be brief."), Message("user", f"Say {number}.")] for number in range(9)]


def ask(say: Say, waited: list[float] | None = None) -> str:
    with served(say) as server, closing(RemoteModel(server.url, "big", wait=(waited or []).append)) as model:
        return model.ask(ASKED[0], Sampling(5)).text


def test_answers_come_in_the_order_of_what_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_KEY", "sesame")
    with served(lambda asked: completion(asked["messages"][-1]["content"])) as server:
        with closing(RemoteModel(server.url, "big", "THE_KEY")) as model:
            replies = list(model.ask_all(ASKED, Sampling(5)))
        assert [reply.text for reply in replies] == [f"Say {number}." for number in range(9)]
        assert server.asked[0]["model"] == "big" and server.asked[0]["max_tokens"] == 5
        assert b"authorization: bearer sesame" in bytes(server.received).lower()


def test_a_busy_server_is_asked_again() -> None:
    turns = iter([(429, b""), (503, b"later"), completion("here")])
    waited = [0.0]
    assert ask(lambda asked: next(turns), waited) == "here" and waited[1:] == [1.0, 2.0]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ((401, b"who are you?"), "it answers 401: who are you"),
        ((503, b""), "it answers 503, 6 times"),
        ((200, b"<html>"), "found no JSON"),
        ((200, b"[" * 100_000), "found no JSON"),
        ((200, b"{}"), "found no chat completion"),
        ((200, b'{"choices": [{"message": {"content": null}}]}'), "found an answer without a text"),
        ((200, b'"' + b"x" * 5_000_000 + b'"'), "found more than 4,000,000 bytes"),
    ],
)
def test_what_is_no_answer_is_refused(said: tuple[int, bytes], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        ask(lambda asked: said)


def test_nobody_there_and_no_key_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=r"127.0.0.1:9.*ConnectError.* — check teacher.endpoint"):
        RemoteModel("http://127.0.0.1:9/v1", "big", wait=lambda seconds: None).ask(ASKED[0], Sampling(5))
    monkeypatch.delenv("THE_KEY", raising=False)
    with pytest.raises(ModelError, match=r"\$THE_KEY is not set"):
        RemoteModel("http://127.0.0.1:9/v1", "big", "THE_KEY")
