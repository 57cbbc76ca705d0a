"""Checking, cleaning and dividing files of rows, at scale: `python -m benchmarks.data`.

A million rows of 15 to 60 words, one in fifty followed by an edited copy, go through `slmops data check`, `clean` and
`split`, one after another, as a user would run them. Then the same with a file of 5 GB. Near duplicates are compared
with datatrove and data-juicer at their defaults, in the same run, on fewer rows: SLMOPS_BENCH_PEERS names a folder with
an environment for each (see data_peers.py).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.data_rows import How, Planted, read_words, write_rows
from benchmarks.public import DATA
from benchmarks.results import SLMOPS, Asked, Group, Measured, Target, of_one, parser, run
from slmops.core.errors import DataError
from slmops.core.measurement import Interval
from slmops.data.near import similar_rows
from slmops.data.split import Clusters

SEED = 7
LONG = (100, 400)  # words of a row of the large file
PEERS = ("datatrove", "data-juicer")


@dataclass(frozen=True)
class Settings:
    """How much is measured; smaller for tests."""

    rows: int = 1_000_000
    peer_rows: int = 20_000
    gigabytes: float = 5.0


@dataclass(frozen=True)
class Used:
    """What a command needed."""

    seconds: float
    peak_mb: float


def groups(settings: Settings) -> list[Group]:
    rows = f"{settings.rows:,} rows of 15–60 words"
    size = f"{settings.gigabytes:g} GB of rows of {LONG[0]}–{LONG[1]} words"
    scale = (
        Asked(
            "data-seconds", f"check + clean + split of {rows}", "s", Target("under 3 min all together", "under", 180)
        ),
        Asked("data-memory", f"peak memory of the three, {rows}", "MB", Target("under 3 GB resident", "under", 3000)),
    )
    near = (
        Asked("near-rows", f"near duplicates among {rows}, found and compared", "rows/s"),
        *(
            Asked(
                f"near-recall-{how}", f"copies found, 5 % of their {how} edited", "", Target("≥ 0.95", "at least", 0.95)
            )
            for how in ("words", "characters")
        ),
        Asked("near-precision", "pairs listed that were planted", "", Target("≥ 0.99", "at least", 0.99)),
    )
    peers = tuple(
        Asked(f"{what}-{peer}", f"{words}, {settings.peer_rows:,} rows, against {peer} at its defaults", unit)
        for peer in PEERS
        for what, words, unit in (("speed", "near duplicates", "rows/s"), ("recall", "planted copies found", ""))
    )
    flat = (
        Asked(
            "flat-memory", f"peak memory of check, clean, split: {size}", "MB", Target("under 1.5 GB", "under", 1500)
        ),
        Asked("flat-growth", f"its peak memory against that of a fifth of the file: {size}", "×"),
    )
    return [
        Group(scale, lambda wanted: _measure_scale(settings)),
        Group(near, lambda wanted: _measure_near(settings)),
        Group(peers, lambda wanted: _measure_peers(settings, wanted)),
        Group(flat, lambda wanted: _measure_flat(settings)),
    ]


def _measure_scale(settings: Settings) -> Iterator[tuple[str, Measured]]:
    with tempfile.TemporaryDirectory(dir=_room()) as folder:
        raw = Path(folder) / "raw.jsonl"
        _write(raw, rows=settings.rows)
        used = _run_all(raw)
    parts = ", ".join(f"{name} {one.seconds:.0f} s" for name, one in used.items())
    yield "data-seconds", of_one(sum(one.seconds for one in used.values()), note=parts)
    yield "data-memory", of_one(max(one.peak_mb for one in used.values()))


def _measure_near(settings: Settings) -> Iterator[tuple[str, Measured]]:
    with tempfile.TemporaryDirectory(dir=_room()) as folder:
        raw = Path(folder) / "raw.jsonl"
        planted = _write(raw, rows=settings.rows)
        begun = time.perf_counter()
        found = {(match.left, match.right) for match in similar_rows(_texts(raw))}
        yield "near-rows", of_one(settings.rows / (time.perf_counter() - begun))
    hows: tuple[How, ...] = ("words", "characters")
    for how in hows:
        hits = [(pair.row, pair.copy) in found for pair in planted if pair.how == how]
        yield f"near-recall-{how}", _share(sum(hits), len(hits))
    yield "near-precision", _share(len(found & {(pair.row, pair.copy) for pair in planted}), len(found))


def _measure_peers(settings: Settings, wanted: frozenset[str]) -> Iterator[tuple[str, Measured]]:
    with tempfile.TemporaryDirectory(dir=_room()) as folder:
        raw = Path(folder) / "raw.jsonl"
        planted = _write(raw, rows=settings.peer_rows)
        begun = time.perf_counter()
        clusters = Clusters(settings.peer_rows)
        for match in similar_rows(_texts(raw)):
            clusters.join(match.left, match.right)
        ours = settings.peer_rows / (time.perf_counter() - begun)
        recall = _recall(clusters.leaders(), planted)
        for peer in PEERS:
            if f"speed-{peer}" in wanted or f"recall-{peer}" in wanted:
                seconds, leaders = _run_peer(peer, raw, Path(folder) / "leaders.npy")
                note = f"{np.sum(leaders != np.arange(len(leaders)))} rows in clusters of others"
                yield f"speed-{peer}", of_one(ours, settings.peer_rows / seconds)
                yield f"recall-{peer}", of_one(recall, _recall(leaders, planted), note=note)


def _measure_flat(settings: Settings) -> Iterator[tuple[str, Measured]]:
    peaks: list[float] = []
    for share in (0.2, 1.0):
        with tempfile.TemporaryDirectory(dir=_room()) as folder:
            raw = Path(folder) / "raw.jsonl"
            _write(raw, size_bytes=int(share * settings.gigabytes * 1e9), length=LONG)
            used = _run_all(raw)
            peaks.append(max(one.peak_mb for one in used.values()))
    parts = ", ".join(f"{name} {one.peak_mb:.0f} MB" for name, one in used.items())
    yield "flat-memory", of_one(peaks[1], note=parts)
    yield "flat-growth", of_one(peaks[1] / peaks[0])


def _run_all(raw: Path) -> dict[str, Used]:
    """check, clean and split, each in a process of its own, on what the one before it made."""
    clean = raw.with_name("clean.jsonl")
    return {
        "check": _run("check", str(raw), allowed=(0, 1)),
        "clean": _run("clean", str(raw), "--out", str(clean), "--near-duplicates", "drop"),
        "split": _run("split", str(clean), "--out", str(raw.with_name("split"))),
    }


def _run(*arguments: str, allowed: Sequence[int] = (0,)) -> Used:
    begun = time.perf_counter()
    process = subprocess.Popen([SLMOPS, "data", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in allowed:
        raise DataError(f"slmops data {arguments[0]} ended with {process.returncode}", remedy="run it by hand")
    return Used(time.perf_counter() - begun, usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10))


def _run_peer(peer: str, raw: Path, out: Path) -> tuple[float, np.ndarray]:
    root = os.environ.get("SLMOPS_BENCH_PEERS")
    if not root:
        raise DataError("SLMOPS_BENCH_PEERS is not set", remedy="make the environments that data_peers.py names")
    script = str(Path(__file__).with_name("data_peers.py"))
    command = [str(Path(root) / peer / "bin" / "python"), script, peer, str(raw), str(out)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it gave no reason"])[-1]
        raise DataError(f"{peer} fails: {reason}", remedy="make its environment as data_peers.py says")
    return json.loads(done.stdout.splitlines()[-1])["seconds"], np.load(out)


def _recall(leaders: np.ndarray, planted: Sequence[Planted]) -> float:
    return sum(leaders[pair.row] == leaders[pair.copy] for pair in planted) / len(planted)


def _share(hits: int, of: int) -> Measured:
    """A share and its 95 % interval (Wilson)."""
    share, z = hits / of, 1.96
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z / (1 + z * z / of) * (share * (1 - share) / of + z * z / (4 * of * of)) ** 0.5
    return Measured(share, Interval(share, middle - half, middle + half, of))


def _write(path: Path, *, rows: int = 0, size_bytes: int = 0, length: tuple[int, int] = (15, 60)) -> list[Planted]:
    if not DATA.is_dir():
        raise DataError("the public texts are missing", where=str(DATA), remedy="set SLMOPS_BENCH_DATA")
    with path.open("w") as stream:
        return write_rows(stream, read_words(DATA), rows=rows, size_bytes=size_bytes, length=length, seed=SEED)[1]


def _texts(path: Path) -> Iterator[str]:
    with path.open() as stream:
        for line in stream:
            yield json.loads(line)["text"]


def _room() -> str | None:
    """Where there is room for large files; temporary folders are memory on some machines."""
    return os.environ.get("SLMOPS_BENCH_ROOM")


def main() -> int:
    arguments = parser(__doc__.splitlines()[0])
    arguments.add_argument("--rows", type=int, default=Settings.rows, help="in the file at scale")
    arguments.add_argument("--peer-rows", type=int, default=Settings.peer_rows, help="for the peers, too")
    arguments.add_argument("--gigabytes", type=float, default=Settings.gigabytes, help="of the large file")
    given = arguments.parse_args()
    return run("data", groups(Settings(given.rows, given.peer_rows, given.gigabytes)), given)


if __name__ == "__main__":
    sys.exit(main())
