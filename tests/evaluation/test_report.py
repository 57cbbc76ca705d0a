"""The report: nothing users wrote becomes markup, nothing is loaded, what was not measured is a dash."""

from __future__ import annotations

import json
import math
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slmops.core.errors import StoreError
from slmops.core.measurement import Interval
from slmops.core.page import element, page
from slmops.evaluation.figures import write, write_difference, write_duration, write_range, write_times
from slmops.evaluation.plots import plot_curve, plot_latency, plot_quality
from slmops.evaluation.report import render
from slmops.evaluation.search_plots import plot_importance, plot_trials
from slmops.evaluation.summary import Point, Search, Summary
from tests.evaluation.example import make_summary

_HOSTILE = (
    """</style></svg>"><script src=https://evil.example/x.js></script><img src=http://evil.example onerror='f()'>"""
)
_VOID = {"meta", "br", "hr", "col"}
_SECTIONS = (
    *(
        "compared",
        "gates",
        "proof",
        "ledger",
        "slices",
        "certainty",
        "verdict",
        "chance",
        "confusion",
        "mistakes",
        "published",
    ),
    *("foundry-local", "asked", "training", "lineage", "method", "machine"),
)


class Read(HTMLParser):
    """A page as a browser takes it: tags with attributes, text, and whether every tag is closed in order."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(markup)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def attributes(self, name: str) -> list[str]:
        return [value or "" for _, attributes in self.tags if (value := attributes.get(name)) is not None]

    def names(self) -> set[str]:
        return {tag for tag, _ in self.tags}


@pytest.fixture(scope="module")
def markup() -> str:
    return render(make_summary())


def test_every_section_is_there_and_reached_from_the_contents(markup: str) -> None:
    read = Read(markup)
    sections = [attributes["id"] for tag, attributes in read.tags if tag == "section"]
    assert sections == list(_SECTIONS)
    assert [link for link in read.attributes("href") if link[1:] in _SECTIONS] == [f"#{name}" for name in _SECTIONS]


def test_the_headline_says_what_was_kept_and_what_it_took(markup: str) -> None:
    text = Read(markup).text
    assert "int4 keeps 98.7\u00a0% of the teacher’s accuracy at 1/21 of the time and 1/15 of the size" in text
    assert "✓ 2 of 2 gates passed" in text
    assert "166\u00a0ms → 7.92\u00a0ms" in text


def test_a_failed_gate_stands_in_the_headline_by_sign_and_word() -> None:
    gate = {"name": "keep_accuracy", "sentence": "accuracy kept is 91.0 %, at least 97 % was asked", "passed": False}
    text = Read(render(make_summary(gates=[gate]))).text
    assert "✗ 1 of 1 gates failed: nothing is published" in text
    assert "✗ failed" in text and gate["sentence"] in text


def test_what_users_wrote_never_becomes_markup(markup: str) -> None:
    data = make_summary().to_json()
    subjects = [subject | {"what": _HOSTILE, "prompt": _HOSTILE} for subject in data["subjects"]]
    subjects[0] |= {"name": _HOSTILE}
    hostile = Summary.from_json(
        data
        | {"name": _HOSTILE, "task": _HOSTILE, "config": _HOSTILE, "labels": [_HOSTILE] * 12, "subjects": subjects}
        | {"mistakes": [{"text": _HOSTILE, "gold": _HOSTILE, "answers": {_HOSTILE: _HOSTILE}}]}
        | {
            "gates": [{"name": "x", "sentence": _HOSTILE, "passed": True}],
            "curves": {_HOSTILE: data["curves"]["student"]},
        }
    )
    read = Read(render(hostile))
    assert read.names() <= Read(markup).names()
    assert _HOSTILE in read.text
    assert not [value for value in read.attributes("onerror") + read.attributes("src")]


def test_the_page_loads_nothing(markup: str) -> None:
    read = Read(markup)
    assert not read.names() & {"script", "link", "iframe", "object", "embed", "img", "image", "base", "form"}
    assert all(link.startswith("#") for link in read.attributes("href"))
    assert "://" not in markup and "url(" not in markup and "@import" not in markup
    policies = [attributes.get("content") for _, attributes in read.tags if "http-equiv" in attributes]
    assert policies and str(policies[0]).startswith("default-src 'none'")


def test_every_id_is_there_once_and_every_reference_is_met(markup: str) -> None:
    read = Read(markup)
    sections_and_marks = read.attributes("id")
    assert {link[1:] for link in read.attributes("href")} <= set(sections_and_marks)
    assert all(sections_and_marks.count(name) == 1 for name in _SECTIONS)


def test_the_json_comes_back_as_the_same_summary() -> None:
    summary = make_summary()
    text = json.dumps(summary.to_json(), allow_nan=False)
    assert Summary.from_json(json.loads(text)) == summary


def test_the_four_headline_figures_stand_at_the_top_of_the_json() -> None:
    data = make_summary().to_json()
    kept = {"value": 0.9868, "low": 0.9643, "high": 1.0094, "level": 0.95, "n": 240}
    assert data["quality_kept"] == kept
    assert all("value" in data[name] for name in ("latency_reduction", "model_bytes_reduction", "memory_reduction"))


def test_the_same_summary_gives_the_same_page(markup: str) -> None:
    assert render(make_summary()) == markup


def test_missing_figures_are_dashes_and_never_zero() -> None:
    bare = make_summary(
        **dict.fromkeys(("quality_kept", "latency_reduction", "model_bytes_reduction", "memory_reduction")),
        subjects=[{"name": "int4", "what": "the only one", "figures": {"accuracy": None}}],
        **dict.fromkeys(("against_teacher_int4", "confusion", "foundry_local")),
        **dict.fromkeys(("comparisons", "gates", "published", "mistakes", "lineage"), ()),
        curves={},
        labels=(),
    )
    read = Read(render(bare))
    sections = [attributes["id"] for tag, attributes in read.tags if tag == "section"]
    assert sections == list(_SECTIONS)
    table = read.text[read.text.index("Quality") : read.text.index("Who is who")]
    assert table.count("–") == 13 and "0" not in table.replace("100", "")
    assert "– → –" in read.text


def test_an_undefined_figure_counts_as_missing() -> None:
    subject = {"name": "int4", "what": "", "figures": {"macro_f1": Interval(math.nan, math.nan, math.nan)}}
    summary = make_summary(subjects=[subject], quality_kept=Interval(math.nan, math.nan, math.nan))
    assert summary.figure("int4", "macro_f1") is None and summary.quality_kept is None
    json.dumps(summary.to_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"shipped": "int3"}, ""),
        ({"labels": ["one", "two"]}, ""),
        ({"surprise": 1}, "surprise"),
        ({"quality_kept": {"value": "high", "low": 0, "high": 1}}, "quality_kept.value"),
        ({"data": {"train": 1, "validation": 1}}, "data.test"),
    ],
)
def test_a_summary_that_does_not_fit_is_refused_by_field(change: dict[str, Any], where: str) -> None:
    with pytest.raises(StoreError) as caught:
        Summary.from_json(make_summary().to_json() | change)
    assert where in caught.value.where and "slmops run" in caught.value.remedy


def test_the_best_of_a_row_is_starred_not_only_coloured(markup: str) -> None:
    row = markup[markup.index("latency, median</th>") :]
    row = row[: row.index("</tr>")]
    assert row.count("★") == 1 and "<b>1.40\u00a0ms</b> <span" in row


def test_only_the_first_25_mistakes_are_open(markup: str) -> None:
    before, _, after = markup[markup.index('id="mistakes"') :].partition("<details>")
    assert before.count("<li>") == 25
    assert "<summary>5 more</summary>" in after and 'start="26"' in after


def test_an_answer_is_right_where_the_figure_that_decides_counts_it_so() -> None:
    """Not where it is written as gold is."""
    answers = {"teacher": "so it is 12.", "int4": "so it is 13."}
    mistake = {"text": "six and six", "gold": "it is\n12", "answers": answers, "right": ["teacher"]}
    markup = render(make_summary(mistakes=[mistake]))
    assert "✓ so it is 12." in markup and "✗ so it is 13." in markup


def test_thousands_of_mistakes_do_not_swell_the_page() -> None:
    mistake = {"text": "x" * 10_000, "gold": "membership", "answers": {"int4": None}}
    markup = render(make_summary(mistakes=[mistake] * 3000))
    assert len(markup) < 500_000
    assert "2750 further ones" in markup and "no valid answer" in markup


def test_plots_say_the_finding_and_take_their_colours_from_the_page() -> None:
    accuracy, latency = plot_quality(make_summary()), plot_latency(make_summary())
    assert accuracy and latency
    assert accuracy.title == "int4 keeps 98.7\u00a0% of the teacher’s accuracy"
    assert latency.title == "int4 answers in 7.92\u00a0ms, 1/21 of the teacher’s time"
    assert "latency, median (ms, logarithmic)" in latency.svg
    assert "var(--accent)" in latency.svg and "#0" not in latency.svg.replace('href="#', "")


def test_a_curve_that_turns_up_is_called_over_fitting() -> None:
    points = [Point(step=step, loss=1 / step, validation_loss=loss) for step, loss in ((1, 0.9), (2, 0.5), (3, 0.8))]
    plot = plot_curve("student", points)
    assert plot and plot.title == "student: validation loss was lowest at step 2 (0.50), then rose to 0.80"


def test_a_curve_without_points_or_without_validation_is_no_failure() -> None:
    assert plot_curve("teacher", []) is None
    plot = plot_curve("teacher", [Point(step=1, loss=2.0), Point(step=2, loss=1.5)])
    assert plot and plot.title == "teacher: training loss fell from 2.00 to 1.50"


def a_search(**changes: object) -> Search:
    scores = [0.9, 0.7, None, 0.8, 0.6, 1.2]
    states = ["complete", "complete", "failed", "pruned", "complete", "pruned"]
    trials = [
        {
            "number": number,
            "values": {"learning_rate": 10.0**-number, "rank": 8},
            "state": state,
            "score": score,
            "looks": 9,
        }
        for number, (score, state) in enumerate(zip(scores, states, strict=True))
    ]
    told = {"trials": trials, "importance": {"rank": 0.2, "learning_rate": 0.8}, "best": 4}
    return Search.model_validate(told | changes)


def test_a_search_says_what_it_gained_and_what_mattered() -> None:
    trials, importance = plot_trials("teacher", a_search()), plot_importance("teacher", a_search())
    assert trials and importance
    assert trials.title == (
        "teacher: 6 trials brought the validation loss from 0.900 to 0.600, by learning_rate 0.0001, rank 8"
    )
    assert importance.title == "teacher: learning_rate mattered most"
    assert plot_importance("teacher", a_search(importance={})) is None
    page = render(make_summary(searches={"teacher": a_search().model_dump()}))
    assert trials.title in page and "best so far" in page


def test_values_are_written_with_unit_and_three_digits() -> None:
    assert write(0.938, "share") == "93.8\u00a0%"
    assert write(0.952, "reduction") == "−95.2\u00a0%"
    assert write(-0.2, "reduction") == "+20.0\u00a0%"
    assert write(34_900_000, "bytes") == "34.9\u00a0MB"
    assert write(1041.3, "MB") == "1,041\u00a0MB"
    assert write(0.2267, "$") == "$0.227"
    assert write(0, "ms") == "0\u00a0ms"
    assert write_range(Interval(0.9, 0.8, 0.95), "share") == "80.0 to 95.0"
    assert write_range(Interval.exact(0.9), "share") == ""
    assert write_difference(Interval(-0.012, -0.038, 0.009), "share") == ("−1.2\u00a0points", "−3.8 to +0.9")
    assert (write_times(0.048), write_times(1.3)) == ("1/21 of", "1.3 times")
    assert [write_duration(s) for s in (0.42, 41, 192, 7500)] == [
        *("0.4\u00a0s", "41\u00a0s", "3\u00a0min 12\u00a0s", "2\u00a0h 5\u00a0min")
    ]


@given(st.text())
def test_any_text_is_shown_as_text_in_a_page(text: str) -> None:
    read = Read(element("p", text, title=text))
    assert read.names() == {"p"} and read.attributes("title") == [read.text] and len(read.text) == len(text)
    page(text, text).encode()  # nothing that a file could not hold
