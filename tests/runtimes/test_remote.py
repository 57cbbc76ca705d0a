"""A model behind an address is asked, tried again when it is busy, and not trusted."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from typing import Any

import pytest

from slmops.core.errors import ModelError
from slmops.runtimes.remote import REFUSED, RemoteModel
from slmops.runtimes.types import Sampling
from slmops.tasks.types import Message
from tests.endpoint import Say, completion, served

ASKED = [[Message("system", "Be brief."), Message("user", f"Say {number}.")] for number in range(9)]


def ask(say: Say, waited: list[float] | None = None) -> str:
    with served(say) as server, closing(RemoteModel(server.url, "big", wait=(waited or []).append)) as model:
        return model.ask(ASKED[0], Sampling(5)).text


def test_each_answer_is_that_of_what_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_KEY", "sesame")
    with served(lambda asked: completion(asked["messages"][-1]["content"])) as server:
        with closing(RemoteModel(server.url, "big", "THE_KEY")) as model:
            replies = dict(model.ask_all(ASKED, Sampling(5)))
        assert [replies[place].text for place in range(len(ASKED))] == [f"Say {number}." for number in range(9)]
        assert server.asked[0]["model"] == "big" and server.asked[0]["max_tokens"] == 5
        assert b"authorization: bearer sesame" in bytes(server.received).lower()


def test_half_a_character_becomes_one_that_can_be_written() -> None:
    assert ask(lambda asked: completion("a\ud800b")) == "a?b"


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
        ((200, b'{"choices": [{"message": {"content": 3}}]}'), "found an answer without a text"),
        ((200, b'"' + b"x" * 5_000_000 + b'"'), "found more than 4,000,000 bytes"),
    ],
)
def test_what_is_no_answer_is_refused(said: tuple[int, bytes], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        ask(lambda asked: said)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ((400, b"the content filter says no"), "it answers 400: the content filter says no"),
        ((200, b'{"choices": [{"message": {"content": null, "refusal": "I cannot"}}]}'), "I cannot"),
        ((200, b'{"choices": [{"message": {"content": null}, "finish_reason": "length"}]}'), "finish_reason length"),
    ],
)
def test_a_message_that_is_refused_is_told_with_the_reason(said: tuple[int, bytes], why: str) -> None:
    with served(lambda asked: said) as server, closing(RemoteModel(server.url, "big")) as model:
        refused = model.ask(ASKED[0], Sampling(5))
    assert refused.finish == REFUSED and why in refused.text


def test_nobody_there_and_no_key_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=r"127.0.0.1:9.*ConnectError.* — check teacher.endpoint"):
        RemoteModel("http://127.0.0.1:9/v1", "big", wait=lambda seconds: None).ask(ASKED[0], Sampling(5))
    monkeypatch.delenv("THE_KEY", raising=False)
    with pytest.raises(ModelError, match=r"\$THE_KEY is not set"):
        RemoteModel("http://127.0.0.1:9/v1", "big", "THE_KEY")


def test_what_was_answered_beside_a_failure_arrives() -> None:
    on_their_way = threading.Barrier(3)  # else the failure may come before the last one was sent at all

    def say(asked: dict[str, Any]) -> tuple[int, bytes]:
        on_their_way.wait(30)
        return (401, b"") if asked["messages"][-1]["content"] == "Say 0." else completion("yes")

    arrived = []
    with (
        served(say) as server,
        closing(RemoteModel(server.url, "big", at_once=3)) as model,
        pytest.raises(ModelError, match="it answers 401"),
    ):
        for place, _ in model.ask_all(ASKED[:3], Sampling(5)):
            arrived.append(place)
    assert sorted(arrived) == [1, 2]


def test_who_stops_listening_pays_for_no_more() -> None:
    def say(asked: dict[str, Any]) -> tuple[int, bytes]:
        time.sleep(0.05)
        return completion("yes")

    with served(say) as server, closing(RemoteModel(server.url, "big", at_once=1)) as model:
        for _ in model.ask_all(ASKED * 5, Sampling(5)):
            break
        time.sleep(0.5)
        assert len(server.asked) <= 3 < len(ASKED * 5)


@pytest.mark.parametrize("key", ["sk-secret\n", "  sk-secret"])
def test_a_key_is_stripped_and_never_said_again(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("THE_KEY", key)
    with (
        served(lambda asked: (401, b"bad key sk-secret")) as server,
        closing(RemoteModel(server.url, "big", "THE_KEY")) as model,
        pytest.raises(ModelError, match="bad key …") as refused,
    ):
        model.ask(ASKED[0], Sampling(5))
    assert "sk-secret" not in str(refused.value)
    long = "sk-" + "A1b2C3d4" * 8
    monkeypatch.setenv("THE_KEY", long)
    cut = f"{'x' * 150}{long}".encode()
    for said in ((401, cut), (400, cut), completion(f"the key is {long}")):
        with (
            served(lambda asked, said=said: said) as server,  # type: ignore[misc]
            closing(RemoteModel(server.url, "big", "THE_KEY")) as model,
        ):
            try:
                told = model.ask(ASKED[0], Sampling(5)).text
            except ModelError as error:
                told = str(error)
        assert long[:20] not in told and "…" in told
    monkeypatch.setenv("THE_KEY", "schlüssel")
    with pytest.raises(ModelError, match=r"\$THE_KEY holds no key") as refused:
        RemoteModel(server.url, "big", "THE_KEY")
    assert "schl" not in str(refused.value)


def test_no_proxy_comes_between_this_machine_and_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    assert ask(lambda asked: completion("here")) == "here"
