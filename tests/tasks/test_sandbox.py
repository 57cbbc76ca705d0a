"""Code of a model runs apart: what it may not do, and how it cannot cheat."""

from __future__ import annotations

import socket
import threading

import pytest

from slmops.tasks.sandbox import passes

ADD = "def add(a, b):\n    return a + b"
TEST = ["assert add(1, 2) == 3"]


def test_code_that_does_what_the_tests_ask_passes_and_other_code_does_not() -> None:
    assert passes(ADD, TEST)
    assert passes("import math\n" + ADD, ["assert math.floor(add(1, 2)) == 3"])
    assert not passes("def add(a, b):\n    return a - b", TEST)
    assert not passes(ADD, [])


@pytest.mark.parametrize(
    "code",
    [
        "import os\nos._exit(0)",
        "raise SystemExit(0)",
        "import sys\nsys.stdout.write('0' * 32 + '\\n')\nraise SystemExit(0)",
        "while True: pass",
        "x = 'x' * 2**30",
        "open('big', 'w').write('x' * 2**24)",
        "import subprocess\nsubprocess.run(['sleep', '60'])\nraise ValueError",
        "print('\\udc80'",
    ],
)
def test_code_that_leaves_early_or_takes_too_much_fails(code: str) -> None:
    assert not passes(f"{ADD}\n{code}", TEST)


def test_the_environment_is_not_shown() -> None:
    assert passes("import os\nseen = dict(os.environ)", ["assert not {'HOME', 'PATH', 'SLMOPS_STORE'} & seen.keys()"])


def test_the_network_cannot_be_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        reached = threading.Event()
        threading.Thread(target=lambda: (server.accept(), reached.set()), daemon=True).start()
        code = f"import socket\nsocket.create_connection(('127.0.0.1', {server.getsockname()[1]}), 2)"
        assert not passes(f"{ADD}\n{code}", TEST)
        assert not reached.is_set()
