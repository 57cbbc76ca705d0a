"""What each task type makes of rows, and of a model's words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from slmops.core.errors import ConfigError, InvalidAnswer
from slmops.core.named import allow
from slmops.tasks import TASKS, load_task, task_type
from slmops.tasks.schemas import in_order
from slmops.tasks.text_metrics import last_number
from slmops.tasks.types import Message, Record, Source, Task

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "nights": {"type": "integer"}},
    "required": ["city"],
    "additionalProperties": False,
}
OPTIONS: dict[str, dict[str, Any]] = {
    "classification": {"labels": ["track", "refund"]},
    "inference": {"labels": ["entailment", "neutral"]},
    "extraction": {"schema": SCHEMA},
    "conversation": {"success": "[{code}]"},
}
TURNS = [
    {"role": "user", "content": "My line is dead."},
    {"role": "assistant", "content": "Since when?"},
    {"role": "user", "content": "Monday."},
    {"role": "assistant", "content": "I send someone. [VISIT]"},
]
ROWS: dict[str, dict[str, Any]] = {
    "classification": {"text": "Where is it?", "label": "track"},
    "inference": {"premise": "It rains.", "hypothesis": "It is wet.", "label": "entailment"},
    "extraction": {"text": "Two nights in Rome", "entities": {"nights": 2, "city": "Rome"}},
    "question-answering": {"context": "Rome is old.", "question": "What is old?", "answer": ["Rome", "the city"]},
    "conversation": {"messages": TURNS, "code": "VISIT"},
    "mathematics": {"text": "2 + 2?", "answer": "2 and 2 are\n#### 4"},
    "summarization": {"text": "Rome was not built in a day.", "answer": "Rome took longer than 1 day."},
    "translation": {"text": "ja", "answer": "yes, we are there"},
    "code": {"text": "Add.", "code": "def add(a, b):\n    return a + b", "tests": "assert add(1, 2) == 3"},
    "generation": {"text": "Hello", "answer": "Hello yourself"},
}


def made(name: str) -> tuple[Task, Record]:
    task = load_task(name, **OPTIONS.get(name, {}))
    inputs, gold = task.read(ROWS[name])
    task.check(gold)
    return task, Record("r", inputs, gold, Source("train.jsonl", 1))


@pytest.mark.parametrize("name", TASKS)
def test_a_row_becomes_a_conversation_whose_answer_is_learned_and_understood(name: str) -> None:
    task, record = made(name)
    answer = task.write(record.gold)
    asked, lesson = task.messages(record), task.messages(record, answer)
    assert asked[0].role == "system" and asked[-1].role == "user" and not any(message.learn for message in asked)
    assert lesson[-1] == Message("assistant", answer, learn=True)
    assert task.short_messages(record, answer) == lesson[1:]
    predicted = task.parse(answer)
    figures = [float(metric.reduce(metric.rows([predicted], [record.gold]).sum(0))) for metric in task.metrics]
    assert figures == pytest.approx([1.0] * len(task.metrics))


@pytest.mark.parametrize("name", TASKS)
def test_an_invalid_answer_is_worth_nothing(name: str) -> None:
    task, record = made(name)
    for metric in task.metrics:
        assert float(metric.reduce(metric.rows([None], [record.gold]).sum(0))) == 0.0


@pytest.mark.parametrize("name", TASKS)
def test_a_row_without_an_answer_is_read_to_be_answered(name: str) -> None:
    task, record = made(name)
    row = {part: value for part, value in ROWS[name].items() if part not in ("label", "answer", "entities", "code")}
    if "messages" in row:
        row["messages"] = TURNS[:3]
    assert task.read(row) == (record.inputs, None)


@pytest.mark.parametrize("name", ["classification", "inference", "extraction"])
def test_what_was_not_given_is_learned_from_the_gold_answers(name: str) -> None:
    draft = load_task(name)
    gold = [draft.read(ROWS[name])[1], draft.read({**ROWS[name], "label": "neutral", "entities": {"city": "Oslo"}})[1]]
    learned = load_task(name, **draft.learned(gold))
    for answer in gold:
        learned.check(answer)
    assert draft.grammar is None and learned.grammar is not None


@pytest.mark.parametrize(
    "name, text, told",
    [
        ("classification", "lost", "none of the 2 labels"),
        ("extraction", "Rome", "no JSON"),
        ("extraction", '["Rome"]', "no object"),
        ("extraction", '{"city": 7}', "city: 7 is not of type 'string'"),
        ("extraction", '{"nights": 2}', "'city' is a required property"),
        ("extraction", '{"city": "Rome", "stars": 5}', "'stars' was unexpected"),
        ("extraction", "[" * 100_000, "no JSON"),
        ("mathematics", "I do not know.", "no number"),
        ("code", "def add(a, b", "no Python"),
        ("generation", " \n", "blank"),
    ],
)
def test_what_is_no_answer_is_told_why(name: str, text: str, told: str) -> None:
    with pytest.raises(InvalidAnswer) as refused:
        made(name)[0].parse(text)
    assert told in refused.value.what


def test_an_extractions_keys_are_written_in_the_schemas_order() -> None:
    task, record = made("extraction")
    assert task.write(record.gold) == '{"city": "Rome", "nights": 2}'
    assert task.read({"text": "x", "answer": '{"city": "Rome"}'})[1] == {"city": "Rome"}


def test_keys_are_ordered_within_what_a_schema_refers_to() -> None:
    person = {"type": "object", "properties": {"name": {"type": "string"}, "friend": {"$ref": "#/$defs/Person"}}}
    schema = {
        "type": "object",
        "properties": {
            "who": {"$ref": "#/$defs/Person"},
            "others": {"type": "array", "items": {"anyOf": [{"$ref": "#/$defs/Person"}, {"type": "null"}]}},
            "lost": {"$ref": "#/$defs/Nowhere"},
            "round": {"$ref": "#/$defs/Round"},
        },
        "$defs": {"Person": person, "Round": {"$ref": "#/$defs/Round"}},
    }
    gold = {"others": [{"friend": {"friend": None, "name": "c"}, "name": "b"}], "lost": 1, "round": {"b": 1, "a": 2}}
    gold |= {"who": {"friend": {"friend": None, "name": "d"}, "name": "a"}}
    written = json.dumps(in_order(gold, schema))
    assert written == (
        '{"who": {"name": "a", "friend": {"name": "d", "friend": null}}, '
        '"others": [{"name": "b", "friend": {"name": "c", "friend": null}}], "lost": 1, "round": {"b": 1, "a": 2}}'
    )


def test_keys_are_ordered_by_the_part_of_a_schema_that_fits() -> None:
    base = {"type": "object", "properties": {"id": {"type": "integer"}}}
    person = {"type": "object", "properties": {"name": {}, "age": {}}, "allOf": [{"required": ["name"]}, base]}
    place = {"type": "object", "properties": {"street": {}, "city": {}}}
    either = {"oneOf": [person, place]}
    assert list(in_order({"id": 1, "age": 2, "name": "a"}, person)) == ["name", "age", "id"]
    assert list(in_order({"city": "Rome", "street": "Via"}, either)) == ["street", "city"]
    assert list(in_order({"age": 2, "name": "a"}, either)) == ["name", "age"]
    circle = {"properties": {"b": {}, "a": {}}, "allOf": [{"$ref": "#"}]}
    assert list(in_order({"a": 1, "b": 2}, circle)) == ["b", "a"]


def test_all_turns_of_the_assistant_are_learned_and_only_with_an_answer() -> None:
    task, record = made("conversation")
    lesson = task.messages(record, task.write(record.gold))
    assert [message.learn for message in lesson] == [False, False, True, False, True]
    assert not any(message.learn for message in task.messages(record))


def test_a_conversations_own_system_turn_is_its_instruction() -> None:
    task = load_task("conversation")
    inputs, _ = task.read({"messages": [{"role": "system", "content": "Be brief."}, *TURNS]})
    record = Record("r", inputs, None, Source("x"))
    assert task.messages(record)[0].content == "Be brief." and task.short_messages(record)[0].role == "user"


def test_a_conversation_succeeds_by_what_its_row_asks_for() -> None:
    task, record = made("conversation")
    success = task.metrics[0]
    assert success.name == "task_success"
    rows = success.rows(["On my way [VISIT]", "On my way [WAIT]"], [record.gold] * 2)
    assert rows[:, 0].tolist() == [1.0, 0.0]
    with pytest.raises(InvalidAnswer, match="lacks"):
        task.check({"reply": "Bye.", "contains": "[VISIT]"})
    with pytest.raises(KeyError):
        task.read({"messages": TURNS})
    for template in ("[{code", "[{code.__class__}]", "[{0}]"):
        with pytest.raises(ConfigError, match="is no template"):
            load_task("conversation", success=template)


def test_a_maths_answer_is_its_last_number_however_it_is_written() -> None:
    task, record = made("mathematics")
    rows = task.metrics[0].rows(["so 3, no, 4", "#### 4.0", "4 apples, 5 pears", "#### 1,004"], [record.gold] * 4)
    assert rows[:, 0].tolist() == [1.0, 1.0, 0.0, 0.0]
    written = {"5-3": 3, "10-12": 12, "it is −4": -4, "(-4)": -4, "$.5": 0.5, "No.5": 5, "3.5.": 3.5, "1,200": 1200}
    assert {text: last_number(text) for text in written} == written


def test_code_is_taken_out_of_its_fence() -> None:
    assert made("code")[0].parse("Here:\n```python\nx = 1\n```\nDone.") == "x = 1"


def test_a_template_names_columns_and_no_more() -> None:
    for template in ("{text:>150000000}", "{text!r}"):
        with pytest.raises(ConfigError, match="formats what it names"):
            load_task("generation", template=template)


def test_the_classical_baselines_answer_every_row() -> None:
    for name in ("question-answering", "summarization"):
        task, record = made(name)
        (answer,) = task.baseline([record], [record]) or [None]
        assert answer and answer in record.text
    task, record = made("question-answering")
    assert task.baseline([], [Record("q", {"question": "Who?"}, None, Source("x"))]) is None


def test_a_word_tagger_finds_slots_it_was_shown() -> None:
    task = load_task("extraction", schema={"type": "object", "properties": {"city": {"type": "string"}}})
    cities = ["Rome", "Oslo", "Lima", "Cairo", "Quito", "Hanoi", "Bern", "Riga"]
    train = [
        Record(city, {"text": f"I want to go to {city} {when}, please."}, {"city": city}, Source("x"))
        for city in cities
        for when in ("today", "soon")
    ]
    train += [Record(f"n{n}", {"text": f"Thank you {n} times."}, {}, Source("x")) for n in range(8)]
    test = [
        Record("t", {"text": text}, None, Source("x")) for text in ("I want to go to Paris soon, please.", "Thanks.")
    ]
    assert task.baseline(train, test) == [{"city": "Paris"}, {}]


def test_nested_answers_have_no_word_tagger() -> None:
    task = load_task("extraction", schema={"type": "object", "properties": {"items": {"type": "array"}}})
    row = Record("r", {"text": "two lamps"}, {"items": [{"what": "lamps", "count": 2}]}, Source("x"))
    assert task.baseline([row], [row]) is None


@pytest.mark.parametrize(
    "schema, told",
    [
        ({"type": "objekt"}, "is no JSON schema"),
        (
            {"type": "object", "properties": {"n": {"type": "integer", "minimum": 5, "maximum": 3}}, "required": ["n"]},
            "no answer can be written by it",
        ),
        ({"type": "object", "properties": {"n": False}, "required": ["n"]}, "no answer can be written by it"),
        (
            {
                "$schema": "http://json-schema.org/draft-07/schema#",
                "type": "object",
                "dependentSchemas": {"a": {"$ref": "http://169.254.169.254/latest"}},
            },
            "leads out of the schema",
        ),
    ],
)
def test_a_schema_that_nothing_can_satisfy_is_refused(schema: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load_task("extraction", schema=schema)


def test_code_of_a_project_is_loaded_only_when_it_was_allowed() -> None:
    with pytest.raises(ConfigError, match="code of a project"):
        load_task("os:system", command="true")
    allow("json:JSONDecoder")
    with pytest.raises(ConfigError, match="is no task"):
        task_type("json:JSONDecoder")
    allow("no_such_module:Task")
    with pytest.raises(ConfigError, match="no_such_module"):
        task_type("no_such_module:Task")


def test_options_of_another_task_are_refused() -> None:
    with pytest.raises(ConfigError, match="labels"):
        load_task("translation", labels=["a"])


def test_gold_is_json() -> None:
    for name in TASKS:
        _, record = made(name)
        assert json.loads(json.dumps(record.gold)) == record.gold
