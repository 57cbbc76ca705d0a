"""The page of a data report: one HTML file that says what was found, where, and what mends it.

In comes a report, out goes the page as text; whatever stood in the data is escaped. Knows no file and no check.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher

from slmops.core.page import Html, element, join, page, section, table
from slmops.data.findings import DataReport, FileReport, Finding, SimilarTexts, Suspect
from slmops.data.report_plots import Plot, plot_labels, plot_lengths

_SHOWN = 5  # places of a finding; the rest is folded
_ROWS = 50  # of a table; the rest is folded
_LONG = 400  # characters of a text


def render(report: DataReport) -> str:
    """The whole page."""
    parts = {
        "files": ("Files", _list_files(report.files)),
        "findings": ("Findings", _list_findings(report.findings)),
        "lengths": ("Lengths", _show_plots(plot_lengths(file) for file in report.files)),
        "labels": ("Labels", _show_plots(plot_labels(file) for file in report.files)),
        "suspects": ("Labels that look wrong", _list_suspects(report.suspects)),
        "similar": ("Nearly the same texts", _list_similar(report.similar)),
        "notes": ("What was not looked at", element("ul", [element("li", note) for note in report.notes])),
    }
    empty = {"findings": not report.findings, "suspects": not report.suspects, "similar": not report.similar}
    empty |= {"notes": not report.notes, "labels": not any(file.labels for file in report.files)}
    shown = {name: part for name, part in parts.items() if not empty.get(name)}
    contents = element("nav", [element("a", title, href=f"#{name}") for name, (title, _) in shown.items()])
    sections = [section(title, content, name=name) for name, (title, content) in shown.items()]
    title = say_verdict(report)
    return page(f"{title} — slmops data check", element("h1", title), contents, sections, style=_STYLE)


def say_verdict(report: DataReport) -> str:
    """The report in a line."""
    rows = sum(file.rows + file.refused for file in report.files)
    counts = ((report.errors, "error"), (report.warnings, "warning"))
    found = [_count(number, name) for number, name in counts if number]
    return f"{' and '.join(found) or 'Nothing wrong was found'} in {_count(rows, 'row')}"


def _count(number: int, name: str) -> str:
    return f"{number:,} {name}{'s' * (number != 1)}"


def _list_files(files: Sequence[FileReport]) -> Html:
    unit = files[0].lengths.unit if files else "words"
    head = ("file", "read as", "rows", "not usable", "labels", "languages", f"{unit}: median, 95 %, most")
    rows = [
        (
            file.file,
            join(file.layout, element("small", _say_columns(file), class_="block")),
            f"{file.rows:,}",
            f"{file.refused:,}",
            f"{len(file.labels):,}" if file.labels else "none",
            _say_languages(file.languages),
            f"{file.lengths.median:,}, {file.lengths.most_of_95:,}, {file.lengths.most:,}",
        )
        for file in files
    ]
    other = "Read otherwise than meant? Name the columns: --field text=… --field label=…"
    return join(table(head, rows, caption="As they were read"), element("p", other, class_="muted"))


def _say_columns(file: FileReport) -> str:
    return ", ".join(f"{part}: {column}" for part, column in file.columns.items())


def _say_languages(languages: dict[str, int]) -> str:
    total = sum(languages.values())
    shown = [
        f"{language} {count / total:.0%}" for language, count in [*languages.items()][:3] if count >= 0.005 * total
    ]
    return ", ".join(shown) or "—"


def _list_findings(findings: Sequence[Finding]) -> Html:
    return element("ul", [_show_finding(finding) for finding in findings], class_="findings")


def _show_finding(finding: Finding) -> Html:
    places, more = finding.places[:_SHOWN], finding.places[_SHOWN:]
    rest = finding.count - len(finding.places)
    folded = element(
        "details",
        element("summary", f"{finding.count - _SHOWN:,} more"),
        [element("small", place, class_="place") for place in more],
        element("small", f"and {rest:,} that are not listed", class_="block") if rest else None,
    )
    return element(
        "li",
        element("b", finding.severity, class_=f"badge {finding.severity}"),
        element("strong", f" {finding.what} ({finding.count:,})"),
        element("p", f"→ {finding.remedy}"),
        [element("small", place, class_="place") for place in places],
        folded if more else None,
    )


def _show_plots(plots: Iterable[Plot | None]) -> Html:
    drawn = [element("figure", element("figcaption", plot.title), plot.svg) for plot in plots if plot]
    return element("div", drawn, class_="plots")


def _list_suspects(suspects: Sequence[Suspect]) -> Html:
    told = (
        "By a TF-IDF model that had not seen the row, the surest first; the last column says how many times as likely "
        "as the given label it holds the suggested one. It is wrong at times: look before you change a label."
    )
    head = ("row", "text", "given", "suggested", "times as likely")
    rows = [
        (one.place, _shorten(one.text), one.given, one.suggested, f"{min(one.odds, 9999):,.0f}") for one in suspects
    ]
    return join(element("p", told), _folding_table(head, rows, "Labels to look at"))


def _list_similar(similar: Sequence[SimilarTexts]) -> Html:
    told = "1 means that only case, spaces and punctuation differ; words that only one of the two has are marked."
    head = ("rows", "one", "the other", "similarity")
    rows = [
        (join(pair.left, element("br"), pair.right), *_mark_differences(pair), f"{pair.similarity:.2f}")
        for pair in similar
    ]
    return join(element("p", told), _folding_table(head, rows, "Pairs to look at"))


def _folding_table(head: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> Html:
    first, more = rows[:_ROWS], rows[_ROWS:]
    folded = element("details", element("summary", f"{len(more):,} more"), table(head, more, caption=caption))
    return join(table(head, first, caption=caption), folded if more else None)


def _mark_differences(pair: SimilarTexts) -> tuple[Html, Html]:
    left, right = _shorten(pair.left_text).split(), _shorten(pair.right_text).split()
    shared = SequenceMatcher(None, left, right, autojunk=False).get_matching_blocks()
    mine = {place for block in shared for place in range(block.a, block.a + block.size)}
    theirs = {place for block in shared for place in range(block.b, block.b + block.size)}
    return _mark(left, mine), _mark(right, theirs)


def _mark(words: Sequence[str], same: set[int]) -> Html:
    return join([join(word if place in same else element("mark", word), " ") for place, word in enumerate(words)])


def _shorten(text: str) -> str:
    return text if len(text) <= _LONG else text[: _LONG - 1] + "…"


_STYLE = """
nav { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; margin: 1rem 0 }
.block { display: block } .place { display: inline-block; margin-right: 1.4rem }
.badge { display: inline-block; padding: 0 .5rem; border: 1.5px solid; border-radius: 4px; font-size: .8rem }
.badge.error { color: var(--bad) } .badge.warning { color: var(--other) }
.findings { list-style: none; padding: 0; margin: 0 }
.findings li { padding: .8rem 0; border-bottom: 1px solid var(--line) }
.findings p { margin: .2rem 0 }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); gap: 2rem 2.4rem;
  align-items: start }
.plots figure { max-width: 34rem }
mark { background: none; color: var(--other); font-weight: 600 }
td { min-width: 4rem } tbody th { max-width: 14rem; overflow-wrap: anywhere }
"""
