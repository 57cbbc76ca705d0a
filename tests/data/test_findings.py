"""What is wrong with files is found, with its places; what is right is left in peace."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from slmops.core.errors import DataError
from slmops.data.findings import DataReport, Finding
from slmops.data.quality import check_files, with_texts
from slmops.data.report_page import render

WORDS = ("amber", "birch", "cedar", "dune", "ember", "fjord", "grove", "heath", "inlet", "juniper", "kelp", "meadow")
TOPICS = ("the parcel is late", "my card was charged", "I forgot my password", "the lamp arrived broken")
GERMAN = "Ich habe vor drei Wochen eine Lampe bestellt, und sie ist immer noch nicht angekommen."
KEY = "AKIA" + "Q3EGRIT7ZP2JX5NM"  # of the form of one, and none


def rows(count: int, start: int = 0) -> list[dict[str, str]]:
    return [
        {"text": f"{WORDS[n % 12]} {WORDS[n * 7 % 12]} {TOPICS[n % 2]} {n} {WORDS[n // 12 % 12]}", "label": "ab"[n % 2]}
        for n in range(start, start + count)
    ]


def texts(*given: str) -> list[dict[str, str]]:
    return [{"text": text, "label": "a"} for text in given]


def write(path: Path, content: list[dict[str, str]], more: str = "") -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in content) + more)
    return path


def found(*paths: Path, **options: int) -> dict[str, Finding]:
    return {finding.what.split(": ")[1]: finding for finding in check_files(paths, **options).findings}  # type: ignore[arg-type]


def kinds(report: DataReport) -> dict[str, Finding]:
    return {finding.kind: finding for finding in report.findings}


def test_files_without_fault_have_counts_and_no_findings(tmp_path: Path) -> None:
    report = check_files([write(tmp_path / "train.jsonl", rows(40)), write(tmp_path / "test.jsonl", rows(24, 100))])
    assert [(file.rows, file.refused, file.labels) for file in report.files] == [
        (40, 0, {"a": 20, "b": 20}),
        (24, 0, {"a": 12, "b": 12}),
    ]
    assert report.findings == () and report.errors == 0
    lengths = report.files[0].lengths
    assert lengths.least <= lengths.median <= lengths.most_of_95 <= lengths.most
    assert sum(count for _, _, count in lengths.bins) == 40


def test_it_is_told_how_a_file_is_read_and_fields_overrule_it(tmp_path: Path) -> None:
    path = write(tmp_path / "train.jsonl", [{"text": "a title", "body": f"the message {n}"} for n in range(9)])
    as_it_is, overruled = (check_files([path], fields=fields).files[0] for fields in (None, {"text": "body"}))
    assert (as_it_is.layout, as_it_is.columns) == ("text + label", {"text": "text"})
    assert overruled.columns == {"text": "body"}
    assert (as_it_is.lengths.most, overruled.lengths.most) == (2, 3)


def test_what_is_wrong_within_a_file_is_found(tmp_path: Path) -> None:
    good = rows(40)
    again = [good[0] | {"text": good[0]["text"].upper() + "!"}, good[2] | {"label": "b"}]
    near = [good[4] | {"text": good[4]["text"] + " x"}]
    seen = found(write(tmp_path / "train.jsonl", good + again + near + [{"text": "nobody knows"}], '{"text": 3}\n'))
    assert {what: (finding.severity, finding.count) for what, finding in seen.items()} == {
        "rows that cannot be used": ("error", 1),
        "the same text with different labels": ("error", 1),
        "the same text again": ("warning", 1),
        "nearly the same text again": ("warning", 1),
        "rows without a label": ("warning", 1),
        "labels that look wrong": ("warning", 1),
    }
    assert seen["the same text again"].places == ("train.jsonl:1 and train.jsonl:41",)
    assert seen["the same text with different labels"].places == ("train.jsonl:3 and train.jsonl:42",)
    assert "found a number" in seen["rows that cannot be used"].places[0]


def test_rare_unbalanced_and_misspelt_labels_are_found(tmp_path: Path) -> None:
    few = [row | {"label": ["b_c", "B C"][n] if n < 2 else "a"} for n, row in enumerate(rows(40))]
    seen = found(write(tmp_path / "train.jsonl", few))
    assert seen["labels with fewer than 10 rows"].places == ("b_c: 1", "B C: 1")
    assert seen["unbalanced"].places == ("a: 38, B C: 1",)
    assert seen["labels that differ in spelling only"].places == ("b_c: 1, B C: 1",)


def test_what_two_files_share_is_found(tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", rows(40))
    test = write(
        tmp_path / "test.jsonl",
        [*rows(24, 100), rows(1)[0], rows(2)[1] | {"label": "a"}] + [{**row, "label": "B"} for row in rows(10, 200)],
    )
    seen = found(train, test)
    assert seen["texts in both"].severity == "error"
    assert seen["texts in both"].places == ("train.jsonl:1 and test.jsonl:25", "train.jsonl:2 and test.jsonl:26")
    assert seen["the same text with different labels"].places == ("train.jsonl:2 and test.jsonl:26",)
    assert seen["labels in one only"].places == (f"'B' in {test} only",)


def test_a_text_in_three_files_is_found_in_each_pair_of_them(tmp_path: Path) -> None:
    paths = [
        write(tmp_path / f"{name}.jsonl", rows(20, at) + rows(1)) for at, name in ((100, "a"), (200, "b"), (300, "c"))
    ]
    both = [finding.places for finding in check_files(paths).findings if finding.kind == "duplicates-across"]
    assert both == [("a.jsonl:21 and b.jsonl:21",), ("a.jsonl:21 and c.jsonl:21",), ("b.jsonl:21 and c.jsonl:21",)]


def test_files_of_one_name_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    for folder in "xy":
        (tmp_path / folder).mkdir()
    one, other = (write(tmp_path / folder / "rows.jsonl", rows(20)) for folder in "xy")
    assert found(one, other)["texts in both"].places[0] == f"{one}:1 and {other}:1"


def test_places_are_kept_up_to_a_thousand_and_counted_to_the_end(tmp_path: Path) -> None:
    seen = found(write(tmp_path / "train.jsonl", rows(40), "no JSON\n" * 1200))
    assert (seen["rows that cannot be used"].count, len(seen["rows that cannot be used"].places)) == (1200, 1000)


def test_blank_texts_are_told_from_rows_that_are_wrong(tmp_path: Path) -> None:
    blank = [{"text": "  ", "label": "a"}, {"text": "", "label": "a"}, {"label": "a"}]
    seen = kinds(check_files([write(tmp_path / "train.jsonl", rows(20) + blank)]))
    assert seen["blank"].places == ("train.jsonl:21", "train.jsonl:22", "train.jsonl:23")
    assert "refused" not in seen


def test_damaged_encoding_is_found_and_right_letters_are_not(tmp_path: Path) -> None:
    right = texts(
        "É tarde demais, não é?", "it’s £5 — “fine”", "naïve café, 100 €", "Größe über alles: Ä Ö Ü", "日本語です"
    )
    wrong = texts("itâ€™s broken", "the cafÃ© is closed", "lost: caf\ufffd")
    seen = kinds(check_files([write(tmp_path / "train.jsonl", right + wrong)]))
    assert seen["encoding"].places == ("train.jsonl:6", "train.jsonl:7")
    assert seen["lost-characters"].places == ("train.jsonl:8",)


def test_another_language_is_found_and_slang_is_not(tmp_path: Path) -> None:
    slang = texts("pls cancel asap thx m8 luv u", "wheres me parcel innit its been ages now", "ok")
    sentences = texts(*(f"Could you please tell me where my {word} is, I ordered it last week" for word in WORDS))
    seen = kinds(check_files([write(tmp_path / "train.jsonl", sentences + slang + texts(GERMAN))]))
    assert seen["language"].places == (f"train.jsonl:{len(WORDS) + 4} (de)",)


def test_texts_cut_at_a_limit_are_found_and_long_ones_are_not(tmp_path: Path) -> None:
    chosen = random.Random(0)
    whole = [" ".join(chosen.choices(WORDS, k=chosen.randint(5, 60))) for _ in range(200)]
    left, cut = check_files([write(tmp_path / "whole.jsonl", texts(*whole))]), [text[:255] for text in whole]
    seen = kinds(check_files([write(tmp_path / "cut.jsonl", texts(*cut))]))
    assert "truncated" not in kinds(left)
    assert "cut off at 255 characters" in seen["truncated"].what
    assert seen["truncated"].count == sum(len(text) >= 255 for text in whole)


def test_personal_data_and_secrets_are_found_and_never_shown(tmp_path: Path) -> None:
    email = "anna.berger@corp.example.com"
    told = texts(f"write to {email} please", f"write to {email} please !!", f"my key is {KEY} ok")
    path = write(tmp_path / "train.jsonl", rows(20) + told + texts(f"write then to {email} please"))
    report = with_texts(check_files([path]))
    seen = kinds(report)
    assert (seen["email"].severity, seen["email"].places[0]) == ("warning", "train.jsonl:21")
    assert (seen["secret"].severity, seen["secret"].places) == ("error", ("train.jsonl:23",))
    assert report.similar and "<EMAIL>" in report.similar[0].left_text
    for shown in (str(report), render(report)):
        assert email not in shown and KEY not in shown


def mislabelled(tmp_path: Path, share: float) -> tuple[Path, set[str]]:
    chosen = random.Random(3)
    content = [
        {"text": f"{TOPICS[n % 4]} {' '.join(chosen.choices(WORDS, k=4))} {n}", "label": "abcd"[n % 4]}
        for n in range(400)
    ]
    wrong = set(chosen.sample(range(400), round(share * 400)))
    for n in wrong:
        content[n]["label"] = "abcd"[(n + 1) % 4]
    return write(tmp_path / "train.jsonl", content), {f"train.jsonl:{n + 1}" for n in wrong}


def test_wrong_labels_are_found_with_the_right_ones(tmp_path: Path) -> None:
    path, wrong = mislabelled(tmp_path, 0.05)
    report = check_files([path])
    assert {suspect.place for suspect in report.suspects} == wrong
    assert all("abcd".index(suspect.given) == ("abcd".index(suspect.suggested) + 1) % 4 for suspect in report.suspects)


def test_no_label_is_doubted_where_none_is_wrong_or_the_texts_say_nothing(tmp_path: Path) -> None:
    path, _ = mislabelled(tmp_path, 0.0)
    chance = random.Random(1)
    noise = write(tmp_path / "noise.jsonl", [row | {"label": chance.choice("ab")} for row in rows(200)])
    by_chance = check_files([noise])
    assert check_files([path]).suspects == () and by_chance.suspects == ()
    assert any("too few to know better" in note for note in by_chance.notes)


def test_that_labels_were_not_doubted_is_told(tmp_path: Path) -> None:
    path, _ = mislabelled(tmp_path, 0.05)
    report = check_files([path], doubted_at_most=1000)
    assert report.suspects == ()
    assert report.notes == ("labels were not doubted: 400 rows take a while; --label-errors does it",)


def test_the_page_holds_what_was_found_and_runs_nothing(tmp_path: Path) -> None:
    bad = texts("<script>alert(1)</script> the parcel is late again, where is it then?")
    near = texts("<script>alert(1)</script> the parcel is late again, where is it now?")
    path = write(tmp_path / "train.jsonl", rows(40) + bad + near)
    page = render(with_texts(check_files([path])))
    assert "<script" not in page and "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<mark>now?</mark>" in page and "train.jsonl:41" in page
    assert page.count("<svg") == 2  # lengths and labels


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        check_files([tmp_path / "missing.jsonl"])
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(DataError, match="has no rows"):
        check_files([tmp_path / "empty.jsonl"])


def test_a_file_without_a_usable_row_is_a_finding(tmp_path: Path) -> None:
    report = check_files([write(tmp_path / "train.jsonl", [], "no JSON\n")])
    assert (report.files[0].rows, report.files[0].refused, report.errors) == (0, 1, 1)
    assert "1 error in 1 row" in render(report)
