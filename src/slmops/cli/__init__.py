"""The command `slmops`: one file per group of commands, no logic. Heavy libraries are imported by what needs them."""

from __future__ import annotations

import atexit
import gc
import signal
import sys
from contextlib import suppress
from functools import cache
from io import TextIOWrapper
from typing import Annotated

import typer

from slmops.core.errors import SlmopsError

_INTERRUPTED = 130
_app = typer.Typer(
    name="slmops",
    help="From a task and a big teacher to a tiny, proven language model on your own devices.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _tell_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"slmops {version('slmops')}")
        raise typer.Exit


@_app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Say which slmops this is.")
    ] = False,
) -> None: ...


@cache
def commands() -> typer.Typer:
    """All of them, in the order of `slmops --help`."""
    from slmops.cli import adapters, data, models, olive, project, store, student

    for group in (project, data, store, models, student, adapters, olive):
        group.register(_app)
    return _app


def main() -> None:
    """Runs the command line: exit codes 0, 1 error, 2 usage, 3 a gate fell short, 130 interrupted."""
    atexit.register(gc.freeze)  # to look once more through all that was loaded would take seconds
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was begun is cleared up then, too
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            with suppress(OSError):  # of a pipe that can be read, too
                stream.reconfigure(errors="backslashreplace")  # what a console cannot show ends no command
    debug = "--debug" in sys.argv
    if debug:
        sys.argv.remove("--debug")
    try:
        commands()(prog_name="slmops")  # usage errors end with 2, `typer.Exit` with its code
    except SlmopsError as error:
        if debug:
            raise
        _say(f"error: {error}")
        raise SystemExit(error.exit_code) from None
    except OSError as error:
        if debug:
            raise
        _say(f"error: {error.filename}: {error.strerror}" if error.filename and error.strerror else f"error: {error}")
        raise SystemExit(1) from None
    except SystemExit as ended:
        if ended.code == _INTERRUPTED:  # typer makes it of KeyboardInterrupt
            _say("interrupted; the same command goes on where it was")
        raise


def _say(text: str) -> None:
    from slmops.core.console import visible

    sys.stderr.write(visible(text) + "\n")
