"""Rows come from files, from folders as Hugging Face's datasets makes them, from its hub; slices are kept to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slmops.core.errors import DataError
from slmops.data.outputs import named_from, refuse_overwriting
from slmops.data.read import read_records
from slmops.data.sources import find_rows, rows_of
from tests.endpoint import running

FEATURES = {"info": {"features": {"label": {"names": ["refund", "delivery"], "_type": "ClassLabel"}}}}


def write_lines(path: Path, *texts: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": text, "label": "x"}) + "\n" for text in texts))
    return path


def write_arrow(path: Path, *texts: str) -> None:
    """As `datasets` writes it: a stream, labels as numbers, their names in the schema."""
    schema = pa.schema([("text", pa.string()), ("label", pa.int64())], metadata={"huggingface": json.dumps(FEATURES)})
    table = pa.table({"text": list(texts), "label": [row % 2 for row in range(len(texts))]}, schema=schema)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        writer.write_table(table)


def save_to_disk(folder: Path, **splits: list[list[str]]) -> Path:
    for split, files in splits.items():
        (folder / split).mkdir(parents=True)
        names = [f"data-{number:05d}-of-{len(files):05d}.arrow" for number in range(len(files))]
        for name, texts in zip(names, files, strict=True):
            write_arrow(folder / split / name, *texts)
        state = {"_data_files": [{"filename": name} for name in names], "_split": split}
        (folder / split / "state.json").write_text(json.dumps(state))
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": list(splits)}))
    return folder


def texts_of(place: Path | str) -> list[str]:
    return [row["text"] for _, row in rows_of(Path(place), 1_000_000) if isinstance(row, dict)]


def test_a_folder_that_was_saved_to_disk_is_read_with_the_names_of_its_labels(tmp_path: Path) -> None:
    folder = save_to_disk(tmp_path / "saved", train=[["a", "b"], ["c"]], test=[["d"]])
    assert texts_of(f"{folder}#train") == ["a", "b", "c"] and texts_of(f"{folder}#test") == ["d"]
    assert texts_of(folder / "train") == ["a", "b", "c"]
    records = read_records(Path(f"{folder}#train"))
    assert [(record.text, record.gold) for record in records] == [("a", "refund"), ("b", "delivery"), ("c", "refund")]
    assert [record.source.line for record in records] == [1, 2, 3]


def test_a_folder_of_files_is_read_by_what_they_are_called(tmp_path: Path) -> None:
    for number, text in enumerate(("a", "b")):
        (tmp_path / "data").mkdir(exist_ok=True)
        pq.write_table(pa.table({"text": [text]}), tmp_path / "data" / f"train-0000{number}-of-00002.parquet")
    write_lines(tmp_path / "dev" / "rows.jsonl", "c")
    (tmp_path / "README.md").write_text("no rows")
    (tmp_path / "dataset_infos.json").write_text("{}")
    write_lines(tmp_path / ".cache" / "test.jsonl", "hidden")
    assert texts_of(f"{tmp_path}#train") == ["a", "b"] and texts_of(f"{tmp_path}#validation") == ["c"]
    with pytest.raises(DataError, match=r"found several splits but train, validation — write .*#SPLIT"):
        find_rows(tmp_path)
    with pytest.raises(DataError, match="found no split 'test' but train, validation"):
        find_rows(Path(f"{tmp_path}#test"))


def test_what_a_saved_folder_names_outside_itself_is_not_read(tmp_path: Path) -> None:
    folder = save_to_disk(tmp_path / "saved", train=[["a"]])
    write_arrow(tmp_path / "secret.arrow", "secret")
    (folder / "train" / "state.json").write_text(json.dumps({"_data_files": [{"filename": "../../secret.arrow"}]}))
    with pytest.raises(DataError, match="there is no such file"):
        texts_of(f"{folder}#train")


@pytest.mark.parametrize(
    ("slice_", "expected"),
    [("[:2]", "01"), ("[2:]", "234"), ("[1:3]", "12"), ("[-2:]", "34"), ("[20%:60%]", "12"), ("[:]", "01234")],
)
def test_a_slice_is_what_hugging_face_means_by_it(tmp_path: Path, slice_: str, expected: str) -> None:
    path = write_lines(tmp_path / "rows.jsonl", *"01234")
    assert "".join(texts_of(f"{path}#{slice_}")) == "".join(texts_of(f"{path}#train{slice_}")) == expected


@pytest.mark.parametrize("slice_", ["[:6]", "[5:]", "[3:3]", "[4:2]", "[-9:]", "[:120%]"])
def test_a_slice_beyond_the_end_is_refused(tmp_path: Path, slice_: str) -> None:
    path = write_lines(tmp_path / "rows.jsonl", *"01234")
    with pytest.raises(DataError, match=r"found 5 rows, expected those of .* — write a slice within \[0:5\]"):
        texts_of(f"{path}#train{slice_}")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(-8, 8) | st.none(), st.integers(-8, 8) | st.none())
def test_a_slice_gives_what_a_list_would_or_nothing(tmp_path: Path, start: int | None, stop: int | None) -> None:
    path, every = write_lines(tmp_path / "rows.jsonl", *"01234"), list("01234")
    shown = ["" if bound is None else str(bound) for bound in (start, stop)]
    try:
        found = texts_of(f"{path}#[{shown[0]}:{shown[1]}]")
    except DataError:
        inside = all(bound is None or -5 <= bound <= 5 for bound in (start, stop))
        assert not (inside and every[start:stop])
    else:
        assert found == every[start:stop]


def test_files_that_are_no_parts_of_one_another_are_not_joined(tmp_path: Path) -> None:
    for name in ("en/train.jsonl", "de/train.jsonl"):
        write_lines(tmp_path / name, name)
    with pytest.raises(DataError, match=r"no parts of one another: de/train\.jsonl, en/train\.jsonl"):
        find_rows(Path(f"{tmp_path}#train"))
    assert texts_of(f"{tmp_path / 'de'}#train") == ["de/train.jsonl"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("dataset_dict.json", "{}"),
        ("dataset_dict.json", '{"splits": [1]}'),
        ("dataset_dict.json", "[]"),
        ("state.json", "{}"),
        ("state.json", '{"_data_files": [{}]}'),
        ("state.json", "no json"),
    ],
)
def test_a_damaged_folder_is_told(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError):
        find_rows(Path(f"{tmp_path}#train"))


def test_what_is_read_is_not_written_over_whatever_it_is_called(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "train.jsonl", *"0123456789")
    for name in (path, f"{path}#[:2]", f"{tmp_path}#train"):
        with pytest.raises(DataError, match="found the same file to read and to write"):
            refuse_overwriting([Path(name)], [path])
    (tmp_path / "Train.jsonl").hardlink_to(path)  # as on a disk that knows no case
    with pytest.raises(DataError, match="found the same file to read and to write"):
        refuse_overwriting([path], [tmp_path / "Train.jsonl"])
    assert named_from(tmp_path / "out", Path(f"{path}#[:2]")) == "../train.jsonl"


def test_a_file_with_a_sign_in_its_name_is_a_file(tmp_path: Path) -> None:
    assert texts_of(write_lines(tmp_path / "odd#[0:1].jsonl", "a", "b")) == ["a", "b"]
    assert texts_of(write_lines(tmp_path / "data#1" / "rows.jsonl", "c").parent) == ["c"]
    with pytest.raises(DataError, match="a file has no splits — name the file of test"):
        texts_of(f"{write_lines(tmp_path / 'rows.jsonl', 'a')}#test")
    with pytest.raises(DataError, match="there is no such file"):
        texts_of(tmp_path / "none.jsonl")


def test_what_is_meant_decides_the_digest(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "rows.jsonl", "a", "b")
    digests = {find_rows(Path(f"{path}{which}")).digest() for which in ("", "#[:1]", "#[1:]", "#train[:1]")}
    assert len(digests) == 3


class _Hub(BaseHTTPRequestHandler):
    """As much of the hub as fetching a data set needs."""

    rows = b'{"text": "a", "label": "x"}\n{"text": "b", "label": "x"}\n'
    sha = "0123456789abcdef0123456789abcdef01234567"

    def do_HEAD(self) -> None:
        self._answer(b"")

    def do_GET(self) -> None:
        names = ("train.jsonl", "test.jsonl", "setup.py", "de/test.jsonl")
        files = [{"rfilename": name, "size": len(self.rows)} for name in names]
        if self.path.startswith("/api/models"):
            self._answer(b"[]")
        elif "/api/datasets/owner/rows/tree/" in self.path:
            tree = [{"type": "file", "path": file["rfilename"], "size": len(self.rows), "oid": "1"} for file in files]
            self._answer(json.dumps(tree).encode())
        elif self.path.startswith("/api/datasets/owner/rows"):
            self._answer(json.dumps({"id": "owner/rows", "sha": self.sha, "siblings": files}).encode())
        else:
            self._answer(self.rows)

    def _answer(self, body: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) or len(self.rows)))
        self.send_header("Content-Type", "application/json")
        self.send_header("ETag", '"1"')
        self.send_header("X-Repo-Commit", self.sha)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        return


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with running(ThreadingHTTPServer(("127.0.0.1", 0), _Hub)) as server:
        endpoint = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        monkeypatch.setenv("SLMOPS_CACHE", str(tmp_path / "cache"))
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield endpoint


def test_a_data_set_of_the_hub_is_fetched_once(hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert texts_of("hf:owner/rows#train[:1]") == ["a"]
    (record,) = (tmp_path / "cache" / "data").glob("*/slmops-source.json")
    assert json.loads(record.read_text())["origin"] == f"hf:owner/rows@{_Hub.sha}"
    assert sorted(path.name for path in record.parent.iterdir()) == ["slmops-source.json", "train.jsonl"]
    assert texts_of("hf:owner/rows/de#test") == ["a", "b"]
    with pytest.raises(DataError, match=r"no parts of one another: de/test.jsonl, test.jsonl"):
        texts_of("hf:owner/rows#test")
    with pytest.raises(DataError, match="found no file of validation among 4"):
        texts_of("hf:owner/rows#validation")
    monkeypatch.setattr("slmops.data.sources._LARGEST_BYTES", 100)
    with pytest.raises(DataError, match="found 0 GB — name a folder in it"):
        texts_of("hf:owner/rows")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert texts_of("hf:owner/rows#train") == ["a", "b"]
    with pytest.raises(DataError, match="hf:owner/other: cannot be fetched: HF_HUB_OFFLINE is set"):
        texts_of("hf:owner/other")
