"""A server that speaks as much of OpenAI's chat completions as a teacher needs; it keeps every byte that it is sent."""

from __future__ import annotations

import json
import socketserver
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

Server = TypeVar("Server", bound=socketserver.BaseServer)
Say = Callable[[dict[str, Any]], tuple[int, bytes]]  # what was asked → status and body


class Endpoint(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, say: Say) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.say, self.received, self.asked = say, bytearray(), list[dict[str, Any]]()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has heard enough hangs up: no fault of the server's."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(socketserver.StreamRequestHandler):
    server: Endpoint

    def handle(self) -> None:
        while head := self._head():
            length = next((int(line.split(b":")[1]) for line in head if line.lower().startswith(b"content-length")), 0)
            body = self.rfile.read(length)
            self.server.received += b"".join(head) + body
            asked = json.loads(body)
            self.server.asked.append(asked)
            status, said = self.server.say(asked)
            self.wfile.write(b"HTTP/1.1 %d said\r\nContent-Length: %d\r\n\r\n" % (status, len(said)) + said)

    def _head(self) -> list[bytes]:
        lines = []
        while (line := self.rfile.readline()) and line != b"\r\n":
            lines.append(line)
        return lines


def completion(text: str, finish: str = "stop") -> tuple[int, bytes]:
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": finish}
    return 200, json.dumps({"choices": [choice], "usage": {"prompt_tokens": 50, "completion_tokens": 3}}).encode()


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """The server, asked and answering, until whatever happens: one that was closed as it still listened would go round
    and round for ever, and every other test would wait for it."""
    with server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


def served(say: Say) -> AbstractContextManager[Endpoint]:
    return running(Endpoint(say))
