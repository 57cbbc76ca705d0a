"""Whole files, locks and full disks, with real processes, real kills and real limits."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slmops.core.errors import BusyError, FullDiskError, SlmopsError
from slmops.core.files import (
    folder_written_whole,
    free_bytes,
    full_disk_explained,
    lock,
    reserve,
    wait_for_lock,
    write_whole,
    written_whole,
)

_WRITE_FOREVER = """
import itertools, sys
from pathlib import Path
from slmops.core.files import write_whole
print("ready", flush=True)
for turn in itertools.count():
    write_whole(Path(sys.argv[1]), "ab"[turn % 2] * 300_000)
"""

_HOLD = """
import sys, time
from pathlib import Path
from slmops.core.files import lock
with lock(Path(sys.argv[1])):
    print("ready", flush=True)
    time.sleep(float(sys.argv[2]))
"""

_UNDER_A_LIMIT = """
import resource, sys
from pathlib import Path
from slmops.core.files import reserve, write_whole
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
"""


_SAVE_WEIGHTS = """
import numpy
from safetensors.numpy import save_file
from slmops.core.files import full_disk_explained
with full_disk_explained(Path(sys.argv[1]).parent):
    try:
        save_file({"weight": numpy.zeros(100_000)}, sys.argv[1])
    except Exception as error:
        raise ValueError("it cannot be converted") from error
"""


def test_a_written_file_replaces_the_old_one_and_leaves_nothing_else(tmp_path: Path) -> None:
    write_whole(tmp_path / "notes.txt", "old")
    write_whole(tmp_path / "notes.txt", b"new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"notes.txt": "new"}


def test_a_file_that_cannot_be_written_is_told_by_its_own_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"missing/page\.html'$"):
        write_whole(tmp_path / "missing" / "page.html", "…")


def test_files_of_one_writing_are_all_replaced_or_none(tmp_path: Path) -> None:
    names = ("train", "validation", "test")
    paths = [tmp_path / f"{name}.jsonl" for name in names]

    def write(text: str) -> None:
        with written_whole(*paths) as streams:
            for stream in streams:
                stream.write(text)

    paths[2].mkdir()
    with pytest.raises(OSError, match=r"test\.jsonl'$"):
        write("first")
    assert [path.name for path in tmp_path.iterdir()] == ["test.jsonl"]
    paths[2].rmdir()
    write("old")
    paths[2].unlink()
    paths[2].mkdir()
    with pytest.raises(OSError, match=r"test\.jsonl'$"):
        write("new")
    assert [path.read_text() for path in paths[:2]] == ["old", "old"]
    paths[2].rmdir()
    write("new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {path.name: "new" for path in paths}


def test_a_folder_that_another_process_made_meanwhile_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(SlmopsError, match="exists already"), folder_written_whole(tmp_path / "out") as made:
        (made / "mine").touch()
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "theirs").touch()
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["out", "out/theirs"]


def test_a_killed_writer_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "big.txt"
    for _ in range(4):
        with _child(_WRITE_FOREVER, path) as child:
            time.sleep(random.uniform(0.03, 0.15))
            child.send_signal(signal.SIGKILL)
        assert path.read_text() in ("a" * 300_000, "b" * 300_000)


def test_a_write_that_hits_a_limit_leaves_the_old_file_and_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "big.txt"
    write_whole(path, "old")
    done = _run_under_a_limit('write_whole(Path(sys.argv[1]), "b" * 100_000)', path)
    assert "the disk is full, or a quota is reached: 0.1 MB needed at least" in done.stderr
    assert f"{tmp_path}: the disk is full" in done.stderr and "free space there" in done.stderr
    assert {each.name: each.read_text() for each in tmp_path.iterdir()} == {"big.txt": "old"}


def test_a_file_that_finds_no_room_is_told_before_it_is_mapped(tmp_path: Path) -> None:
    assert "the disk is full" in _run_under_a_limit("reserve(Path(sys.argv[1]), 100_000)", tmp_path / "big").stderr
    reserve(tmp_path / "below" / "small", 100_000)
    assert (tmp_path / "below" / "small").stat().st_size == 100_000


def _run_under_a_limit(code: str, path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _UNDER_A_LIMIT + code, str(path)]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_full_disk_is_named_with_what_is_free(tmp_path: Path) -> None:
    with (
        pytest.raises(SlmopsError, match=r"3\.0 MB needed at least, [\d.]+ MB free — free space"),
        full_disk_explained(tmp_path, 3_000_000),
        open("/dev/full", "wb", buffering=0) as full,  # a device that answers every write with ENOSPC
    ):
        full.write(b"x")


def test_a_full_disk_is_recognised_in_whatever_words_and_behind_whatever_error(tmp_path: Path) -> None:
    done = _run_under_a_limit(_SAVE_WEIGHTS, tmp_path / "weights.safetensors")
    assert "SafetensorError" in done.stderr and f"FullDiskError: {tmp_path}: the disk is full" in done.stderr
    told = f"{tmp_path / 'below'}: the disk is full, .* free space there, or set SLMOPS_CACHE$"
    with (
        pytest.raises(FullDiskError, match=told),
        full_disk_explained(tmp_path),
        full_disk_explained(tmp_path / "below", otherwise="set SLMOPS_CACHE"),
    ):
        raise SlmopsError("cannot be fetched: OSError: [Errno 28] No space left on device")


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), full_disk_explained(tmp_path):
        (tmp_path / "missing").read_bytes()


def test_a_held_lock_is_refused_with_the_holder_named_and_a_kill_frees_it(tmp_path: Path) -> None:
    path = tmp_path / "project" / "lock"
    with _child(_HOLD, path, 60) as child:
        with (
            pytest.raises(BusyError, match=rf"process {child.pid} has been at work here since \d{{4}}-.*kill"),
            lock(path),
        ):
            pass
        child.send_signal(signal.SIGKILL)
    with lock(path):
        assert path.read_text().startswith(f"{os.getpid()} ")


def test_a_patient_lock_waits_for_the_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with _child(_HOLD, path, 0.3) as child, wait_for_lock(path):
        assert path.read_text().startswith(f"{os.getpid()} ")
        child.wait(timeout=10)


def test_a_lock_is_free_after_an_error_under_it(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), lock(tmp_path / "lock"):
        raise ZeroDivisionError
    with lock(tmp_path / "lock"):
        pass


def test_free_space_is_known_for_a_folder_yet_to_be_made(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "not" / "yet") > 0


def _child(code: str, *arguments: object) -> subprocess.Popen[str]:
    child = subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child
