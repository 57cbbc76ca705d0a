"""On-policy distillation with a project's models: the student writes by the torch runtime, its teacher scores it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from slmops.models.families import encode_prompt, end_token, family_of
from slmops.models.forward import NumberFormat, load_causal_lm
from slmops.models.tokenizer import Ids, Tokenizer
from slmops.runtimes.together import write_together
from slmops.runtimes.types import Request, Sampling
from slmops.tasks.types import Record, Task
from slmops.training.distillation_config import DistillationConfig
from slmops.training.on_policy import OnPolicy

if TYPE_CHECKING:
    from torch import nn

_MAX_TOKENS = 1024


@dataclass(frozen=True)
class OwnWords:
    """The teacher's folder, how many tokens are learned of what it says, and how."""

    teacher: Path
    k: int
    distillation: DistillationConfig

    def begin(self, rows: Sequence[tuple[Record, str]], task: Task, number_format: NumberFormat) -> OnPolicy:
        """Loads the teacher, which reads each row with its own prompt."""
        asked, tokenizer = self.distillation.on_policy, Tokenizer(self.teacher)
        assert asked
        family = family_of(tokenizer)
        end, sampling = end_token(tokenizer, family), Sampling(task.max_tokens, asked.temperature)

        def write(model: nn.Module, prompts: Sequence[Ids], seed: int) -> list[Ids]:
            requests = [
                Request(str(row), prompt, replace(sampling, seed=seed + row)) for row, prompt in enumerate(prompts)
            ]
            longest = model.config.max_position_embeddings
            rooms = [min(sampling.max_tokens, longest - len(prompt)) for prompt in prompts]
            found = write_together(model, requests, rooms, frozenset({end}))
            return [(*one.ids, end) if one.finish == "stop" else one.ids for one in found]

        return OnPolicy(
            asked.ratio,
            write,
            load_causal_lm(self.teacher, number_format),
            {record.id: encode_prompt(tokenizer, family, task.messages(record)) for record, _ in rows},
            self.k,
            self.distillation.temperature,
            _MAX_TOKENS,
        )
