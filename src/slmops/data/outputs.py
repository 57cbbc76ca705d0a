"""Paths of files that are made from others: none is written over what is read, and each names where it came from.

In come paths, out go paths. Opens no file.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from slmops.core.errors import DataError
from slmops.data.sources import HUB, find_rows


def refuse_overwriting(inputs: Sequence[Path], outputs: Sequence[Path]) -> None:
    """Raises DataError where a file that is read would be written, too."""
    read = [file for path in inputs for file in find_rows(path).files]
    for path in outputs:
        if path.exists() and any(path.samefile(file) for file in read):  # however each is spelled
            raise DataError(
                "found the same file to read and to write",
                where=str(path),
                remedy="name another: a row's history needs what it was made from",
            )


def named_from(folder: Path, path: Path) -> str:
    """`path` as a file in `folder` names it; of a slice, the file that it is of, whose lines it keeps."""
    if str(path).startswith(HUB):
        return str(path)
    files = find_rows(path).files
    path = files[0] if len(files) == 1 else path
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # on another drive of Windows
        return path.as_posix()
