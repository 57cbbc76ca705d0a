"""Commands on personal data: mask, unmask. They stand in the group `data`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from slmops.cli.options import AsJson

Files = Annotated[list[Path], typer.Argument(help="Files of rows, in any format.")]
Out = Annotated[Path, typer.Option("--out", help="A .jsonl file for one file, a folder for several.")]
KeyEnv = Annotated[str, typer.Option("--key-env", metavar="NAME", help="The environment variable that holds the key.")]
_LONGEST_MASKED_BYTES = 10_000_000  # a mask may be longer than what it stands for


def register(group: typer.Typer) -> None:
    for command in (mask, unmask):
        group.command()(command)


def mask(
    files: Files,
    out: Out,
    kinds: Annotated[str, typer.Option("--kinds", help="Only these, with commas between; else all.")] = "",
    names: Annotated[
        str | None, typer.Option("--names", metavar="LANGUAGE", help="Names and addresses too: 'en' … (slmops[names]).")
    ] = None,
    key_env: Annotated[
        str | None,
        typer.Option(
            "--key-env", metavar="NAME", help="The variable with the key; without it nothing can be restored."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Put masks like <EMAIL_1> in the place of personal data, in every text of every row. JSON's numbers are left."""
    from slmops.core.console import console, print_json, print_table
    from slmops.data.sources import rows_of
    from slmops.privacy.files import mask_rows
    from slmops.privacy.find import known_kinds
    from slmops.privacy.names import names_finder
    from slmops.privacy.vault import passphrase_from

    wanted = known_kinds([kind.strip() for kind in kinds.split(",") if kind.strip()])
    passphrase = passphrase_from(key_env) if key_env else None
    find_names = names_finder(names) if names else None
    reports = [
        mask_rows(rows_of(file, 1_000_000), file, place, kinds=wanted, passphrase=passphrase, find_names=find_names)
        for file, place in zip(files, _places(files, out), strict=True)
    ]
    if as_json:
        print_json({"files": reports})
        return
    for report in reports:
        console.print(f"{report.file} → {report.out}: {report.masked_rows} of {report.rows} rows", soft_wrap=True)
        if report.masks:
            console.print(f"what the masks stand for, encrypted: {report.masks}", soft_wrap=True)
        print_table(
            ("kind", "masked", "for example in"), [(k.kind, k.count, ", ".join(k.places)) for k in report.kinds]
        )


def unmask(
    file: Annotated[Path, typer.Argument(help="What `mask` wrote.")],
    out: Annotated[Path, typer.Option("--out", help="The .jsonl file to write.")],
    key_env: KeyEnv,
    masks: Annotated[
        Path | None, typer.Option("--masks", help="What the masks stand for; beside the file unless given.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Take the masks out of a file again, with the key it was masked with."""
    from slmops.core.console import console, print_json
    from slmops.data.sources import rows_of
    from slmops.privacy.files import masks_beside, unmask_rows
    from slmops.privacy.vault import passphrase_from

    passphrase = passphrase_from(key_env)
    place = _places([file], out)[0]
    rows = unmask_rows(rows_of(file, _LONGEST_MASKED_BYTES), file, masks or masks_beside(file), place, passphrase)
    if as_json:
        print_json({"out": place, "rows": rows})
    else:
        console.print(f"{file} → {place}: {rows} rows", soft_wrap=True)


def _places(files: list[Path], out: Path) -> list[Path]:
    """Where each file's rows are written; never over what is read."""
    from slmops.core.errors import ConfigError
    from slmops.data.outputs import refuse_overwriting

    if out.suffix == ".jsonl":
        places = [out] * len(files)
    else:
        places = [out / f"{file.name.partition('.')[0]}.jsonl" for file in files]
    if len(set(places)) < len(places):
        raise ConfigError(
            "several files would be written to one",
            where=str(out),
            remedy="name a folder, and files with names of their own",
        )
    refuse_overwriting(files, places)
    return places
