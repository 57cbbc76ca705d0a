"""Commands on data: check, and the group in which the others stand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slmops.cli import change, privacy
from slmops.cli.options import CONFIG, AsJson, Fields, parse_fields, store_if_any
from slmops.cli.preview import preview

if TYPE_CHECKING:
    from slmops.data.findings import DataReport

Files = Annotated[list[Path], typer.Argument(help="Files of one data set: train, test …, in any format.")]
_SHOWN = 5  # places of a finding


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Look at data, and mend it, before anything is learned from it.", no_args_is_help=True)
    for command in (check, preview, change.clean, change.split, change.augment, change.history):
        group.command()(command)
    privacy.register(group)
    app.add_typer(group, name="data")


def check(
    files: Files,
    fields: Fields = None,
    html: Annotated[Path | None, typer.Option(help="Write the report as a page, with plots, to this file.")] = None,
    tokenizer: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Count lengths in this model's tokens, not in words.")
    ] = None,
    label_errors: Annotated[
        bool | None, typer.Option(help="Look for wrong labels; if not said, where it takes less than half a minute.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what is wrong with files of texts and what to do about it; 1 where it would spoil what is learned."""
    import sys

    from slmops.core.console import print_json, show_progress
    from slmops.data.quality import check_files, with_texts
    from slmops.data.suspects import DOUBTED_AT_MOST

    named = parse_fields(fields)
    doubted_at_most = {None: DOUBTED_AT_MOST, True: sys.maxsize, False: 0}[label_errors]
    count_tokens = _token_counter(tokenizer) if tokenizer else None
    with show_progress() as progress:
        report = check_files(
            files, fields=named, count_tokens=count_tokens, doubted_at_most=doubted_at_most, on_stage=progress
        )
    if html or as_json:
        report = with_texts(report, named)
    if html:
        from slmops.core.files import write_whole
        from slmops.data.report_page import render

        write_whole(html, render(report))
    if as_json:
        print_json(report)
    else:
        _print(report)
    raise typer.Exit(int(report.errors > 0))


def _token_counter(reference: str):  # type: ignore[no-untyped-def]
    from slmops.models.tokenizer import Tokenizer
    from slmops.stages.verbs import find_model

    tokenizer = Tokenizer(find_model(reference, store_if_any(CONFIG)).folder)
    return lambda text: len(tokenizer.encode(text))


def _print(report: DataReport) -> None:
    from slmops.core.console import console, print_table

    for file in report.files:
        columns = ", ".join(f"{part}: {column}" for part, column in file.columns.items())
        console.print(f"{file.file}: read as {file.layout} ({columns})", soft_wrap=True)
    console.print("other columns: --field text=… --field label=…\n")
    lengths = [file.lengths for file in report.files]
    rows = [
        (
            file.file,
            f"{file.rows:,}",
            f"{file.refused:,}",
            len(file.labels) or "none",
            next(iter(file.languages), "—"),
            f"{length.least:,} {length.median:,} {length.most_of_95:,} {length.most:,}",
        )
        for file, length in zip(report.files, lengths, strict=True)
    ]
    unit = lengths[0].unit
    print_table(("file", "rows", "unusable", "labels", "language", f"{unit}: least, median, 95 %, most"), rows)
    for finding in report.findings:
        console.print(f"\n{finding.severity}: {finding.what} ({finding.count:,})", soft_wrap=True)
        for place in finding.places[:_SHOWN]:
            console.print(f"  {place}", soft_wrap=True)
        console.print(f"  → {finding.remedy}", soft_wrap=True)
    if not report.findings:
        console.print("\nnothing wrong was found")
    for note in report.notes:
        console.print(f"\nnote: {note}", soft_wrap=True)
