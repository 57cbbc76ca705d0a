"""Runs one model in a process of its own: loads it, answers prompts, tells times and memory.

Reads a JSON line per command on stdin, writes a JSON line per reply on stdout:
{"load": …} → seconds and memory; {"ask": […]} → answers with times; {"write": n} → times of n free tokens;
{"peak": true} → peak memory; {"ask_together": […]} → texts without times; {"end": true}. Started by `benchmark`; knows
nothing of other models, gold answers or statistics.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import re
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

from slmops.core.machine import keep_freed_memory, peak_memory_mb
from slmops.core.named import allow
from slmops.runtimes.local import LocalModel, import_runtime
from slmops.runtimes.trie import TokenTrie
from slmops.runtimes.types import Ids, Sampling
from slmops.tasks import load_task
from slmops.tasks.types import Message, Record, Source, messages_for

_BEGINNINGS = 128  # of free writing at most: of a model that ends at once there is no time a token

_LIBRARY = re.compile(r"\.(so[.\d]*|dll|pyd)$", re.IGNORECASE)


class Session:
    """The loaded model and how its task asks."""

    def __init__(self, spec: dict[str, Any]) -> None:
        started = time.perf_counter()
        import_runtime(Path(spec["folder"]))
        before_mb = _held_mb()
        self._model = LocalModel(Path(spec["folder"]), threads=spec["threads"])
        load_s = time.perf_counter() - started
        allow(spec["task"]["name"])  # by whoever has started this process
        task = load_task(spec["task"]["name"], **spec["task"]["options"])
        self._messages = partial(messages_for, task, spec["prompt"])
        self._constraint = self._model.constraint(task.grammar)
        self._sampling = Sampling(task.max_tokens)
        # weights that lie in a mapped file come into memory as they are first used
        self.ask([row for row in spec["warmup"] if self._has_room(row)])
        self.loaded = {"load_s": load_s, "load_memory_mb": _held_mb() - before_mb}

    def ask(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Answers rows one after another; times are from the text to the first and to the last token."""
        self._check_room(rows)
        process, answers = psutil.Process(), []
        cpu_before, wall_before = sum(process.cpu_times()[:2]), time.perf_counter()
        for row in rows:
            started = time.perf_counter()
            first_ms, reused = 0.0, 0
            ids: list[int] = []
            logprob = 0.0
            for chunk in self._model.stream(self._prompt(row), self._sampling, self._constraint):
                if chunk.ids and not ids:
                    first_ms = (time.perf_counter() - started) * 1e3
                ids += chunk.ids
                reused, logprob = chunk.reused_tokens, logprob + sum(chunk.logprobs)
            text = self._model.tokenizer.decode(tuple(ids))
            total_ms = (time.perf_counter() - started) * 1e3
            answer = {"id": row["id"], "text": text, "ttft_ms": first_ms or total_ms, "latency_ms": total_ms}
            answers.append(answer | {"tokens": len(ids), "reused_tokens": reused, "logprob": logprob})
        wall = time.perf_counter() - wall_before
        return {"answers": answers, "cpu_s": sum(process.cpu_times()[:2]) - cpu_before, "wall_s": wall}

    @keep_freed_memory()
    def ask_together(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """The same answers without times; those of a closed set are read from the distribution over it."""
        self._check_room(rows)
        if isinstance(self._constraint, TokenTrie):
            trie = self._constraint
            logprobs = self._model.runtime.choose([self._prompt(row) for row in rows], trie)
            chosen = [trie.follow(row) for row in logprobs]
            sure = [float(row[trie.answers.index(answer)]) for row, answer in zip(logprobs, chosen, strict=True)]
            return {"texts": [self._model.tokenizer.decode(answer) for answer in chosen], "logprobs": sure}
        asked = [self._messages(_record(row)) for row in rows]
        replies = self._model.ask_all(asked, self._sampling, self._constraint)
        return {"texts": [reply.text for reply in replies], "logprobs": [None] * len(rows)}

    def _check_room(self, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            self._model.check_room(self._messages(_record(row)), self._constraint, row["place"])

    def _has_room(self, row: dict[str, Any]) -> bool:
        return self._model.has_room(self._messages(_record(row)), self._constraint)

    def _prompt(self, row: dict[str, Any]) -> Ids:
        return self._model.prompt(self._messages(_record(row)))

    def write(self, tokens: int) -> dict[str, Any]:
        """Times of so many free `tokens`, without constraint. What ends before begins again, drawn otherwise: a student
        may say its label, and no more."""
        prompt = self._model.prompt([Message("user", "Tell me about the sea, the wind and the weather.")])
        token_ms: list[float] = []
        for seed in range(1, _BEGINNINGS + 1):
            sampling = Sampling(tokens + 1 - len(token_ms), temperature=1.0, seed=seed)
            chunks = self._model.stream(prompt, sampling, None)
            times = [time.perf_counter() for chunk in chunks if chunk.finish != "length"]  # that computes nothing
            token_ms += [(after - before) * 1e3 for before, after in pairwise(times)]
            if len(token_ms) >= tokens:
                break
        return {"token_ms": token_ms}


def _held_mb() -> float:
    """What is in memory but for libraries' files, pages of which come as they are first run; with them where the system
    does not tell them apart (macOS)."""
    process = psutil.Process()
    if not hasattr(process, "memory_maps"):
        return float(process.memory_info().rss) / 1e6
    held = (area.rss for area in process.memory_maps() if not _LIBRARY.search(area.path))
    return sum(held) / 1e6


def _record(row: dict[str, Any]) -> Record:
    return Record(row["id"], row["inputs"], None, Source("benchmark"))


def main() -> None:
    atexit.register(gc.freeze)  # to look once more through all that is loaded would take seconds
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints goes to stderr
    session: Session | None = None
    for line in sys.stdin:
        (command, argument), *_ = json.loads(line).items()
        reply: dict[str, Any] = {}
        if command == "load":
            session = Session(argument)
            reply = session.loaded
        elif command == "peak":
            reply = {"peak_memory_mb": peak_memory_mb()}
        elif session is not None and command != "end":
            asked: dict[str, Callable[[Any], dict[str, Any]]]
            asked = {"ask": session.ask, "ask_together": session.ask_together, "write": session.write}
            reply = asked[command](argument)
        replies.write(json.dumps(reply) + "\n")
        replies.flush()
        if command == "end":
            return


if __name__ == "__main__":
    main()
