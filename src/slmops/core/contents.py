"""The store's files: every content once under its SHA-256, artifacts as folders of links to them.

    files/ab/ab12…        every content, read-only, named by its SHA-256
    artifacts/<id>/       an artifact's folder: hard links to files (copies where the disk has no links)
    artifacts/<id>.json   its manifest as committed, for people and other tools

In come files whose digest is known, and manifests; out go places on the disk and what is wrong with them. Every change
is one rename, so a reader sees the old file or the new one. Knows no index, name or alias.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from slmops.core.artifact import Digest, Manifest, hash_file
from slmops.core.errors import StoreError
from slmops.core.files import part_of, sync, write_whole
from slmops.core.measurement import ArtifactId

Hashes = dict[tuple[int, int, int, int], Digest]  # by device, inode, time of the last change and size

_SETTLED_S = 1.0  # a file that changed later may change again within one tick of its clock
_read: Hashes = {}  # by this process


class Contents:
    """The folders files/ and artifacts/ under `root`."""

    def __init__(self, root: Path) -> None:
        self._root, self._files, self._artifacts = root, root / "files", root / "artifacts"

    def is_empty(self) -> bool:
        """Whether no artifact stands here, nor part of one."""
        return not any(self._artifacts.glob("*"))

    def folder(self, id: ArtifactId) -> Path:
        """Where the artifact's files are."""
        return self._artifacts / id

    def sources(self, folder: Path) -> dict[str, Path]:
        """The files under `folder` by their relative posix path.

        Raises:
            StoreError: it holds nothing, a link, a device or a name that is not portable, or lies in the store.
        """
        given = folder.resolve()
        for ours in (self._files.resolve(), self._artifacts.resolve()):
            if given.is_relative_to(ours) or ours.is_relative_to(given):
                raise StoreError("a store's own folders cannot be committed to it", where=str(folder))
        found = {}
        for path in sorted(folder.rglob("*")):
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                raise StoreError("only plain files are kept, no links or devices", where=str(path), remedy="copy it")
            relative = path.relative_to(folder).as_posix()
            if "\\" in relative or not relative.isprintable():  # what is not UTF-8 holds surrogates: not printable
                raise StoreError(
                    "this name would not survive on every system", where=repr(relative), remedy="rename it"
                )
            if path.is_file():
                found[relative] = path
        if not found:
            raise StoreError("there is no file to commit", where=str(folder))
        return found

    def place(self, source: Path, digest: Digest) -> bool:
        """Puts `source` among the files unless its content is there undamaged, and says whether it did."""
        stored = self._stored(digest)
        if stored.exists() and (stored.samefile(source) or hash_file(stored) == digest):
            return False
        sync(source)
        # A source with a second name could be changed through that name later.
        _replace(stored, source, _link if source.stat().st_nlink == 1 else _copy)
        return True

    def lay_out(self, manifest: Manifest, digests: Collection[Digest]) -> None:
        """Links the artifact's files that have one of these digests into its folder; then all of it is on the disk."""
        folders = set()
        for path, digest in manifest.files.items():
            if digest not in digests:
                continue
            place, stored = self.folder(manifest.id) / path, self._stored(digest)
            if not (place.exists() and place.samefile(stored)):
                _replace(place, stored, _link)
            folders |= {*place.parents, *stored.parents} - {*self._root.parents}
        for folder in folders:
            sync(folder)

    def write_manifest(self, manifest: Manifest) -> None:
        """Writes the manifest beside the artifact's folder."""
        text = json.dumps(manifest.to_json(), indent=1, ensure_ascii=False)
        write_whole(self.folder(manifest.id).with_suffix(".json"), text)

    def has_all(self, manifest: Manifest) -> bool:
        """Whether every file is there in its right size: a cheap look that reads none of them."""
        folder = self.folder(manifest.id)
        return all(_size_bytes(folder / path) == digest.size_bytes for path, digest in manifest.files.items())

    def damage(self, manifest: Manifest, path: str, hashes: Hashes | None = None) -> str:
        """What is wrong with one file of the artifact, or "". `hashes` remember what was read, under whatever link, and
        has not changed since; without them, what this process has read so."""
        return _damage(self.folder(manifest.id) / path, manifest.files[path], _read if hashes is None else hashes)

    def stored_damage(self, digest: Digest, hashes: Hashes) -> str:
        """What is wrong with the content under files/, or ""."""
        return _damage(self._stored(digest), digest, hashes)

    def orphans(self, manifests: Iterable[Manifest]) -> list[Path]:
        """Files that belong to none of these artifacts."""
        expected = set()
        for manifest in manifests:
            folder = self.folder(manifest.id)
            expected.add(folder.with_suffix(".json"))
            for path, digest in manifest.files.items():
                expected |= {folder / path, self._stored(digest)}
        found = [path for root in (self._artifacts, self._files) for path in sorted(root.rglob("*"))]
        return [path for path in found if path not in expected and (path.is_symlink() or not path.is_dir())]

    def freed_bytes(self, paths: Iterable[Path]) -> int:
        """What deleting these files gives back: a content counts with the last of its links."""
        told = [path.lstat() for path in paths]
        links = Counter((each.st_dev, each.st_ino) for each in told)
        freed = {(each.st_dev, each.st_ino): each for each in told}
        return sum(each.st_size for inode, each in freed.items() if links[inode] == each.st_nlink)

    def delete(self, paths: Iterable[Path]) -> None:
        """Deletes these files, and what folders are empty then."""
        for path in paths:
            path.unlink()
        for root in (self._artifacts, self._files):
            for folder, _, _ in os.walk(root, topdown=False):
                if not os.listdir(folder):
                    os.rmdir(folder)

    def _stored(self, digest: Digest) -> Path:
        return self._files / digest.sha256[:2] / digest.sha256


def _replace(place: Path, source: Path, bring: Callable[[Path, Path], object]) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(place)
    try:
        bring(source, part)
        part.chmod(0o444)
        os.replace(part, place)
    finally:
        part.unlink(missing_ok=True)  # replacing a link by another to the same file leaves both


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one that knows no links
        _copy(source, target)


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    sync(target)


def _size_bytes(path: Path) -> int | None:
    """The size of a plain file; None for anything else, or nothing."""
    try:
        told = path.lstat()
    except OSError:
        return None
    return told.st_size if stat.S_ISREG(told.st_mode) else None


def _damage(path: Path, digest: Digest, hashes: Hashes) -> str:
    size_bytes = _size_bytes(path)
    if size_bytes is None:
        return "is missing"
    if size_bytes != digest.size_bytes:
        return f"has {size_bytes} bytes instead of {digest.size_bytes}"
    try:
        found = _hash_unless_read(path, hashes)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return "" if found == digest else "was changed since it was committed"


def _hash_unless_read(path: Path, hashes: Hashes) -> Digest:
    told = path.stat()
    key = (told.st_dev, told.st_ino, told.st_ctime_ns, told.st_size)
    if key in hashes:
        return hashes[key]
    settled, found = time.time() - told.st_ctime > _SETTLED_S, hash_file(path)
    if settled:
        hashes[key] = found
    return found
