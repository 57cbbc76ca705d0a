"""Asks Foundry Local itself, and hands it models to keep.

In come a folder that `foundry_folder` wrote and conversations, out go the answers that an application would get.
Foundry Local runs in a process of its own (`foundry_worker`) with a catalogue of its own, so that nobody's models,
registrations and logs are touched. Knows no task: closed answers are labels that are passed in.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any

from slmops.core.errors import MissingExtraError, ModelError
from slmops.core.files import part_of
from slmops.deployment.foundry_folder import verify
from slmops.tasks.types import Message

_SAID_CHARACTERS = 2_000  # of a failed worker's last words


@dataclass(frozen=True)
class FoundryAnswer:
    """What Foundry Local answered, of how many tokens it says the prompt was, and how long it took from the text to the
    whole answer."""

    text: str
    prompt_tokens: int
    latency_ms: float


@dataclass(frozen=True)
class FoundryRun:
    """The answers in the order in which was asked, and how long registering and loading the model took."""

    answers: tuple[FoundryAnswer, ...]
    register_ms: float
    load_ms: float


def ask(
    folder: Path,
    asked: Sequence[Sequence[Message]],
    *,
    max_tokens: int,
    labels: Sequence[str] = (),
    silence_s: float = 600,
    report: Callable[[int], None] = lambda done: None,
) -> FoundryRun:
    """Registers and loads `folder` and lets it answer each conversation by itself, greedily. Given `labels`, an answer
    is one of them. `report` hears how many it has answered.

    Raises:
        MissingExtraError: the Foundry Local SDK is not installed.
        ModelError: the folder is not well-formed, or Foundry Local cannot load or ask it, or is silent for `silence_s`.
    """
    _need_sdk()
    with TemporaryDirectory(prefix="slmops-foundry-") as scratch:
        spec = _spec(folder, Path(scratch), Path(scratch) / "models")
        messages = [[{"role": said.role, "content": said.content} for said in one] for one in asked]
        reply = _run(spec | {"asked": messages, "max_tokens": max_tokens, "labels": list(labels)}, silence_s, report)
    answers = tuple(FoundryAnswer(**answer) for answer in reply["answers"])
    return FoundryRun(answers, reply["register_ms"], reply["load_ms"])


def install(folder: Path, cache: Path, *, silence_s: float = 60) -> str:
    """Copies `folder` into a Foundry Local model cache and registers it there; returns the model's id.

    An application finds it if `cache` is its `model_cache_dir` (by default ~/.APPLICATION/cache/models).

    Raises:
        ModelError: the folder is not well-formed, or the cache has a model of this id.
    """
    _need_sdk()
    name, version = verify(folder).split(":")
    place = cache.absolute() / "slmops" / f"{name}-{version}"
    if place.exists():
        raise ModelError("is there already", where=str(place), remedy="deploy another version, or remove it first")
    part = part_of(place)
    try:
        shutil.copytree(folder, part)
        os.rename(part, place)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    try:
        with TemporaryDirectory(prefix="slmops-foundry-") as scratch:
            _run(_spec(place, Path(scratch), cache.absolute()), silence_s)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    return f"{name}:{version}"


def _need_sdk() -> None:
    """Refuses to start without the SDK, which only the worker imports: it brings native libraries along."""
    if find_spec("foundry_local_sdk") is None:
        raise MissingExtraError(
            "this needs foundry_local_sdk, which is not installed", remedy="pip install 'slmops[foundry]'"
        )


def _spec(folder: Path, scratch: Path, cache: Path) -> dict[str, Any]:
    return {"folder": str(folder.resolve()), "id": verify(folder), "scratch": str(scratch), "cache": str(cache)}


def _run(spec: dict[str, Any], silence_s: float, report: Callable[[int], None] = lambda done: None) -> dict[str, Any]:
    """What the worker replied to `spec`; `report` hears of each answer."""
    # With CI set, Foundry Local and ONNX Runtime send no telemetry and keep no device id; no other setting stops all of
    # it. It also saves about two seconds without a network.
    environment = os.environ | {"CI": "1", "PYTHONSAFEPATH": "1"}  # no file of the folder it is run in is imported
    command = [sys.executable, "-m", "slmops.deployment.foundry_worker"]
    with (
        TemporaryFile("w+", encoding="utf-8") as asked,
        TemporaryFile("w+", encoding="utf-8", errors="replace") as said,
    ):
        asked.write(json.dumps(spec))
        asked.seek(0)
        pipes: dict[str, Any] = {"stdin": asked, "stdout": subprocess.PIPE, "stderr": said, "encoding": "utf-8"}
        with subprocess.Popen(command, env=environment, **pipes) as worker:
            try:
                reply = _replied(worker, silence_s, report)
                worker.wait(silence_s)
            except (queue.Empty, subprocess.TimeoutExpired) as error:
                what = f"Foundry Local was silent for {silence_s:g} s"
                raise ModelError(what, where=spec["folder"], remedy="allow it more time") from error
            finally:
                worker.kill()
        said.seek(0)
        if worker.returncode or reply is None:
            reply = {"error": (reply or {}).get("error") or said.read().strip() or f"it ended with {worker.returncode}"}
    if "error" in reply:
        raise ModelError(
            f"Foundry Local failed: {reply['error'][-_SAID_CHARACTERS:]}",
            where=spec["folder"],
            remedy="slmops ask MODEL PROMPT shows whether the model itself works",
        )
    return reply


def _replied(worker: subprocess.Popen[str], silence_s: float, report: Callable[[int], None]) -> dict[str, Any] | None:
    """The worker's last line; None where it ended before. Raises queue.Empty where it is silent for too long."""
    assert worker.stdout
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    heard = worker.stdout

    def listen() -> None:
        for line in heard:
            lines.put(line)
        lines.put("null")

    threading.Thread(target=listen, daemon=True).start()
    while True:
        told: dict[str, Any] | None = json.loads(lines.get(timeout=silence_s))
        if told is None or "done" not in told:
            return told
        report(told["done"])
