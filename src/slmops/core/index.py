"""The store's index in SQLite: which artifacts there are, their names, versions, aliases, parents and measurements.

In come manifests and references; out go manifests and entries; what changes is noted in the audit log. Each method is
one short transaction on a connection of its own, so threads and processes may share an index. Knows no file.
"""

from __future__ import annotations

import difflib
import errno
import json
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from slmops.core import audit
from slmops.core.artifact import FORMAT, Manifest
from slmops.core.errors import BusyError, DamagedError, StoreError
from slmops.core.files import free_bytes, full_disk_explained, wait_for_lock
from slmops.core.measurement import ArtifactId, Measurement

_BUSY_TIMEOUT_S = 60
_LEAST_FREE_BYTES = 200_000  # with less, SQLite cannot even lay out its shared memory, and calls that an I/O error
_READ, _WRITE = "BEGIN", "BEGIN IMMEDIATE"
_NAME = r"\w[\w.-]*(?:/\w[\w.-]*)*"
_ALIAS = r"\w[\w.-]*"
LATEST = "latest"  # the alias of what a run last made, or found unchanged
ELSEWHERE = "set SLMOPS_STORE to a folder on a larger disk"
_RESTORE = "restore it from a backup, or move the store away and run `slmops run` again"
_NAMES_ARE = "use letters, digits, '.', '-' and '_', with '/' between the parts of a name"
_ID_PREFIX = r"[0-9a-f]{6,64}"

# A making is one way an artifact came about: the same content can be made under several keys, from several parents.
_SCHEMA = """
CREATE TABLE artifacts (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, size_bytes INTEGER NOT NULL, created TEXT NOT NULL);
CREATE TABLE makings (
    number INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL,
    artifact TEXT NOT NULL REFERENCES artifacts ON DELETE CASCADE, manifest TEXT NOT NULL, UNIQUE (key, artifact));
CREATE INDEX makings_of ON makings (artifact);
CREATE TABLE parents (
    making INTEGER NOT NULL REFERENCES makings ON DELETE CASCADE, role TEXT NOT NULL,
    parent TEXT NOT NULL REFERENCES artifacts, PRIMARY KEY (making, role));
CREATE INDEX children_of ON parents (parent);
CREATE TABLE measurements (
    number INTEGER PRIMARY KEY, artifact TEXT NOT NULL REFERENCES artifacts ON DELETE CASCADE,
    measurement TEXT NOT NULL, UNIQUE (artifact, measurement));
CREATE TABLE versions (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL, version INTEGER NOT NULL, created TEXT NOT NULL,
    artifact TEXT REFERENCES artifacts ON DELETE SET NULL, UNIQUE (name, version));
CREATE INDEX versions_of ON versions (artifact);
CREATE TABLE aliases (
    name TEXT NOT NULL, alias TEXT NOT NULL, artifact TEXT NOT NULL REFERENCES artifacts, PRIMARY KEY (name, alias));
CREATE INDEX aliases_of ON aliases (artifact);
CREATE VIEW named (reference, artifact) AS
    SELECT name || '@' || alias, artifact FROM aliases
    UNION ALL SELECT name || ':' || version, artifact FROM versions WHERE artifact IS NOT NULL
    UNION ALL SELECT name, artifact FROM versions AS newest WHERE version =
        (SELECT max(version) FROM versions WHERE name = newest.name AND artifact IS NOT NULL);
"""

_UNNEEDED = """
WITH RECURSIVE needed (id) AS (
    SELECT artifact FROM aliases
    UNION SELECT parent FROM needed JOIN makings ON makings.artifact = needed.id JOIN parents ON making = number)
SELECT id FROM artifacts WHERE id NOT IN needed ORDER BY id
"""

_ENTRIES = """
SELECT artifacts.id, kind, coalesce(versions.name, ''), coalesce(version, 0),
    (SELECT coalesce(group_concat(CASE WHEN name = versions.name THEN alias ELSE name || '@' || alias END, ' '), '')
        FROM aliases WHERE artifact = artifacts.id),
    size_bytes, coalesce(versions.created, artifacts.created),
    (SELECT key FROM makings WHERE artifact = artifacts.id ORDER BY number DESC LIMIT 1)
FROM artifacts LEFT JOIN versions ON versions.artifact = artifacts.id
WHERE (:kind IS NULL OR kind = :kind) AND (:name IS NULL OR versions.name = :name)
ORDER BY versions.number, artifacts.rowid
"""


