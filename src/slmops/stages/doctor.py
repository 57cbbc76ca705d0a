"""What is installed, what the machine can do, what is missing, and the command that mends it."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from slmops.core.files import free_bytes
from slmops.core.machine import default_threads, describe_machine, probe_number_format
from slmops.models.hub import hub_is_blocked
from slmops.models.references import CATALOGUE, cache_root, find_cached

_NOT_FOR_A_RUN = ("docs", "dev", "bench")  # extras of those who work on slmops
_ROOM_MB = 3000  # base model, teacher, student and conversions of the default model


@dataclass(frozen=True)
class Finding:
    """One thing looked at: how it stands, and the command that mends it where it is not well."""

    what: str
    well: bool
    says: str
    remedy: str = ""


def doctor(folder: Path) -> list[Finding]:
    """Looks at everything a run needs."""
    machine = describe_machine()
    findings = [
        Finding("python", sys.version_info >= (3, 11), machine["python"], "install Python 3.11 or newer"),
        Finding(
            "machine",
            True,
            f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_mb']} MB, {' '.join(machine['extensions'])}",
        ),
        *_extras(),
    ]
    if importlib.util.find_spec("torch"):
        chosen, speeds = probe_number_format(default_threads())
        told = ", ".join(f"{name} {speed:.0f} GFLOP/s" for name, speed in speeds.items())
        findings.append(Finding("number format", True, f"{chosen} ({told})"))
    memory = machine["memory_mb"]
    findings.append(Finding("memory", memory > 4000, f"{memory} MB", "a 135 M model needs 4 GB to be taught"))
    has_pip = importlib.util.find_spec("pip") is not None
    return [
        *findings,
        *_disks(folder),
        _base_model(),
        Finding("pip", has_pip, "for models from a package index", f"{sys.executable} -m ensurepip"),
    ]


def _disks(folder: Path) -> Iterator[Finding]:
    """Where a run writes: in the project, in a store that stands elsewhere, and among fetched models."""
    store = os.environ.get("SLMOPS_STORE")
    places = {"disk": (folder.absolute(), "work on a larger disk")}
    if store:
        places["disk of the store"] = (Path(store), "set SLMOPS_STORE to a folder on a larger disk")
    places["disk of models"] = (cache_root(), "set SLMOPS_CACHE to a folder on a larger disk")
    for what, (place, otherwise) in places.items():
        free_mb = free_bytes(place) / 1e6
        told = f"{free_mb:.0f} MB free at {place}"
        yield Finding(what, free_mb > _ROOM_MB, told, f"free space there, or {otherwise}")


def _extras() -> list[Finding]:
    """How each extra stands. One that `all` does not bring is for those who want it, and may be absent."""
    requirements = [Requirement(line) for line in metadata.requires("slmops") or []]
    extras = set(metadata.metadata("slmops").get_all("Provides-Extra") or [])
    needs = {
        extra: [one for one in requirements if one.marker and one.marker.evaluate({"extra": extra})]
        for extra in sorted(extras - {*_NOT_FOR_A_RUN})
    }
    usual = {one.name for one in needs.pop("all")}
    return [_extra(name, needed, usual.issuperset(one.name for one in needed)) for name, needed in needs.items()]


def _extra(name: str, requirements: Sequence[Requirement], usual: bool) -> Finding:
    found = {one: _version(one.name) for one in requirements}
    missing = [one.name for one, version in found.items() if not version]
    wrong = [f"lacks {', '.join(missing)}"] if missing else []
    for one, version in found.items():
        if version and not one.specifier.contains(version, prereleases=True):
            wrong.append(f"{one.name} {version} is not {one.specifier}")
    told = "; ".join(wrong) or ", ".join(f"{one.name} {version}" for one, version in found.items())
    if wrong and not usual:
        return Finding(f"extra {name}", True, f"{told}; for those who want it: pip install 'slmops[{name}]'")
    return Finding(f"extra {name}", not wrong, told, f"pip install 'slmops[{name}]'")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _base_model() -> Finding:
    name = next(iter(CATALOGUE))
    if find_cached(name):
        return Finding("default model", True, f"{name} is in {cache_root()}")
    blocked = hub_is_blocked()
    source = "the package index, since " + blocked if blocked else "the hub"
    return Finding("default model", True, f"{name} will be fetched from {source}")
