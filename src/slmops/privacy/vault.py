"""What masks stand for, encrypted by a key that the user keeps.

A file of lines: a head with the salt, then one token (Fernet: AES-128 in CBC with HMAC-SHA256) for each row that has
masks, then one that says how many there are. The key is made from a passphrase by scrypt. A token holds the digest of
the masked row it belongs to, so that no row can be given another row's secrets. Knows nothing else of rows.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slmops.core.errors import ConfigError, DataError, SlmopsError, need

_FORMAT = 1  # also says how the key is made: scrypt with these numbers
_SCRYPT = {"n": 2**15, "r": 8, "p": 1}
_SALT_BYTES = 16


class WrongKeyError(SlmopsError):
    """The key does not open these masks."""


@dataclass(frozen=True)
class Entry:
    """What the masks of a row stand for; rows are counted from 1."""

    row: int
    digest: str
    masks: Mapping[str, str]


def passphrase_from(variable: str) -> str:
    """The passphrase in an environment variable: on a command line others could read it.

    Raises:
        ConfigError: it is not set, or is empty.
    """
    if passphrase := os.environ.get(variable):
        return passphrase
    raise ConfigError(
        "the key's environment variable is not set",
        where=variable,
        remedy="set it to a long random text, and keep that: nothing else opens the masks",
    )


class Sealed:
    """The lines of a new file, one entry after another."""

    def __init__(self, passphrase: str) -> None:
        salt = os.urandom(_SALT_BYTES)
        self._box, self._entries = _box(passphrase, salt), 0
        self.head = json.dumps({"format": _FORMAT, "salt": base64.b64encode(salt).decode()}) + "\n"

    def line(self, entry: Entry) -> str:
        self._entries += 1
        return self._seal({"row": entry.row, "digest": entry.digest, "masks": dict(entry.masks)})

    def end(self) -> str:
        return self._seal({"entries": self._entries})

    def _seal(self, content: Mapping[str, Any]) -> str:
        token: bytes = self._box.encrypt(json.dumps(content).encode())
        return token.decode() + "\n"


def read_entries(path: Path, passphrase: str) -> Iterator[Entry]:
    """The entries of a file, in the order of their rows.

    Raises:
        DataError: it is no file of masks, or was cut off.
        WrongKeyError: another key was used, or somebody changed the file.
    """
    try:
        with path.open(encoding="ascii") as lines:
            yield from _entries(lines, path, passphrase)
    except UnicodeDecodeError as error:
        raise _no_masks(path) from error
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=str(path), remedy="check the path") from error


def _entries(lines: Iterable[str], path: Path, passphrase: str) -> Iterator[Entry]:
    rows = iter(lines)
    box = _box(passphrase, _salt_of(next(rows, ""), path))
    for count, line in enumerate(rows):
        content = _opened(box, line.strip(), f"{path}:{count + 2}")
        if "entries" in content:
            if content["entries"] != count or next(rows, None) is not None:
                break
            return
        yield Entry(content["row"], content["digest"], content["masks"])
    raise DataError("is not whole", where=str(path), remedy="copy it again, or mask the data again")


def _salt_of(head: str, path: Path) -> bytes:
    try:
        content = json.loads(head)
        known, salt = content["format"] == _FORMAT, base64.b64decode(content["salt"], validate=True)
    except (ValueError, TypeError, KeyError) as error:
        raise _no_masks(path) from error
    if not known:
        raise _no_masks(path)
    return salt


def _opened(box: Any, token: str, where: str) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(box.decrypt(token.encode()))
    except need("cryptography.fernet", "privacy").InvalidToken as error:
        raise WrongKeyError(
            "the key does not open these masks, or the file was changed",
            where=where,
            remedy="set the variable to the key that the data were masked with",
        ) from error
    return content


def _box(passphrase: str, salt: bytes) -> Any:
    fernet, scrypt = (
        need("cryptography.fernet", "privacy"),
        need("cryptography.hazmat.primitives.kdf.scrypt", "privacy"),
    )
    key = scrypt.Scrypt(salt=salt, length=32, **_SCRYPT).derive(passphrase.encode(errors="surrogateescape"))
    return fernet.Fernet(base64.urlsafe_b64encode(key))


def _no_masks(path: Path) -> DataError:
    return DataError("is no file of masks", where=str(path), remedy="name the file that `slmops data mask` wrote")
