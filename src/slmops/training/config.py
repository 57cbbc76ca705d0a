"""The section `train` of teacher, student and adapters: how a model learns. Loads none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationError, model_validator

from slmops.core.config import Section, one_or_many, wrong
from slmops.core.mistakes import nearest
from slmops.core.named import Named
from slmops.core.search import SearchConfig, begin_of

MOST_EPOCHS = 1000


class ContrastiveConfig(Section):
    """How far rows of one answer are drawn together in the last hidden state, and others pushed apart."""

    main: ClassVar[str] = "weight"

    weight: float = Field(default=0.1, gt=0, le=1000, description="how much it counts beside the loss of the answer")
    kind: Literal["infonce", "margin"] = Field(
        default="infonce", description="infonce (against all others at once), or margin (pair by pair)"
    )
    temperature: float = Field(default=0.1, gt=0, le=100, description="how sharply near ones count (infonce)")
    margin: float = Field(default=0.5, gt=-1, lt=1, description="how similar others may be, as a cosine (margin)")

    @model_validator(mode="after")
    def _fits_together(self) -> ContrastiveConfig:
        idle, kind = ("margin", "margin") if self.kind == "infonce" else ("temperature", "infonce")
        if idle in self.model_fields_set:
            raise wrong(f"{idle} is for {kind}, not for {self.kind}", f"write kind: {kind}, or remove {idle}")
        return self


class TrainConfig(Section):
    """How a model learns: one schema for teacher and student."""

    main: ClassVar[str] = "method"

    method: Literal["lora", "dora", "qlora", "bottleneck", "prompt", "full"] = Field(
        default="lora",
        description="lora (low-rank adapters), dora (the same, and the size of each output), qlora (lora on a base in "
        "four bits), bottleneck (more hidden units in each MLP), prompt (tokens before every conversation), or full "
        "(all weights)",
    )
    rank: int = Field(
        default=16,
        ge=1,
        le=1024,
        description="the adapters' rank; of a bottleneck, its units, rounded up to a multiple of 32",
    )
    alpha: float = Field(default=32.0, gt=0, le=10_000, description="the adapters' scale, times rank")
    rank_stabilized: bool = Field(default=False, description="scales by alpha/√rank, not by alpha/rank (rsLoRA)")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="the share of the adapters' inputs dropped")
    targets: Annotated[tuple[str, ...], one_or_many(str)] = Field(
        default=("all",),
        min_length=1,
        description="which linear layers get adapters, by name: [q_proj, v_proj]; or all",
    )
    virtual_tokens: int = Field(
        default=20, ge=1, le=1000, description="how many tokens are put before every conversation, and learn (prompt)"
    )
    modules_to_save: Annotated[tuple[str, ...], one_or_many(str)] = Field(
        default=(), description="parts that learn whole beside the adapters, by name: [lm_head]"
    )
    loraplus_lr_ratio: float = Field(
        default=1.0, ge=1, le=1000, description="how many times faster the adapters' B learns than A (LoRA+)"
    )
    upper_layers: float = Field(
        default=0.5, gt=0, le=1, description="the share of layers that learn, from the top; the lower ones stay"
    )
    embeddings: bool = Field(
        default=False, description="whether tokens' embeddings and the output head learn, too (full, upper_layers: 1)"
    )
    target_replication: float = Field(
        default=1.0, ge=0, le=100, description="the weight of saying the answer at every token of the text, too"
    )
    quantization_aware: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="the share of steps, the last ones, in which a student computes as the symmetric int4 that ships",
    )
    vocabulary_sample: int = Field(
        default=2048,
        ge=0,
        description="how many tokens, drawn anew at each step, stand for those that no label has; 0: all are computed",
    )
    epochs: float = Field(
        default=1.0,
        gt=0,
        le=MOST_EPOCHS,
        description="how often each row is seen; if absent, a teacher sees few rows as often as 100 steps take",
    )
    learning_rate: float = Field(default=1.5e-3, gt=0, lt=1, description="the learning rate at its height")
    batch_size: int = Field(default=8, ge=1, le=4096, description="the number of examples a step")
    noise: float = Field(
        default=0.1, ge=0, lt=1, description="the share of words dropped, others in every epoch after 1"
    )
    warmup: float = Field(default=0.05, ge=0, lt=1, description="the share of steps in which it rises")
    schedule: Literal["cosine", "linear", "constant", "wsd"] = Field(
        default="cosine", description="how it falls then; wsd: it stays, and falls at the end"
    )
    decay: float = Field(default=0.2, gt=0, le=1, description="the share of steps in which it falls (wsd)")
    weight_decay: float = Field(default=0.01, ge=0, lt=1, description="AdamW's weight decay, of matrices")
    beta1: float = Field(default=0.9, ge=0, lt=1, description="AdamW's first beta: of the gradients' mean")
    beta2: float = Field(default=0.98, ge=0, lt=1, description="AdamW's second beta: of their squares' mean")
    max_grad_norm: float = Field(default=1.0, gt=0, le=1e6, description="what the gradient's norm is clipped at")
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="the share of gold's probability that goes to all other tokens"
    )
    loss: Literal["cross_entropy"] | Named = Field(
        default="cross_entropy", description="what is learned of the answer; module:name for a loss of your own"
    )
    contrastive: ContrastiveConfig | None = Field(
        default=None, description="learns that rows of the same answer are alike, too"
    )
    callbacks: Annotated[tuple[Named, ...], one_or_many(Named)] = Field(
        default=(), description="functions of your own, told each look at the validation rows; False ends it"
    )
    neftune_alpha: float = Field(
        default=0.0, ge=0, le=1000, description="how much noise embeddings get while it learns (5 is usual)"
    )
    validations: int = Field(default=3, ge=1, le=1000, description="how often the validation rows are looked at")
    patience: int | None = Field(
        default=None, ge=1, description="ends after so many looks without a better one, and keeps the best"
    )
    keep: Literal["last", "best"] = Field(
        default="last", description="the weights of the last step, or of the best look"
    )
    judge: Literal["loss", "metric"] = Field(
        default="loss",
        description="what makes a look better than another: loss (of the validation rows), or metric (the task's first "
        "figure: at each look the model answers them)",
    )
    gradient_checkpointing: bool = Field(
        default=False, description="computes activations twice rather than keeping them: less memory, more time"
    )
    too_long: Literal["stop", "cut", "drop"] = Field(
        default="stop",
        description="a row longer than the model's context ends the run, loses the middle of what is asked, or is left "
        "out",
    )
    search: SearchConfig | None = Field(default=None, description="tries values of the other keys, and takes the best")
    max_tokens: int = Field(default=1024, ge=64, le=65536, description="how many tokens are computed at once, packed")

    @model_validator(mode="after")
    def _fits_together(self) -> TrainConfig:
        given, own = self.model_fields_set, {self.loss} - {"cross_entropy"}
        used = _USED.get(self.method, _OF_ADAPTERS)
        if idle := next((name for name in (*_OF_ADAPTERS, *_OF_PROMPT) if name in given and name not in used), None):
            of, method = ("virtual tokens", "prompt") if idle in _OF_PROMPT else ("adapters", "lora")
            raise wrong(
                f"{idle} says how {of} learn, but the method is {self.method}",
                f"write method: {method}, or remove {idle}",
            )
        if self.method == "prompt" and "upper_layers" in given:
            raise wrong(
                "upper_layers says which layers learn, but with method: prompt none does", "remove upper_layers"
            )
        if self.quantization_aware and self.method in _NEVER_ROUNDED:
            why = f"{self.method}: {_NEVER_ROUNDED[self.method]}, so int4 cannot be learned under it"
            raise wrong(why, "write quantization_aware: 0")
        if {"noise", "epochs"} <= given and self.noise and self.epochs <= 1:
            raise wrong("noise varies rows from the second epoch on, and there is one", "remove noise, or add epochs")
        if "decay" in given and self.schedule != "wsd":
            raise wrong(
                f"decay is for the schedule wsd, not for {self.schedule}", "write schedule: wsd, or remove decay"
            )
        if self.neftune_alpha and self.method == "prompt":
            raise wrong("neftune_alpha makes noise where virtual tokens learn", "remove neftune_alpha")
        if self.neftune_alpha and self.upper_layers < 1:
            raise wrong("neftune_alpha changes what lower layers read, but they stay", "write upper_layers: 1")
        if self.embeddings and (self.method != "full" or self.upper_layers < 1):
            raise wrong("embeddings learn with all weights, beneath all layers", "write method: full, upper_layers: 1")
        if self.label_smoothing and self.loss != "cross_entropy":
            raise wrong("label_smoothing is for cross_entropy, not for a loss of your own", "smooth in your loss")
        if "vocabulary_sample" in given and self.vocabulary_sample and (self.label_smoothing or own):
            why = "label_smoothing is of all tokens" if self.label_smoothing else "a loss of your own gets all tokens"
            raise wrong(f"vocabulary_sample does nothing: {why}", "write vocabulary_sample: 0")
        if "keep" in given and self.keep == "last" and self.patience:
            raise wrong("patience keeps the best weights, and keep says the last", "remove keep, or patience")
        if self.judge == "metric" and not (self.keeps_best or self.callbacks):
            raise wrong("judge says which look is the best, and the last weights are kept", "write keep: best")
        for name, space in self.search.search_space.items() if self.search else ():
            known = [key for key in type(self).model_fields if key != "search"]
            if name not in known:
                raise wrong(f"search_space: {name} is no key of train", nearest(name, known))
            if name in _OF_PROMPT or (name == "method" and "prompt" in (*space.ends(), self.method)):
                raise wrong("search_space: virtual tokens are put into the model before any trial", f"remove {name}")
            if name == "quantization_aware" and 0 in space.ends() and any(space.ends()):
                why = "with quantization_aware: 0 a trial is judged unrounded, and all others rounded"
                raise wrong(f"search_space: {why}", "search above 0")
            for value in space.ends():
                try:
                    self.tried({name: value})
                except ValidationError as error:
                    raise wrong(f"search_space: {name} cannot be {value!r}: {error.errors()[0]['msg']}") from error
        return self

    def tried(self, values: Mapping[str, Any]) -> TrainConfig:
        """As it is with other `values`, and without a search.

        Raises:
            ValidationError: they cannot be, or do not fit together.
        """
        return self.model_validate(self.model_dump(exclude={"search"}, exclude_defaults=True) | dict(values))

    def lasting(self, rows: int) -> TrainConfig:
        """As it is; where nobody wrote `epochs`, or which of them to try, with as many more as give so few rows the
        steps that it takes to learn anything."""
        searched = self.search is not None and "epochs" in self.search.search_space
        needed = min(MOST_EPOCHS, math.ceil(_LEAST_STEPS * self.batch_size / max(1, rows)))
        if searched or "epochs" in self.model_fields_set or needed <= self.epochs:
            return self
        return self.model_copy(update={"epochs": float(needed)})

    def content(self) -> dict[str, Any]:
        """What decides a teacher's weights: whether `epochs` were written, too."""
        return self.model_dump() | ({} if "epochs" in self.model_fields_set else {"epochs": None})

    def own_code(self) -> tuple[str, ...]:
        """What it names of the user's own, and what a search tries of it."""
        space = self.search.search_space if self.search else {}
        losses = {self.loss, *(space["loss"].ends() if "loss" in space else ())} - {"cross_entropy"}
        several = [self.callbacks, *(space["callbacks"].ends() if "callbacks" in space else ())]
        return (*sorted(losses), *dict.fromkeys(name for names in several for name in names))

    def begin_of_search(self) -> dict[str, Any]:
        """What is searched for, as it stands here, where that lies in the space."""
        space = self.search.search_space if self.search else {}
        return begin_of(space, partial(getattr, self), lambda name, value: getattr(self.tried({name: value}), name))

    @property
    def units(self) -> int:
        """The units of a bottleneck: whole blocks of int4, since a device would compute zeros that filled one up."""
        return -(-self.rank // _BLOCK) * _BLOCK

    @property
    def makes_adapter(self) -> bool:
        return self.method in ("lora", "dora", "qlora")

    @property
    def keeps_best(self) -> bool:
        return self.keep == "best" or self.patience is not None


_BLOCK = 32  # weights that share a scale: int4's default, and the size of GGUF's smallest blocks
_OF_PROMPT = ("virtual_tokens",)
_LEAST_STEPS = 100
_USED = {"full": (), "bottleneck": ("rank",), "prompt": _OF_PROMPT}  # by others: what is of adapters
_NEVER_ROUNDED = {
    "qlora": "its base is rounded already, to other weights than ship",
    "dora": "its sum is scaled",
    "prompt": "no weight learns but the tokens' own",
}
_OF_ADAPTERS = ("rank", "alpha", "rank_stabilized", "dropout", "targets", "modules_to_save", "loraplus_lr_ratio")
