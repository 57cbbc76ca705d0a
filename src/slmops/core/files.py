"""Files written whole or not at all, locks that die with their holder, and what to say when the disk is full.

In come paths and bytes; out go files another process sees either as they were or complete. Knows no store and no
pipeline. Windows cannot sync folders or read-only files, so there a power cut is less well guarded.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from io import FileIO
from pathlib import Path
from typing import IO

from slmops.core.errors import BusyError, FullDiskError, SlmopsError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_TOLD_BY_OTHERS = re.compile(r"\b(?:os error|Errno) (\d+)\b")  # as safetensors and pip tell it
_THERE = {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR}
_TAKEN = {errno.EAGAIN, errno.EACCES, errno.EDEADLK}
_LOCKED_BYTE = 1 << 30  # Windows forbids reading what is locked, so the lock lies behind the holder's name


def write_whole(path: Path, data: bytes | str) -> None:
    """Writes `data` to `path` so that a reader, or a kill at any moment, meets the old content or all of the new."""
    content = data.encode() if isinstance(data, str) else data
    part = part_of(path)
    with full_disk_explained(path.parent, len(content)):
        try:
            with _told_of(path):
                with part.open("xb") as stream:
                    stream.write(content)
                    stream.flush()
                    os.fsync(stream.fileno())
                os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
        sync(path.parent)


@contextmanager
def written_whole(*paths: Path) -> Iterator[Sequence[IO[str]]]:
    """A stream of text for each path, which appear in this order once all were written; a failure leaves what was there
    before."""
    for folder in {path.parent for path in paths}:
        folder.mkdir(parents=True, exist_ok=True)
    parts = [part_of(path) for path in paths]
    try:
        with full_disk_explained(paths[0].parent):
            with ExitStack() as streams:
                opened = [streams.enter_context(part.open("x", encoding="utf-8", newline="\n")) for part in parts]
                yield opened
                for stream in opened:
                    stream.flush()
                    os.fsync(stream.fileno())
            _replace_all(parts, paths)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)
    for folder in {path.parent for path in paths}:
        sync(folder)


@contextmanager
def _told_of(path: Path) -> Iterator[None]:
    """Errors name the file that was asked for, not its part."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def _replace_all(parts: Sequence[Path], paths: Sequence[Path]) -> None:
    """Puts each part in its place; where one cannot be put, all is as it was. Killed in between, some are missing and
    stand as `.NAME.before`, but none is of one writing beside another of the next."""
    before: dict[Path, Path] = {}
    placed: list[Path] = []
    try:
        for path in paths if len(paths) > 1 else ():
            if path.is_file():
                os.replace(path, aside := path.with_name(f".{path.name}.before"))
                before[path] = aside
        for part, path in zip(parts, paths, strict=True):
            with _told_of(path):
                os.replace(part, path)
            placed.append(path)
    except OSError:
        for path in placed:
            path.unlink()
        for path, aside in before.items():
            os.replace(aside, path)
        raise
    for aside in before.values():
        aside.unlink()


