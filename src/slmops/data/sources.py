"""Where rows come from: a file, a folder of Hugging Face's `datasets`, or a data set on its hub; and which of the rows.

In comes what a user wrote (`rows.csv`, `folder#test`, `hf:owner/name@revision#train[:4096]`), out go rows. A folder is
one that `save_to_disk` wrote, or holds files that are named by their split; a data set of the hub is fetched once and
stays as it was. Knows no field by name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from slmops.core.artifact import hash_file, hash_json
from slmops.core.errors import DataError
from slmops.data import formats
from slmops.models.hub import fetch_snapshot
from slmops.models.references import RECORD, cache_folder
from slmops.models.sources import fill_folder, write_json

HUB = "hf:"

_FORM = re.compile(r"(?P<place>.+?)(?:#(?P<split>[\w.-]*)(?:\[(?P<start>-?\d+%?)?:(?P<stop>-?\d+%?)?\])?)?", re.DOTALL)
_SPLITS = {  # how files name them
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
_NO_ROWS = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", RECORD)
_LARGEST_BYTES = 20_000_000_000  # that are fetched unasked


@dataclass(frozen=True)
class Origin:
    """The files that rows are in, and which rows are meant: from `start` up to `stop`, as they were written."""

    path: Path
    files: tuple[Path, ...]
    start: str | None = None
    stop: str | None = None

    @property
    def size_bytes(self) -> int:
        return sum(file.stat().st_size for file in self.files)

    def digest(self) -> str:
        """The hash of the files' contents, and of what is meant of them."""
        digests = [hash_file(file).sha256 for file in self.files]
        whole = len(digests) == 1 and self.start is None and self.stop is None
        return digests[0] if whole else hash_json([digests, self.start, self.stop])


def rows_of(path: Path, max_row_bytes: int) -> formats.Rows:
    """(line, row) of all rows that `path` means; of several files, the rows are counted through.

    Raises:
        DataError: there is no such file or split, it cannot be read any further, or has fewer rows than are meant.
    """
    origin = find_rows(path)

    def rows() -> formats.Rows:
        if len(origin.files) == 1:
            yield from formats.rows_of(origin.files[0], max_row_bytes)
        else:
            every = (row for file in origin.files for _, row in formats.rows_of(file, max_row_bytes))
            yield from enumerate(every, 1)

    return _sliced(origin, rows)


def find_rows(path: Path) -> Origin:
    """The files that `path` means; from the hub they are fetched, if they were not before.

    Raises:
        DataError: there is no such file or split, or nothing can be fetched.
    """
    match = _FORM.fullmatch(str(path))
    if path.is_file() or match is None:
        return Origin(path, (path,))
    if path.is_dir():  # whatever its name
        return Origin(path, tuple(_files_of(path, "", str(path))))
    split = match["split"] or ""
    place = _fetched(match["place"], split) if match["place"].startswith(HUB) else Path(match["place"])
    if place.is_dir():
        return Origin(path, tuple(_files_of(place, split, str(path))), match["start"], match["stop"])
    if not place.is_file():
        raise DataError("there is no such file", where=str(place), remedy="check the path")
    if split not in ("", "train"):
        raise DataError("a file has no splits", where=str(path), remedy=f"name the file of {split}")
    return Origin(path, (place,), match["start"], match["stop"])


def _sliced(origin: Origin, rows: Callable[[], formats.Rows]) -> formats.Rows:
    bounds = (origin.start, origin.stop)
    if bounds == (None, None):
        yield from rows()
        return
    relative = any(bound and (bound.startswith("-") or bound.endswith("%")) for bound in bounds)
    count = sum(1 for _ in rows()) if relative else None
    start, stop = (None if bound is None else _place(bound, count) for bound in bounds)
    begin = seen = start or 0
    if begin >= 0 and (stop is None or stop > begin):
        for row in islice(rows(), begin, stop):
            seen += 1
            yield row
        if seen > begin and stop in (None, seen):
            return
    found = count if count is not None else sum(1 for _ in rows())
    raise DataError(
        f"found {found:,} rows, expected those of [{origin.start or ''}:{origin.stop or ''}]",
        where=str(origin.path),
        remedy=f"write a slice within [0:{found}], or none",
    )


def _place(bound: str, count: int | None) -> int:
    """A bound as a number of rows from the begin."""
    if count is None:
        return int(bound)
    place = round(int(bound[:-1]) / 100 * count) if bound.endswith("%") else int(bound)
    return place + count if bound.startswith("-") else place


