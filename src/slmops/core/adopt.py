"""Takes over what another store has: its files by digest, and the manifests of its artifacts.

In comes a folder that somebody else filled (`files/ab/ab12…` and `<id>.json`), and nothing in it is believed: contents
are held against their digests, artifacts against their ids, and paths stay within. Knows no network.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from slmops.core.artifact import Manifest, artifact_id, hash_file
from slmops.core.errors import StoreError
from slmops.core.files import part_of
from slmops.core.index import LATEST
from slmops.core.store import Store

_REMEDY = "fetch it again"


def adopt(store: Store, folder: Path, name: str) -> list[Manifest]:
    """Commits every artifact that lies in `folder` as NAME/KIND, parents first, and points @latest at the newest.

    Raises:
        StoreError: a manifest cannot be read, a file is not what its digest says, or a parent is not there.
    """
    adopted = []
    with store.in_use():
        for manifest in _parents_first(_read_manifests(folder)):
            taken = part_of(store.root / "adopted")
            try:
                _lay_out(manifest, folder, taken)
                adopted.append(
                    store.commit(
                        taken,
                        kind=manifest.kind,
                        key=manifest.key,
                        parents=manifest.parents,
                        made_by=manifest.made_by,
                        measurements=manifest.measurements,
                        licence=manifest.licence,
                        name=f"{name}/{manifest.kind}",
                    )
                )
            finally:
                shutil.rmtree(taken, ignore_errors=True)
            store.set_alias(f"{name}/{manifest.kind}", LATEST, manifest.id)
    return adopted


def _read_manifests(folder: Path) -> Iterator[Manifest]:
    for path in sorted(folder.glob("*.json")):
        try:
            data = json.loads(path.read_text("utf-8"))
            if not isinstance(data, dict) or "kind" not in data:
                continue  # something else that lies beside them
            manifest = Manifest.from_json(data)
            right = path.stem == manifest.id == artifact_id(manifest.kind, manifest.files)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise StoreError(f"is no manifest: {error}", where=str(path), remedy=_REMEDY) from error
        if not right:
            raise StoreError("its id is not that of what it lists", where=str(path), remedy=_REMEDY)
        yield manifest


def _parents_first(manifests: Iterator[Manifest]) -> Iterator[Manifest]:
    """In the order they were made, each after its parents."""
    waiting = {manifest.id: manifest for manifest in sorted(manifests, key=lambda one: one.made_by.started)}
    while waiting:
        ready = [one for one in waiting.values() if not any(parent in waiting for parent in one.parents.values())]
        if not ready:
            first = next(iter(waiting.values()))
            raise StoreError(f"{first.kind} {first.id[:12]} descends from itself", remedy=_REMEDY)
        for one in ready:
            del waiting[one.id]
            yield one


def _lay_out(manifest: Manifest, folder: Path, target: Path) -> None:
    """The artifact's files as a folder, each content checked."""
    for name, digest in manifest.files.items():
        path, source = target / name, folder / "files" / digest.sha256[:2] / digest.sha256
        if source.is_symlink() or not source.is_file() or hash_file(source) != digest:
            what = f"{name} of {manifest.kind} {manifest.id[:12]} is not there, or was changed"
            raise StoreError(what, where=str(source), remedy=_REMEDY)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, path)
