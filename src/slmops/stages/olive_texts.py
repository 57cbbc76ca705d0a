"""Rows as the texts that Olive would learn of them: a template's, some columns', or a conversation's.

What a template says may hold special tokens (`<|eot_id|>`); what a row says is plain text, whatever it looks like.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from string import Formatter
from typing import Any

from slmops.core.errors import DataError
from slmops.core.mistakes import nearest
from slmops.data.sources import rows_of
from slmops.data.values import checked
from slmops.models.families import encode_lesson, family_of
from slmops.models.folder import ends_told, read_json
from slmops.models.packing import Example
from slmops.models.tokenizer import Ids, Tokenizer
from slmops.optimization.olive import Texts
from slmops.tasks.types import Message
from slmops.training.diagnosis import Fault
from slmops.training.texts import alone, joined

_CUT = 0.05  # of the texts: more is no exception
_MAX_ROW_BYTES = 10_000_000


def read_texts(texts: Texts, model: Path, context: int, say: Callable[[str], None]) -> list[Example]:
    """The texts of all rows, tokenized for the model in a folder, none longer than its `context`.

    Raises:
        DataError: a row cannot be read or lacks what is learned of it; or there is nothing to learn.
    """
    tokenizer, longest = Tokenizer(model), min(texts.max_tokens, context)
    if longest < texts.max_tokens:
        say(f"max_seq_len {texts.max_tokens:,} is longer than the model's context: {longest:,} is taken")
    begin, end = _ends(model) if texts.marked else ("", "")

    def encode(row: Mapping[str, Any], where: str) -> Ids:
        if texts.messages:
            return _conversation(tokenizer, _part(row, texts.messages, where), f"{where} · {texts.messages}")
        pieces = _filled(texts.template, row, where) if texts.template else _joined(texts.columns, row, where)
        if not any(text for text, _ in pieces):
            return ()
        first, last = [(f"{begin} ", True)] if begin else [], [(f" {end}", True)] if end else []
        return tokenizer.encode_template([*first, *pieces, *last])

    found = (encode(row, where) for row, where in _rows(texts.sources))
    kept = (ids for ids in found if ids)
    if texts.joined:
        examples = joined(kept, tokenizer.encode(texts.joiner), longest, texts.most)
    else:
        examples = alone(kept, longest, texts.most)
    if not examples:
        raise DataError("there is nothing to learn: all texts are blank", where=texts.sources[0], remedy="look at them")
    return examples


def faults_of_texts(texts: Texts, examples: Sequence[Example], longest: int, model: Path) -> Iterator[Fault]:
    """What is wrong with what was read for the model in a folder: texts that never end, or whose ends were cut off
    behind the `longest` there may be."""
    ends = ends_told(model / "config.json") | ends_told(model / "generation_config.json")
    if ends and not any(ends.intersection(example.answer) for example in examples):
        remedy = "end text_template with the end token, or write add_special_tokens: true"
        yield Fault("no end token", "no text says the token at which answers end: it never learns to stop", remedy)
    cut = sum(example.length == longest for example in examples)
    if not texts.joined and cut > _CUT * len(examples):
        shown = (
            f"{cut / len(examples):.0%} of the texts were cut behind {longest:,} tokens: how they end is not learned"
        )
        yield Fault("truncated answers", shown, "raise max_seq_len, or leave long texts out")


def _rows(sources: tuple[str, ...]) -> Iterator[tuple[Mapping[str, Any], str]]:
    for source in sources:
        for line, row in rows_of(Path(source), _MAX_ROW_BYTES):
            if isinstance(row, DataError):
                raise row
            yield row, f"{source}:{line}"


def _filled(template: str, row: Mapping[str, Any], where: str) -> list[tuple[str, bool]]:
    form, pieces = Formatter(), []
    for literal, name, layout, conversion in form.parse(template):
        pieces.append((literal, True))
        if name is not None:
            value = form.convert_field(_part(row, name, where), conversion)
            pieces.append((form.format_field(value, layout or ""), False))
    return pieces


def _joined(columns: tuple[str, ...], row: Mapping[str, Any], where: str) -> list[tuple[str, bool]]:
    return [(" ".join(str(_part(row, name, where)) for name in columns), False)]


def _conversation(tokenizer: Tokenizer, turns: Any, where: str) -> Ids:
    """All of a conversation up to the end of the assistant's last turn."""
    roles = ("system", "user", "assistant")
    good = isinstance(turns, list) and all(
        isinstance(turn, dict) and turn.get("role") in roles and isinstance(turn.get("content"), str) for turn in turns
    )
    if not good or not any(turn["role"] == "assistant" for turn in turns):
        remedy = 'write [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]'
        raise DataError("found no conversation that an assistant takes part in", where=where, remedy=remedy)
    messages = [Message(turn["role"], turn["content"], learn=turn["role"] == "assistant") for turn in turns]
    ids, _ = encode_lesson(tokenizer, family_of(tokenizer), messages)
    return ids


def _part(row: Mapping[str, Any], name: str, where: str) -> Any:
    if name not in row:
        raise DataError(f"there is no column {name!r}", where=where, remedy=nearest(name, row))
    return checked(row[name], f"{where} · {name}")


def _ends(model: Path) -> tuple[str, str]:
    """The tokens that begin and end a text; none where the tokenizer has none."""
    path = model / "tokenizer_config.json"
    told = read_json(path) if path.is_file() else {}
    named = (told.get("bos_token"), told.get("eos_token"))
    begin, end = (token.get("content") if isinstance(token, dict) else token for token in named)
    return begin or "", end or ""
