"""The skeleton of every HTML page: one file that loads nothing, light and dark, for the desk, the phone and paper.

In comes text and elements made of it, out goes a page. Text is escaped unless it is `Html`, which only `element`,
`join` and authors of markup make; so what users wrote can't become markup, and the policy in the head forbids any
network even if it did. Knows no report.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

Content = str | int | None | Iterable["Content"]

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_VOID = frozenset({"br", "col", "hr", "meta"})
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


class Html(str):
    """Text that is markup already. `Html(user_input)` is a mistake; `element("bdi", user_input)` is not."""

    __slots__ = ()


def element(name: str, /, *content: Content, **attributes: str | int | None) -> Html:
    """`<name attribute="…">content</name>`, escaped. `class_` is class, `aria_label` aria-label; None is left out."""
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{join(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{told}>" if name in _VOID else f"<{name}{told}>{join(*content)}</{name}>")


def join(*content: Content) -> Html:
    """Everything in a row: markup as it is, text escaped, None left out."""
    return Html("".join(map(_markup, content)))


def section(title: str, *content: Content, name: str) -> Html:
    """A part of a page under its own heading, reached as `#name`."""
    return element("section", element("h2", title), *content, id=name)


def table(head: Iterable[Content], rows: Iterable[Iterable[Content]], *, caption: str, class_: str = "") -> Html:
    """A table whose first column names its rows; where it is too wide it scrolls under its caption, not the page.

    A cell that is a `td` or `th` element already is taken as it is.
    """
    titles = element("tr", [_cell(cell, "th", scope="col") for cell in head])
    body = [
        element(
            "tr", [_cell(cell, "td") if column else _cell(cell, "th", scope="row") for column, cell in enumerate(row)]
        )
        for row in rows
    ]
    whole = element("table", element("thead", titles), element("tbody", body), class_=class_ or None)
    scrolls = element("div", whole, class_="scroll", tabindex=0, role="region", aria_label=caption)
    return join(element("p", caption, class_="caption"), scrolls)


def page(title: str, *content: Content, style: str = "") -> str:
    """A whole page. `style` is CSS of ours that only this page needs."""
    head = join(
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", title),
        element("style", Html(_STYLE + style)),
    )
    document = element("html", element("head", head), element("body", element("main", *content)), lang="en")
    return f"<!doctype html>\n{document}\n"


def _markup(content: Content) -> str:
    if isinstance(content, Html):
        return content
    if content is None:
        return ""
    if isinstance(content, str | int):
        return html.escape(_UNPRINTABLE.sub("\ufffd", str(content)))
    return join(*content)


def _cell(content: Content, name: str, **attributes: str) -> Html:
    if isinstance(content, Html) and content.startswith(("<td", "<th")):
        return content
    return element(name, content, **attributes)


# Colours: Okabe and Ito, Color Universal Design (2008), told apart by colour-blind people; darkened for text on white.
_STYLE = """
:root { --ink: #1b1f24; --muted: #59626c; --line: #d8dde3; --paper: #fff; --panel: #f4f6f8;
  --accent: #0072b2; --other: #b84f00; --good: #00704f; --bad: #b03a00; color-scheme: light dark }
@media screen and (prefers-color-scheme: dark) {
  :root { --ink: #e7eaee; --muted: #a4adb7; --line: #39414a; --paper: #14171b; --panel: #1d2228;
    --accent: #56b4e9; --other: #e69f00; --good: #3fc79a; --bad: #ff8a4c } }
* { box-sizing: border-box }
html { background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, "Segoe UI", Roboto, sans-serif;
  -webkit-text-size-adjust: 100%; scroll-padding-top: 1rem }
body { margin: 0 }
main { max-width: 66rem; margin: 0 auto; padding: 2rem clamp(.9rem, 4vw, 2.5rem) 4rem; overflow-wrap: anywhere }
h1 { font-size: clamp(1.5rem, 4.5vw, 2.3rem); line-height: 1.2; letter-spacing: -.015em; margin: .3rem 0 1rem;
  text-wrap: balance; overflow-wrap: break-word }
h2 { font-size: 1.35rem; line-height: 1.25; margin: 0 0 .6rem; letter-spacing: -.01em }
h3 { font-size: 1rem; margin: 1.6rem 0 .4rem }
section { margin-top: 3rem; padding-top: 1.4rem; border-top: 1px solid var(--line) }
p { margin: .5rem 0; max-width: 46rem }
a { color: var(--accent); text-underline-offset: .15em }
small, .muted, .caption { color: var(--muted); font-size: .85rem }
code, pre { font: .85em/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace }
pre { background: var(--panel); border: 1px solid var(--line); border-radius: 6px; padding: .8rem 1rem;
  white-space: pre-wrap; margin: .6rem 0 }
.caption { margin: 1rem 0 0 }
.scroll { overflow-x: auto; margin: .2rem 0 .8rem }
table { border-collapse: collapse; min-width: 100%; font-variant-numeric: tabular-nums; overflow-wrap: normal }
th, td { text-align: left; vertical-align: top; padding: .4rem .7rem .4rem 0; border-bottom: 1px solid var(--line) }
thead th { font-size: .85rem; vertical-align: bottom }
tbody th { font-weight: 500 }
dl { display: grid; grid-template-columns: minmax(6rem, max-content) 1fr; gap: .3rem 1.2rem; margin: .6rem 0 }
dt { color: var(--muted) }
dd { margin: 0 }
details > summary { cursor: pointer; padding: .3rem 0; color: var(--accent) }
figure { margin: 0 }
figcaption { font-weight: 600; line-height: 1.3; margin-bottom: .4rem }
svg { display: block; width: 100%; height: auto }
svg text { font-family: inherit !important }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px }
@media (max-width: 34rem) {
  section { margin-top: 2.2rem }
  table { font-size: .9rem } th, td { padding-right: .5rem }
  dl { grid-template-columns: 1fr; gap: 0 } dd { margin-bottom: .5rem } }
@media print {
  @page { size: A4; margin: 14mm 13mm }
  html { font-size: 10pt } main { max-width: none; padding: 0 }
  section { margin-top: 1.6rem; padding-top: .9rem }
  h2, h3, .caption, figcaption { break-after: avoid }
  details:not([open]) { display: none } tr, figure, pre, dl, li { break-inside: avoid }
  .scroll { overflow: visible } a { color: inherit; text-decoration: none }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact } }
"""
