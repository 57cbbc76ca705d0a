"""The chain that proves an export: each link holds what a model says at one stage against what it said before.

In come probes and what was found again (ids, log-probabilities, an end token, scores), out come links, each of which
holds or says what broke, where, and what mends it. Pure but for `proof.json`, where links stand beside a model. Knows
no engine and no task.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from slmops.core.errors import ProofError
from slmops.core.files import write_whole
from slmops.core.statistics import mcnemar
from slmops.runtimes.probes import Probe, compare
from slmops.runtimes.types import Ids, Scores

PROOF_FILE = "proof.json"
# Nats by which a probed token may move where the weights are meant to be the same. Measured on the default model (24
# probes, their answers' 101 tokens, all 30 layers): merging LoRA, DoRA, QLoRA moved one by at most 2.7e-5, writing and
# reading by 0, ONNX in fp32 by 4.8e-5; storing the merged weights in fp16 at least 1.0e-2, in bf16 7.4e-2.
SAME_LOGPROB = 1e-3
# How likely a loss as uneven as the one seen may be between equally good models, before it is called damage: one false
# alarm in a hundred. Of 24 probes, eight lost and none won.
CHANCE = 0.01


@dataclass(frozen=True)
class Link:
    """What was compared at `stage`, in figures; `broken` says what and where, and is empty where the link holds."""

    stage: str
    compared: str
    figures: Mapping[str, float] = field(default_factory=dict)
    broken: str = ""
    remedy: str = ""

    @property
    def holds(self) -> bool:
        return not self.broken


def same_ids(
    stage: str,
    compared: str,
    probes: Sequence[Probe],
    written: Sequence[tuple[Ids, Ids]],
    show: Callable[[int], str],
    remedy: str,
) -> Link:
    """Whether each probe's prompt and answer, `written` by others, are the very ids that were learned."""
    figures = {"probes": len(probes)}
    for probe, (prompt, answer) in zip(probes, written, strict=True):
        for what, learned, found in (("prompt", probe.prompt, prompt), ("answer", probe.answer, answer)):
            if found != learned:
                at = _first_other(learned, found)
                is_, was = (repr(show(ids[at])) if at < len(ids) else "none" for ids in (found, learned))
                broken = f"{probe.place}: token {at + 1} of the {what} is {is_}, {was} was learned"
                return Link(stage, compared, figures, broken, remedy)
    return Link(stage, compared, figures)


def same_end(stage: str, compared: str, found: Any, end: int, remedy: str) -> Link:
    """Whether generation ends at the token that was learned as the end; `found` is an id or a list of them."""
    ends = found if isinstance(found, list) else [found]
    broken = "" if end in ends else f"answers end with token {end}, but it would wait for {found}"
    return Link(stage, compared, {"end_token": end}, broken, remedy if broken else "")


def same_logprobs(
    stage: str, compared: str, probes: Sequence[Probe], scores: Sequence[Scores], remedy: str, *, exact: bool = True
) -> Link:
    """How far the probed log-probabilities moved; where the weights are meant to be the same (`exact`), it may be by
    rounding alone."""
    parity = compare(probes, scores)
    if not math.isfinite(parity.max_logprob_difference):
        return Link(stage, compared, {}, f"{parity.worst}: a log-probability is no number", remedy)
    figures = {
        "probes": parity.probes,
        "max_logprob_difference": round(parity.max_logprob_difference, 4),
        "mean_probability_difference": round(parity.mean_probability_difference, 4),
    }
    if not exact or parity.max_logprob_difference <= SAME_LOGPROB:
        return Link(stage, compared, figures)
    moved = f"{parity.worst}: a log-probability moved by {parity.max_logprob_difference:.2g}"
    return Link(stage, compared, figures, f"{moved}, {SAME_LOGPROB:g} is rounding", remedy)


def no_worse(
    stage: str, compared: str, probes: Sequence[Probe], before: Sequence[float], after: Sequence[float], remedy: str
) -> Link:
    """Whether no more probes are answered worse than chance explains: the sign test on scores of the same rows."""
    worse = [probe for probe, was, now in zip(probes, before, after, strict=True) if now < was]
    better = [now > was for was, now in zip(before, after, strict=True)]
    p_value = mcnemar([now < was for was, now in zip(before, after, strict=True)], better)
    figures = {
        "probes": len(probes),
        "score_before": round(sum(before) / len(before), 4),
        "score": round(sum(after) / len(after), 4),
        "worse": len(worse),
        "better": sum(better),
    }
    if len(worse) <= sum(better) or p_value >= CHANCE:
        return Link(stage, compared, figures)
    broken = f"{len(worse)} of {len(probes)} probes are answered worse, {sum(better)} better (p {p_value:.2g})"
    return Link(stage, compared, figures, f"{broken}, first {worse[0].place}", remedy)


def require(links: Sequence[Link]) -> None:
    """Raises ProofError at the first link that is broken."""
    for link in links:
        if not link.holds:
            raise ProofError(link.broken, where=f"{link.stage} · {link.compared}", remedy=link.remedy)


def write_chain(folder: Path, links: Sequence[Link]) -> None:
    write_whole(folder / PROOF_FILE, json.dumps([asdict(link) for link in links], indent=1, ensure_ascii=False) + "\n")


def read_chain(folder: Path) -> list[Link]:
    """The links that stand beside a model, the earliest first."""
    return [Link(**told) for told in json.loads((folder / PROOF_FILE).read_text("utf-8"))]


def _first_other(first: Ids, second: Ids) -> int:
    return next(
        (at for at, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )
