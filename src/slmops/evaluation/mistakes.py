"""The parts of a report that show where a model errs: the confusion matrix and the messages it gets wrong.

In comes a summary, out go elements. Messages are users' own words, shown as text in a direction of their own. Knows no
page.
"""

from __future__ import annotations

from collections.abc import Sequence

from slmops.core.page import Html, element, join, table
from slmops.evaluation.figures import MISSING, write
from slmops.evaluation.summary import Confusion, Mistake, Summary

_SHOWN = 25
_MOST = 250
_LONGEST_TEXT = 600


def show_confusion(confusion: Confusion | None, labels: Sequence[str]) -> Html:
    """Each label's answers in a row; columns go by the rows' numbers, so that twelve fit a phone."""
    if confusion is None:
        return element("p", "There are no labels to confuse.")
    rows = [
        _confusion_row(index, label, counts)
        for index, (label, counts) in enumerate(zip(labels, confusion.matrix, strict=True))
    ]
    head = [
        "",
        *(str(number) for number in range(1, len(labels) + 1)),
        element("th", "found", scope="col", class_="found"),
    ]
    caption = f"{confusion.subject}: a row is what a message is, a column what was answered, by the row’s number"
    return join(
        element("p", _say_confusion(confusion, labels)),
        table(head, rows, caption=caption, class_="confusion"),
    )


def list_mistakes(summary: Summary) -> Html:
    """The first mistakes, more behind a click, and how many are left out."""
    mistakes = summary.mistakes
    if not mistakes:
        return element("p", f"{summary.shipped} makes no mistake on the test messages.")
    first, more, left_out = mistakes[:_SHOWN], mistakes[_SHOWN:_MOST], mistakes[_MOST:]
    alike = sum(len(set(mistake.answers.values())) == 1 for mistake in mistakes)
    told = f"{len(mistakes)} of {summary.data.test} test messages; in {alike} of them all models shown answer the same."
    shown = [element("p", told), element("ol", map(_show_mistake, first), class_="mistakes")]
    if more:
        rest = element("ol", map(_show_mistake, more), class_="mistakes", start=len(first) + 1)
        shown.append(element("details", element("summary", f"{len(more)} more"), rest))
    if left_out:
        shown.append(element("p", f"{len(left_out)} further ones stand in the evidence artifact.", class_="muted"))
    return join(shown)


def _confusion_row(index: int, label: str, counts: Sequence[int]) -> list[Html]:
    total = sum(counts)
    name = element("th", element("span", index + 1, class_="number"), " ", label, scope="row")
    cells = [_heat_cell(count, total, right=column == index) for column, count in enumerate(counts)]
    found = write(counts[index] / total, "share") if total else MISSING
    return [name, *cells, element("td", found, class_="found")]


def _heat_cell(count: int, total: int, right: bool) -> Html:
    kind = "right" if right else "wrong"
    if not count:
        return element("td", "·", class_=kind)
    strong = " strong" if count > 0.4 * total else ""
    return element("td", count, class_=kind + strong, style=f"--share: {count / total:.2f}")


def _say_confusion(confusion: Confusion, labels: Sequence[str]) -> str:
    wrong = [
        (count, f"{gold} taken for {answer} ({count} of {sum(counts)})")
        for gold, counts in zip(labels, confusion.matrix, strict=True)
        for answer, count in zip(labels, counts, strict=True)
        if count and gold != answer
    ]
    if not wrong:
        return "Nothing was confused."
    worst = sorted(wrong, key=lambda pair: -pair[0])[:3]
    return (
        f"{sum(count for count, _ in wrong)} messages were confused, most often {'; '.join(told for _, told in worst)}."
    )


def _show_mistake(mistake: Mistake) -> Html:
    text = mistake.text if len(mistake.text) <= _LONGEST_TEXT else mistake.text[:_LONGEST_TEXT] + " …"
    gold = element("span", "is: ", element("b", mistake.gold))
    answers = [
        element("span", f"{subject}: ", element("b", _judge(answer, subject in mistake.right)))
        for subject, answer in mistake.answers.items()
    ]
    return element("li", element("bdi", text, dir="auto"), element("small", gold, answers))


def _judge(answer: str | None, right: bool) -> str:
    return f"✓ {answer}" if right else f"✗ {answer or 'no valid answer'}"