def _files_of(folder: Path, split: str, where: str) -> list[Path]:
    """The files of a split; of the only one, where none is named."""
    if (folder / "dataset_dict.json").is_file():
        names = _read(folder / "dataset_dict.json").get("splits")
        names = [Path(name).name for name in names if isinstance(name, str)] if isinstance(names, list) else []
        names = [name for name in names if name not in ("", "..")]
        return _saved(_chosen({name: folder / name for name in names}, split, where))
    if (folder / "state.json").is_file():
        return _saved(folder)
    found: dict[str, list[Path]] = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file() and _has_rows(file.relative_to(folder)):
            found.setdefault(_split_of(file.relative_to(folder)), []).append(file)
    files: list[Path] = _chosen(found, split, where)
    shapes = {_shape_of(file.relative_to(folder)): file.relative_to(folder) for file in files}
    if len(shapes) > 1:
        one, other, *_ = (path.as_posix() for path in shapes.values())
        raise DataError(
            f"found files of one split that are no parts of one another: {one}, {other}",
            where=where,
            remedy="name the folder of one, or the file",
        )
    return files


def _has_rows(file: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.parts)
    return formats.is_known(file) and file.name not in _NO_ROWS and not hidden


def _shape_of(file: Path) -> str:
    """What parts of one split have in common: all but numbers."""
    return re.sub(r"\d+", "0", file.as_posix())


def _chosen(splits: dict[str, Any], split: str, where: str) -> Any:
    if not splits:
        raise DataError("the folder has no file of rows", where=where, remedy="name a file, or another folder")
    if not split and len(splits) == 1:
        return next(iter(splits.values()))
    if not split or split not in splits:
        names = ", ".join(name or "files without one" for name in splits)
        asked = f"no split {split!r}" if split else "several splits"
        raise DataError(f"found {asked} but {names}", where=where, remedy=f"write {where.partition('#')[0]}#SPLIT")
    return splits[split]


def _saved(folder: Path) -> list[Path]:
    """The files of a split that `save_to_disk` wrote."""
    told = _read(folder / "state.json").get("_data_files")
    names = [file.get("filename") for file in told if isinstance(file, dict)] if isinstance(told, list) else []
    files = [folder / Path(name).name for name in names if isinstance(name, str)]
    if missing := next((file for file in files or [folder / "data-…"] if not file.is_file()), None):
        raise DataError("there is no such file", where=str(missing), remedy="save the data set again")
    return files


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot be read: {error}", where=str(path), remedy="save the data set again") from error
    if not isinstance(data, dict):
        raise DataError("found no object", where=str(path), remedy="save the data set again")
    return data


def _split_of(file: Path) -> str:
    """The split that a file's name, or its folder's, says; the nearest to the file counts."""
    for part in reversed(file.parts):
        words = re.split(r"[^a-z]+", part.lower())
        for split, names in _SPLITS.items():
            if any(name in words for name in names):
                return split
    return ""


def _fetched(reference: str, split: str) -> Path:
    """The folder with a split of a data set of the hub, or of a folder in it (`hf:owner/name/folder`), in the cache;
    fetched if it is not there."""
    target = cache_folder("data", f"{reference}#{split}")
    if not (target / RECORD).is_file():
        fill_folder(target, lambda folder: (folder / RECORD).is_file(), lambda folder: _fetch(reference, split, folder))
    inside = reference.removeprefix(HUB).partition("@")[0].split("/")[2:]
    return target.joinpath(*(part for part in inside if part not in ("", "..")))


def _fetch(reference: str, split: str, folder: Path) -> None:
    name, _, revision = reference.removeprefix(HUB).partition("@")
    repository, inside = "/".join(name.split("/")[:2]), "/".join(name.split("/")[2:])

    def choose(info: Any) -> list[str]:
        wanted = [file for file in info.siblings if _is_wanted(Path(file.rfilename), inside, split)]
        if (size := sum(file.size or 0 for file in wanted)) > _LARGEST_BYTES:
            raise DataError(f"found {size / 1e9:.0f} GB", where=reference, remedy="name a folder in it, or fetch it")
        if not wanted:
            found = f"found no file of {split or 'rows'} among {len(info.siblings)}"
            raise DataError(found, where=reference, remedy="look at the names of its files")
        return [file.rfilename for file in wanted]

    info = fetch_snapshot("dataset", repository, revision or "main", folder, choose, DataError)
    write_json(folder / RECORD, {"origin": f"{HUB}{repository}@{info.sha}", "reference": reference})


def _is_wanted(file: Path, inside: str, split: str) -> bool:
    is_inside = not inside or file.as_posix().startswith(f"{inside}/")
    return is_inside and _has_rows(file) and (not split or _split_of(file) == split)
