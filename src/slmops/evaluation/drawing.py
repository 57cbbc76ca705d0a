"""What all plots of a report share: size, style and colours, and a figure as an inline SVG that follows its page."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import Any

from slmops.core.errors import need
from slmops.core.page import Html

# Placeholders that matplotlib takes for colours; the page's own stand there in the end.
COLOURS = {
    "#010101": "var(--ink)",
    "#020202": "var(--muted)",
    "#030303": "var(--line)",
    "#040404": "var(--accent)",
    "#050505": "var(--other)",
}
INK, MUTED, LINE, ACCENT, OTHER = COLOURS
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "slmops",
    "text.parse_math": False,
    "font.size": 11.5,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": LINE,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "xtick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": INK,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
}
_WIDTH_IN = 4.8  # so narrow that its text can be read on a phone


@dataclass(frozen=True)
class Plot:
    """A plot and the finding it shows."""

    title: str
    svg: Html


def shorten(name: str) -> str:
    return name if len(name) <= 13 else name[:12] + "…"


def style() -> Any:
    return need("matplotlib", "evaluation").rc_context(_STYLE)


def new_figure(height_in: float, left_in: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH_IN, height_in))
    figure.subplots_adjust(
        left=left_in / _WIDTH_IN, right=1 - 1.05 / _WIDTH_IN, bottom=0.5 / height_in, top=1 - 0.1 / height_in
    )
    return figure, figure.subplots()


def to_svg(figure: Any) -> Html:
    """The figure as an inline element: no document head, no outside names, no ids but those that are referred to."""
    written = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(written, format="svg", transparent=True, metadata=nothing)
    _, _, body = written.getvalue().partition("<svg")
    head, _, body = body.replace("xlink:href", "href").partition(">")
    box = re.search(r' viewBox="[\d. ]+"', head)
    used = set(re.findall(r'href="#([^"]+)"', body))
    body = re.sub(r' clip-path="[^"]+"', "", body)  # nothing is drawn outside its axes
    body = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in used else "", body)
    body = re.sub("|".join(COLOURS), lambda found: COLOURS[found[0]], body)
    return Html(f'<svg role="img"{box[0] if box else ""}>{body}')
