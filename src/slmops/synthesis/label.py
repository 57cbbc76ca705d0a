"""A local teacher answers unlabelled records: one of a closed set, or in its own words. Keeps its confidence; rejects
the doubtful and what is no answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from slmops.core.errors import InvalidAnswer
from slmops.core.machine import keep_freed_memory
from slmops.runtimes.local import LocalModel, Reply
from slmops.runtimes.trie import TokenTrie
from slmops.runtimes.types import Constraint, Sampling
from slmops.tasks.types import Answer, Labels, Message, Prompt, Record, Task, messages_for

_LABELLED_AT_ONCE, _WRITTEN_AT_ONCE = 512, 64
LONGER = "longer than the teacher's context"  # why a record was not asked


@keep_freed_memory()
def answer_records(
    model: LocalModel,
    task: Task,
    records: Sequence[Record],
    *,
    by: str,
    prompt: Prompt,
    accept_confidence: float,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> list[Record]:
    """The records with the teacher's answer, and why it was rejected if it was.

    The confidence is the label's probability over the closed set; in free answers, the mean probability of a token
    (geometric).
    """
    constraint = model.constraint(task.grammar)
    given: dict[int, Answer] = {}  # by the record's place among all
    asked = [messages_for(task, prompt, record) for record in records]
    for place, messages in enumerate(asked):
        if not model.has_room(messages, constraint):
            given[place] = Answer("", by, LONGER)
    waiting = [place for place in range(len(records)) if place not in given]
    at_once = _LABELLED_AT_ONCE if isinstance(constraint, TokenTrie) else _WRITTEN_AT_ONCE
    for start in range(0, len(waiting), at_once):
        places = waiting[start : start + at_once]
        chunk = [asked[place] for place in places]
        if isinstance(constraint, TokenTrie):
            answers = _labels(model, task, chunk, constraint, by, accept_confidence)
        else:
            answers = _texts(model, task, chunk, constraint, by, accept_confidence)
        given |= zip(places, answers, strict=True)
        report(len(given), len(records))
    return [replace(record, answers=(*record.answers, given[place])) for place, record in enumerate(records)]


def _labels(
    model: LocalModel, task: Task, asked: Sequence[list[Message]], trie: TokenTrie, by: str, accept: float
) -> Iterator[Answer]:
    """With the distribution over the labels."""
    assert isinstance(task.grammar, Labels)
    labels = task.grammar.values
    prompts = [model.prompt(messages) for messages in asked]
    for row in np.exp(model.runtime.choose(prompts, trie)):
        best = int(row.argmax())
        probabilities = {label: round(float(p), 5) for label, p in zip(labels, row, strict=True)}
        sure = float(row[best])
        yield Answer(labels[best], by, doubt(sure, accept), probabilities, round(sure, 5))


def _texts(
    model: LocalModel, task: Task, asked: Sequence[list[Message]], constraint: Constraint | None, by: str, accept: float
) -> Iterator[Answer]:
    for reply in model.ask_all(asked, Sampling(task.max_tokens), constraint):
        sure = _confidence(reply)
        rejected = fault(task, reply.text, reply.finish) or doubt(sure, accept)
        yield Answer(reply.text.strip(), by, rejected, confidence=round(sure, 5))


def fault(task: Task, text: str, finish: str) -> str | None:
    """Why a written text is no answer to the task, if it is none."""
    if finish == "length":
        return f"longer than {task.max_tokens} tokens"
    try:
        task.parse(text)
    except InvalidAnswer as error:
        return error.what
    return None


def _confidence(reply: Reply) -> float:
    return math.exp(reply.logprob / (reply.tokens + 1))  # the end is a token, too


def doubt(confidence: float, accept: float) -> str | None:
    """Why an answer so sure is rejected, if it is."""
    return None if confidence >= accept else f"confidence {confidence:.2f} is below {accept:g}"
