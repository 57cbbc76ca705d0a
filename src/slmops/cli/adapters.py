"""Commands on adapters: the group adapter: train, list, merge."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slmops.cli.models import Model
from slmops.cli.options import CONFIG, AsJson, Config, Fields, Force, parse_fields, state_of, store_if_any

if TYPE_CHECKING:
    from slmops.models.adapters import Adapter

Folders = Annotated[list[Path], typer.Argument(help="Folders of adapters.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="The folder to make.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Adapters of one base: train, list and merge them.", no_args_is_help=True)
    group.command()(train)
    group.command("list")(list_adapters)
    group.command()(merge)
    app.add_typer(group, name="adapter")


def train(
    model: Model,
    data: Annotated[Path, typer.Option("--data", help="A file of labelled rows; a share of them is held out.")],
    out: Out,
    task: Annotated[
        str, typer.Option(help="As in slmops.yaml: extraction, or '{type: classification, instruction: …}'.")
    ] = "classification",
    how: Annotated[
        str, typer.Option("--train", help="As in slmops.yaml: dora, or '{method: lora, rank: 8, epochs: 3}'.")
    ] = "lora",
    fields: Fields = None,
    force: Force = False,
    config: Config = CONFIG,
    as_json: AsJson = False,
) -> None:
    """Train an adapter for a model, and keep it beside the model."""
    from slmops.core.config import validate
    from slmops.core.console import print_json, print_wrong, show_progress
    from slmops.core.document import parse_yaml
    from slmops.core.named import allow
    from slmops.stages.adapters import AdapterConfig
    from slmops.stages.adapters import train as train_adapter
    from slmops.stages.diagnosis import read_diagnosis

    asked = parse_yaml(f"task: {task}", "--task").data | parse_yaml(f"train: {how}", "--train").data
    chosen = validate(AdapterConfig, asked, "command line")
    for name in chosen.own_code():
        allow(name, state_of(config).parent)
    with show_progress() as progress:
        made = train_adapter(
            model,
            data,
            out,
            chosen,
            fields=parse_fields(fields),
            store=store_if_any(config),
            force=force,
            report=lambda share, note: progress("train", share, note),
        )
    faults = read_diagnosis(out)
    if as_json:
        print_json(_told(made) | {"faults": faults})
    else:
        print_wrong(faults)
        _print([made])


def list_adapters(folders: Folders, as_json: AsJson = False) -> None:
    """Say what adapters are, and of which base."""
    from slmops.core.console import print_json
    from slmops.models.adapters import read_adapter

    found = [read_adapter(folder) for folder in folders]
    if as_json:
        print_json([_told(adapter) for adapter in found])
    else:
        _print(found)


def merge(
    folders: Folders,
    out: Out,
    method: Annotated[
        str | None, typer.Option(help="linear (unless you say), cat, ties, dare_linear or dare_ties.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(metavar="W,W,…", help="How much each counts: 0.7,0.3; alike, if not said.")
    ] = None,
    density: Annotated[
        float | None, typer.Option(min=0, max=1, help="The share of each that ties and dare keep.")
    ] = None,
    into: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Fold one adapter into its base: a plain model.")
    ] = None,
    config: Config = CONFIG,
    as_json: AsJson = False,
) -> None:
    """Merge adapters with one another, or one with its base."""
    from slmops.core.console import console, print_json
    from slmops.core.errors import ConfigError
    from slmops.stages.adapters import merge_adapters, merge_into, to_method

    if into:
        if len(folders) > 1:
            remedy = "merge them with one another first"
            raise ConfigError(f"found {len(folders)} adapters, expected one", where="--into", remedy=remedy)
        if method or weights or density is not None:
            why = "one adapter is folded into its base whole: --method, --weights and --density do nothing"
            raise ConfigError(why, where="--into", remedy="leave them out, or merge first: --weights 0.3")
        written = merge_into(into, folders[0], out, store=store_if_any(config))
        if as_json:
            print_json({"folder": written})
        else:
            console.print(f"wrote {written}", soft_wrap=True)
        return
    try:
        weighed = [float(weight) for weight in weights.split(",")] if weights else None
    except ValueError as error:
        raise ConfigError(str(error), where="--weights", remedy="write --weights 0.7,0.3") from error
    made = merge_adapters(folders, out, to_method(method or "linear"), weighed, density)
    if as_json:
        print_json(_told(made))
    else:
        _print([made])


def _told(adapter: Adapter) -> dict[str, Any]:
    card = adapter.card
    return {
        "folder": adapter.folder,
        "method": "dora" if adapter.dora else "lora",
        "base": {"name": adapter.base_name, "id": card.base.weights if card else None},
        "task": card.task["name"] if card and card.task else None,
        "rank": adapter.rank,
        "layers": len(adapter.modules),
        "targets": adapter.targets,
        "bytes": adapter.size_bytes,
    }


def _print(adapters: list[Adapter]) -> None:
    from slmops.core.console import print_table

    rows = []
    for told in map(_told, adapters):
        base, layers = told["base"], f"{told['layers']} ({' '.join(told['targets'])})"
        id = (base["id"] or "unknown")[:12]
        size = f"{told['bytes'] / 1e6:.2f} MB"
        rows.append((told["folder"], told["method"], told["rank"], layers, told["task"] or "", base["name"], id, size))
    print_table(("adapter", "method", "rank", "layers", "task", "base", "base's id", "size"), rows)
