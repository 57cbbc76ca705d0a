"""Values of a row, checked and brought into one form: texts, labels, lists of texts, conversations, entities.

In comes what a file holds and where it stood, out goes a value that the rest may trust, or a DataError in its place.
Knows no column's name and no task.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slmops.data.formats import kind, refuse
from slmops.tasks.types import Json

_ROLES = {
    "system": "system",
    "user": "user",
    "human": "user",
    "customer": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
}


def text(value: Any, where: str) -> str:
    """A string that says something."""
    if not isinstance(value, str):
        refuse(where, kind(value), "a string", "write the message in quotes")
    if not value.strip():
        refuse(where, "a blank text", "a message", "remove the row")
    return checked(value, where)


def label(value: Any, where: str) -> str:
    """A string without spaces around it."""
    if not isinstance(value, str):
        refuse(where, kind(value), "a string", "write the label in quotes")
    if value != value.strip() or not value:
        refuse(where, repr(value[:80]), "a label without spaces around it", "remove the spaces, or write a label")
    return checked(value, where)


def texts(value: Any, where: str) -> Json:
    """A string, a number as one, an object, or the several right answers in a list; SQuAD's `{"text": […]}`, too."""
    if isinstance(value, Mapping) and isinstance(value.get("text"), list):
        value = value["text"]
    if isinstance(value, list):
        if not value:
            refuse(where, "an empty list", "one answer or more", "remove the row")
        return [text(item, f"{where}.{place}") for place, item in enumerate(value)]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return checked(value, where) if isinstance(value, Mapping) else text(value, where)


def conversation(value: Any, where: str) -> list[dict[str, str]]:
    """Turns `{"role", "content"}` (OpenAI) or `{"from", "value"}` (ShareGPT): perhaps a system's, then user and
    assistant by turns, a user first."""
    if not isinstance(value, list) or not value:
        refuse(where, "an empty list" if value == [] else kind(value), "a list of turns", "write the turns as a list")
    turns = [_turn(turn, f"{where}.{place}") for place, turn in enumerate(value)]
    expected = "user"
    for place, turn in enumerate(turns):
        if turn["role"] == "system" and place == 0:
            continue
        if turn["role"] != expected:
            remedy = "join the turns of one speaker" if place else "begin with what the user said"
            refuse(f"{where}.{place}", f"a turn of the {turn['role']}", f"one of the {expected}", remedy)
        expected = "assistant" if expected == "user" else "user"
    if turns[-1]["role"] == "system":
        refuse(where, "no turn of a user", "a conversation", "remove the row")
    return turns


def entities(value: Any, where: str) -> Json:
    """An object of slots, or a list of spans `{"start", "end", "label"}` (in characters, end exclusive), as it is."""
    if isinstance(value, Mapping):
        return checked(value, where)
    if not isinstance(value, list):
        refuse(where, kind(value), "slots or spans", 'write {"city": "Rome"}, or [{"start": 0, "end": 4, "label": …}]')
    for place, span in enumerate(value):
        if not isinstance(span, Mapping) or not {"start", "end", "label"} <= span.keys():
            refuse(f"{where}.{place}", kind(span), "a span", 'write {"start": 0, "end": 4, "label": "city"}')
    return checked(value, where)


def slots_of_spans(spans: list[Mapping[str, Any]], of: str, where: str) -> dict[str, list[str]]:
    """The surface texts of each label, in the text's order."""
    slots: dict[str, list[str]] = {}
    for place, span in enumerate(spans):
        start, end = span["start"], span["end"]
        if not (isinstance(start, int) and isinstance(end, int) and 0 <= start < end <= len(of)):
            found = f"the span {start!r}…{end!r}"
            refuse(f"{where}.{place}", found, f"offsets within 0…{len(of)}", "count in characters, end exclusive")
        slots.setdefault(label(span["label"], f"{where}.{place}.label"), []).append(of[start:end])
    return slots


def checked(value: Any, where: str) -> Any:
    """`value` itself, if all its strings can be written as UTF-8 and hold no NUL."""
    if isinstance(value, str):
        if "\0" in value:
            remedy = "remove it: Foundry Local would read only what stands before it"
            refuse(where, "a NUL character", "a message", remedy)
        try:
            value.encode()
        except UnicodeEncodeError as error:
            found = f"half a character (\\u{ord(value[error.start]):04x})"
            refuse(where, found, "whole characters", "mend the text")
    elif isinstance(value, Mapping):
        for name, item in value.items():
            checked(name, where)
            checked(item, f"{where}.{name}")
    elif isinstance(value, list):
        for place, item in enumerate(value):
            checked(item, f"{where}.{place}")
    return value


def _turn(turn: Any, where: str) -> dict[str, str]:
    if not isinstance(turn, Mapping):
        refuse(where, kind(turn), "a turn", 'write {"role": "user", "content": "…"}')
    said = turn.get("role", turn.get("from"))
    role = _ROLES.get(said.strip().lower()) if isinstance(said, str) else None
    if role is None:
        found = "no role" if said is None else repr(said)[:80]
        refuse(f"{where}.role", found, "system, user or assistant", "name who speaks; turns of tools cannot be learned")
    return {"role": role, "content": text(turn.get("content", turn.get("value")), f"{where}.content")}
