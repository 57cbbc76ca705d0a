"""What is installed, what the machine can do, what is missing, and the command that mends it."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

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
    free_mb = free_bytes(folder) / 1e6
    findings.append(
        Finding(
            "disk", free_mb > _ROOM_MB, f"{free_mb:.0f} MB free", "free space, or set SLMOPS_STORE and SLMOPS_CACHE"
        )
    )
    return [
        *findings,
        _base_model(),
        Finding("pip", shutil.which("pip") is not None, "for models from a package index", "install pip"),
    ]


def _extras() -> list[Finding]:
    """How each extra stands. One that `all` does not bring is for those who want it, and may be absent."""
    needs: dict[str, list[str]] = {}
    for line in metadata.requires("slmops") or []:
        requirement, _, quoted = line.partition("; extra == ")
        if (extra := quoted.strip("'\"")) and extra not in _NOT_FOR_A_RUN:
            needs.setdefault(extra, []).append(requirement)
    usual = set(needs.pop("all"))
    return [_extra(name, requirements, usual.issuperset(requirements)) for name, requirements in sorted(needs.items())]


def _extra(name: str, requirements: list[str], usual: bool) -> Finding:
    names = [re.split(r"[^\w.-]", one, maxsplit=1)[0] for one in requirements]
    found = {}
    for package in names:
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    missing = [package for package in names if package not in found]
    told = f"lacks {', '.join(missing)}" if missing else ", ".join(map(" ".join, found.items()))
    if missing and not usual:
        return Finding(f"extra {name}", True, f"{told}; for those who want it: pip install 'slmops[{name}]'")
    return Finding(f"extra {name}", not missing, told, f"pip install 'slmops[{name}]'")


def _base_model() -> Finding:
    name = next(iter(CATALOGUE))
    if find_cached(name):
        return Finding("default model", True, f"{name} is in {cache_root()}")
    blocked = hub_is_blocked()
    source = "the package index, since " + blocked if blocked else "the hub"
    return Finding("default model", True, f"{name} will be fetched from {source}")
