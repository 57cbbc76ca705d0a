"""Extraction: what a text says, as JSON that fits a schema. Decoding is held to the schema, so that every answer fits.

Gold is an object, the text of one, or slots of values; the schema is given, or learned from the rows to train on. The
classical baseline tags words (`tagger`), where the schema is flat and its values stand in the text word for word.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from slmops.core.errors import ConfigError, InvalidAnswer
from slmops.tasks.base import TaskBase
from slmops.tasks.metrics import EntityF1, accuracy, valid_answers
from slmops.tasks.schemas import Fits, check_schema, facts_of, in_order, schema_of
from slmops.tasks.tagger import tag
from slmops.tasks.types import Json, JsonSchema, Parts, Record


class Extraction(TaskBase):
    """JSON for each text, by `schema` (JSON Schema, draft 2020-12); None: it is still to be learned."""

    name = "extraction"
    instruction = "Read the message and write what it says as JSON. Copy words exactly; leave out what is not said."
    classical = "a word tagger: logistic regression over a window of five words"

    def __init__(self, schema: Mapping[str, Json] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.schema = schema or {}
        if schema is None:
            return
        check_schema(schema)
        self.grammar = JsonSchema(schema)
        self.metrics = (EntityF1(facts_of), accuracy(), valid_answers())
        self._fits = Fits(schema)
        self._instruction += f"\nFields: {', '.join(schema.get('properties', ()))}"

    def learned(self, gold: Sequence[Json]) -> dict[str, Any]:
        if self.schema:
            return {}
        schema = schema_of(gold)
        if not schema.get("properties"):
            raise ConfigError("the answers to train on have no fields", remedy="write task.schema, or mend the rows")
        return {"schema": schema}

    def read(self, parts: Parts) -> tuple[Mapping[str, Json], Json | None]:
        gold = parts.get("entities", parts.get("answer"))
        if isinstance(gold, str):
            gold = _object(gold)
        return {"text": parts["text"]}, gold

    def check(self, gold: Json) -> None:
        if self.schema:
            self._fits.check(gold)
        elif not isinstance(gold, dict):
            raise InvalidAnswer("the answer is no object", remedy="write one object")

    def write(self, gold: Json) -> str:
        return json.dumps(in_order(gold, self.schema), ensure_ascii=False)

    def parse(self, text: str) -> Json:
        found = _object(text)
        self._fits.check(found)
        return found

    def baseline(self, train: Sequence[Record], test: Sequence[Record]) -> list[Json] | None:
        """A word tagger's slots; None where the schema is not flat or training values are not words of their texts."""
        return tag([(record.inputs["text"], record.gold) for record in train], [r.inputs["text"] for r in test])


def _object(text: str) -> dict[str, Json]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidAnswer(f"the answer is no JSON: {text[:80]!r}", remedy="write one object") from error
    if not isinstance(found, dict):
        raise InvalidAnswer(f"the answer is no object: {text[:80]!r}", remedy="write one object")
    return found
