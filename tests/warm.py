"""Processes that begin with the libraries loaded, since loading them is most of what a command on a tiny model takes.

`Warm` is a process that has imported them, and a folder with two programs, `slmops` and `python`. Started in the usual
way, each asks that process to fork, hands over its arguments, environment, folder and open files, and ends as the fork
does; a module that `_SERVED` does not name runs in a plain interpreter, as all else that is asked of `python` but code.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

_SERVED = (  # modules; and code after -c
    "slmops.evaluation.worker",
    "tests.stages.told_run",
    "tests.training.killed_runs",
    "tests.training.parallel_runs",
    "torch.distributed.run",
)
_LOADED = (
    "matplotlib.figure",
    "onnx_ir",
    "peft",
    "scipy.stats",
    "sklearn.feature_extraction.text",
    "sklearn.linear_model",
    "transformers.models.auto.modeling_auto",
    "transformers.models.llama.modeling_llama",
    "slmops.stages.run",
    "slmops.evaluation.worker",
)
_PROGRAM = """#!{real} -IS
import json, os, socket, struct, sys

asked = sys.argv[2:] if sys.argv[1:2] == ["-u"] else sys.argv[1:]
if {plain}:
    os.execv({real!r}, [{real!r}, *sys.argv[1:]])
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    said = json.dumps({{"program": {name!r}, "asked": asked, "folder": os.getcwd(), "environment": dict(os.environ)}})
    socket.send_fds(server, [struct.pack("!I", len(said.encode()))], [0, 1, 2])
    server.sendall(said.encode())
    (status,) = struct.unpack("!i", server.recv(4))
if status < 0:
    os.kill(os.getpid(), -status)
sys.exit(status)
"""


class Warm:
    """The process that forks, and `folder` with the programs that ask it to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        address = str(folder / "socket")
        served = f"asked[:1] == ['-c'] or asked[:1] == ['-m'] and asked[1] in {_SERVED}"
        plain = {"slmops": "False", "python": f"not ({served})"}
        for name, otherwise in plain.items():
            program = folder / name
            program.write_text(_PROGRAM.format(real=sys.executable, plain=otherwise, address=address, name=name))
            program.chmod(0o755)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.warm", address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[1],
            env=os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        )
        assert self._process.stdout and self._process.stdout.readline() == b"ready\n"

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()


def main(address: str) -> None:
    for name in _LOADED:
        importlib.import_module(name)
    gc.freeze()  # or a fork would copy all of it as soon as it looks for garbage
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        print("ready", flush=True)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that serve
        while listener in select.select([listener, sys.stdin], [], [])[0]:  # stdin ends with who has started it
            asker, _ = listener.accept()
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                listener.close()
                _serve(asker, Path(address).parent)
                os._exit(0)
            asker.close()


def _serve(asker: socket.socket, programs: Path) -> None:
    """Forks what is asked for, and tells its status; kills it if who asked has gone."""
    head, files, _, _ = socket.recv_fds(asker, 4, 3)
    said = json.loads(asker.makefile("rb").read(struct.unpack("!I", head)[0]))
    pid = os.fork()
    if pid == 0:
        asker.close()
        for place, file in enumerate(files):
            os.dup2(file, place)
            os.close(file)
        _become(said, programs)
    for file in (0, 1, 2, *files):
        os.close(file)
    ended = os.pidfd_open(pid)
    if ended not in select.select([asker, ended], [], [])[0]:
        os.kill(pid, signal.SIGKILL)
        return
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    asker.sendall(struct.pack("!i", status))


def _become(said: dict[str, Any], programs: Path) -> None:
    """Is from now on the process that was asked for; ends with it."""
    os.environ.clear()
    os.environ.update(said["environment"])
    os.chdir(said["folder"])
    tempfile.tempdir = None  # by this environment
    sys.executable = str(programs / "python")
    sys.path[0:1] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    status = 1
    try:
        _run(said["program"], said["asked"])
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else ended.code is not None
    except BaseException:  # noqa: BLE001  as an interpreter does
        traceback.print_exc()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(status)  # to take down all that is loaded would take seconds


def _run(program: str, asked: list[str]) -> None:
    if program == "slmops":
        sys.argv = ["slmops", *asked]
        importlib.import_module("slmops.cli").main()
    elif asked[0] == "-m":
        sys.path.insert(0, "")
        sys.argv = asked[1:]
        runpy.run_module(asked[1], run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, "")
        sys.argv = ["-c", *asked[2:]]
        exec(compile(asked[1], "<string>", "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    main(sys.argv[1])
