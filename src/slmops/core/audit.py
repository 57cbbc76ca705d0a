"""The audit log: a SQLite table that only grows, each row with the hash of the row before it.

In come a connection in a transaction and what was done; out go entries, and where the chain is broken. Triggers refuse
every change; whoever gets around them breaks the chain. Knows no artifact and opens no file.
"""

from __future__ import annotations

import getpass
import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from slmops.core.artifact import hash_json

SCHEMA = """
CREATE TABLE audit (
    number INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, by TEXT NOT NULL, action TEXT NOT NULL,
    subject TEXT NOT NULL, details TEXT NOT NULL, previous TEXT NOT NULL, hash TEXT NOT NULL);
CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END;
CREATE TRIGGER audit_is_never_shortened BEFORE DELETE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END;
CREATE TRIGGER audit_is_never_replaced BEFORE INSERT ON audit
    WHEN NEW.number <> (SELECT coalesce(max(number), 0) + 1 FROM audit)
    BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END;
"""


@dataclass(frozen=True)
class AuditEntry:
    """What was done, when (ISO 8601), by whom, to what; `hash` covers all before it, `previous` is the last entry's."""

    number: int
    at: str
    by: str
    action: str
    subject: str
    details: Mapping[str, Any]
    previous: str
    hash: str


def log(connection: sqlite3.Connection, action: str, subject: str, *, by: str = "", **details: Any) -> None:
    """Adds an entry; `by` is this process's user where nobody is named."""
    newest = connection.execute("SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1").fetchone()
    before, previous = newest or (0, "")
    told = (before + 1, now(), by or _user(), action, subject, details, previous)
    row = (*told[:5], json.dumps(details), previous, hash_json(told))
    connection.execute("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)


def entries(connection: sqlite3.Connection) -> list[AuditEntry]:
    """The whole log, oldest first."""
    columns = "number, at, by, action, subject, details, previous, hash"
    rows = connection.execute(f"SELECT {columns} FROM audit ORDER BY number")
    return [
        AuditEntry(number, at, by, action, subject, json.loads(details), previous, hash)
        for number, at, by, action, subject, details, previous, hash in rows.fetchall()
    ]


def broken_at(connection: sqlite3.Connection) -> int | None:
    """The number of the first entry that is not what was written, or None."""
    log = entries(connection)
    previous = ""
    for number, entry in enumerate(log, 1):
        if (entry.number, entry.previous, entry.hash) != (number, previous, hash_json(_told(entry))):
            return number
        previous = entry.hash
    written = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'audit'").fetchone()
    return len(log) + 1 if written and written[0] > len(log) else None


def now() -> str:
    """The time, as the store writes it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _told(entry: AuditEntry) -> Sequence[Any]:
    return (entry.number, entry.at, entry.by, entry.action, entry.subject, dict(entry.details), entry.previous)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user without a name
        return "unknown"
