"""A remote teacher answers unlabelled records, and sees of them what it may: texts with personal data masked.

In come records, out go the same with its answers, masks taken out again. What was answered is kept in a file as it
comes: nothing is asked, or paid for, twice. Knows no address and no key: who asks is passed in.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from slmops.core.errors import InvalidAnswer
from slmops.privacy.mask import mask_value, unmask_value
from slmops.runtimes.local import Reply
from slmops.runtimes.types import Sampling
from slmops.tasks.types import Answer, Message, Record, Task

AskAll = Callable[[Sequence[Sequence[Message]], Sampling], Iterable[Reply]]

_AT_ONCE = 16


def answer_remotely(
    ask_all: AskAll,
    task: Task,
    records: Sequence[Record],
    *,
    by: str,
    masked: bool,
    kept: Path,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> list[Record]:
    """The records with the teacher's answer, and why it was rejected if it was; nothing that `kept` has is asked."""
    known = _read_kept(kept)
    waiting = [record for record in records if record.id not in known]
    with kept.open("a", encoding="utf-8") as stream:
        for start in range(0, len(waiting), _AT_ONCE):
            chunk = waiting[start : start + _AT_ONCE]
            asked = [_masked(task.messages(record)) if masked else (task.messages(record), {}) for record in chunk]
            replies = ask_all([messages for messages, _ in asked], Sampling(task.max_tokens))
            for record, reply, (_, masks) in zip(chunk, replies, asked, strict=True):
                text = str(unmask_value(reply.text.strip(), masks))
                known[record.id] = {"text": text, "rejected": _fault(task, text, reply.finish)}
                stream.write(json.dumps({"id": record.id, **known[record.id]}) + "\n")
            stream.flush()
            report(len(records) - len(waiting) + start + len(chunk), len(records))
    return [
        replace(record, answers=(*record.answers, Answer(known[record.id]["text"], by, known[record.id]["rejected"])))
        for record in records
    ]


def _masked(messages: Sequence[Message]) -> tuple[list[Message], Mapping[str, str]]:
    """One record's messages: the same text has the same mask in all of them."""
    found = mask_value([message.content for message in messages])
    assert isinstance(found.value, list)
    changed = [replace(message, content=str(text)) for message, text in zip(messages, found.value, strict=True)]
    return changed, found.masks


def _fault(task: Task, text: str, finish: str) -> str | None:
    if finish == "length":
        return f"longer than {task.max_tokens} tokens"
    try:
        task.parse(text)
    except InvalidAnswer as error:
        return error.what
    return None


def _read_kept(path: Path) -> dict[str, dict[str, Any]]:
    """What was answered before; a last line that a kill cut off counts for nothing."""
    known = {}
    if path.is_file():
        whole = path.read_text(encoding="utf-8").rpartition("\n")[0]
        path.write_text(whole + "\n" if whole else "", encoding="utf-8")
        for line in whole.splitlines():
            row = json.loads(line)
            known[row.pop("id")] = row
    return known
