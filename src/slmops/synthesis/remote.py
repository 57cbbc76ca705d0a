"""A remote teacher answers unlabelled records, and sees of them what it may: texts with personal data masked.

In come records, out go the same with its answers, masks taken out again. What was answered is kept in a file as it
comes: nothing is asked, or paid for, twice. Knows no address and no key: who asks is passed in.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from slmops.core.errors import ModelError
from slmops.privacy.find import MASK
from slmops.privacy.mask import mask_value, unmask_value
from slmops.runtimes.local import Reply
from slmops.runtimes.remote import REFUSED
from slmops.runtimes.types import Sampling
from slmops.synthesis.label import fault
from slmops.synthesis.told import label_probabilities
from slmops.tasks.types import Answer, Labels, Message, Record, Task, TokenLogprobs

AskAll = Callable[[Sequence[Sequence[Message]], Sampling], Iterable[tuple[int, Reply]]]  # as they come

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
    """The records with the teacher's answer, and why it was rejected if it was; nothing that `kept` has is asked. What
    the server refuses is rejected, too, and asked again another time.

    Raises:
        ModelError: it refuses everything.
    """
    before = _read_kept(kept)  # of other data, too
    known = {record.id: before[record.id] for record in records if record.id in before}
    waiting = [record for record in records if record.id not in known]
    with kept.open("a", encoding="utf-8") as stream:
        for start in range(0, len(waiting), _AT_ONCE):
            chunk = waiting[start : start + _AT_ONCE]
            asked = [_masked(task.messages(record)) if masked else (task.messages(record), {}) for record in chunk]
            refused: dict[int, str] = {}
            for place, reply in ask_all([messages for messages, _ in asked], Sampling(task.max_tokens)):
                if reply.finish == REFUSED:
                    refused[place] = reply.text
                    continue
                text, fault = _judged(task, reply, asked[place][1], masked)
                told = [asdict(token) for token in reply.token_logprobs or ()]
                known[chunk[place].id] = {"text": text, "rejected": fault} | ({"told": told} if told else {})
                counted = {"read": reply.prompt_tokens, "wrote": reply.tokens}
                stream.write(json.dumps({"id": chunk[place].id, **known[chunk[place].id], **counted}) + "\n")
                stream.flush()
            if len(refused) == len(chunk) and not known:
                what = f"all of {len(chunk)} messages are refused: {min(refused.values())}"
                raise ModelError(what, where="teacher", remedy="check teacher.endpoint, teacher.model and the key")
            known |= {chunk[place].id: {"text": "", "rejected": f"refused: {why}"} for place, why in refused.items()}
            report(len(known), len(records))
    return [replace(record, answers=(*record.answers, _answer(task, by, **known[record.id]))) for record in records]


@dataclass(frozen=True)
class Used:
    """How many tokens a teacher read and wrote for so many answers, as its server counts them."""

    answers: int
    read: int
    wrote: int


def tokens_used(kept: Path, records: Sequence[Record]) -> Used:
    """For what `kept` has of the records, whichever run asked; answers whose tokens the server did not tell are not
    counted."""
    asked = {record.id for record in records}
    rows = [row for line in kept.read_text("utf-8").splitlines() if (row := json.loads(line))["id"] in asked]
    told = [(row["read"], row["wrote"]) for row in rows if row.get("read")]
    return Used(len(told), sum(read for read, _ in told), sum(wrote for _, wrote in told))


def _answer(
    task: Task, by: str, text: str, rejected: str | None, told: Sequence[Mapping[str, Any]] | None = None
) -> Answer:
    if not told:
        return Answer(text, by, rejected)
    tokens = tuple(TokenLogprobs(**token) for token in told)
    sure = math.exp(sum(token.logprob for token in tokens) / len(tokens))
    if not isinstance(task.grammar, Labels):
        return Answer(text, by, rejected, confidence=sure, token_logprobs=tokens)
    probabilities = label_probabilities(task.grammar.values, tokens, text)
    return Answer(text, by, rejected, probabilities, (probabilities or {}).get(text, sure), tokens)


def _masked(messages: Sequence[Message]) -> tuple[list[Message], Mapping[str, str]]:
    """One record's messages: the same text has the same mask in all of them."""
    found = mask_value([message.content for message in messages])
    assert isinstance(found.value, list)
    changed = [replace(message, content=str(text)) for message, text in zip(messages, found.value, strict=True)]
    return changed, found.masks


def _judged(task: Task, reply: Reply, masks: Mapping[str, str], masked: bool) -> tuple[str, str | None]:
    """The answer without masks, and why it does not count if it does not."""
    text = reply.text.strip()
    if masked and reply.finish != "length" and (invented := set(MASK.findall(text)) - masks.keys()):
        return text, f"has a mask that was not sent: {min(invented)}"
    text = _unmasked(text, masks)
    return text, fault(task, text, reply.finish)


def _unmasked(text: str, masks: Mapping[str, str]) -> str:
    """In JSON, only strings are unmasked: a value may hold what JSON must escape."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return str(unmask_value(text, masks))
    return json.dumps(unmask_value(value, masks), ensure_ascii=False) if isinstance(value, dict | list) else text


def _read_kept(path: Path) -> dict[str, dict[str, Any]]:
    """What was answered before; a last line that a kill cut off counts for nothing."""
    if not path.is_file():
        return {}
    with path.open("r+b") as stream:
        whole = stream.read().rpartition(b"\n")[0]
        stream.truncate(len(whole) + 1 if whole else 0)
    rows = [json.loads(line) for line in whole.split(b"\n") if line]
    return {row["id"]: {name: row[name] for name in row.keys() - {"id", "read", "wrote"}} for row in rows}
