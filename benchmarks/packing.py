"""How fast shared-prefix packing trains, against padded batches of the same examples: `python -m benchmarks.packing`.

A LoRA (r = 16, every linear layer) on smollm2-135m-instruct learns 30 banking intents of CLINC150 that are listed in an
instruction of 142 tokens. Packed and padded steps take turns in one process, on the same model, in the same number
format; the padded side gets the best of the batch sizes in `GRID` and sorted lengths. TRL's SFTTrainer runs with its
defaults. Also measured: how far the two gradients differ, and what a dense mask would cost.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.lessons import Rows, read_rows
from benchmarks.peer_trl import Job, run_trl
from benchmarks.results import Asked, Group, Measured, Target, parser, run
from benchmarks.steps import last_step_seconds
from slmops.core.machine import default_threads, probe_number_format
from slmops.core.measurement import Interval
from slmops.core.statistics import bootstrap
from slmops.models.forward import NumberFormat, computing_copy, load_causal_lm, target_logits
from slmops.models.packing import Batch, Example, pack
from slmops.models.references import resolve
from slmops.training.config import TrainConfig
from slmops.training.methods import prepare

MODEL = "smollm2-135m-instruct"
GRID = (4, 8, 16)  # padded batch sizes
EXAMPLES = 32  # a packed step; they fill one sequence
ROUNDS = 3
MAX_TOKENS = 1024
SEED = 7
SEEDS = 3
SAME_LOSS = 0.005  # nats a token

B = TypeVar("B")
LossOf = Callable[[nn.Module, B], Tensor]

_FASTER = Target("≥ 6 × padded batches (examples/s, same run)", "at least", 6)
_FORMATS: tuple[NumberFormat, ...] = ("float32", "bfloat16")


@dataclass(frozen=True)
class Settings:
    """How much is measured; smaller for tests."""

    examples: int = EXAMPLES
    rounds: int = ROUNDS
    grid: tuple[int, ...] = GRID
    trl_steps: int = 2
    learned: int = 128


def groups(settings: Settings = Settings()) -> list[Group]:
    """The training rows: the issue's two, and what explains them."""
    trained = "LoRA training of a 135 M model, 30 intents in a 142-token instruction"
    equality = Asked(
        "gradient_equality",
        "relative norm difference of the LoRA gradient, packed against padded, fp32",
        "",
        Target("gradient equality ≤ 10⁻⁵", "at most", 1e-5),
    )
    same_loss = Asked(
        "validation_loss",
        f"validation loss (nats a token) after training on the same {settings.learned} rows in the same order, fp32, "
        "3 seeds: packed against padded",
        "",
        Target("same validation loss within noise (three seeds)", "at most", SAME_LOSS),
    )
    made = [
        Group((equality,), lambda wanted: [("gradient_equality", gradient_equality(settings.examples))]),
        Group((same_loss,), lambda wanted: [("validation_loss", loss_with_and_without(settings.learned))]),
    ]
    for number_format in formats():
        asked = (
            Asked(f"training_{number_format}", f"{trained}, {number_format}: packed against padded", "/s", _FASTER),
            Asked(f"dense_mask_{number_format}", f"packed, {number_format}: own attention against a dense mask", "/s"),
        )
        made.append(Group(asked, functools.partial(_speeds, number_format, settings)))
    against_trl = Asked("training_trl", f"{trained}: packed against TRL's SFTTrainer at its defaults", "/s")
    made.append(Group((against_trl,), lambda wanted: [("training_trl", speed_against_trl(settings))]))
    return made


@functools.cache
def formats() -> tuple[NumberFormat, ...]:
    """fp32, and bf16 where the machine is fast at it."""
    return _FORMATS if probe_number_format(default_threads())[0] == "bfloat16" else _FORMATS[:1]


def gradient_equality(examples: int = EXAMPLES) -> Measured:
    """How far the gradient of packed sequences is from that of padded batches, on the same adapters."""
    torch.set_num_threads(default_threads())
    model, rows = _prepared_model(), _rows(examples).examples
    torch.manual_seed(SEED)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:  # zero at first, which would leave half of the gradient zero
                parameter.normal_(std=0.01)
    packed = _gradient(model, _packed_loss, list(pack(rows, MAX_TOKENS)))
    padded = _gradient(model, _padded_loss, _batches(rows, GRID[0]))
    difference = float((packed - padded).norm() / padded.norm())
    return Measured(difference, Interval(difference, difference, difference, n=examples))


