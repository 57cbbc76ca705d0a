"""What a training will need, before it runs: memory and disk, from the model's shape and how it learns. Loads nothing.

Counted are the weights, what the optimizer keeps of those that learn, what a packed sequence leaves behind for its
backward pass, and the states of layers that stay. Held against measurements by benchmarks/finetuning.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

from slmops.core.errors import ModelError, SlmopsError
from slmops.models.folder import text_part
from slmops.models.forward import NumberFormat
from slmops.models.packing import Example
from slmops.training.chunked_head import chunk_of
from slmops.training.config import TrainConfig

_BASE = 560e6  # the process with its libraries, before any model
# Values a token and layer that a backward pass needs: times the width, times the inner width.
_KEPT = {"full": (22, 5), "bottleneck": (14, 3), "prompt": (14, 3)}
_KEPT_WITH_ADAPTERS = (28, 7)
_OF_ATTENTION = 2.5  # scores, their exponentials, and the mask's share
_TWICE = 6  # layers' worth of values that lie about where they are computed twice
_OF_LOGITS = 4  # logits, log-probabilities, and the gradients of both
# What GPT-2 calls them; its MLP has two matrices, not three, and is overestimated.
_OF_GPT2 = {
    "hidden_size": "n_embd",
    "num_attention_heads": "n_head",
    "num_hidden_layers": "n_layer",
    "intermediate_size": "n_inner",
}
_HEAD = "lm_head"
_CHECKPOINT = 28  # bytes a weight that learns: it and its moments, as they were and are; how it began
_NF4 = 0.5625  # bytes a weight


@dataclass(frozen=True)
class Shape:
    """The sizes of a model that decide what it needs. `query_width` is that of all heads together, `key_width` that of
    those that are shared; 0 stands for the model's width."""

    width: int
    inner: int
    layers: int
    heads: int
    key_width: int
    vocabulary: int
    tied: bool
    query_width: int = 0

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Shape:
        """From a model folder's config.json; of one that sees images, too, its text part.

        Raises:
            ModelError: a size that decides is not in it.
        """
        text = text_part(config)

        def size_of(name: str, otherwise: int | None = None) -> int:
            found = text.get(name) or text.get(_OF_GPT2.get(name, "")) or otherwise
            if not found:
                remedy = "choose a model of a supported family"
                raise ModelError(f"its config.json has no {name!r}", remedy=remedy)
            return int(found)

        width, heads = size_of("hidden_size"), size_of("num_attention_heads")
        size = size_of("head_dim", width // heads)
        return cls(
            width,
            size_of("intermediate_size", 4 * width if "n_embd" in text else None),
            size_of("num_hidden_layers"),
            heads,
            size * size_of("num_key_value_heads", heads),
            size_of("vocab_size"),
            bool(text.get("tie_word_embeddings", True)),
            size * heads,
        )

    @property
    def layer(self) -> int:
        """The weights of a layer's matrices."""
        return 2 * self.width * (self.queries + self.key_width) + 3 * self.width * self.inner

    @property
    def kv_heads(self) -> int:
        """How many heads of keys and values there are."""
        return self.key_width * self.heads // self.queries

    @property
    def queries(self) -> int:
        return self.query_width or self.width

    @property
    def embeddings(self) -> int:
        return self.vocabulary * self.width * (1 if self.tied else 2)

    @property
    def weights(self) -> int:
        return self.layers * self.layer + self.embeddings

    def bytes_in(self, number_format: NumberFormat) -> int:
        """All weights in memory."""
        return self.weights * (2 if number_format == "bfloat16" else 4)


@dataclass(frozen=True)
class Lessons:
    """What is learned from: rows, and the tokens of all, each once; of the longest sequence, and the targets in it; how
    long a row is with what it shares with others; whether answers are of a closed set; and what a step comes to, what
    is shared once for each sequence."""

    rows: int
    tokens: int
    packed: int
    targets: int
    row: float
    closed: bool
    step_tokens: float
    step_targets: float
    step_sequences: int

    @classmethod
    def of(cls, examples: Sequence[Example], config: TrainConfig, closed: bool) -> Lessons:
        """What `examples` come to, packed by `config`."""
        whole, own = [example.length for example in examples], [len(example.path[-1]) for example in examples]
        segments = {example.path[:depth] for example in examples for depth in range(1, len(example.path) + 1)}
        shared = max(total - last for total, last in zip(whole, own, strict=True))
        learned = mean(sum(example.learn) for example in examples)
        found = cls.like(len(examples), mean(own), shared, learned, config, closed)
        tokens = sum(len(path[-1]) for path in segments)
        return replace(found, tokens=tokens, packed=max(found.packed, *whole), row=mean(whole))

    @classmethod
    def like(
        cls, rows: int, own: float, shared: int, learned: float, config: TrainConfig, closed: bool = False
    ) -> Lessons:
        """What `rows` would come to, of `own` tokens each beside those `shared`, `learned` of them to learn."""
        packed = round(min(config.max_tokens, shared + config.batch_size * own))
        sequences = math.ceil(config.batch_size * own / max(1, packed - shared))
        return cls(
            rows=rows,
            tokens=round(rows * own) + shared,
            packed=packed,
            targets=round(packed * learned / own),
            row=shared + own,
            closed=closed,
            step_tokens=config.batch_size * own + sequences * shared,
            step_targets=config.batch_size * learned,
            step_sequences=sequences,
        )


@dataclass(frozen=True)
class Needs:
    """Bytes, at their peak."""

    memory: float
    disk: float


def check_room(config: TrainConfig, needs: Callable[[TrainConfig], Needs], free: Needs, scratch: Path) -> None:
    """That what is free suffices, on the disk of `scratch`.

    Raises:
        SlmopsError: it does not; the remedy is the first of some changes with which it would.
    """
    asked = needs(config)
    if asked.disk > free.disk:
        what = f"training needs about {asked.disk / 1e9:.1f} GB on disk, {free.disk / 1e9:.1f} GB are free"
        raise SlmopsError(what, where=str(scratch), remedy="free some there, or work on a larger disk")
    if asked.memory > free.memory:
        fits = next((told for told, other in cheaper(config) if needs(other).memory <= free.memory), "")
        raise SlmopsError(
            f"training needs about {asked.memory / 1e9:.1f} GB of memory, {free.memory / 1e9:.1f} GB are free",
            where="training",
            remedy=(f"write train: {{{fits}}}" if fits else "choose a smaller model") + ", or try with --force",
        )


def cheaper(config: TrainConfig) -> Iterator[tuple[str, TrainConfig]]:
    """Other ways to learn that need less memory, with their keys; those that change least first."""
    ways: list[dict[str, Any]] = [{"max_tokens": tokens} for tokens in (512, 256) if tokens < config.max_tokens]
    ways += [way | {"gradient_checkpointing": True} for way in [{}, *ways]]
    if config.method == "full" and not config.embeddings:
        qlora = {"method": "qlora"} | ({"quantization_aware": 0.0} if config.quantization_aware else {})
        ways += [ways[-1] | method for method in ({"method": "lora"}, qlora)]
    for way in ways:
        yield ", ".join(f"{name}: {str(value).lower()}" for name, value in way.items()), config.model_copy(update=way)


def training_needs(
    shape: Shape, config: TrainConfig, lessons: Lessons, number_format: NumberFormat, rounded: bool = False
) -> Needs:
    """What training needs; `rounded`: it computes with a copy as the shipped format has it."""
    size = 2 if number_format == "bfloat16" else 4
    learning = learning_layers(shape, config)
    weights, copies = 4.0 * shape.weights, float(size * shape.weights) if size == 2 or rounded else 0.0
    if config.method == "qlora":  # the copy's layers lie in four bits, too
        weights -= (4 - _NF4) * shape.layers * shape.layer
        copies -= (size - _NF4) * shape.layers * shape.layer if copies else 0.0
    learned = learning * learned_a_layer(shape, config) + (shape.embeddings if config.embeddings else 0)
    saved, copied = saved_whole(shape, config), size if copies else 0  # the latter has gradients, too
    kept = (learned + saved) * (12 + copied) + saved * (4 + copied)
    frozen = lessons.tokens * shape.width * size if learning < shape.layers else 0
    working = size * lessons.packed * kept_a_token(shape, config, learning, lessons)
    virtual = config.method == "prompt" and shape.tied
    # A head that learns is computed at once.
    whole = config.embeddings or virtual or _HEAD in map(_last, config.modules_to_save)
    at_once = lessons.targets if whole else min(lessons.targets, chunk_of(config))
    logits = 4 * _OF_LOGITS * at_once * computed_logits(shape, config, lessons)
    loading = _BASE + 4.0 * shape.weights
    written = (learned + saved) * (_CHECKPOINT + (4 if config.keeps_best else 0))
    return Needs(max(loading, _BASE + weights + copies + kept + frozen + working + logits), written + frozen)


def learning_layers(shape: Shape, config: TrainConfig) -> int:
    """Those through which a gradient passes."""
    return shape.layers if config.method == "prompt" else max(1, round(config.upper_layers * shape.layers))


def learned_a_layer(shape: Shape, config: TrainConfig) -> int:
    """How many weights learn: all, or those of the adapters beside each matrix."""
    if config.method == "full":
        return shape.layer
    if config.method == "bottleneck":
        return 3 * shape.width * config.units
    if config.method == "prompt":
        return math.ceil(config.virtual_tokens * shape.width / shape.layers)
    ends = 2 * (shape.width + shape.width) + 2 * (shape.width + shape.key_width) + 3 * (shape.width + shape.inner)
    return config.rank * ends


def saved_whole(shape: Shape, config: TrainConfig) -> int:
    """How many weights are copied to learn beside adapters; of small parts, such as norms, nothing is known."""
    found = 0
    for name in config.modules_to_save:
        of_layer = {
            "mlp": 3 * shape.width * shape.inner,
            "self_attn": 2 * shape.width * (shape.queries + shape.key_width),
            **dict.fromkeys(("gate_proj", "up_proj", "down_proj"), shape.width * shape.inner),
            **dict.fromkeys(("q_proj", "o_proj"), shape.width * shape.queries),
            **dict.fromkeys(("k_proj", "v_proj"), shape.width * shape.key_width),
        }
        if _last(name) in (_HEAD, "embed_tokens", "wte"):
            found += shape.vocabulary * shape.width
        elif any(part.isdigit() for part in name.split(".")):  # that of one layer
            found += of_layer.get(_last(name), 0)
        else:
            found += shape.layers * of_layer.get(_last(name), 0)
    return found


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def kept_a_token(shape: Shape, config: TrainConfig, layers: int, lessons: Lessons) -> float:
    """Values that a token leaves behind for the backward pass."""
    by_width, by_inner = _KEPT.get(config.method, _KEPT_WITH_ADAPTERS)
    inner = shape.inner + (config.units if config.method == "bottleneck" else 0)
    attention = _OF_ATTENTION * shape.heads * lessons.row
    layer = by_width * shape.width + by_inner * inner + attention
    if config.gradient_checkpointing:
        return layers * shape.width + _TWICE * layer
    return layers * layer


def computed_logits(shape: Shape, config: TrainConfig, lessons: Lessons) -> float:
    plain = config.loss == "cross_entropy" and not config.label_smoothing
    sampled = lessons.closed and config.vocabulary_sample and plain
    return config.vocabulary_sample if sampled else shape.vocabulary
