"""Files are masked whole, and restored exactly by who has the key; by nobody else, and by no other file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from slmops.cli import privacy
from slmops.core.errors import DataError, SlmopsError
from slmops.data.formats import rows_of
from slmops.privacy.files import mask_rows, masks_beside, unmask_rows
from slmops.privacy.names import names_finder
from slmops.privacy.vault import WrongKeyError, passphrase_from

ROWS = [
    {"text": "write to ann@x.org", "label": "a"},
    {"text": "nothing here", "label": "b"},
    {"text": "<EMAIL_1> is bob@x.org, half of a pair: \ud83d", "n": [1.5, None, {"from": "192.168.17.4"}]},
]
KEY = "correct horse"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write(tmp_path / "rows.jsonl", ROWS)


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def mask(source: Path, key: str | None = KEY) -> Path:
    out = source.with_name("masked.jsonl")
    mask_rows(rows_of(source, 10_000), source, out, passphrase=key)
    return out


def unmask(masked: Path, key: str = KEY) -> list[dict[str, object]]:
    out = masked.with_name("restored.jsonl")
    unmask_rows(rows_of(masked, 10_000), masked, masks_beside(masked), out, key)
    return read(out)


def test_what_was_masked_is_restored_exactly_with_the_key(source: Path) -> None:
    masked = mask(source)
    assert read(masked)[0] == {"text": "write to <EMAIL_1>", "label": "a"}
    assert unmask(masked) == ROWS


def test_the_report_names_places_and_no_value(source: Path) -> None:
    out = source.with_name("masked.jsonl")
    report = mask_rows(rows_of(source, 10_000), source, out, kinds={"email"})
    assert [(kind.kind, kind.count, kind.places) for kind in report.kinds] == [
        ("email", 2, (f"{source}:1", f"{source}:3"))
    ]
    assert (report.rows, report.masked_rows, report.masks) == (3, 2, None)


def test_without_a_key_nothing_is_kept(source: Path) -> None:
    assert not masks_beside(mask(source, key=None)).exists()


def test_the_encrypted_file_shows_no_value(source: Path) -> None:
    content = masks_beside(mask(source)).read_text()
    assert "x.org" not in content and "EMAIL" not in content


def test_a_wrong_key_is_named_and_writes_nothing(source: Path) -> None:
    masked = mask(source)
    with pytest.raises(WrongKeyError, match="the key does not open these masks"):
        unmask(masked, "another")
    assert sorted(path.name for path in source.parent.iterdir()) == ["masked.jsonl", "masked.masks.jsonl", "rows.jsonl"]


def test_a_row_is_not_given_another_ones_data(source: Path) -> None:
    masked = mask(source)
    rows = read(masked)
    for others in (rows[::-1], rows[:2], [{"text": "<EMAIL_1> changed"}, *rows[1:]]):
        write(masked, others)
        with pytest.raises(DataError, match=r"is not the row that masked\.masks\.jsonl belongs to"):
            unmask(masked)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda lines: lines[:-1], "is not whole"),
        (lambda lines: [lines[0], lines[2], lines[3]], "is not whole"),
        (lambda lines: [*lines, lines[1]], "is not whole"),
        (lambda lines: ['{"format": 2}', *lines[1:]], "is no file of masks"),
        (lambda lines: [], "is no file of masks"),
        (lambda lines: ["é"], "is no file of masks"),
    ],
)
def test_a_damaged_file_of_masks_is_refused(source: Path, change: object, says: str) -> None:
    masked = mask(source)
    masks = masks_beside(masked)
    masks.write_text("\n".join(change(masks.read_text().splitlines())) + "\n")  # type: ignore[operator]
    with pytest.raises(DataError, match=f"{says}|is not the row"):
        unmask(masked)


def test_a_row_that_cannot_be_read_leaves_nothing_written(source: Path) -> None:
    source.write_text(source.read_text() + "{no JSON\n")
    with pytest.raises(DataError, match=r"rows\.jsonl:4: found no JSON"):
        mask(source)
    assert [path.name for path in source.parent.iterdir()] == ["rows.jsonl"]


def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    assert passphrase_from("MY_KEY") == KEY
    monkeypatch.setenv("MY_KEY", "")
    with pytest.raises(
        SlmopsError, match="MY_KEY: the key's environment variable is not set — set it to a long random text"
    ):
        passphrase_from("MY_KEY")


@pytest.fixture
def data() -> typer.Typer:
    group = typer.Typer()
    privacy.register(group)
    return group


def test_the_commands_mask_and_restore(data: typer.Typer, source: Path) -> None:
    folder = source.parent
    other = write(folder / "more.jsonl", [{"text": "call +49 9141 777631"}])
    run = CliRunner(env={"MY_KEY": KEY})
    out = folder / "masked"
    said = run.invoke(data, ["mask", str(source), str(other), "--out", str(out), "--key-env", "MY_KEY", "--json"])
    reports = json.loads(said.stdout)["files"]
    assert [report["rows"] for report in reports] == [3, 1]
    assert reports[1]["kinds"] == [{"kind": "phone", "count": 1, "places": [f"{other}:1"]}]
    restored = folder / "restored.jsonl"
    words = ["unmask", str(out / "rows.jsonl"), "--out", str(restored), "--key-env", "MY_KEY"]
    assert "3 rows" in run.invoke(data, words).stdout
    assert read(restored) == ROWS


def test_the_command_prints_a_table_for_people(data: typer.Typer, source: Path) -> None:
    said = CliRunner().invoke(data, ["mask", str(source), "--out", str(source.with_name("out.jsonl")), "--kinds", "ip"])
    assert said.exit_code == 0 and "1 of 3 rows" in said.stdout and "ip" in said.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["rows.jsonl", "--out", "rows.jsonl"], "found the same file to read and to write"),
        (["rows.jsonl", "rows.jsonl", "--out", "out.jsonl"], "several files would be written to one"),
        (["rows.jsonl", "--out", "out.jsonl", "--kinds", "shoes"], "there is no kind shoes"),
        (["rows.jsonl", "--out", "out.jsonl", "--key-env", "SLMOPS_NO_KEY"], "SLMOPS_NO_KEY"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_written(
    data: typer.Typer, source: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], says: str
) -> None:
    monkeypatch.chdir(source.parent)
    said = CliRunner().invoke(data, ["mask", *words])
    assert isinstance(said.exception, SlmopsError) and says in str(said.exception)
    assert [path.name for path in source.parent.iterdir()] == ["rows.jsonl"]


def test_names_without_presidio_say_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "presidio_analyzer", None)
    with pytest.raises(Exception, match=r"pip install 'slmops\[names\]'"):
        names_finder()