def loss_with_and_without(learned: int) -> Measured:
    """What packed sequences and padded batches have learned of the same rows, by the loss on rows held out: decided is
    how far the two are apart, with the seed that drives them furthest apart."""
    torch.set_num_threads(default_threads())
    examples = _rows(2 * learned).examples
    held_out = examples[learned:]
    losses = np.array(
        [
            [_learned(examples[:learned], held_out, seed, is_packed=is_packed) for is_packed in (True, False)]
            for seed in range(SEEDS)
        ]
    )
    apart = np.abs(losses[:, 0] - losses[:, 1])
    by_seed = ", ".join(f"{one:.1e}" for one in apart)
    note = f"apart by seed: {by_seed}; the seed alone changes {losses[:, 0].std(ddof=1):.1e}"
    ours, peer = (float(loss) for loss in losses.mean(axis=0))
    return Measured(ours, Interval(float(apart.max()), float(apart.min()), float(apart.max()), n=SEEDS), peer, note)


def _learned(examples: Sequence[Example], held_out: Sequence[Example], seed: int, *, is_packed: bool) -> float:
    """The loss on `held_out` after one step over every eight of `examples`, in the seed's order."""
    model = prepare(load_causal_lm(resolve(MODEL).folder), TrainConfig(upper_layers=1), seed)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=TrainConfig().learning_rate, betas=(0.9, 0.98))
    order = np.random.default_rng(seed).permutation(len(examples))
    for start in range(0, len(order), 8):
        rows = [examples[place] for place in order[start : start + 8]]
        if is_packed:
            losses = [_packed_loss(model, batch) for batch in pack(rows, MAX_TOKENS)]
        else:
            losses = [_padded_loss(model, rows)]
        (sum(losses, torch.zeros(())) / len(rows)).backward()
        nn.utils.clip_grad_norm_(trainable, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    with torch.inference_mode():
        batches = list(pack(held_out, MAX_TOKENS))
        total = sum(float(_packed_loss(model, batch)) for batch in batches)
    return total / sum(len(batch.target_ids) for batch in batches)


def speed_against_trl(settings: Settings) -> Measured:
    """Packed training in the number format that the trainer would choose, then TRL with its own choices."""
    number_format = formats()[-1]
    rows = _rows(settings.examples)
    ours = _median_speed(_packed_step(_prepared_model(), rows.examples, number_format), settings)
    found = run_trl(Job(str(resolve(MODEL).folder), rows.conversations, "lora", number_format, settings.trl_steps))
    theirs = found.examples_per_s
    ratio = Interval(ours / theirs, ours / theirs, ours / theirs, n=settings.trl_steps)
    return Measured(ours, ratio, theirs, note=f"{number_format}; TRL: {found.examples:.0f} examples a step")


def _speeds(number_format: NumberFormat, settings: Settings, wanted: frozenset[str]) -> Iterator[tuple[str, Measured]]:
    """Packed, padded and dense steps over the same examples, one round after another."""
    torch.set_num_threads(default_threads())
    model, examples = _prepared_model(), _rows(settings.examples).examples
    packed = _packed_step(model, examples, number_format)
    dense = _step(model, _dense_loss, list(pack(examples, MAX_TOKENS)), number_format)
    packed(), dense()  # the first ones are slow
    tried = examples[: max(1, len(examples) // 2)]
    grid = {}
    for size in settings.grid:
        trial = _step(model, _padded_loss, _batches(tried, size), number_format)
        grid[size] = len(tried) / trial()
    best = max(grid, key=lambda size: grid[size])
    padded = _step(model, _padded_loss, _batches(examples, best), number_format)
    seconds = np.array([(packed(), padded(), dense()) for _ in range(settings.rounds)])  # (round, kind)
    sizes = ", ".join(f"{size}: {speed:.2f}" for size, speed in grid.items())
    note = f"padded at its best batch size {best} (examples/s by size: {sizes})"
    yield f"training_{number_format}", _compare(seconds[:, :2], len(examples), note)
    yield f"dense_mask_{number_format}", _compare(seconds[:, ::2], len(examples))


def _compare(seconds: Any, examples: int, note: str = "") -> Measured:
    """Examples/s of two kinds of step over the same examples that took turns: (round, kind) seconds."""
    ours, peer = examples / seconds.mean(axis=0)
    ratio = bootstrap(seconds, lambda sums: sums[..., 1] / sums[..., 0], seed=SEED)
    return Measured(float(ours), ratio, float(peer), note)


def _packed_step(model: nn.Module, examples: Sequence[Example], number_format: NumberFormat) -> Callable[[], float]:
    """A step of slmops' own training loop over all examples, after one that warms up; returns its seconds."""
    config = TrainConfig(batch_size=len(examples), epochs=2, schedule="constant", warmup=0, upper_layers=1)

    return lambda: last_step_seconds(model, examples, config, number_format, SEED)


def _step(
    model: nn.Module, loss_of: LossOf[B], batches: Sequence[B], number_format: NumberFormat
) -> Callable[[], float]:
    """One step over `batches`, optimized as the training loop does; returns its seconds."""
    config, computing = TrainConfig(), computing_copy(model, number_format)
    trainable = [parameter for parameter in computing.parameters() if parameter.requires_grad]

    def step() -> float:
        started = time.perf_counter()
        optimizer = torch.optim.AdamW(
            trainable, lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=config.weight_decay, fused=True
        )
        computing.train()
        for batch in batches:
            (loss_of(computing, batch) / len(batches)).backward()
        nn.utils.clip_grad_norm_(trainable, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return time.perf_counter() - started

    return step


def _packed_loss(model: nn.Module, batch: Batch) -> Tensor:
    return functional.cross_entropy(target_logits(model, batch), batch.target_ids, reduction="sum")


def _padded_loss(model: nn.Module, examples: Sequence[Example]) -> Tensor:
    """Every example with its own copy of the instruction, padded on the right to the longest, logits everywhere."""
    whole = [sum(example.path, ()) for example in examples]
    longest = max(map(len, whole))
    ids = torch.zeros(len(whole), longest, dtype=torch.long)
    labels, real = torch.full_like(ids, -100), torch.zeros_like(ids)
    for row, (tokens, example) in enumerate(zip(whole, examples, strict=True)):
        ids[row, : len(tokens)], real[row, : len(tokens)] = torch.tensor(tokens), 1
        learned = torch.tensor([False] * (len(tokens) - len(example.learn)) + list(example.learn))
        labels[row, : len(tokens)][learned] = ids[row, : len(tokens)][learned]
    logits = model(input_ids=ids, attention_mask=real, use_cache=False).logits[:, :-1]
    return functional.cross_entropy(logits.flatten(0, 1).float(), labels[:, 1:].flatten(), reduction="sum")


def _dense_loss(model: nn.Module, batch: Batch) -> Tensor:
    """The packed sequence under one (time, time) mask: what packed attention saves."""
    decoder: Any = getattr(model, model.base_model_prefix)
    states = decoder(
        input_ids=batch.ids, position_ids=batch.positions, attention_mask=_dense_mask(batch), use_cache=False
    ).last_hidden_state
    logits = model.get_output_embeddings()(states.flatten(0, 1)[batch.target_at])
    return functional.cross_entropy(logits.float(), batch.target_ids, reduction="sum")


def _dense_mask(batch: Batch) -> Tensor:
    """(sequence, 1, query, key): whether a token may see another: of its own path, and not after itself."""
    sequences, segments = batch.parents.shape
    on_path = torch.zeros(sequences, segments + 1, segments + 1, dtype=torch.bool)  # the last one is padding's
    for sequence, parents in enumerate(batch.parents.tolist()):
        for segment in range(segments):
            ancestor = segment
            while ancestor >= 0:
                on_path[sequence, segment, ancestor] = True
                ancestor = parents[ancestor]
    on_path[:, -1, -1] = True
    row = torch.arange(sequences)[:, None, None]
    seen = on_path[row, batch.segments[:, :, None], batch.segments[:, None, :]]
    return (seen & (batch.positions[:, None, :] <= batch.positions[:, :, None]))[:, None]


def _gradient(model: nn.Module, loss_of: LossOf[B], batches: Sequence[B]) -> Tensor:
    model.zero_grad()
    for batch in batches:
        loss_of(model, batch).backward()
    return torch.cat([p.grad.flatten().clone() for p in model.parameters() if p.grad is not None])


def _batches(examples: Sequence[Example], size: int) -> list[list[Example]]:
    """Batches of similar lengths: as little padding as there can be."""
    ordered = sorted(examples, key=lambda example: len(example.path[-1]))
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]


def _median_speed(step: Callable[[], float], settings: Settings) -> float:
    step()
    return float(settings.examples / np.median([step() for _ in range(settings.rounds)]))


def _prepared_model() -> nn.Module:
    """The model with fresh adapters: the same ones each time."""
    return prepare(load_causal_lm(resolve(MODEL).folder), TrainConfig(upper_layers=1), SEED)


def _rows(examples: int) -> Rows:
    return read_rows("intents", resolve(MODEL).folder, examples)


def main() -> int:
    arguments = parser(__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=ROUNDS, help="turns of packed and padded steps")
    arguments.add_argument("--examples", type=int, default=EXAMPLES, help="in a packed step")
    arguments.add_argument("--grid", type=int, nargs="+", default=GRID, help="padded batch sizes to choose from")
    given = arguments.parse_args()
    return run("packing", groups(Settings(given.examples, given.rounds, tuple(given.grid))), given)


if __name__ == "__main__":
    sys.exit(main())
