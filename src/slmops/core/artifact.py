"""What a stage makes: a folder of files with a manifest.

`id` is the hash of kind and file digests, so equal content has one id wherever it was made; `key` is the hash of
everything that decided the content, so it tells whether a stage must run. Times, machines and costs stand in
`made_by` and `measurements`, beside the content and never in its id.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from slmops.core.measurement import ArtifactId, Measurement

FORMAT = 1


@dataclass(frozen=True)
class Digest:
    """A file's SHA-256 (hex) and size."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Run:
    """By what an artifact was made: the run's id, command, seed, versions, machine, when (ISO 8601), for how long (all
    runs together that worked on it), and of which base models: reference → where it came from."""

    id: str
    command: str
    seed: int
    versions: Mapping[str, str]
    machine: Mapping[str, Any]
    started: str
    seconds: float
    base_models: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """What an artifact is, where it comes from and what was measured on it."""

    kind: str
    id: ArtifactId
    key: str
    files: Mapping[str, Digest]
    parents: Mapping[str, ArtifactId]
    made_by: Run
    measurements: tuple[Measurement, ...] = ()
    licence: str = ""
    format: int = field(default=FORMAT)

    @property
    def size_bytes(self) -> int:
        return sum(digest.size_bytes for digest in self.files.values())

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Manifest:
        """Raises TypeError, KeyError or ValueError where it is none, or names files outside its folder."""
        return cls(
            **{
                **data,
                "files": {_inside(path): _checked(Digest(**digest)) for path, digest in data["files"].items()},
                "made_by": Run(**data["made_by"]),
                "measurements": tuple(Measurement.from_json(m) for m in data["measurements"]),
            }
        )


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or any(sign in name for sign in "\\:\0"):
        raise ValueError(f"{name!r} is no file's name")
    return name


def _checked(digest: Digest) -> Digest:
    if not re.fullmatch("[0-9a-f]{64}", digest.sha256):
        raise ValueError(f"{digest.sha256[:80]!r} is no SHA-256")
    return digest


def artifact_id(kind: str, files: Mapping[str, Digest]) -> ArtifactId:
    """The id of an artifact of `kind` with these `files` (relative posix path → digest)."""
    return hash_json({"kind": kind, "files": {path: digest.sha256 for path, digest in files.items()}})


def hash_json(data: Any) -> str:
    """SHA-256 (hex) of the canonical JSON of `data`."""
    text = json.dumps(data, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def hash_file(path: Path) -> Digest:
    """SHA-256 and size of the file at `path`, read once in blocks."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
            size += len(block)
    return Digest(digest.hexdigest(), size)
