"""Commands on the student before it is made: the group student: sizes."""

from __future__ import annotations

import typer

from slmops.cli.options import CONFIG, AsJson, Config, Variant, load


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="The small model, before it is made.", no_args_is_help=True)
    group.callback()(lambda: None)  # a group, though it has one command
    group.command()(sizes)
    app.add_typer(group, name="student")


def sizes(config: Config = CONFIG, variant: Variant = None, as_json: AsJson = False) -> None:
    """Show how large and fast students of fewer layers and tokens would be, before one is made."""
    from slmops.core.console import console, print_json, print_table, show_progress
    from slmops.stages.sizes import sizes as sizes_of

    with show_progress() as progress:
        options = sizes_of(load(config, variant), progress)
    if as_json:
        print_json(options)
        return
    rows = [
        (
            f"{one.layers}",
            f"{one.vocabulary:,}",
            f"{one.parameters / 1e6:.1f} M",
            f"{one.int4_bytes / 1e6:.1f} MB",
            f"{one.work:.0%}",
            f"{one.latency_ms:.1f}",
            "slmops.yaml" if one.asked else "",
        )
        for one in options
    ]
    head = ("layers", "tokens", "parameters", "as int4", "work a token, of the whole", "ms an answer, roughly", "")
    print_table(head, rows)
    told = "tokens are those of the project's rows, and at least as many as asked; a teacher's answers may add some"
    console.print(told, soft_wrap=True)
