"""Answers held to a JSON schema, whatever the model would rather write; and many answers written at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slmops.models.tokenizer import Tokenizer
from slmops.runtimes.json_constraint import compile_schema
from slmops.runtimes.local import LocalModel
from slmops.runtimes.types import Request, Sampling
from slmops.tasks.schemas import Fits, in_order, schema_of
from slmops.tasks.types import JsonSchema, Message
from tests.runtimes.conftest import Open
from tests.tiny import write_sentencepiece, write_tokenizer

SCHEMA = {
    "type": "object",
    "properties": {
        "kind": {"enum": ["order", "refund"]},
        "count": {"type": "integer", "minimum": 1, "maximum": 99},
        "late": {"type": "boolean"},
        "note": {"type": ["string", "null"], "maxLength": 8},
    },
    "required": ["kind", "count", "late", "note"],
    "additionalProperties": False,
}
ASKED = [[Message("system", "Write JSON."), Message("user", text)] for text in ("Where is it?", "Cancel!", "ü €")]


@pytest.mark.parametrize("temperature", [0.0, 1.0, 3.0])
def test_every_answer_fits_the_schema_and_is_written_as_json_dumps_does(open_model: Open, temperature: float) -> None:
    model, fits = open_model(), Fits(SCHEMA)
    constraint = model.constraint(JsonSchema(SCHEMA))
    for seed in range(4):
        for reply in model.ask_all(ASKED, Sampling(120, temperature, seed), constraint):
            assert reply.finish == "stop"
            answer = json.loads(reply.text)
            fits.check(answer)
            assert list(answer) == list(SCHEMA["properties"])
            assert json.loads(json.dumps(answer)) == answer and ": " in reply.text and ", " in reply.text


@pytest.mark.parametrize("write", [write_sentencepiece, write_tokenizer])
def test_an_answer_can_be_written_as_it_was_learned_token_by_token(
    tmp_path: Path, write: Callable[[Path, tuple[str, ...]], object]
) -> None:
    """Also where the tokenizer puts a space before a text."""
    write(tmp_path / "model", ("<|im_start|>", "<|im_end|>"))
    tokenizer = Tokenizer(tmp_path / "model")
    assert tokenizer.puts_a_space == (write is write_sentencepiece)
    end = tokenizer.special_ids["<|im_end|>"]
    constraint = compile_schema(SCHEMA, tmp_path / "model", tokenizer, end)
    ids = tokenizer.encode(json.dumps({"kind": "refund", "count": 7, "late": True, "note": "my é"}, ensure_ascii=False))
    for place, token in enumerate(ids):
        assert token in constraint.allowed(ids[:place]), place
    assert constraint.allowed(ids).tolist() in ([], [end])


def test_an_answer_may_be_abandoned_and_another_begun(open_model: Open) -> None:
    model = open_model()
    constraint = model.constraint(JsonSchema(SCHEMA))
    stream = model.stream(model.prompt(ASKED[0]), Sampling(120), constraint)
    next(stream)
    first, second = (model.ask(ASKED[1], grammar=JsonSchema(SCHEMA), sampling=Sampling(120)) for _ in range(2))
    assert first.text == second.text and json.loads(first.text)


def test_an_answer_cut_short_is_told_as_such(open_model: Open) -> None:
    reply = open_model().ask(ASKED[0], grammar=JsonSchema(SCHEMA), sampling=Sampling(3))
    assert (reply.finish, reply.tokens) == ("length", 3)


@pytest.mark.parametrize("constrained", [False, True])
def test_many_at_once_are_written_as_one_by_one(folders: dict[str, Path], constrained: bool) -> None:
    model = LocalModel(folders["torch"])
    constraint = model.constraint(JsonSchema(SCHEMA)) if constrained else None
    asked = [*ASKED, [Message("user", "x")], [Message("user", "please " * 60)]]
    grammar = JsonSchema(SCHEMA) if constrained else None
    alone = [model.ask(one, grammar=grammar, sampling=Sampling(40)) for one in asked] * 8
    together = model.ask_all(asked * 8, Sampling(40), constraint)
    assert [reply.text for reply in together] == [reply.text for reply in alone]
    assert [reply.logprob for reply in together] == pytest.approx([reply.logprob for reply in alone], abs=1e-3)
    assert [reply.finish for reply in together] == [reply.finish for reply in alone]


def test_nothing_asked_is_nothing_written(folders: dict[str, Path]) -> None:
    assert LocalModel(folders["torch"]).runtime.write([]) == []
    model = LocalModel(folders["torch"])
    (same,) = model.runtime.write([Request("", model.prompt(ASKED[0]), Sampling(1))])
    assert len(same.ids) <= 1


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1, max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.dictionaries(st.text(min_size=1, max_size=4), _VALUES, min_size=1, max_size=4), min_size=1, max_size=4)
)
def test_what_a_schema_was_learned_from_fits_it(values: list[dict[str, Any]]) -> None:
    schema = schema_of(values)
    for value in values:
        Fits(schema).check(value)
        assert in_order(value, schema) == value