@dataclass(frozen=True)
class Entry:
    """One line of a listing: a version of a name, or (name empty, version 0) an artifact without one. An alias of
    another name than the entry's is told in full, as name@alias."""

    id: ArtifactId
    kind: str
    name: str
    version: int
    aliases: tuple[str, ...]
    size_bytes: int
    created: str
    key: str


class Index:
    """The SQLite file at `path`, made where there is none and the store is empty; refuses one written by a newer
    slmops, and a store whose index was lost."""

    def __init__(self, path: Path, *, of_empty_store: bool) -> None:
        self._path = path.absolute()
        if not self._path.exists() or not self._is_ready():
            if not of_empty_store:
                raise DamagedError("the store's index is lost", where=str(self._path), remedy=_RESTORE)
            with wait_for_lock(path.with_name("lock")):
                self._create()

    def admit(self, name: str, parents: Mapping[str, ArtifactId]) -> None:
        """Refuses a name or parents that `record` could not take, before any file is moved."""
        if name and not re.fullmatch(_NAME, name):
            raise StoreError(f"{name!r} cannot be an artifact's name", remedy=_NAMES_ARE)
        with self._transaction(_READ) as connection:
            for role, parent in parents.items():
                if not connection.execute("SELECT 1 FROM artifacts WHERE id = ?", (parent,)).fetchone():
                    raise StoreError(f"the parent {role}, {parent[:12]}, is not in the store", remedy="commit it first")

    def record(self, manifest: Manifest, name: str) -> None:
        """Makes the artifact visible: all of it, or on any error nothing."""
        with self._transaction(_WRITE) as connection:
            connection.execute(
                "INSERT OR IGNORE INTO artifacts VALUES (?, ?, ?, ?)",
                (manifest.id, manifest.kind, manifest.size_bytes, audit.now()),
            )
            making = connection.execute(
                "INSERT OR REPLACE INTO makings (key, artifact, manifest) VALUES (?, ?, ?)",
                (manifest.key, manifest.id, json.dumps(manifest.to_json())),
            ).lastrowid
            connection.executemany(
                "INSERT INTO parents VALUES (?, ?, ?)", [(making, *parent) for parent in manifest.parents.items()]
            )
            version = _add_version(connection, name, manifest.id) if name else 0
            audit.log(
                connection, "commit", manifest.id, kind=manifest.kind, key=manifest.key, name=name, version=version
            )

    def made_under(self, key: str) -> list[Manifest]:
        """What was made under `key`, newest first."""
        with self._transaction(_READ) as connection:
            rows = connection.execute(
                "SELECT manifest, artifact FROM makings WHERE key = ? ORDER BY number DESC", [key]
            )
            return [_manifest(connection, *row) for row in rows.fetchall()]

    def manifest(self, reference: str) -> Manifest:
        """The newest manifest of what `reference` names, with all measurements."""
        with self._transaction(_READ) as connection:
            return _newest_manifest(connection, _resolve(connection, reference))

    def manifests(self) -> list[Manifest]:
        """Every artifact's newest manifest, oldest artifact first."""
        with self._transaction(_READ) as connection:
            ids = connection.execute("SELECT id FROM artifacts ORDER BY rowid").fetchall()
            return [_newest_manifest(connection, id) for (id,) in ids]

    def entries(self, kind: str | None, name: str | None) -> list[Entry]:
        """Versions in the order they were made, after the artifacts without a name."""
        with self._transaction(_READ) as connection:
            rows = connection.execute(_ENTRIES, {"kind": kind, "name": name}).fetchall()
        return [
            Entry(id, made, named, version, tuple(sorted(aliases.split())), size_bytes, created, key)
            for id, made, named, version, aliases, size_bytes, created, key in rows
        ]

    def children(self, reference: str) -> list[Manifest]:
        """What was made from it, oldest first."""
        with self._transaction(_READ) as connection:
            rows = connection.execute(
                "SELECT artifact FROM parents JOIN makings ON making = number WHERE parent = ? "
                "GROUP BY artifact ORDER BY min(number)",
                [_resolve(connection, reference)],
            )
            return [_newest_manifest(connection, id) for (id,) in rows.fetchall()]

    def set_alias(self, name: str, alias: str, reference: str, by: str) -> None:
        """Points name@alias at the artifact, away from what it named before."""
        if not re.fullmatch(_NAME, name) or not re.fullmatch(_ALIAS, alias):
            raise StoreError(f"{name}@{alias} cannot be an alias", remedy=_NAMES_ARE)
        with self._transaction(_WRITE) as connection:
            artifact = _resolve(connection, reference)
            connection.execute("INSERT OR REPLACE INTO aliases VALUES (?, ?, ?)", (name, alias, artifact))
            audit.log(connection, "set alias", artifact, by=by, name=name, alias=alias)

    def remove_alias(self, name: str, alias: str, by: str) -> None:
        """Takes name@alias away; the artifact stays until gc."""
        with self._transaction(_WRITE) as connection:
            artifact = _resolve(connection, f"{name}@{alias}")
            connection.execute("DELETE FROM aliases WHERE name = ? AND alias = ?", (name, alias))
            audit.log(connection, "remove alias", artifact, by=by, name=name, alias=alias)

    def measure(self, reference: str, measurements: Sequence[Measurement]) -> None:
        """Adds measurements beside an artifact; one already there word for word is not told twice."""
        with self._transaction(_WRITE) as connection:
            artifact = _resolve(connection, reference)
            texts = [json.dumps(about(measurement, artifact).to_json()) for measurement in measurements]
            connection.executemany(
                "INSERT OR IGNORE INTO measurements (artifact, measurement) VALUES (?, ?)",
                [(artifact, text) for text in texts],
            )
            audit.log(connection, "measure", artifact, names=[measurement.name for measurement in measurements])

    def unneeded(self) -> list[ArtifactId]:
        """Artifacts that no alias needs, neither itself nor for a descendant."""
        with self._transaction(_READ) as connection:
            return [id for (id,) in connection.execute(_UNNEEDED)]

    def remove_unneeded(self) -> list[ArtifactId]:
        """Forgets them, in one transaction with the decision; their version numbers are never used again."""
        with self._transaction(_WRITE) as connection:
            unneeded = connection.execute(_UNNEEDED).fetchall()
            connection.executemany("DELETE FROM makings WHERE artifact = ?", unneeded)
            connection.executemany("DELETE FROM artifacts WHERE id = ?", unneeded)
            for (id,) in unneeded:
                audit.log(connection, "collect", id)
            return [id for (id,) in unneeded]

    def audit_entries(self) -> list[audit.AuditEntry]:
        """The audit log, oldest first."""
        with self._transaction(_READ) as connection:
            return audit.entries(connection)

    def problems(self) -> list[str]:
        """What is wrong with the index itself: its pages, references between its rows, the audit log's chain."""
        with self._transaction(_READ) as connection:
            found = [text for (text,) in connection.execute("PRAGMA integrity_check") if text != "ok"]
            found += [f"{row[0]} refers to a missing row" for row in connection.execute("PRAGMA foreign_key_check")]
            if number := audit.broken_at(connection):
                found.append(f"the audit log was changed at entry {number}")
        return found

    def _is_ready(self) -> bool:
        with self._transaction(_READ) as connection:
            (written_by,) = connection.execute("PRAGMA user_version").fetchone()
        if written_by > FORMAT:
            raise StoreError(
                f"the store was written by a newer slmops (format {written_by}, this one knows {FORMAT})",
                where=str(self._path.parent),
                remedy="pip install -U slmops, or set SLMOPS_STORE to another folder",
            )
        return written_by == FORMAT

    def _create(self) -> None:
        with self._explained():
            connection = sqlite3.connect(self._path, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
            try:
                (written_by,) = connection.execute("PRAGMA user_version").fetchone()
                if written_by == 0:  # else another process was faster
                    connection.execute("PRAGMA journal_mode = WAL")
                    tables = f"{_SCHEMA} {audit.SCHEMA} PRAGMA user_version = {FORMAT};"
                    connection.executescript(f"BEGIN IMMEDIATE; {tables} COMMIT")
            finally:
                connection.close()

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        address = f"{self._path.as_uri()}?mode=rw"  # never makes an empty index where one was lost
        with self._explained():
            connection = sqlite3.connect(address, timeout=_BUSY_TIMEOUT_S, isolation_level=None, uri=True)
            try:
                connection.execute("PRAGMA foreign_keys = ON")
                connection.execute(begin)
                with connection:
                    yield connection
            finally:
                connection.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        with full_disk_explained(self._path.parent, otherwise=ELSEWHERE):
            try:
                yield
            except sqlite3.Error as error:
                code = getattr(error, "sqlite_errorcode", 0) & 0xFF
                full = code == sqlite3.SQLITE_IOERR and free_bytes(self._path.parent) < _LEAST_FREE_BYTES
                if full or code == sqlite3.SQLITE_FULL:
                    raise OSError(errno.ENOSPC, str(error)) from error
                if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                    raise BusyError(
                        "another process keeps the store's index busy", where=str(self._path), remedy="try again"
                    ) from error
                if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                    what = f"the store's index is damaged: {error}"
                    raise DamagedError(what, where=str(self._path), remedy=_RESTORE) from error
                raise StoreError(f"the store's index failed: {error}", where=str(self._path)) from error


def about(measurement: Measurement, artifact: ArtifactId, run: str = "") -> Measurement:
    """The measurement with its subject and run filled in where they were left open."""
    return replace(measurement, subject=measurement.subject or artifact, run=measurement.run or run)


def _resolve(connection: sqlite3.Connection, reference: str) -> ArtifactId:
    text = reference.removeprefix("store:")
    for called in (f"{text}@{LATEST}", text):  # a run that finds an older version unchanged makes it the latest again
        rows = connection.execute("SELECT artifact FROM named WHERE reference = ?", [called]).fetchall()
        if rows:
            break
    if not rows and re.fullmatch(_ID_PREFIX, text):
        rows = connection.execute("SELECT id FROM artifacts WHERE id GLOB ? || '*' LIMIT 9", [text]).fetchall()
    if len(rows) == 1:
        return rows[0][0]
    if rows:
        longer = ", ".join(id[: len(text) + 6] for (id,) in rows)
        raise StoreError(f"{reference!r} begins the ids of several artifacts", remedy=f"give more of it: {longer}")
    known = [name for (name,) in connection.execute("SELECT reference FROM named")]
    near = difflib.get_close_matches(text[:200], known, cutoff=0.4)
    raise StoreError(
        f"there is no {reference[:200]!r} in the store",
        remedy=f"did you mean {', '.join(near)}?" if near else "`slmops list` shows what there is",
    )


def _manifest(connection: sqlite3.Connection, text: str, artifact: ArtifactId) -> Manifest:
    try:
        manifest = Manifest.from_json(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedError(f"is no manifest: {error}", where=artifact[:12], remedy="do not trust this store") from error
    added = connection.execute("SELECT measurement FROM measurements WHERE artifact = ? ORDER BY number", [artifact])
    later = tuple(Measurement.from_json(json.loads(measurement)) for (measurement,) in added)
    return replace(manifest, measurements=manifest.measurements + later)


def _newest_manifest(connection: sqlite3.Connection, artifact: ArtifactId) -> Manifest:
    query = "SELECT manifest, artifact FROM makings WHERE artifact = ? ORDER BY number DESC LIMIT 1"
    return _manifest(connection, *connection.execute(query, [artifact]).fetchone())


def _add_version(connection: sqlite3.Connection, name: str, artifact: ArtifactId) -> int:
    query = "SELECT version, artifact FROM versions WHERE name = ? ORDER BY version DESC LIMIT 1"
    newest, before = connection.execute(query, [name]).fetchone() or (0, None)
    if before == artifact:
        return newest
    connection.execute(
        "INSERT INTO versions (name, version, created, artifact) VALUES (?, ?, ?, ?)",
        (name, newest + 1, audit.now(), artifact),
    )
    return newest + 1
