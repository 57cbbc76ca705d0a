"""A teacher behind an address tells how likely its tokens are, and the student learns that, too."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slmops.core.errors import ConfigError, ModelError
from slmops.data.records import read_records
from slmops.models.tokenizer import Tokenizer
from slmops.stages.project import Project
from slmops.stages.run import open_store, run
from slmops.synthesis.told import label_probabilities, spell_out
from slmops.tasks.types import TokenLogprobs
from slmops.training.target_codes import decode
from tests.endpoint import served
from tests.stages.tiny_project import write_project


def token(piece: str, probability: float, **others: float) -> TokenLogprobs:
    top = {other: math.log(value) for other, value in others.items()}
    return TokenLogprobs(piece, math.log(probability), {piece: math.log(probability), **top})


LOGIN = [token(" lo", 0.7, tra=0.2, refund=0.1), token("gin", 0.9, ck=0.1)]


def told(tokens: list[TokenLogprobs]) -> tuple[int, bytes]:
    """As OpenAI's server says it."""
    content = [
        {
            "token": one.piece,
            "logprob": one.logprob,
            "bytes": list(one.piece.encode()),
            "top_logprobs": [
                {"token": piece, "logprob": value, "bytes": list(piece.encode())} for piece, value in one.top.items()
            ],
        }
        for one in tokens
    ]
    text = "".join(one.piece for one in tokens)
    choice = {"message": {"content": text}, "finish_reason": "stop", "logprobs": {"content": content}}
    return 200, json.dumps({"choices": [choice], "usage": {"completion_tokens": len(tokens)}}).encode()


def write(folder: Path, url: str, **changes: str) -> Path:
    teacher = f"{{model: big, endpoint: '{url}', top_logprobs: 5}}"
    student = "{model: 'file:model', train: {epochs: 2, learning_rate: 0.01}}"
    more = {"synthesis": None, "optimization": None, "evaluation": "{compare: [student], bench: {messages: 2}}"}
    return write_project(folder, **({"teacher": teacher, "student": student} | more | changes))


def test_labels_get_what_is_told_of_the_tokens_they_begin_with(tmp_path: Path) -> None:
    with served(lambda asked: told(LOGIN)) as server:
        run(project := Project.load(write(tmp_path, server.url)))
    assert {(asked["logprobs"], asked["top_logprobs"]) for asked in server.asked} == {(True, 5)}
    store = open_store(project)
    assert set(store.manifest("tiny/student@latest").parents) == {"dataset", "pruned", "targets"}
    (record, *_) = read_records(store.open(store.manifest("tiny/labels@latest").id) / "labels.jsonl")
    assert record.answers[-1].label_probs == pytest.approx({"login": 0.7, "track": 0.2, "refund": 0.1}, abs=1e-3)
    index = json.loads((store.open(store.manifest("tiny/targets@latest").id) / "targets.json").read_text())
    assert set(index["labels"]) == {"login", "track", "refund"} and record.id in index["rows"]


def test_tokens_are_spelled_in_the_students(tmp_path: Path) -> None:
    with served(lambda asked: told(LOGIN)) as server:
        path = write(tmp_path, server.url, distillation="{match: tokens, cache: 8, loss: {forward_kl: 1}}")
        run(project := Project.load(path), until="student")
    store = open_store(project)
    made = store.manifest("tiny/targets@latest")
    folder = store.open(made.id)
    (respelled,) = [one for one in made.measurements if one.name == "respelled"]
    assert respelled.value.value == respelled.conditions["of"]
    index = json.loads((folder / "targets.json").read_text())["rows"]
    answered = read_records(store.open(made.parents["labels"]) / "labels.jsonl")
    ids, logprobs = decode(np.load(folder / "targets.npy")[index[answered[0].id][0]])
    tokenizer = Tokenizer(store.open(store.manifest("tiny/pruned@latest").id))
    said = {tokenizer.show(id): math.exp(value) for id, value in zip(ids.tolist(), logprobs.tolist(), strict=True)}
    begins = {text: value for text, value in said.items() if value > 0}
    assert sum(begins.values()) == pytest.approx(1, abs=0.02)
    assert sum(value for text, value in begins.items() if "refund".startswith(text)) == pytest.approx(0.1, abs=0.01)
    assert sum(value for text, value in begins.items() if "track".startswith(text)) == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize(
    "logprobs",
    [
        None,
        {"content": None},
        {"content": [{"token": "a", "logprob": 3.0}]},
        {"content": [{"token": "a"}]},
        {"content": [{"token": "a", "logprob": -1, "bytes": 50_000_000_000}]},
        {"content": [{"token": "a", "logprob": 10**400}]},
        {"content": [{"token": "a", "logprob": -0.1, "top_logprobs": [{"token": "b", "logprob": -0.1}]}]},
        {"content": 7},
    ],
)
def test_a_server_that_tells_none_is_named_with_the_remedy(tmp_path: Path, logprobs: Any) -> None:
    said = {"choices": [{"message": {"content": "login"}, "logprobs": logprobs}]}
    with (
        served(lambda asked: (200, json.dumps(said).encode())) as server,
        pytest.raises(ModelError, match="none with log-probabilities: remove teacher"),
    ):
        run(Project.load(write(tmp_path, server.url)), until="labels")


