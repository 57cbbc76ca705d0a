"""Commands on the store: list, show, lineage, alias, verify, gc."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slmops.cli.options import CONFIG, AsJson, Config, open_store, state_of

if TYPE_CHECKING:
    from slmops.core.store import Lineage

Reference = Annotated[str, typer.Argument(help="An id, a name (its latest), name:version or name@alias.")]


def register(app: typer.Typer) -> None:
    app.command("list")(list_entries)
    for command in (show, lineage, alias, verify, gc):
        app.command()(command)


def list_entries(
    kind: Annotated[str | None, typer.Option(help="Only artifacts of this kind.")] = None,
    name: Annotated[str | None, typer.Option(help="Only versions of this name.")] = None,
    log: Annotated[bool, typer.Option("--log", help="Instead who did what to the store, and when.")] = False,
    config: Config = CONFIG,
    as_json: AsJson = False,
) -> None:
    """List artifacts with their versions and aliases, or what was done to them."""
    from slmops.core.console import print_json, print_table

    if log:
        if kind or name:
            raise typer.BadParameter("--log tells of all artifacts: leave out --kind and --name")
        done = open_store(config).audit()
        if as_json:
            print_json(done)
        else:
            told = [(one.at, one.by, one.action, one.subject[:12], _details(one.details)) for one in done]
            print_table(("when", "who", "what", "artifact", ""), told)
        return
    entries = open_store(config).entries(kind=kind, name=name)
    if as_json:
        print_json(entries)
        return
    rows = [
        (
            entry.id[:12],
            entry.kind,
            f"{entry.name}:{entry.version}" if entry.name else "",
            " ".join(entry.aliases),
            f"{entry.size_bytes / 1e6:.1f} MB",
            entry.created,
        )
        for entry in entries
    ]
    print_table(("id", "kind", "version", "aliases", "size", "made"), rows)


def show(reference: Reference, config: Config = CONFIG, as_json: AsJson = False) -> None:
    """Show an artifact's manifest: files, parents, how it was made, what was measured."""
    from slmops.core.console import console, print_json, print_table

    manifest = open_store(config).manifest(reference)
    if as_json:
        print_json(manifest)
        return
    made = manifest.made_by
    console.print(f"{manifest.kind} {manifest.id}", soft_wrap=True)
    console.print(f"made {made.started} in {made.seconds:.0f} s by: {made.command} (seed {made.seed})", soft_wrap=True)
    console.print(f"licence: {manifest.licence or 'unknown'}")
    for base, origin in made.base_models.items():
        console.print(f"base model: {base}, from {origin}", soft_wrap=True)
    print_table(("parent", "id"), [(role, parent[:12]) for role, parent in manifest.parents.items()])
    files = [(path, digest.size_bytes, digest.sha256[:12]) for path, digest in manifest.files.items()]
    print_table(("file", "bytes", "sha256"), files)
    measured = [
        (m.name, m.subject[:24], f"{m.value.value:.4g}", f"{m.value.low:.4g} … {m.value.high:.4g}", m.unit)
        for m in manifest.measurements
    ]
    print_table(("measured", "of", "value", "interval", "unit"), measured)


def lineage(reference: Reference, config: Config = CONFIG, as_json: AsJson = False) -> None:
    """Show what an artifact was made from, down to the data."""
    from rich.tree import Tree

    from slmops.core.console import console, print_json

    found = open_store(config).lineage(reference)
    if as_json:
        print_json(_lineage_json(found))
        return
    tree, seen = Tree(f"{found.manifest.kind} {found.manifest.id[:12]}"), {found.manifest.id}
    _grow(tree, found, seen)
    console.print(tree)