@contextmanager
def folder_written_whole(folder: Path) -> Iterator[Path]:
    """Where to make what shall stand in `folder` once all of it is there.

    Raises:
        SlmopsError: something stands there already.
    """
    if folder.exists():
        raise _stands_there(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.part-")
    with full_disk_explained(folder.parent), beside as scratch:
        part = Path(scratch) / "part"
        part.mkdir()
        yield part
        place_whole(part, folder)


def place_whole(part: Path, folder: Path) -> None:
    """Renames a folder that is whole to what it is called, once all of it is on the disk.

    Raises:
        SlmopsError: something stands there already.
    """
    for path in part.rglob("*"):
        sync(path)
    sync(part)
    try:
        os.rename(part, folder)
    except OSError as error:
        if error.errno not in _THERE:
            raise
        raise _stands_there(folder) from error
    sync(folder.parent)


def _stands_there(folder: Path) -> SlmopsError:
    return SlmopsError("exists already", where=str(folder), remedy="give another folder, or remove it")


def reserve(path: Path, size: int) -> None:
    """A file of `size` bytes, or room for all of one, to be mapped into memory. That the disk is full is told now:
    later it would be told by a signal that ends the process, when a page of the mapping is first written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with full_disk_explained(path.parent, size), path.open("ab") as stream:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(stream.fileno(), 0, size)
        else:
            stream.truncate(size)


def part_of(path: Path) -> Path:
    """A new temporary name in the folder of `path`."""
    return path.with_name(f".{uuid.uuid4().hex}.part")


def sync(path: Path) -> None:
    """Brings what was written to the file or folder at `path` to the disk."""
    if sys.platform == "win32":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Holds the lock file at `path`; the kernel lets go of it however this process ends.

    Raises:
        BusyError: another process holds it; names that process and since when.
    """
    with _locked(path, wait=False):
        yield


@contextmanager
def wait_for_lock(path: Path) -> Iterator[None]:
    """Like `lock`, but waits for the other process."""
    with _locked(path, wait=True):
        yield


def free_bytes(path: Path) -> int:
    """What the disk that holds `path`, or will hold it, has left."""
    existing = next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
    return shutil.disk_usage(existing).free


def bytes_of(folder: Path) -> int:
    """All that the files in it have."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@contextmanager
def full_disk_explained(folder: Path, needed_bytes: int = 0, otherwise: str = "") -> Iterator[None]:
    """Turns any error that comes of a full disk, an exceeded quota or a file-size limit into one that names the folder;
    `otherwise` is what helps beside freeing space there."""
    try:
        yield
    except FullDiskError:
        raise  # told by who knows better where
    except Exception as error:
        if not is_full_disk(error):
            raise
        needed = f"{needed_bytes / 1e6:.1f} MB needed at least, " if needed_bytes else ""
        raise FullDiskError(
            f"the disk is full, or a quota is reached: {needed}{free_bytes(folder) / 1e6:.1f} MB free",
            where=str(folder),
            remedy="free space there" + (f", or {otherwise}" if otherwise else ""),
        ) from error


def is_full_disk(error: BaseException | None) -> bool:
    """Whether it is the system's error for one, or comes of it, whoever told it in what words."""
    while error is not None:
        told = _TOLD_BY_OTHERS.search(str(error))
        if getattr(error, "errno", None) in _FULL or (told and int(told[1]) in _FULL):
            return True
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return False


@contextmanager
def _locked(path: Path, wait: bool) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+", buffering=0) as stream:
        try:
            _take(stream, wait)
        except OSError as error:
            if error.errno not in _TAKEN:
                raise
            raise _busy(path, stream) from error
        stream.truncate(0)
        with suppress(OSError):  # the note is a courtesy: a full disk must not keep gc from running
            stream.write(f"{os.getpid()} {datetime.now().astimezone().isoformat(timespec='seconds')}\n".encode())
        try:
            yield
        finally:
            stream.truncate(0)


def _busy(path: Path, stream: FileIO) -> BusyError:
    stream.seek(0)
    holder = re.match(r"(\d+) (\S+)", stream.read(100).decode(errors="replace"))
    if holder is None:  # it has only just taken the lock
        return BusyError("another process is at work here", where=str(path), remedy="wait until it ends")
    pid, since = holder.groups()
    return BusyError(
        f"process {pid} has been at work here since {since}",
        where=str(path),
        remedy=f"wait until it ends, or end it: kill {pid}",
    )


if sys.platform == "win32":
    import msvcrt

    def _take(stream: FileIO, wait: bool) -> None:
        stream.seek(_LOCKED_BYTE)
        msvcrt.locking(stream.fileno(), msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _take(stream: FileIO, wait: bool) -> None:
        fcntl.flock(stream, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
