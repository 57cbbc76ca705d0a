"""A teacher behind an address teaches a student, and never sees personal data unless the config says so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from slmops.core.errors import ConfigError, ModelError
from slmops.data.records import read_records
from slmops.runtimes.local import Reply
from slmops.stages.project import Project
from slmops.stages.report import write_report
from slmops.stages.run import open_store, run
from slmops.synthesis.remote import answer_remotely
from slmops.tasks import load_task
from slmops.tasks.types import Record, Source
from tests.endpoint import Endpoint, completion, served
from tests.stages.tiny_project import read_rows, write_project, write_rows

PERSONAL = ["ann.k@mail.example.org", "4111 1111 1111 1111", "+49 9141 777631", "192.168.17.4"]


def write(folder: Path, url: str, more: str = "") -> Path:
    config = write_project(
        folder,
        teacher=f"{{model: big, endpoint: '{url}'{more}}}",
        student="{model: 'file:model', train: {epochs: 1}}",
        synthesis=None,
        optimization=None,
        evaluation="{compare: [student], bench: {messages: 2}}",
    )
    rows = read_rows(folder / "data" / "unlabelled.jsonl")
    for row, value in zip(rows, PERSONAL, strict=False):
        row["text"] += f" write to {value}"
    write_rows(folder / "data" / "unlabelled.jsonl", rows)
    return config


def answer(asked: dict[str, Any]) -> tuple[int, bytes]:
    return completion("login" if "password" in asked["messages"][-1]["content"] else "track")


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Endpoint]:
    """A project whose student such a teacher taught, and what that teacher heard."""
    folder = tmp_path_factory.mktemp("taught")
    with served(answer) as server:
        run(Project.load(write(folder, server.url, ", usd_per_million_tokens: {input: 200, output: 1000}")))
    return folder, server


def test_a_remote_teacher_never_sees_an_unmasked_record(taught: tuple[Path, Endpoint]) -> None:
    folder, server = taught
    sent = bytes(server.received).decode()
    assert len(server.asked) == 20 and sent.count("write to <") == len(PERSONAL) and "<EMAIL_1>" in sent
    assert not [value for value in PERSONAL if value in sent]
    assert not [row["text"] for row in read_rows(folder / "data" / "labelled.jsonl") if row["text"] in sent]


def test_its_bill_is_in_the_report_with_when_it_is_saved(taught: tuple[Path, Endpoint], tmp_path: Path) -> None:
    config = Path(shutil.copytree(taught[0], tmp_path / "copied")) / "slmops.yaml"
    summary, page = write_report(Project.load(config))
    making = summary.making
    assert making and making.endpoint_usd == pytest.approx(20 * (50 * 200 + 3 * 1000) / 1e6)
    assert making.teacher_usd_per_million == pytest.approx(50 * 200 + 3 * 1000)
    assert making.usd > making.endpoint_usd
    assert making.break_even_answers == pytest.approx(20, rel=0.1)  # nearly all of it was paid for so many
    assert "of it for an endpoint’s answers; a million of the teacher’s answers cost $13,000, saved" in page.read_text()
    saved = next(claim for claim in summary.published if claim.claim == "distillation: operating cost")
    assert saved.ours and saved.ours.value > 0.9 and saved.note.startswith("the endpoint’s bill")
    config.write_text(config.read_text().replace("input: 200", "input: 500"))
    dearer = write_report(Project.load(config))[0].making  # nobody is asked again
    assert dearer and dearer.endpoint_usd == pytest.approx(20 * (50 * 500 + 3 * 1000) / 1e6)


def test_it_sees_everything_if_the_config_says_so(tmp_path: Path) -> None:
    with served(answer) as server:
        run(Project.load(write(tmp_path, server.url, ", sees: everything")), until="labels")
    assert all(value in bytes(server.received).decode() for value in PERSONAL)


def test_masks_in_an_answer_are_taken_out_again(tmp_path: Path) -> None:
    task = load_task("generation")
    record = Record("1", {"text": f"forward it to {PERSONAL[0]}"}, None, Source("rows", 1))
    (answered,) = answer_remotely(
        lambda asked, sampling: [(0, Reply(f"To {asked[0][-1].content.split()[-1]}", 3, 0, 0.0, "stop"))],
        task,
        [record],
        by="big",
        masked=True,
        kept=tmp_path / "kept.jsonl",
    )
    assert answered.answers[0].text == f"To {PERSONAL[0]}"


def test_what_was_answered_is_not_asked_again_after_a_failure(tmp_path: Path) -> None:
    said = 0

    def break_after_16(asked: dict[str, Any]) -> tuple[int, bytes]:
        nonlocal said
        said += 1
        return answer(asked) if said <= 16 else (403, b"no money left")

    with served(break_after_16) as server:
        config = write(tmp_path, server.url)
        with pytest.raises(ModelError, match="it answers 403: no money left"):
            run(Project.load(config), until="labels")
        server.say = answer
        server.asked.clear()
        run(Project.load(config), until="labels")
    assert len(server.asked) == 4  # of twenty


def test_a_change_of_something_else_asks_and_pays_for_nothing_again(tmp_path: Path) -> None:
    with served(answer) as server:
        config = write(tmp_path, server.url)
        run(Project.load(config), until="labels")
        test = tmp_path / "data" / "test.jsonl"
        write_rows(test, read_rows(test)[1:])
        server.asked.clear()
        run(project := Project.load(config), until="labels")
    assert not server.asked
    measured = open_store(project).manifest("tiny/labels@latest").measurements
    assert next(one.value.value for one in measured if one.name == "answers") == 20


def test_a_message_that_is_refused_is_left_out_and_asked_another_time(tmp_path: Path) -> None:
    def say(asked: dict[str, Any]) -> tuple[int, bytes]:
        return (400, b"content filter") if asked["messages"][-1]["content"].endswith(refused) else answer(asked)

    with served(say) as server:
        config = write(tmp_path, server.url)
        refused = read_rows(tmp_path / "data" / "unlabelled.jsonl")[10]["text"][-6:]
        run(project := Project.load(config), until="labels")
        labels = open_store(project).open("tiny/labels@latest")
        rejected = [record.answers[-1].rejected for record in read_records(labels / "labels.jsonl")]
        server.asked.clear()
        run(Project.load(config), until="labels", first="labels")
        assert len(server.asked) == 1
        server.say = lambda asked: (400, b"no such model")
        shutil.rmtree(tmp_path / ".slmops" / "answers")
        with pytest.raises(ModelError, match="all of 16 messages are refused: it answers 400: no such model"):
            run(Project.load(config), until="labels", first="labels")
    assert [why for why in rejected if why] == ["refused: it answers 400: content filter"]


@pytest.mark.parametrize(
    ("said", "text", "rejected"),
    [
        ('{"url": "<CREDENTIAL_URL_1>"}', '{"url": "https://a:b\\\\c@x.org"}', None),
        ("<EMAIL_9>", "<EMAIL_9>", "has a mask that was not sent: <EMAIL_9>"),
        ("as it is", "as it is", None),
    ],
)
def test_answers_are_unmasked_as_what_they_are(tmp_path: Path, said: str, text: str, rejected: str | None) -> None:
    record = Record("1", {"text": "see https://a:b\\c@x.org now"}, None, Source("rows", 1))
    kept = tmp_path / "kept.jsonl"
    kept.write_text('{"id": "0", "te')  # a kill
    (answered,) = answer_remotely(
        lambda asked, sampling: [(0, Reply(said, 3, 0, 0.0, "stop"))],
        load_task("generation"),
        [record],
        by="big",
        masked=True,
        kept=kept,
    )
    assert (answered.answers[0].text, answered.answers[0].rejected) == (text, rejected)
    assert json.loads(kept.read_text())["id"] == "1"


@pytest.mark.parametrize(
    ("teacher", "more", "message"),
    [
        ("{model: big, endpoint: 'ftp://x'}", {}, "teacher.endpoint"),
        ("{model: big, endpoint: 'http://far.example/v1', api_key_env: K}", {}, "http:// would send the key"),
        ("{model: big, endpoint: 'https://x/v1', train: {epochs: 2}}", {}, "cannot be taught here"),
        ("{model: big, sees: everything}", {}, "there is no endpoint"),
        ("{model: big, usd_per_million_tokens: {input: 1, output: 1}}", {}, "there is no endpoint"),
        (
            "{model: big, endpoint: 'https://x/v1'}",
            {"student": "{from: teacher, layers: 1}"},
            "the teacher is not here",
        ),
        ("{model: big, endpoint: 'https://x/v1?y=z'}", {}, "teacher.endpoint"),
        ("{model: big, endpoint: 'https://x/v1'}", {"synthesis": "{augment: 3}"}, "answers, and no more"),
        ("{model: big, endpoint: 'https://x/v1'}", {"gates": "{keep_accuracy: 0.9}"}, "teacher is not here"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, teacher: str, more: dict[str, str], message: str) -> None:
    changes = {"student": "{model: 'file:model'}", "evaluation": "{compare: [student]}", "synthesis": None}
    changes |= {"optimization": None, **more}
    with pytest.raises(ConfigError, match=message):
        Project.load(write_project(tmp_path, teacher=teacher, **changes))


def test_the_answers_are_kept_with_who_gave_them(tmp_path: Path) -> None:
    with served(lambda asked: completion("nonsense")) as server:
        config = write(tmp_path, server.url)
        run(Project.load(config), until="labels")
    kept = next((tmp_path / ".slmops" / "store" / "artifacts").glob("*/labels.jsonl")).read_text().splitlines()
    assert {json.loads(line)["answers"][0]["by"] for line in kept} == {"big"}
    assert all(json.loads(line)["answers"][0]["rejected"] for line in kept)
