"""Conversation: what the assistant says next. All its turns are learned; the last one is asked for and judged.

A rule may say when a conversation has succeeded: a text that the last reply must contain, made of the row's own
columns, such as `[{resolution}]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slmops.core.errors import InvalidAnswer
from slmops.tasks.base import TaskBase, named_in
from slmops.tasks.metrics import Mean, of_part, valid_answers
from slmops.tasks.text_metrics import chrf, token_f1
from slmops.tasks.types import Json, Message, Metric, Parts, Record


class Conversation(TaskBase):
    """The next turn. `success` names what the last reply must contain, columns of the row in braces."""

    name = "conversation"
    instruction = "You are a helpful assistant. Answer the user's last message."
    varied = None

    def __init__(self, *, success: str | None = None, instruction: str | None = None, max_tokens: int = 256) -> None:
        super().__init__(instruction=instruction, max_tokens=max_tokens)
        self._success = success
        self._columns = named_in(success, "task.success") if success else ()
        text: tuple[Metric, ...] = (
            of_part(token_f1(), "reply"),
            of_part(chrf(), "reply"),
            valid_answers(),
        )
        self.metrics = (Mean("task_success", _succeeded), *text) if success else text

    def read(self, parts: Parts) -> tuple[Mapping[str, Json], Json | None]:
        turns = _turns(parts)
        if turns[-1]["role"] != "assistant":
            return {"messages": turns}, None
        gold = {"reply": turns[-1]["content"]}
        if self._success:
            gold["contains"] = self._success.format(**{name: parts[name] for name in self._columns})
        return {"messages": turns[:-1]}, gold

    def check(self, gold: Json) -> None:
        if "contains" in gold and gold["contains"] not in gold["reply"]:
            raise InvalidAnswer(
                f"the last reply lacks {gold['contains']!r}, which task.success asks for", remedy="mend the row"
            )

    def short_messages(self, record: Record, answer: str | None = None) -> list[Message]:
        """Without the system's turn; the assistant's earlier turns are learned, too, where an answer is given."""
        learn = answer is not None
        said = [
            Message(turn["role"], turn["content"], learn=learn and turn["role"] == "assistant")
            for turn in record.inputs["messages"]
            if turn["role"] != "system"
        ]
        return said if answer is None else [*said, Message("assistant", answer, learn=True)]

    def messages(self, record: Record, answer: str | None = None) -> list[Message]:
        first = record.inputs["messages"][0]
        system = first["content"] if first["role"] == "system" else self._instruction
        return [Message("system", system), *self.short_messages(record, answer)]

    def ask(self, record: Record) -> str:
        """The last message of the user."""
        return str(record.inputs["messages"][-1]["content"])

    def write(self, gold: Json) -> str:
        return str(gold["reply"])


def _turns(parts: Parts) -> list[dict[str, Any]]:
    """The turns; a text with its answer is a conversation of one or two."""
    if "messages" in parts:
        return list(parts["messages"])
    turns = [{"role": "user", "content": parts["text"]}]
    return turns + ([{"role": "assistant", "content": str(parts["answer"])}] if "answer" in parts else [])


def _succeeded(answer: Json, gold: Json) -> float:
    return float(gold.get("contains", gold["reply"]) in answer)
