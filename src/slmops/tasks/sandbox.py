"""Runs a model's code with the user's tests in a process of its own: no network, little time, memory and disk.

In comes code that nobody has read, out goes whether the tests pass. The process starts isolated in an empty folder with
an empty environment, under limits of the operating system and, where the kernel grants it, without network and with no
rights. It is not a jail: what the user may read, the code may read, and code that is out to deceive can say that it
passed. On a machine with secrets, run it in a container.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

_SECONDS = 5
_MEMORY_BYTES = 512 * 2**20
_FILE_BYTES = 2**20
_STARTER = f"""
import ctypes, resource, sys
for limit, value in (
    (resource.RLIMIT_CPU, {_SECONDS}),
    (resource.RLIMIT_AS, {_MEMORY_BYTES}),
    (resource.RLIMIT_FSIZE, {_FILE_BYTES}),
    (resource.RLIMIT_NOFILE, 32),
    (resource.RLIMIT_CORE, 0),
):
    try:
        resource.setrlimit(limit, (value, value))
    except (ValueError, OSError):
        print("a limit cannot be set here", file=sys.stderr)  # macOS knows none of memory
try:
    ctypes.CDLL(None).unshare(0x10000000 | 0x40000000)  # namespaces of users and of the network
except (AttributeError, OSError):
    print("the network cannot be taken away here", file=sys.stderr)
word = sys.stdin.readline()
with open("answer.py", encoding="utf-8") as file:
    exec(compile(file.read(), "answer.py", "exec"), {{"__name__": "answer"}})
sys.__stdout__.write(word)
"""


def passes(code: str, tests: Sequence[str]) -> bool:
    """Whether `code`, followed by `tests`, runs to its end; False where there is no test.

    A word that the code does not know is written behind the last test, so that leaving early is no success.
    """
    if not tests:
        return False
    word = secrets.token_hex(16) + "\n"
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "answer.py").write_text("\n".join([code, *tests]) + "\n", encoding="utf-8")
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _STARTER],
            cwd=folder,
            env={},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )
        try:
            said, _ = process.communicate(word, timeout=2 * _SECONDS)
        except (subprocess.TimeoutExpired, UnicodeDecodeError):
            said = ""
        finally:
            _kill_all(process)
    return process.returncode == 0 and said.endswith(word)


def _kill_all(process: subprocess.Popen[str]) -> None:
    """Ends the process and whatever it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
