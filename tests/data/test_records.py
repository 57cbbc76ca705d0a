from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slmops.core.errors import DataError
from slmops.data.records import read_records, write_records
from slmops.tasks.types import Answer, Record, Source

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
ANSWERS = st.builds(
    Answer, TEXT, TEXT, st.none() | TEXT, st.none() | st.dictionaries(TEXT, st.floats(0, 1), max_size=3)
)
RECORDS = st.builds(
    Record,
    TEXT,
    st.dictionaries(TEXT, TEXT, max_size=2),
    st.none() | TEXT,
    st.builds(Source, TEXT, st.integers(0, 9), TEXT, TEXT),
    st.lists(ANSWERS, max_size=2).map(tuple),
    st.none() | TEXT,
)


@given(st.lists(RECORDS, max_size=4))
def test_records_come_back_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, records: list[Record]
) -> None:
    path = tmp_path_factory.mktemp("records") / "records.jsonl"
    write_records(path, records)
    assert read_records(path) == records


@pytest.mark.parametrize("line", ["{", "[]", "{}", '{"id": 1, "source": {}, "answers": [{}]}'])
def test_a_line_that_is_no_record_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(DataError, match=r"records\.jsonl:1: found no record"):
        read_records(path)
