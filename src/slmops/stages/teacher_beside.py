"""A teacher that stays in memory beside its student: it scores what the student writes by the torch runtime, and shows
what goes on inside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from slmops.core.errors import SlmopsError
from slmops.models.families import encode_prompt, end_token, family_of
from slmops.models.forward import NumberFormat, decoder_layers, load_causal_lm
from slmops.models.packing import Example
from slmops.models.tokenizer import Ids, Tokenizer
from slmops.runtimes.together import write_together
from slmops.runtimes.types import Request, Sampling
from slmops.stages.conflicts import NEED_SAME_TOKENS
from slmops.stages.parts import answered_examples
from slmops.stages.project import Project
from slmops.tasks.types import Prompt, Record, Task, messages_for
from slmops.training.distillation_config import DistillationConfig
from slmops.training.frozen import lowest_learning
from slmops.training.layer_maps import last_layers, similar_layers, uniform_layers
from slmops.training.on_policy import OnPolicy
from slmops.training.representation import Representation, add_projections, states_of

if TYPE_CHECKING:
    from torch import nn

_MAX_TOKENS = 1024
_CALIBRATION_ROWS = 32
_LAYERS = "distillation.representation.layers"


def check_follows(follows: Mapping[int, int], count: int, of_teacher: int) -> None:
    """That the student's `count` layers, counted from 0, and those of its teacher are there.

    Raises:
        SlmopsError: one is not.
    """
    for layer, other in follows.items():
        if layer >= count or not 0 <= other < of_teacher:
            what = f"layer {layer + 1} is to follow layer {other + 1}, the student has {count}, the teacher"
            raise SlmopsError(f"{what} {of_teacher}", where=_LAYERS, remedy="name layers that both have")


def check_same_tokens(project: Project, student: Path, teacher: Path) -> None:
    """That both, in their folders, can be held together token by token, where that is asked.

    Raises:
        ConfigError: their tokens are others.
    """
    asked = project.needs_same_tokens
    if asked and Tokenizer(student).vocabulary_id != Tokenizer(teacher).vocabulary_id:
        why, remedy = NEED_SAME_TOKENS[asked[0]]
        what = f"the student's tokens are others than the teacher's: {why}"
        raise project.error(f"distillation.{asked[0]}", what, remedy)


@dataclass(frozen=True)
class TeacherBeside:
    """The teacher's folder, how it is asked, and what is learned of it while it is there. Of what the student writes,
    `k` tokens are kept; `vocabulary` is which of the teacher's tokens each of the student's stands for, where these are
    not the same."""

    folder: Path
    prompt: Prompt
    distillation: DistillationConfig
    k: int = 0
    vocabulary: Sequence[int | None] | None = None

    @property
    def new_id(self) -> dict[int, int] | None:
        """What the teacher's tokens are called in the student's vocabulary, where that is another one."""
        if self.vocabulary is None:
            return None
        return {old: new for new, old in enumerate(self.vocabulary) if old is not None}

    def begin(
        self,
        student: nn.Module,
        examples: Sequence[Example],
        rows: Sequence[tuple[Record, str]],
        task: Task,
        number_format: NumberFormat,
        seed: int,
    ) -> tuple[OnPolicy | None, Representation | None]:
        """Loads the teacher, which reads each row with its own prompt. The student gets what it needs to be held
        against a wider teacher.

        Raises:
            SlmopsError: a layer is to follow that one of the two has not.
        """
        teacher = load_causal_lm(self.folder, number_format)
        own = self._on_policy(teacher, rows, task) if self.distillation.on_policy else None
        if not self.distillation.representation:
            return own, None
        return own, self._representation(teacher, student, examples, rows, task, seed)

    def _on_policy(self, teacher: nn.Module, rows: Sequence[tuple[Record, str]], task: Task) -> OnPolicy:
        asked, tokenizer = self.distillation.on_policy, Tokenizer(self.folder)
        assert asked
        family = family_of(tokenizer)
        end, sampling = end_token(tokenizer, family), Sampling(task.max_tokens, asked.temperature)
        end = (self.new_id or {}).get(end, end)  # as the student writes it

        def write(model: nn.Module, prompts: Sequence[Ids], seed: int) -> list[Ids]:
            requests = [
                Request(str(row), prompt, replace(sampling, seed=seed + row)) for row, prompt in enumerate(prompts)
            ]
            longest = model.config.max_position_embeddings
            rooms = [min(sampling.max_tokens, longest - len(prompt)) for prompt in prompts]
            found = write_together(model, requests, rooms, frozenset({end}))
            return [(*one.ids, end) if one.finish == "stop" else one.ids for one in found]

        asked_for = ((record.id, messages_for(task, self.prompt, record)) for record, _ in rows)
        return OnPolicy(
            asked.ratio,
            write,
            teacher,
            {row: encode_prompt(tokenizer, family, messages) for row, messages in asked_for},
            self.k,
            self.distillation.temperature,
            _MAX_TOKENS,
            self.vocabulary,
        )

    def _representation(
        self,
        teacher: nn.Module,
        student: nn.Module,
        examples: Sequence[Example],
        rows: Sequence[tuple[Record, str]],
        task: Task,
        seed: int,
    ) -> Representation:
        config = self.distillation.representation
        assert config
        read = answered_examples(Tokenizer(self.folder), task, rows, self.prompt)
        longest = teacher.config.max_position_embeddings
        known = {example.row: example for example in read if example.length <= longest}
        found = Representation(teacher, known, config, {}, self.new_id, _MAX_TOKENS)
        count, of_teacher = len(decoder_layers(student)), len(decoder_layers(teacher))
        match config.layers:
            case "uniform":
                follows = uniform_layers(count, of_teacher)
            case "last":
                follows = last_layers(count, of_teacher)
            case "similar":
                some = [example for example in examples if example.row in known][:_CALIBRATION_ROWS]
                follows = similar_layers(*states_of(found, student, some))
            case _:
                follows = config.follows()
        check_follows(follows, count, of_teacher)
        lowest = lowest_learning(student)
        follows = {layer: other for layer, other in follows.items() if layer >= lowest}
        if not follows:
            remedy = "raise student.train.upper_layers, or name higher layers"
            raise SlmopsError("no layer that learns follows one of the teacher's", where=_LAYERS, remedy=remedy)
        if config.hidden_states:
            add_projections(student, sorted(follows), teacher.config.hidden_size, seed)
        return replace(found, follows=follows)
