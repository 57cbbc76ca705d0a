"""By what a training may be judged: the task's first figure of the model in memory, as it answers rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from slmops.evaluation.compare import parse_all
from slmops.models.families import encode_prompt, end_token, family_of
from slmops.models.tokenizer import Tokenizer
from slmops.runtimes.decoding import least_room, room_for_answer
from slmops.runtimes.local import compile_grammar
from slmops.runtimes.together import write_together
from slmops.runtimes.types import Limits, Request, Sampling
from slmops.tasks.types import Prompt, Record, Task, messages_for
from slmops.training.trainer import Judge

if TYPE_CHECKING:
    from torch import nn


def judge_by_metric(folder: Path, task: Task, rows: Sequence[tuple[Record, str]], prompt: Prompt) -> Judge:
    """For models with the tokenizer of `folder`. A row that leaves no room for an answer is not asked; a figure that is
    none is 0."""
    tokenizer = Tokenizer(folder)
    family = family_of(tokenizer)
    end = end_token(tokenizer, family)
    constraint = compile_grammar(task.grammar, folder, tokenizer, end)
    prompts = [encode_prompt(tokenizer, family, messages_for(task, prompt, record)) for record, _ in rows]
    requests = [Request("", one, Sampling(task.max_tokens), constraint) for one in prompts]

    def judge(model: nn.Module) -> float:
        limits = Limits(model.config.max_position_embeddings)
        fits = [len(one) + least_room(constraint) <= limits.context for one in prompts]
        asked = [request for request, fit in zip(requests, fits, strict=True) if fit]
        gold = [record.gold for (record, _), fit in zip(rows, fits, strict=True) if fit]
        rooms = [room_for_answer(request, limits) for request in asked]
        written = write_together(model, asked, rooms, frozenset({end}))
        answers = parse_all(task, [tokenizer.decode(one.ids) for one in written])
        metric = task.metrics[0]
        value = float(metric.reduce(metric.rows(answers, gold).sum(axis=0)))
        return value if math.isfinite(value) else 0.0

    return judge
