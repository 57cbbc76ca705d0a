"""A model behind an address that speaks OpenAI's chat completions: vLLM, Ollama, Azure, OpenAI and others.

In come messages, out go whole answers. The key comes from the environment and goes nowhere but to that address. What
fails for a while (429, 5xx, a broken connection) is tried again; a message that it refuses (400, 422, an answer without
a text) is told as an answer that is none; what the server says is not trusted. Knows no task and no record.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any
from urllib.parse import urlsplit

from slmops.core.errors import ModelError, need
from slmops.runtimes.local import Reply
from slmops.runtimes.types import Sampling
from slmops.tasks.types import Message, TokenLogprobs

LOOPBACK = ("localhost", "127.0.0.1", "::1")

_TRIES = 6
_LONGEST_WAIT_S = 60.0
_TIMEOUT_S = 120.0
_LONGEST_ANSWER_BYTES = 4_000_000
_BYTES_A_TOLD_TOKEN = 400  # of JSON, for each of its alternatives
_LONGEST_TOKEN = 256
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
_REFUSING = frozenset({400, 422})  # of a content filter, say; or of what is wrong in every message
_SHOWN = 200
REFUSED = "refused"  # the finish of an answer that is none; its text says why


class _Refused(Exception):
    """The server has answered, and will not answer this message."""


class RemoteModel:
    """The model `model` at `endpoint` (`https://host/v1`), asked for so many `top_logprobs` at each token; to be
    closed."""

    def __init__(
        self,
        endpoint: str,
        model: str,
        api_key_env: str | None = None,
        *,
        top_logprobs: int = 0,
        at_once: int = 4,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        httpx = need("httpx", "remote")
        self._key = read_key(api_key_env)
        headers = {"Accept-Encoding": "identity"}  # what is packed may be any size
        headers |= {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._endpoint, self._model, self._at_once, self._wait = endpoint.rstrip("/"), model, at_once, wait
        self._top = top_logprobs
        here = urlsplit(endpoint).hostname in LOOPBACK  # no proxy of the environment comes between
        self._client = httpx.Client(headers=headers, timeout=_TIMEOUT_S, follow_redirects=False, trust_env=not here)
        self._broken: type[Exception] = httpx.HTTPError
        self._passing = (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError)

    def ask_all(self, asked: Sequence[Sequence[Message]], sampling: Sampling) -> Iterator[tuple[int, Reply]]:
        """(which, its answer) as they come; after a failure, those that are still on their way, then the failure.

        Raises:
            ModelError: the server refuses, cannot be reached, or says what is no answer.
        """
        failed: BaseException | None = None
        threads = ThreadPoolExecutor(self._at_once)
        waiting = {threads.submit(self.ask, messages, sampling): place for place, messages in enumerate(asked)}
        try:
            for done in as_completed(waiting):
                if done.cancelled():
                    continue
                if error := done.exception():
                    failed = failed or error
                    for other in waiting:
                        other.cancel()
                else:
                    yield waiting[done], done.result()
        finally:  # where nobody listens any more, nobody asks and pays any more
            threads.shutdown(wait=False, cancel_futures=True)
        if failed:
            raise failed

    def ask(self, messages: Sequence[Message], sampling: Sampling) -> Reply:
        """One answer; finish REFUSED where the server refuses that message.

        Raises:
            ModelError: the server cannot be reached, refuses all, or says what is no answer.
        """
        body = {
            "model": self._model,
            "messages": [{"role": message.role, "content": message.content} for message in messages],
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "seed": sampling.seed,
        }
        if self._top:
            body |= {"logprobs": True, "top_logprobs": self._top}
        try:
            said = self._post(body, _LONGEST_ANSWER_BYTES + sampling.max_tokens * self._top * _BYTES_A_TOLD_TOKEN)
        except _Refused as refusal:
            return Reply(str(refusal), 0, 0, 0.0, REFUSED)
        try:
            choice = said["choices"][0]
            message, finish = choice["message"], choice.get("finish_reason")
            text = message["content"]
            usage = said.get("usage") or {}
            read, written = (max(0, int(usage.get(f"{part}_tokens") or 0)) for part in ("prompt", "completion"))
            told = _token_logprobs(choice["logprobs"]["content"], self._top) if self._top and text is not None else None
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            lacks = ", or none with log-probabilities: remove teacher.top_logprobs" if self._top else ""
            raise self._error(f"found no chat completion{lacks} ({type(error).__name__}: {error})") from error
        if text is None:
            said = str(message.get("refusal") or f"no text, finish_reason {finish}")[:_SHOWN]
            return Reply(said, written, 0, 0.0, REFUSED, None, read)
        if not isinstance(text, str):
            raise self._error("found an answer without a text")
        text = text.encode("utf-8", "replace").decode()  # half a character cannot be written
        return Reply(text, written, 0, 0.0, "length" if finish == "length" else "stop", told, read)

    def close(self) -> None:
        self._client.close()

    def _post(self, body: dict[str, Any], longest: int) -> Any:
        pause, problem = 0.0, ""
        for turn in range(_TRIES):
            if turn:
                self._wait(min(_LONGEST_WAIT_S, max(2.0 ** (turn - 1), pause)))
            try:
                with self._client.stream("POST", f"{self._endpoint}/chat/completions", json=body) as response:
                    if (packed := response.headers.get("content-encoding", "identity")) != "identity":
                        raise self._error(f"found an answer packed as {packed[:_SHOWN]}, which was not asked for")
                    if response.status_code == 200:
                        return json.loads(self._cleaned(_read(response.iter_raw(), longest)))
                    problem, pause = f"it answers {response.status_code}", _asked_to_wait(response.headers)
                    if response.status_code not in _BUSY:
                        shown = " ".join(self._cleaned(_read(response.iter_raw(), longest)).split())
                        problem = f"{problem}: {shown[:_SHOWN]}"
                        if response.status_code in _REFUSING:
                            raise _Refused(self._error(problem).what)
                        raise self._error(problem)
            except self._passing as error:
                problem, pause = f"{type(error).__name__}: {error}", 0.0
            except self._broken as error:
                raise self._error(f"{type(error).__name__}: {error}") from error
            except (ValueError, RecursionError) as error:
                raise self._error(f"found no JSON ({error})") from error
        raise self._error(f"{problem}, {_TRIES} times")

    def _cleaned(self, said: bytes) -> str:
        """What a server said, without the key, which some say back."""
        text = said.decode("utf-8", "replace")
        return text.replace(self._key, "…") if self._key else text

    def _error(self, what: str) -> ModelError:
        return ModelError(what, where=self._endpoint, remedy="check teacher.endpoint, teacher.model and the key")


def _token_logprobs(content: Any, top: int) -> tuple[TokenLogprobs, ...]:
    """What a server tells of each token it wrote.

    Raises:
        KeyError, TypeError, ValueError, AttributeError, OverflowError: it tells something else.
    """
    told = []
    for token in content:
        others = {_piece(other): _logprob(other) for other in (token.get("top_logprobs") or [])[:top]}
        found = TokenLogprobs(_piece(token), _logprob(token), others)
        if (mass := sum(map(math.exp, {found.piece: found.logprob, **found.top}.values()))) > 1.01:
            raise ValueError(f"the probabilities of a token's alternatives sum to {mass:.3g}")
        told.append(found)
    return tuple(told)


def _piece(token: Any) -> str:
    if (spelled := token.get("bytes")) is None:
        return str(token["token"]).encode()[:_LONGEST_TOKEN].decode("latin-1")
    if not isinstance(spelled, list) or len(spelled) > _LONGEST_TOKEN:
        raise ValueError("the bytes of a token are no short list")
    return bytes(spelled).decode("latin-1")


def _logprob(token: Any) -> float:
    value = float(token["logprob"])
    if not value <= 1e-3:
        raise ValueError(f"{value} is no log-probability")
    return max(-100.0, min(0.0, value))


def read_key(name: str | None) -> str:
    """The key that the environment variable holds; none where none is named.

    Raises:
        ModelError: it holds none.
    """
    if not name:
        return ""
    key = os.environ.get(name, "").strip()
    if not key or not (key.isascii() and key.isprintable()):
        told = f"${name} holds no key: it has characters that none has" if key else f"${name} is not set"
        raise ModelError(told, where="teacher.api_key_env", remedy=f"export {name}")
    return key


def _read(parts: Iterator[bytes], longest: int) -> bytes:
    read = bytearray()
    for part in parts:
        read += part
        if len(read) > longest:
            raise ValueError(f"found more than {longest:,} bytes, expected an answer")
    return bytes(read)


def _asked_to_wait(headers: Any) -> float:
    asked = headers.get("retry-after", "")
    return float(asked) if asked.isdigit() else 0.0
