"""The command `data preview`: rows as a model sees them, what it learns in colour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from slmops.cli.options import CONFIG, AsJson, Config, Variant, load

if TYPE_CHECKING:
    from slmops.stages.preview import Preview


def preview(
    config: Config = CONFIG,
    variant: Variant = None,
    rows: Annotated[int, typer.Option(min=1, max=1000, help="How many rows.")] = 3,
    part: Annotated[str, typer.Option(help="train, validation or test.")] = "train",
    learner: Annotated[str, typer.Option("--for", help="student or teacher.")] = "student",
    ids: Annotated[bool, typer.Option("--ids", help="With the ids of the tokens.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show rows exactly as a model is taught them: the whole text, and in colour what is learned."""
    from typing import get_args

    from slmops.core.console import print_json, show_progress
    from slmops.core.errors import ConfigError
    from slmops.stages.preview import Learner, Part
    from slmops.stages.preview import preview as preview_rows

    for option, given, known in (("--part", part, get_args(Part)), ("--for", learner, get_args(Learner))):
        if given not in known:
            raise ConfigError(f"found {given!r}, expected {', '.join(known)}", where=option)
    with show_progress() as progress:
        shown = preview_rows(load(config, variant), rows=rows, part=part, learner=learner, progress=progress)  # type: ignore[arg-type]
    if as_json:
        print_json(shown)
        return
    for row in shown:
        _print(row, ids)


def _print(row: Preview, ids: bool) -> None:
    from rich.text import Text

    from slmops.core.console import console

    console.print(f"{row.place}: {row.tokens} tokens, {row.learned} of them learned", style="bold")
    text = Text()
    for piece in row.pieces:
        text.append(piece.text, style="black on green" if piece.learned else "")
        if ids:
            text.append(f"·{piece.id} ", style="dim")
    console.print(text, soft_wrap=True)
    if not console.color_system:
        learned = "".join(piece.text for piece in row.pieces if piece.learned)
        console.print(f"learned: {learned}", soft_wrap=True)
    console.print()
