"""Question answering: a context holds the answer to a question; without a context, the model must know it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from slmops.tasks.base import TextTask, all_of
from slmops.tasks.metrics import valid_answers
from slmops.tasks.text_metrics import exact_match, normalised, token_f1
from slmops.tasks.types import Json, Parts, Record

_SENTENCE = re.compile(r"(?<=[.!?])\s+")


class QuestionAnswering(TextTask):
    """A short answer for each question."""

    name = "question-answering"
    instruction = "Answer the question in as few words as possible, with words of the text where there is one."
    varied = None  # a word less may be the answer itself
    classical = "the sentence of the context that shares most rare words with the question"

    metrics = (token_f1(), exact_match(), valid_answers())

    def read(self, parts: Parts) -> tuple[Mapping[str, Json], Json | None]:
        asked = {name: parts[name] for name in ("context", "question") if name in parts}
        asked = asked if "question" in asked else {"question": parts["text"]}
        gold = parts.get("answer")
        return asked, None if gold is None else all_of(gold)

    def ask(self, record: Record) -> str:
        question, context = record.inputs["question"], record.inputs.get("context")
        return f"{context}\n\nQuestion: {question}" if context else str(question)

    def baseline(self, train: Sequence[Record], test: Sequence[Record]) -> list[Json] | None:
        """The context's sentence that shares most rare words with the question (as the sliding window of Richardson
        et al. 2013, MCTest, on sentences); None where a row has no context."""
        if any("context" not in record.inputs for record in test):
            return None
        return [_best_sentence(record.inputs["context"], record.inputs["question"]) for record in test]


def _best_sentence(context: str, question: str) -> str:
    sentences = _SENTENCE.split(context)
    words = [normalised(sentence).split() for sentence in sentences]
    frequency = Counter(word for sentence in words for word in set(sentence))
    asked = set(normalised(question).split())
    scores = [sum(1 / frequency[word] for word in set(sentence) & asked) for sentence in words]
    return sentences[max(range(len(sentences)), key=lambda place: scores[place])]