def test_what_tokens_spell_is_the_answer_without_spaces_and_end() -> None:
    tokens = [token("  re", 0.5), token("fund", 0.9), token("<|im_end|>", 0.8, **{" now": 0.2})]
    found = spell_out(tokens, "refund")
    assert found is not None
    assert found[0] == [b"re", b"fund"]
    assert found[1][-1] == pytest.approx({None: 0.8, b" now": 0.2})
    assert spell_out([token("refund", 0.5), token("\n", 0.9)], "refund") == ([b"refund"], [{b"refund": 0.5}], [0.5])
    assert spell_out(tokens, "refunds") is None
    umlaut = [TokenLogprobs(part, -0.1, {}) for part in ("Ã", "¼")]  # two bytes of ü
    assert spell_out(umlaut, "ü") is not None


def test_labels_that_begin_alike_share_what_leads_to_either() -> None:
    labels = ["refund", "refund_late", "track"]
    tokens = [token("tr", 0.6, ref=0.4), token("ack", 1.0)]
    assert label_probabilities(labels, tokens, "track") == pytest.approx(
        {"refund": 0.2, "refund_late": 0.2, "track": 0.6}
    )
    assert label_probabilities(labels, tokens, "login") is None
    lost = [token("tr", 0.6, xyz=0.4), token("ack", 1.0)]
    assert label_probabilities(labels, lost, "track") == {"refund": 0.0, "refund_late": 0.0, "track": 1.0}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher": "{model: 'file:model', top_logprobs: 5}"}, "there is no endpoint"),
        ({"teacher": "{model: x, endpoint: 'https://x/v1', top_logprobs: 21}"}, "teacher.top_logprobs"),
        ({"distillation": "{match: tokens, temperature: 2}"}, "tells its probabilities at temperature 1"),
        ({"distillation": "{match: tokens, on_policy: 0.5}"}, "distillation.on_policy: the teacher is not here"),
        ({"distillation": "{representation: 1}"}, "distillation.representation: the teacher is not here"),
    ],
)
def test_what_cannot_be_is_told_where_it_stands(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Project.load(write(tmp_path, "https://x/v1", **changes))


def test_a_label_that_begins_another_may_end_there() -> None:
    labels = ["refund", "refund_late"]
    end = {"<|im_end|>": math.log(0.3)}
    longer = [token("refund", 1.0), TokenLogprobs("_late", math.log(0.7), end)]
    assert label_probabilities(labels, longer, "refund_late") == pytest.approx({"refund": 0.3, "refund_late": 0.7})
    shorter = [token("refund", 1.0), TokenLogprobs("<|im_end|>", math.log(0.6), {"_late": math.log(0.4)})]
    assert label_probabilities(labels, shorter, "refund") == pytest.approx({"refund": 0.6, "refund_late": 0.4})
    never = [TokenLogprobs(letter, -100.0, {}) for letter in "abcdefghij1"]
    assert label_probabilities(["abcdefghij1", "abcdefghij2"], never, "abcdefghij1") is None


def test_what_is_told_of_tokens_is_kept_no_longer_than_it_is_needed(tmp_path: Path) -> None:
    with served(lambda asked: told(LOGIN)) as server:
        path = write(tmp_path, server.url, distillation="{match: tokens, loss: {forward_kl: 1}}")
        run(project := Project.load(path), until="targets")
        store = open_store(project)
        kept = {name: store.open(store.manifest(f"tiny/{name}@latest").id) for name in ("labels", "targets")}
        assert '"piece"' in (kept["labels"] / "labels.jsonl").read_text()
        assert '"piece"' not in (kept["targets"] / "records.jsonl").read_text()
        path.write_text(path.read_text().replace("match: tokens, ", ""))
        run(Project.load(path), until="labels")
    assert '"piece"' not in (store.open(store.manifest("tiny/labels@latest").id) / "labels.jsonl").read_text()
