"""The one training loop: packed batches, AdamW, a schedule, checkpoints from which it goes on exactly.

In come a model with some trainable parameters, examples and a loss; the model is trained in place. Knows no task, no
teacher, no store; what is trainable was decided before.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from slmops.core.errors import SlmopsError, need
from slmops.core.machine import keep_freed_memory, release_freed_memory
from slmops.models.forward import NumberFormat
from slmops.models.packing import Example, by_length, pack
from slmops.training.blame import BrokenLossError, row_losses, worst_rows
from slmops.training.checkpoint import Checkpoint
from slmops.training.chunked_head import chunk_of, losses_at
from slmops.training.computing import Computing, Rounding
from slmops.training.config import TrainConfig
from slmops.training.contrastive import check_alike
from slmops.training.curve import Moment, Point, looks_since_best
from slmops.training.frozen import Reader
from slmops.training.looks import Looks
from slmops.training.losses import TokenLoss
from slmops.training.on_policy import OWN, OnPolicy
from slmops.training.own import told
from slmops.training.parallel import Workers
from slmops.training.replication import FREE, Begins
from slmops.training.representation import Representation
from slmops.training.sampled_head import sampled_logits
from slmops.training.schedule import first_rounded_step, make_optimizer, set_learning_rate, steps_of
from slmops.training.self_check import PlainReader, why_not_packed
from slmops.training.terms import Teach, Teaching, terms_beside

if TYPE_CHECKING:
    from torch import nn

GoesOn = Callable[[Sequence[Point]], bool]  # the curve so far, at each look → whether to go on
Judge = Callable[["nn.Module"], float]  # a model → how good it is, the higher the better


@keep_freed_memory()
def train(
    model: nn.Module,
    examples: Sequence[Example],
    config: TrainConfig,
    loss: TokenLoss,
    *,
    teach: Teach | None = None,
    on_policy: OnPolicy | None = None,
    begins: Begins = FREE,
    representation: Representation | None = None,
    rounding: Rounding | None = None,
    validation: Sequence[Example] = (),
    seed: int,
    number_format: NumberFormat,
    scratch: Path,
    frozen: Path | None = None,
    judge: Judge | None = None,
    goes_on: GoesOn = lambda curve: True,
    checkpoint_every_s: float = 20.0,
    show: Callable[[str], str] = str,
    report: Callable[[float, str], None] = lambda share, text: None,
    watch: Callable[[Moment], None] = lambda moment: None,
) -> list[Point]:
    """Trains in place; returns the curve. Started again over the same scratch folder, it goes on where it was.

    `on_policy` has some rows answered by the model itself; `teach` then knows such rows, too.
    `begins` is how answers can begin, where they are few: then the target is replicated. Of a
    `representation`, what goes on inside the teacher is learned, too. `rounding` is what the shipped format will do to
    a weight: it is done during the last steps, so that the model learns to bear it.
    `judge` tells at each look how good the model is: by that, not by the loss, one look is better than another.
    `frozen` is a folder for what lower layers say, which trainings with the same ones share. `show` writes a row for
    people, from its name. `watch` hears of each point of the curve as it is reached. Workers that were joined share the
    work: all call this alike, the first alone writes, and is asked whether to go on.

    Raises:
        BrokenLossError: the loss is not a number; names the step and its rows.
        SlmopsError: the best weights are to be kept, and there are no validation rows to tell.
    """
    if config.keeps_best and not validation:
        raise SlmopsError(
            "there are no validation rows to tell which weights are best",
            where="training",
            remedy="give data.validation, or remove patience and keep",
        )
    torch = need("torch", "train")
    teaching = Teaching(loss, teach, begins, representation)
    rounding = rounding if config.quantization_aware else None
    if config.contrastive:
        check_alike(examples)
    goes_on = told(config.callbacks, goes_on)
    workers, computing = Workers.joined(), Computing(model, number_format, rounding)
    reader: Reader | PlainReader = Reader(
        computing.model,
        [*examples, *validation],
        workers.own(frozen or scratch / "frozen"),
        lambda share: report(0.0, f"reading with the layers that stay, {share:.0%}"),
        config.neftune_alpha,
    )
    if why := why_not_packed(computing.model, examples, reader.last_states, number_format):
        lost = [name for name in ("neftune_alpha", "contrastive") if getattr(config, name)]
        without = f", and without {' and '.join(lost)}" if lost else ""
        report(0.0, f"warning: {why}; training one example at a time, which is slower{without}")
        alone = {"max_tokens": 1, "neftune_alpha": 0.0, "contrastive": None}
        reader, config = PlainReader(computing.model), config.model_copy(update=alone)
    if config.gradient_checkpointing:
        computing.model.activation_checkpointing_enable({"use_reentrant": False})
    optimizer = make_optimizer(model, config)
    steps = steps_of(len(examples), config)
    checkpoint = Checkpoint(scratch / "checkpoint", model, optimizer)
    state = checkpoint.load()
    workers.check_alike(state.step)
    unrounded = first_rounded_step(steps, config, rounding is not None)
    computing.give_weights(rounded=state.step >= unrounded)
    looked_at = {round(steps * share / config.validations) for share in range(1, config.validations + 1)}
    computing.model.eval()
    looks = Looks(computing.model, examples, validation, config, reader.last_states)
    if not state.curve:
        before, held_out = workers.agree(looks.both)
        state.curve.append(Point(0, before, held_out, seen_loss=before))
        if workers.first:
            checkpoint.save_begin()
    saved_at = time.monotonic()
    learned, seconds = 0, 0.0  # since the point before
    while state.step < steps:
        step, began = state.step, time.perf_counter()
        chosen = [examples[row] for row in _rows_of_step(len(examples), config.batch_size, seed, step)]
        if on_policy:
            chosen = workers.agree(partial(on_policy.rows_of_step, computing.model, chosen, (seed, step)))
        rate = set_learning_rate(optimizer, step, steps, config)
        value, losses = _step(computing, reader, chosen, config, teaching, (seed, step), workers)
        norm = float(torch.nn.utils.clip_grad_norm_(computing.learning, config.max_grad_norm))
        if not math.isfinite(value + norm):
            what = f"the loss is {value}" if not math.isfinite(value) else f"the gradient is {norm}"
            what += f" at step {step + 1}; its rows: {_named(worst_rows(losses), show)}"
            raise BrokenLossError(what, step)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        computing.give_weights(rounded=step + 1 >= unrounded)
        state.step, state.total, state.count = step + 1, state.total + value, state.count + 1
        learned, seconds = learned + len(chosen), seconds + time.perf_counter() - began
        blamed = worst_rows(losses) if state.usual.is_leap(value) else ()
        look = state.step in looked_at
        if look or blamed or state.count == max(1, steps // 40):
            seen, held_out = workers.agree(looks.both) if look else (None, None)
            pulls = workers.agree(lambda: looks.pulls(teaching)) if look else {}
            judged = workers.agree(partial(judge, computing.model)) if look and judge else None
            rounded = rounding is not None and state.step >= unrounded
            mean = state.total / state.count
            point = Point(state.step, mean, held_out, blamed, seen, gradients=pulls, rounded=rounded, metric=judged)
            state.curve.append(point)
            state.total, state.count = 0.0, 0
            watch(Moment(state.curve[-1], rate, norm, learned, seconds))
            learned, seconds = 0, 0.0
        report(state.step / steps, f"step {state.step}/{steps}, loss {value:.3f}")
        if blamed:
            leapt = f"at step {state.step} the loss leapt to {value:.3f}: {_named(blamed, show)}"
            report(state.step / steps, f"warning: {leapt}")
        if look:
            since = looks_since_best(state.curve, unrounded)
            if since == 0 and config.keeps_best and workers.first:
                checkpoint.save_best()
            wanted = workers.agree(lambda: goes_on(state.curve))
            if not wanted or (config.patience and since and since >= config.patience):
                break
        if workers.first and time.monotonic() - saved_at >= checkpoint_every_s:
            checkpoint.save(state)
            saved_at = time.monotonic()
    further = workers.agree(
        lambda: looks.twice_as_far(
            checkpoint.begin(), checkpoint.learning, lambda: computing.give_weights(rounded=state.step >= unrounded)
        )
    )
    state.curve[-1] = replace(state.curve[-1], twice_as_far=further)
    if config.keeps_best:
        checkpoint.load_best()
    return state.curve


def _named(rows: Sequence[str], show: Callable[[str], str]) -> str:
    return ", ".join(f"{row} ({text[:80]!r})" if (text := show(row.removesuffix(OWN))) != row else row for row in rows)


def _step(
    computing: Computing,
    reader: Reader | PlainReader,
    examples: Sequence[Example],
    config: TrainConfig,
    teaching: Teaching,
    seed: tuple[int, int],
    workers: Workers,
) -> tuple[float, Mapping[str, float]]:
    """Accumulates the gradient of the mean loss a target token over all examples of the step, in fp32; returns that
    mean, and every row's own."""
    torch = need("torch", "train")
    own = seed if workers.first else (*seed, workers.rank)
    drawn_from = torch if torch.accelerator.is_available() else torch.default_generator  # torch's own walks the stack
    drawn_from.manual_seed(int(np.random.SeedSequence(own).generate_state(1)[0]))  # what is dropped, and noise
    targets = sum(sum(example.learn) for example in examples)
    model, loss, total = computing.model, teaching.loss, 0.0
    by_row: dict[str, float] = {}
    of_few = config.loss == "cross_entropy" and not (config.label_smoothing or teaching.sorts)  # else of the whole
    sampled = teaching.begins and config.vocabulary_sample and of_few
    model.train()
    for batch in pack(workers.share(by_length(examples)), config.max_tokens):
        (states, inside), taught = teaching.read(model, batch, reader.last_states), teaching.taught(batch)
        if config.gradient_checkpointing:  # whoever asks for it has little memory, and takes it slower
            release_freed_memory()
        at, ids = states[batch.target_at], batch.target_ids
        if sampled:
            losses = loss(*sampled_logits(model, at, ids, taught, config.vocabulary_sample, seed))
            value = losses.sum()
        else:
            losses, value = losses_at(model, at, ids, taught, loss, chunk_of(config))
        total += float(losses.detach().sum()) / targets
        value = value / targets
        rows = len(examples)
        beside = terms_beside(model, states, inside, batch, taught, teaching, config, targets=targets, rows=rows)
        for term in beside.values():
            value, total = value + term, total + float(term.detach())
        value.backward()
        computing.take_gradients()
        if config.gradient_checkpointing:
            release_freed_memory()
        by_row |= row_losses(batch.rows, batch.target_row, losses.detach())
    model.eval()
    return workers.add_up(computing.learning, total, by_row, [example.row for example in examples])


def _rows_of_step(count: int, batch_size: int, seed: int, step: int) -> list[int]:
    """The rows of a step, from the seed alone: each epoch is a new order of all rows."""
    steps_per_epoch = math.ceil(count / batch_size)
    epoch, within = divmod(step, steps_per_epoch)
    order = np.random.default_rng((seed, epoch)).permutation(count)
    return [int(row) for row in order[within * batch_size : (within + 1) * batch_size]]