def alias(
    name: Annotated[str, typer.Argument(help="NAME@ALIAS, for example support-triage/int4@production.")],
    reference: Annotated[str, typer.Argument(help="What it is to mean.")] = "",
    remove: Annotated[bool, typer.Option("--remove", help="Take the alias away.")] = False,
    config: Config = CONFIG,
    as_json: AsJson = False,
) -> None:
    """Give an artifact a lasting name; what an alias needs is never collected."""
    from slmops.core.console import console, print_json

    base, _, label = name.partition("@")
    if not label or bool(reference) == remove:
        raise typer.BadParameter("write: slmops alias NAME@ALIAS REFERENCE, or: slmops alias NAME@ALIAS --remove")
    store = open_store(config)
    if remove:
        store.remove_alias(base, label)
    else:
        store.set_alias(base, label, reference)
    meant = None if remove else store.manifest(name).id
    if as_json:
        print_json({"alias": name, "artifact": meant})
    else:
        console.print(f"{name} → {meant[:12]}" if meant else f"{name} is no more")


def verify(config: Config = CONFIG, as_json: AsJson = False) -> None:
    """Read every stored file and the audit log, and say what is damaged."""
    from slmops.core.console import console, print_json, print_table, show_progress

    with show_progress() as progress:
        damages = open_store(config).verify(
            lambda done, total: progress("verify", done / total, f"{done}/{total} artifacts")
        )
    if as_json:
        print_json({"damages": damages})
    elif damages:
        print_table(
            ("artifact", "file", "what", "remedy"), [(d.artifact[:12], d.path, d.what, d.remedy) for d in damages]
        )
    else:
        console.print("every file is what its digest says")
    if damages:
        raise typer.Exit(1)


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be deleted.")] = False,
    also_unfinished: Annotated[
        bool, typer.Option("--unfinished", help="And what killed runs had begun here; they would begin anew.")
    ] = False,
    config: Config = CONFIG,
    as_json: AsJson = False,
) -> None:
    """Delete artifacts that no alias needs."""
    from slmops.core.console import console, print_json
    from slmops.core.files import bytes_of
    from slmops.core.pipeline import drop_unfinished, unfinished

    state = state_of(config)
    begun = {folder.relative_to(state).as_posix(): bytes_of(folder) for folder in unfinished(state)}
    if also_unfinished and begun and not dry_run:
        drop_unfinished(state)  # first: a store that forgets needs some room for it
    collected = open_store(config).gc(dry_run=dry_run)
    freed = collected.freed_bytes + (sum(begun.values()) if also_unfinished else 0)
    if as_json:
        ids = [manifest.id for manifest in collected.artifacts]
        files = len(collected.files)
        print_json({"artifacts": ids, "files": files, "unfinished": sorted(begun), "freed_bytes": freed})
        return
    for manifest in collected.artifacts:
        console.print(f"{manifest.kind} {manifest.id[:12]}")
    for name, size in begun.items():
        kept = "" if also_unfinished else "; stays without --unfinished"
        console.print(f"unfinished {name} ({size / 1e6:.1f} MB{kept})", soft_wrap=True)
    verb = "would free" if dry_run else "freed"
    console.print(f"{len(collected.artifacts)} artifacts; {verb} {freed / 1e6:.1f} MB")


def _details(told: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in told.items() if value and name != "key")


def _lineage_json(found: Lineage) -> dict[str, Any]:
    parents = {role: _lineage_json(parent) for role, parent in found.parents.items()}
    made_by = found.manifest.made_by
    return {
        "id": found.manifest.id,
        "kind": found.manifest.kind,
        "parents": parents,
        "base_models": dict(made_by.base_models),
    }


def _grow(tree: Any, found: Lineage, seen: set[str]) -> None:
    for reference, origin in found.manifest.made_by.base_models.items():
        tree.add(f"base model: {reference}, from {origin}")
    for role, parent in found.parents.items():
        manifest = parent.manifest
        known = manifest.id in seen
        branch = tree.add(f"{role}: {manifest.kind} {manifest.id[:12]}{' (above)' if known and parent.parents else ''}")
        if not known:
            seen.add(manifest.id)
            _grow(branch, parent, seen)
