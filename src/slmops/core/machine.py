"""What this machine is and what it is fast at: measured, never assumed. Knows no model."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_REPORTED = (
    "slmops",
    "torch",
    "transformers",
    "peft",
    "onnxruntime",
    "onnxruntime-genai",
    "foundry-local-sdk",
    "tokenizers",
    "numpy",
    "scikit-learn",
)


def describe_machine() -> dict[str, Any]:
    """Processor, its vector extensions, cores, memory, system and Python."""
    flags = _cpu_flags()
    told = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16") if flag in flags]
    return {
        "cpu": _cpu_name(),
        "extensions": told,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_mb": round(psutil.virtual_memory().total / 1e6),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def describe_versions() -> dict[str, str]:
    """Installed versions of what decides our results."""
    found = {}
    for name in _REPORTED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def free_memory_bytes() -> int:
    """What can still be taken, of the machine's memory and of what a container may have."""
    free = int(psutil.virtual_memory().available)
    group = Path("/sys/fs/cgroup")
    try:
        most, held = ((group / name).read_text("utf-8").strip() for name in ("memory.max", "memory.current"))
        return free if most == "max" else min(free, int(most) - int(held))
    except (OSError, ValueError):  # no such system, or another version of it
        return free


def default_threads() -> int:
    """As many as there are physical cores this process may use; fewer where OMP_NUM_THREADS says so (its first number),
    since two processes that both have a thread on every core only wait for one another."""
    allowed = int(describe_machine()["cores"] or 1)
    threads = max(1, min(allowed, psutil.cpu_count(logical=False) or allowed))
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(threads, int(wanted)) if wanted.isascii() and wanted.isdigit() and int(wanted) else threads


def probe_number_format(threads: int) -> tuple[str, dict[str, float]]:
    """The faster number format for matrix products, and what was measured (GFLOP/s).

    bf16 is taken only where it is at least 1.5 times as fast: on processors without it, it is hundreds of times slower.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    speeds = {}
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        left, right = torch.randn(256, 576).to(dtype), torch.randn(576, 1536).to(dtype)
        speeds[name] = 2 * 256 * 576 * 1536 / _best_seconds(lambda a=left, b=right: a @ b) / 1e9
    torch.set_num_threads(before)
    chosen = "bfloat16" if speeds["bfloat16"] > 1.5 * speeds["float32"] else "float32"
    return chosen, {name: round(speed, 1) for name, speed in speeds.items()}


@contextmanager
def keep_freed_memory() -> Iterator[None]:
    """Until the end, memory that is freed stays with the process: glibc would hand every big tensor back to the system,
    and a training step then spent a fifth of its time on getting the same pages again, each filled with zeros."""
    libc: Any = ctypes.CDLL(None) if sys.platform == "linux" else None
    if not hasattr(libc, "mallopt"):  # another C library, which does otherwise
        yield
        return
    libc.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    libc.mallopt(_MMAP_THRESHOLD, 2**30)
    try:
        yield
    finally:
        release_freed_memory()


def release_freed_memory() -> None:
    """Gives the system back what this process has freed and still holds, where its C library can."""
    libc: Any = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def peak_memory_mb() -> float:
    """The most resident memory this process has had."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count what a forking parent had
        line = next(line for line in status.read_text("utf-8").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6


def _best_seconds(work: Any) -> float:
    work()
    best = float("inf")
    started = time.perf_counter()
    while time.perf_counter() - started < 0.2:
        before = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - before)
    return best


def _cpu_flags() -> frozenset[str]:
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return frozenset()
    line = next((line for line in info.read_text("utf-8").splitlines() if line.startswith(("flags", "Features"))), "")
    return frozenset(line.partition(":")[2].split())


def _cpu_name() -> str:
    """Its name and, where the system tells, its family and model: many generations share a name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.exists() else []
    told = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    name = told.get("model name") or platform.processor() or platform.machine()
    return f"{name} (family {told['cpu family']}, model {told['model']})" if "cpu family" in told else name
