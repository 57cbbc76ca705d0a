"""Files that are long and belong together: written line by line, and there whole or not at all.

In come paths, out go streams to write to; the files take their places when all are written. Knows no content.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from slmops.core.errors import DataError
from slmops.core.files import full_disk_explained, part_of, sync


@contextmanager
def written_whole(*paths: Path) -> Iterator[Sequence[IO[str]]]:
    """A stream for each path; a failure leaves what was there before."""
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
            for part, path in zip(parts, paths, strict=True):
                os.replace(part, path)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)
    for folder in {path.parent for path in paths}:
        sync(folder)


def refuse_overwriting(inputs: Sequence[Path], outputs: Sequence[Path]) -> None:
    """Raises DataError where a file that is read would be written, too."""
    read = {path.resolve() for path in inputs}
    for path in outputs:
        if path.resolve() in read:
            raise DataError(
                "found the same file to read and to write",
                where=str(path),
                remedy="name another: a row's history needs what it was made from",
            )


def named_from(folder: Path, path: Path) -> str:
    """`path` as a file in `folder` names it."""
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # on another drive of Windows
        return path.as_posix()
