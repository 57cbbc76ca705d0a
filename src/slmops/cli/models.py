"""Commands on any one model: ask, convert, eval, bench."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from slmops.cli.options import (
    CONFIG,
    AsJson,
    Config,
    Fields,
    Threads,
    parse_fields,
    parse_pairs,
    project_if_any,
    store_if_any,
)

Model = Annotated[str, typer.Argument(help="hf:, pypi:, file: or store: reference, an artifact, or a catalogue name.")]
Rows = Annotated[Path, typer.Option("--data", help="A file of labelled rows.")]


def register(app: typer.Typer) -> None:
    app.command()(ask)
    app.command()(convert)
    app.command("eval")(evaluate)
    app.command()(bench)


def ask(
    model: Model,
    prompt: Annotated[str, typer.Argument(help="What to ask; - reads it from standard input.")],
    adapter: Annotated[
        str | None,
        typer.Option(metavar="NAME[=FOLDER]", help="Ask with this adapter; by its name, one that stands in the model."),
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Of a free answer.")] = 256,
    threads: Threads = 0,
    config: Config = CONFIG,
    as_json: AsJson = False,
) -> None:
    """Ask a model one thing."""
    import math
    import sys

    from slmops.core.console import console, errors, print_json
    from slmops.stages.verbs import ask as ask_model

    project_if_any(config)
    text = sys.stdin.read() if prompt == "-" else prompt
    name, equals, folder = (adapter or "").partition("=")
    reply = ask_model(
        model,
        text,
        adapter=name or None,
        adapters={name: Path(folder)} if equals else {},
        store=store_if_any(config),
        max_tokens=max_tokens,
        threads=threads,
        say=lambda text: errors.print(text, soft_wrap=True),
    )
    if as_json:
        print_json(
            {"text": reply.text, "probability": math.exp(reply.logprob), "tokens": reply.tokens, "finish": reply.finish}
        )
    else:
        console.print(reply.text, soft_wrap=True)


def convert(
    model: Model,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to make.")],
    precision: Annotated[str, typer.Option("--precision", "-p", help="fp32, int8 or int4.")] = "int4",
    block_size: Annotated[int, typer.Option(help="Weights that share a scale: 16, 32, 64, 128 or 256.")] = 32,
    adapters: Annotated[
        list[str] | None,
        typer.Option(
            "--adapter", metavar="NAME=FOLDER", help="An adapter to switch to at run time; may be given again."
        ),
    ] = None,
    config: Config = CONFIG,
    as_json: AsJson = False,
) -> None:
    """Write a model as ONNX for ONNX Runtime GenAI and Foundry Local."""
    from slmops.core.config import validate
    from slmops.core.console import console, print_json, show_progress
    from slmops.core.files import bytes_of
    from slmops.optimization.config import OptimizationConfig
    from slmops.stages.verbs import convert as convert_model

    asked = {"precision": precision, "block_size": block_size}
    chosen = validate(OptimizationConfig, asked, "command line")
    named = {name: Path(folder) for name, folder in parse_pairs(adapters, "--adapter", "NAME=FOLDER").items()}
    with show_progress() as progress:
        written = convert_model(
            model,
            out,
            chosen,
            adapters=named,
            store=store_if_any(config),
            say=lambda text: progress("convert", 0.0, text),
        )
    size = bytes_of(written)
    if as_json:
        print_json({"folder": written, "bytes": size})
    else:
        console.print(f"wrote {written} ({size / 1e6:.1f} MB)", soft_wrap=True)


def evaluate(
    model: Model,
    data: Rows,
    fields: Fields = None,
    threads: Threads = 0,
    config: Config = CONFIG,
    as_json: AsJson = False,
) -> None:
    """Measure a model's answers on a labelled file."""
    from slmops.core.console import print_json, show_progress
    from slmops.stages.verbs import evaluate as evaluate_model

    with show_progress() as progress:
        found = evaluate_model(model, data, threads=threads, **_how(config, fields, progress, "eval"))
    if as_json:
        print_json(found)
    else:
        _print_figures([found])


def bench(
    models: Annotated[list[str], typer.Argument(help="Models to run side by side.")],
    data: Rows,
    fields: Fields = None,
    threads: Threads = 0,
    config: Config = CONFIG,
    as_json: AsJson = False,
) -> None:
    """Measure speed and memory of models side by side, each in a process of its own."""
    from slmops.core.console import print_json, show_progress
    from slmops.stages.verbs import bench as bench_models

    with show_progress() as progress:
        found = bench_models(models, data, threads=threads, **_how(config, fields, progress, "bench"))
    if as_json:
        print_json(found)
    else:
        _print_figures(found)


def _how(config: Path, fields: list[str] | None, progress: Any, told: str) -> dict[str, Any]:
    """How rows are read and judged, as the project says, where there is one; and who hears of it."""
    project = project_if_any(config)
    return {
        "store": store_if_any(config),
        "evaluation": project.evaluation if project else None,
        "reading": project.data if project else None,
        "fields": parse_fields(fields),
        "report": lambda done, total: progress(told, done / total, f"{done}/{total} rows"),
        "say": lambda text: progress("models", 0.0, text),
    }


def _print_figures(found: list[Any]) -> None:
    from slmops.core.console import print_table
    from slmops.evaluation.figures import describe_figure, write_figure, write_range

    rows = []
    for name in found[0].figures:
        figure = describe_figure(name)
        values = [
            f"{write_figure(one.figures[name], figure.unit)}  {write_range(one.figures[name], figure.unit)}"
            for one in found
        ]
        rows.append((figure.label, *values))
    print_table(("", *(one.reference for one in found)), rows)
