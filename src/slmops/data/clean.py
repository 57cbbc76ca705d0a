"""Makes a clean file of some that are not: texts mended; rows left out that are blank, too short, too long or repeated.

In come paths that nobody has checked, out go OUT.jsonl with the rows' own columns; OUT.history.jsonl, which tells of
each row where it stood, what was done to it, and why it was left out; and OUT.quarantine.jsonl with rows that cannot be
used. The same files give the same bytes, and a clean file comes out as it went in. Knows no task.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from slmops.core.files import written_whole
from slmops.data.candidates import Candidates, Cleaned, Cleaning
from slmops.data.history import History, path_of
from slmops.data.mended import mended_rows
from slmops.data.near import NearIndex
from slmops.data.outputs import named_from, refuse_overwriting

OnProgress = Callable[[str, float, str], None]

USUAL = Cleaning()
_TOLD = 10_000  # rows between two words of progress


def clean_files(
    paths: Sequence[Path],
    out: Path,
    cleaning: Cleaning = USUAL,
    *,
    fields: Mapping[str, str] | None = None,
    max_row_bytes: int = 1_000_000,
    on_progress: OnProgress = lambda stage, share, note: None,
) -> Cleaned:
    """Writes `out` and its history; see the module.

    Raises:
        DataError: a file cannot be read, or would be written over.
    """
    quarantine = out.with_name(out.name.removesuffix(".jsonl") + ".quarantine.jsonl")
    refuse_overwriting(paths, (out, path_of(out), quarantine))
    out.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix=".slmops-clean-", dir=out.parent) as folder,
        NearIndex(out.parent) as index,
        written_whole(out, path_of(out), quarantine) as (made, told, refused),
        closing(Candidates(Path(folder), refused, index, [named_from(out.parent, path) for path in paths])) as rows,
    ):
        for number, path in enumerate(paths):
            for row in mended_rows(path, fields, max_row_bytes):
                rows.add(number, row, cleaning)
                if rows.rows % _TOLD == 0:
                    on_progress("read", number / len(paths), f"{path.name}: {rows.rows:,} rows")
        fates = rows.decide(cleaning, lambda share: on_progress("compare", share, ""))
        report = rows.write(fates, made, History(told))
    if not report.refused:
        quarantine.unlink()
    on_progress("write", 1.0, f"{report.kept:,} rows")
    return report
