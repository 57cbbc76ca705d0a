"""Commands on data: check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from slmops.cli.options import AsJson

Files = Annotated[list[Path], typer.Argument(help="Files of one data set: train, test …, in any format.")]
Text = Annotated[str | None, typer.Option("--text-field", help="The text's field; recognised if not given.")]
Label = Annotated[str | None, typer.Option("--label-field", help="The label's field; recognised if not given.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Look at data before anything is learned from it.", no_args_is_help=True)
    group.command()(check)
    app.add_typer(group, name="data")


def check(files: Files, text_field: Text = None, label_field: Label = None, as_json: AsJson = False) -> None:
    """Say what is wrong with files of texts and what to do about it; 1 where it would spoil what is learned."""
    from slmops.core.console import console, print_json, print_table
    from slmops.data.findings import check_files

    report = check_files(files, text_field=text_field, label_field=label_field)
    if as_json:
        print_json(report)
    else:
        rows = [
            (file.file, file.rows, file.refused, len(file.labels) or "none", " ".join(map(str, file.words)))
            for file in report.files
        ]
        print_table(("file", "rows", "refused", "labels", "words: least, median, 95 %, most"), rows)
        for finding in report.findings:
            console.print(f"\n{finding.severity}: {finding.what} ({finding.count})", markup=False)
            for place in finding.places:
                console.print(f"  {place}", markup=False, soft_wrap=True)
            console.print(f"  → {finding.remedy}", markup=False)
        if not report.findings:
            console.print("\nnothing found", markup=False)
    raise typer.Exit(int(report.errors > 0))
