"""Commands that make files of rows from files of rows: clean, split, augment, history."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from slmops.cli.options import CONFIG, AsJson, Fields, parse_fields, store_if_any

if TYPE_CHECKING:
    from slmops.data.paraphrase import Ask
    from slmops.tasks.types import Message

Files = Annotated[list[Path], typer.Argument(help="Files of rows, in any format.")]
File = Annotated[Path, typer.Argument(help="A file of rows, in any format.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="The file to write, .jsonl; its history is written beside it.")]
Near = Annotated[
    float, typer.Option("--near", min=0.5, max=1.0, help="How alike texts are that are nearly the same (Jaccard).")
]
Seed = Annotated[int, typer.Option("--seed", help="Another seed, another choice.")]
What = Literal["keep", "drop"]

_LONGEST, _TEMPERATURE = 160, 0.7  # tokens of a text in other words, and how freely it is written


def clean(
    files: Files,
    out: Out,
    near_duplicates: Annotated[
        What, typer.Option(help="Rows nearly the same as one before, with the same answer.")
    ] = "keep",
    conflicts: Annotated[What, typer.Option(help="Rows of the same text with different answers.")] = "keep",
    near: Near = 0.8,
    min_words: Annotated[int, typer.Option(min=1, help="Shorter texts are left out.")] = 1,
    max_words: Annotated[int | None, typer.Option(min=1, help="Longer texts are left out.")] = None,
    fields: Fields = None,
    as_json: AsJson = False,
) -> None:
    """Mend texts and leave out rows that are blank, repeated, too short or too long; tell what became of each."""
    from slmops.core.console import console, print_json, print_table, show_progress
    from slmops.data.candidates import Cleaning
    from slmops.data.clean import clean_files

    cleaning = Cleaning(near_duplicates, conflicts, near, min_words, max_words)
    with show_progress() as show:
        report = clean_files(files, out, cleaning, fields=parse_fields(fields), on_progress=show)
    if as_json:
        print_json(report)
        return
    rows = [("read", report.rows), ("kept", report.kept), ("of them mended", report.mended)]
    rows += [(f"left out: {why}", count) for why, count in sorted(report.dropped.items())]
    rows += [("refused", report.refused), ("the same text, another answer", report.conflicts)]
    print_table(("rows", ""), rows)
    for place in report.conflict_places:
        console.print(f"  {place}", soft_wrap=True)


def split(
    file: File,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder for train.jsonl, validation.jsonl, test.jsonl.")],
    validation: Annotated[float, typer.Option(min=0.0, max=0.9, help="The share of the rows; 0: no such file.")] = 0.1,
    test: Annotated[float, typer.Option(min=0.0, max=0.9, help="The share of the rows; 0: no such file.")] = 0.1,
    group: Annotated[str, typer.Option(help="The column whose equal values stay together.")] = "group",
    seed: Seed = 0,
    near: Near = 0.8,
    fields: Fields = None,
    as_json: AsJson = False,
) -> None:
    """Divide a file label by label; rows that are alike, or of one group, stay together."""
    from slmops.core.console import print_json, print_table, show_progress
    from slmops.data.divide import split_file

    shares = {name: share for name, share in (("validation", validation), ("test", test)) if share}
    with show_progress() as show:
        report = split_file(
            file, out, shares, seed, group=group, near=near, fields=parse_fields(fields), on_progress=show
        )
    if as_json:
        print_json(report)
    else:
        print_table(("file", "rows"), [(out / f"{name}.jsonl", count) for name, count in report.rows.items()])


def augment(
    file: File,
    out: Out,
    noise: Annotated[
        list[str], typer.Option(help="A kind of noise: typos, casing, whitespace, accents; all if not given.")
    ] = [],  # noqa: B006
    paraphrase: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Say texts in other words by this model instead; labels are checked."),
    ] = None,
    copies: Annotated[int | None, typer.Option(min=0, max=20, help="Of each row; 1, or 0 with --fill-rare.")] = None,
    fill_rare: Annotated[int, typer.Option(min=0, help="How many rows each label is to have at least.")] = 0,
    apart_from: Annotated[list[Path], typer.Option(help="A file whose texts no copy may have: validation, test.")] = [],  # noqa: B006
    seed: Seed = 0,
    fields: Fields = None,
    as_json: AsJson = False,
) -> None:
    """Add copies of rows to a training file, with noise or in other words.

    Never to validation or test: name those with --apart-from.
    """
    from slmops.core.console import print_json, print_table, show_progress
    from slmops.core.errors import DataError
    from slmops.data.enlarge import Enlarging, augment_file
    from slmops.data.noise import KINDS

    if unknown := [kind for kind in noise if kind not in KINDS]:
        raise DataError(
            f"found {unknown[0]!r}, expected {', '.join(KINDS)}", where="--noise", remedy="name one of them"
        )
    kinds = tuple(kind for kind in KINDS if kind in noise) or KINDS
    enlarging = Enlarging(kinds, int(not fill_rare) if copies is None else copies, fill_rare)
    if paraphrase and noise:
        raise DataError("found both --paraphrase and --noise", where="--noise", remedy="make one file of each")
    ask = _writer(paraphrase, seed) if paraphrase else None
    with show_progress() as show:
        report = augment_file(
            file, out, enlarging, seed, apart_from=apart_from, ask=ask, fields=parse_fields(fields), on_progress=show
        )
    if as_json:
        print_json(report)
        return
    rows = [("rows as they were", report.rows), *((f"copies {how}", count) for how, count in report.made.items())]
    rows += [(f"copies left out: {why}", count) for why, count in report.left_out.items()]
    rows += [(f"still rare: {label}", count) for label, count in sorted(report.still_rare.items())]
    print_table(("", "rows"), rows)


def _writer(reference: str, seed: int) -> Ask:
    """Lets a model answer, differently each time it is asked the same."""
    from itertools import count

    from slmops.core.console import console
    from slmops.runtimes.local import LocalModel
    from slmops.runtimes.types import Sampling
    from slmops.stages.verbs import find_model

    found = find_model(reference, store_if_any(CONFIG), lambda text: console.print(text))
    model = LocalModel(found.folder)
    seeds = count(seed << 20, 1 << 10)

    def ask(asked: Sequence[Sequence[Message]]) -> list[str | None]:
        replies = model.ask_all(asked, Sampling(_LONGEST, _TEMPERATURE, next(seeds)), None)
        return [reply.text if reply.finish == "stop" else None for reply in replies]

    return ask


def history(
    file: Annotated[Path, typer.Argument(help="A file that clean, split or augment made.")],
    line: Annotated[int, typer.Argument(min=1, help="Which row: its line.")],
    as_json: AsJson = False,
) -> None:
    """Tell where a row came from and what was done to it, back to the file that was not made here."""
    from slmops.core.console import console, print_json
    from slmops.data.history import read_history

    events = read_history(file, line)
    if as_json:
        print_json(events)
        return
    for event in events:
        console.print(f"{event.to} ← {event.came_from}", soft_wrap=True)
        for step in event.steps:
            console.print(f"  {step['did']} · {step['column']}", soft_wrap=True)
            console.print(f"    {step['before']!r} → {step['after']!r}", soft_wrap=True)
