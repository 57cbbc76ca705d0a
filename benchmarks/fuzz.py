"""Hostile files against the readers, guided by coverage (atheris, libFuzzer): `python -m benchmarks.fuzz`.

A file of any format is read, checked and cleaned as a user's would be. Nothing but a DataError may come of it: no
crash, no hang (10 s), no memory beyond 2 GB, no half-written file. The process that is fuzzed is a child, since
libFuzzer ends it.
"""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet

from benchmarks.results import Asked, Group, Measured, Target, of_one, parser, run

SECONDS = 60
ENDINGS = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".jsonl.gz", ".jsonl.zst", ".csv.gz")
TRIED = Asked("tried", f"hostile files read, checked and cleaned in {SECONDS} s", "files")
FAILED = Asked(
    "failed",
    "whether one ended otherwise than with a DataError, hung, or left something half-written (it stops there)",
    "",
    Target("no crash, no hang, no partial output", "exactly", 0),
)
SEEDS = (
    b'\x00{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}\n',
    b'\x01[{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}]',
    b'\x02text,label\n"a, b",x\n',
    b'\x00{"context": "a b", "question": "c", "answers": {"text": ["b"], "answer_start": [2]}}\n',
    b'\x00{"text": "to Rome", "entities": [{"start": 3, "end": 7, "label": "city"}]}\n',
    b"\x06" + gzip.compress(b'{"text": "a"}\n'),
)


def measure(wanted: frozenset[str]) -> Iterator[tuple[str, Measured]]:
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder, "corpus")
        corpus.mkdir()
        for number, seed in enumerate([*SEEDS, *_binary_seeds(Path(folder))]):
            (corpus / str(number)).write_bytes(seed)
        limits = [
            f"-max_total_time={SECONDS}",
            "-timeout=10",
            "-rss_limit_mb=2048",
            "-max_len=8192",
            "-print_final_stats=1",
        ]
        command = [sys.executable, "-m", "benchmarks.fuzz", "--child", *limits, str(corpus)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent.parent)
    tried = re.search(r"number_of_executed_units: *(\d+)", done.stderr)
    if tried is None:
        raise RuntimeError(done.stderr[-2000:])
    crashed = re.search(r"=== Uncaught Python exception: ===\n(.*)", done.stderr)
    yield "tried", of_one(float(tried[1]))
    yield "failed", of_one(float(done.returncode != 0), note=crashed[1][:200] if crashed else "")


def _binary_seeds(folder: Path) -> Iterator[bytes]:
    """Files of the formats that nobody hits upon by chance."""
    table = pyarrow.table({"text": ["a", "b"], "label": ["x", None], "n": [1.5, 2.0]})
    path = folder / "seed"
    pyarrow.parquet.write_table(table, path)
    yield bytes([ENDINGS.index(".parquet")]) + path.read_bytes()
    with pyarrow.OSFile(str(path), "wb") as file, pyarrow.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    yield bytes([ENDINGS.index(".arrow")]) + path.read_bytes()
    with pyarrow.output_stream(str(path), compression="zstd") as stream:
        stream.write(b'{"text": "a"}\n')
    yield bytes([ENDINGS.index(".jsonl.zst")]) + path.read_bytes()


def fuzz() -> None:
    import atheris  # type: ignore[import-not-found]

    with atheris.instrument_imports(include=["slmops.data", "slmops.privacy"]):
        from slmops.core.errors import DataError
        from slmops.data.clean import clean_files
        from slmops.data.quality import check_files
        from slmops.data.read import read_records

    def one(data: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "rows" + ENDINGS[data[0] % len(ENDINGS)] if data else "rows.jsonl")
            path.write_bytes(data[1:])
            out = Path(folder, "out", "clean.jsonl")
            for read in (
                lambda: read_records(path, max_row_bytes=2000, on_error=lambda error, row: None),
                lambda: check_files([path], doubted_at_most=0, max_row_bytes=2000),
                lambda: clean_files([path], out, max_row_bytes=2000),
            ):
                try:
                    read()
                except DataError:
                    continue
            left = {file.name for file in out.parent.iterdir()} if out.parent.is_dir() else set()
            if left - ({out.name, "clean.history.jsonl", "clean.quarantine.jsonl"} if out.is_file() else set()):
                raise AssertionError(f"half-written: {sorted(left)}")
            for line in out.read_text().split("\n") if out.is_file() else ():
                if line:
                    json.loads(line)

    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


if __name__ == "__main__":
    if "--child" in sys.argv:
        sys.argv.remove("--child")
        fuzz()
    sys.exit(run("fuzz", [Group((TRIED, FAILED), measure)], parser(__doc__.splitlines()[0]).parse_args()))
