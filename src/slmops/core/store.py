"""The content-addressed store: artifacts with names, versions, aliases, lineage, an audit log and gc.

In come finished folders and references; out go manifests and folders whose every byte was checked. An artifact is
visible from the moment core/index.py records it; its files are core/contents.py's. `lock` and in-use/ tell who works
here, so that gc deletes nothing under anybody's hands. Knows no stage and no model.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from slmops.core.artifact import Manifest, Run, artifact_id, hash_file
from slmops.core.audit import AuditEntry
from slmops.core.contents import Contents, Hashes
from slmops.core.errors import DamagedError, StoreError
from slmops.core.files import full_disk_explained, lock, part_of, wait_for_lock
from slmops.core.index import ELSEWHERE, Entry, Index, about
from slmops.core.measurement import ArtifactId, Measurement


@dataclass(frozen=True)
class Lineage:
    """An artifact and, by role, what it was made from. A shared ancestor is one object; an artifact that was made
    again from its own descendant is not repeated below itself."""

    manifest: Manifest
    parents: Mapping[str, Lineage]


@dataclass(frozen=True)
class Damage:
    """What is wrong with a file of an artifact, or (artifact empty) with the index, and what mends it."""

    path: str
    what: str
    artifact: ArtifactId
    remedy: str


@dataclass(frozen=True)
class Collected:
    """What gc deletes: artifacts, files that belong to nothing, and the bytes that become free."""

    artifacts: tuple[Manifest, ...]
    files: tuple[Path, ...]
    freed_bytes: int


class Store:
    """The store in the folder `root`, made if there is none; one that was written by a newer slmops or has lost its
    index is refused.

    Threads and processes may share it. An artifact that no alias needs lives until the next gc; `in_use` keeps gc away.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            remedy = "set SLMOPS_STORE to a folder you may write to"
            raise StoreError(f"no store can be made: {error.strerror}", where=str(root), remedy=remedy) from error
        self._contents = Contents(self.root)
        self._index = Index(self.root / "index.sqlite", of_empty_store=self._contents.is_empty())

    def commit(
        self,
        folder: Path,
        *,
        kind: str,
        key: str,
        parents: Mapping[str, ArtifactId],
        made_by: Run,
        measurements: Sequence[Measurement] = (),
        licence: str = "",
        name: str = "",
    ) -> Manifest:
        """Moves the files of `folder` into the store as one artifact, and removes the folder.

        Killed anywhere, it leaves the whole artifact or nothing visible, and the folder's files as they were until
        the artifact is there: the same call again works. Content that is there already keeps its id, and damaged bytes
        of it are replaced by the good ones. `name` gets a new version unless its newest is this artifact.

        Raises:
            StoreError: the folder holds nothing, a link, a device or a name that is not portable; a parent is unknown.
        """
        sources = self._contents.sources(folder)
        self._index.admit(name, parents)
        files = {path: hash_file(source) for path, source in sources.items()}
        id = artifact_id(kind, files)
        measured = tuple(about(measurement, id, made_by.id) for measurement in measurements)
        manifest = Manifest(kind, id, key, files, dict(parents), made_by, measured, licence)
        with full_disk_explained(self.root, manifest.size_bytes, ELSEWHERE), self.in_use():
            placed = {digest for path, digest in files.items() if self._contents.place(sources[path], digest)}
            self._contents.lay_out(manifest, files.values())
            if placed:  # where good bytes were lacking, other artifacts may have lacked them too
                for other in self._index.manifests():
                    self._contents.lay_out(other, placed)
            self._contents.write_manifest(manifest)
            self._index.record(manifest, name)
        done = folder.rename(part_of(folder))  # whole or gone: half a folder could be taken for another artifact
        shutil.rmtree(done)
        return manifest

    def find(self, key: str) -> Manifest | None:
        """What was made under `key`; None where it was collected, or a file is missing or has a wrong size."""
        return next(filter(self._contents.has_all, self._index.made_under(key)), None)

    def manifest(self, reference: str) -> Manifest:
        """What `reference` names: an id or its unique beginning, a name (its `latest`; without one its newest
        version), name:3 or name@alias.

        Raises:
            StoreError: nothing, or more than one thing, is called so; says what is called nearly so.
        """
        return self._index.manifest(reference)

    def open(self, reference: str) -> Path:
        """The artifact's folder, to be read only, after every file's digest was checked.

        Raises:
            DamagedError: a file is not what was committed.
        """
        manifest = self.manifest(reference)
        folder = self._contents.folder(manifest.id)
        for path in manifest.files:
            if what := self._contents.damage(manifest, path):
                what = f"{path} of {manifest.kind} {manifest.id[:12]} {what}"
                raise DamagedError(what, where=str(folder / path), remedy=_remedy(manifest))
        return folder

    def folder(self, reference: str) -> Path:
        """Where the artifact's files are, none of which was checked: to look at, not to use."""
        return self._contents.folder(self.manifest(reference).id)

    def entries(self, *, kind: str | None = None, name: str | None = None) -> list[Entry]:
        """What there is: the artifacts without a name, then every version in the order they were made."""
        return self._index.entries(kind, name)

    def lineage(self, reference: str) -> Lineage:
        """The artifact with all its ancestors."""
        start = self.manifest(reference)
        manifests = {manifest.id: manifest for manifest in self._index.manifests()}
        return _ancestry(start, manifests, {}, frozenset())

    def children(self, reference: str) -> list[Manifest]:
        """What was made directly from the artifact."""
        return self._index.children(reference)

    def set_alias(self, name: str, alias: str, reference: str, by: str = "") -> None:
        """Lets name@alias mean the artifact from now on; gc keeps it and its ancestors."""
        self._index.set_alias(name, alias, reference, by)

    def remove_alias(self, name: str, alias: str, by: str = "") -> None:
        """Takes name@alias away."""
        self._index.remove_alias(name, alias, by)

    def measure(self, reference: str, measurements: Sequence[Measurement]) -> None:
        """Adds measurements beside an artifact; its id stays."""
        self._index.measure(reference, measurements)

    def audit(self) -> list[AuditEntry]:
        """Everything that was done to the store, oldest first."""
        return self._index.audit_entries()

    def verify(self, report: Callable[[int, int], None] = lambda done, total: None) -> list[Damage]:
        """Reads every file and the index, and says what is missing, truncated or changed; `report` hears of how many
        artifacts, of all."""
        problems = self._index.problems()
        found = [Damage("index.sqlite", problem, "", "restore it from a backup") for problem in problems]
        hashes: Hashes = {}
        manifests = self._index.manifests()
        for number, manifest in enumerate(manifests):
            report(number, len(manifests))
            for path, digest in manifest.files.items():
                what = self._contents.damage(manifest, path, hashes) or self._contents.stored_damage(digest, hashes)
                if what:
                    found.append(Damage(path, what, manifest.id, _remedy(manifest)))
        return found

    def orphans(self) -> list[Path]:
        """Files that belong to nothing: left by a killed commit, put there by hand, or a running commit's. No harm;
        gc deletes them."""
        return self._contents.orphans(self._index.manifests())

    def gc(self, *, dry_run: bool = False) -> Collected:
        """Deletes the artifacts that no alias needs, neither themselves nor as an ancestor, and all orphans.

        Raises:
            BusyError: somebody uses the store.
        """
        if dry_run:
            return self._collected(self._index.manifests(), self._index.unneeded())
        with wait_for_lock(self.root / "lock"):
            for mark in (self.root / "in-use").glob("*"):
                with lock(mark):  # only a dead process's mark can be locked
                    mark.unlink()
            collected = self._collected(self._index.manifests(), self._index.remove_unneeded())
            self._contents.delete(collected.files)
        return collected

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keeps gc away, for a run whose artifacts no alias holds yet. A commit does so itself."""
        mark = self.root / "in-use" / uuid.uuid4().hex
        with ExitStack() as held:
            held.callback(mark.unlink, missing_ok=True)
            with wait_for_lock(self.root / "lock"):  # let a gc that is under way end first
                held.enter_context(lock(mark))
            yield

    @staticmethod
    def keep_in_use(store: Store | None) -> AbstractContextManager[None]:
        """The same of a store that there may be: what is read of it stays until its reader is done."""
        return store.in_use() if store else nullcontext()

    def _collected(self, manifests: Sequence[Manifest], unneeded: Collection[ArtifactId]) -> Collected:
        orphans = self._contents.orphans(manifest for manifest in manifests if manifest.id not in unneeded)
        collected = tuple(manifest for manifest in manifests if manifest.id in unneeded)
        return Collected(collected, tuple(orphans), self._contents.freed_bytes(orphans))


def _ancestry(
    manifest: Manifest,
    manifests: Mapping[ArtifactId, Manifest],
    known: dict[ArtifactId, Lineage],
    below: frozenset[ArtifactId],
) -> Lineage:
    if manifest.id not in known:
        below |= {manifest.id}
        parents = {
            role: _ancestry(manifests[parent], manifests, known, below)
            for role, parent in manifest.parents.items()
            if parent in manifests and parent not in below
        }
        known[manifest.id] = Lineage(manifest, parents)
    return known[manifest.id]


def _remedy(manifest: Manifest) -> str:
    return f"`slmops run --from {manifest.kind}` makes it again"
