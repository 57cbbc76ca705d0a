"""The section `distillation`: what the student learns of its teacher, and by which losses. Loads no model."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from slmops.core.config import Section, wrong
from slmops.training.target_codes import BYTES


class LossWeights(Section):
    """How much each loss counts; those that follow the teacher, by what they hold its distribution against."""

    forward_kl: float = Field(default=0.0, ge=0, le=1000, description="all that the teacher finds likely is learned")
    reverse_kl: float = Field(default=0.0, ge=0, le=1000, description="nothing that it finds unlikely is said")
    jensen_shannon: float = Field(default=0.0, ge=0, le=1000, description="between the two, see beta")
    skewed_forward_kl: float = Field(
        default=0.0,
        ge=0,
        le=1000,
        description="forward_kl against a mix of both, see skew: for a student near its teacher",
    )
    skewed_reverse_kl: float = Field(default=0.0, ge=0, le=1000, description="reverse_kl against a mix of both")
    total_variation: float = Field(default=0.0, ge=0, le=1000, description="the share on which they differ")
    sorted_distance: float = Field(
        default=0.0, ge=0, le=1000, description="how far sorted probabilities are apart, whatever their tokens (ULD)"
    )
    cross_entropy: float = Field(default=0.0, ge=0, le=1000, description="the answer itself")
    beta: float = Field(default=0.5, gt=0, lt=1, description="the teacher's share in jensen_shannon's mix")
    skew: float = Field(default=0.1, gt=0, lt=1, description="how much a skewed loss mixes in of what it measures")

    @property
    def weights(self) -> dict[str, float]:
        return self.model_dump(exclude={"beta", "skew"})

    @property
    def follows_teacher(self) -> bool:
        """Whether any of it is a divergence."""
        return any(weight for name, weight in self.weights.items() if name != "cross_entropy")

    @property
    def is_linear(self) -> bool:
        """Whether it is linear in the teacher's probabilities, so that the mean of what is drawn teaches the same."""
        return not any(weight for name, weight in self.weights.items() if name not in ("forward_kl", "cross_entropy"))

    @model_validator(mode="after")
    def _weighs_something(self) -> LossWeights:
        weights = self.weights
        if not sum(weights.values()):
            raise wrong("all weights are 0", "give one a weight above 0, as forward_kl: 1")
        for option, names in _OPTION_OF.items():
            if option in self.model_fields_set and not any(weights[name] for name in names):
                raise wrong(f"{option} is for {' and '.join(names)}", f"give {names[0]} a weight, or remove {option}")
        return self


_OPTION_OF = {"beta": ("jensen_shannon",), "skew": ("skewed_forward_kl", "skewed_reverse_kl")}


class CacheConfig(Section):
    """What is kept of the teacher's distributions, in 4 bytes a token (match: tokens)."""

    main: ClassVar[str] = "top_k"

    top_k: int = Field(default=64, ge=1, le=4096, description="how many tokens are kept at each place of an answer")
    kind: Literal["top", "sampled"] = Field(
        default="top", description="top (the likeliest, all others as one), or sampled (as the teacher would draw them)"
    )
    megabytes: float | None = Field(
        default=None, gt=0, le=1e6, description="instead of top_k: as many tokens as fit in it"
    )

    @model_validator(mode="after")
    def _says_one_size(self) -> CacheConfig:
        if self.megabytes and "top_k" in self.model_fields_set:
            raise wrong("found both top_k and megabytes", "say one of them")
        return self

    def k(self, targets: int) -> int:
        """How many tokens are kept at each of so many places."""
        if self.megabytes is None:
            return self.top_k
        return max(1, min(4096, int(self.megabytes * 1e6 / (BYTES * max(1, targets)))))


class OnPolicyConfig(Section):
    """How much the student learns from what it writes itself (match: tokens)."""

    main: ClassVar[str] = "ratio"

    ratio: float = Field(
        gt=0, le=1, description="the share of rows whose answer the student writes, for its teacher to score"
    )
    temperature: float = Field(default=1.0, ge=0, le=100, description="how freely it writes; 0: what is likeliest")


LayerNumber = Annotated[str, Field(pattern=r"^[1-9]\d{0,2}$")]  # keys are text in YAML as we read it


class RepresentationConfig(Section):
    """What the student learns of what goes on inside its teacher, by how much it counts beside the loss of answers."""

    main: ClassVar[str] = "hidden_states"

    hidden_states: float = Field(
        default=0.0, ge=0, le=1000, description="what each layer makes of a token, as a direction"
    )
    attention: float = Field(default=0.0, ge=0, le=1000, description="which tokens each token looks at")
    values: float = Field(default=0.0, ge=0, le=1000, description="how alike tokens' values are to each other (MiniLM)")
    layers: Literal["uniform", "last", "similar"] | dict[LayerNumber, Annotated[int, Field(ge=1, le=1000)]] = Field(
        default="uniform",
        description="which of the teacher's layers the student's follow, both counted from 1: uniform (evenly spread "
        "ones), last (its last ones), similar (those they are most like as they begin), or {3: 10, 6: 30}",
    )

    @property
    def weights(self) -> dict[str, float]:
        return self.model_dump(exclude={"layers"})

    def follows(self) -> dict[int, int]:
        """Layers that are named, and which of the teacher's each follows, counted from 0."""
        named = self.layers if isinstance(self.layers, dict) else {}
        return {int(layer) - 1: other - 1 for layer, other in named.items()}

    @model_validator(mode="after")
    def _weighs_something(self) -> RepresentationConfig:
        if not sum(self.weights.values()):
            raise wrong("all weights are 0", "give one a weight above 0, as hidden_states: 1")
        if self.layers == {}:
            raise wrong("layers: {} follows nothing", "name a layer of each, as {6: 30}, or write uniform")
        return self


class DistillationConfig(Section):
    """How the student learns from the teacher."""

    match: Literal["auto", "labels", "tokens", "answers"] = Field(
        default="auto",
        description="labels (probabilities of a closed set's labels), tokens (of likely tokens at each place of the "
        "answer), answers (what the teacher answered, as if it were gold), or auto (labels where answers are a closed "
        "set, else tokens)",
    )
    classical: Literal["auto"] | Annotated[float, Field(ge=0, le=10)] = Field(
        default="auto",
        description="how much the classical baseline's opinion counts beside the teacher's (match: labels); auto: what "
        "makes the validation rows likeliest; 0: not at all",
    )
    teachers: Literal["average", "surest"] = Field(
        default="average",
        description="how several teachers are heard: average (the mean of their probabilities), or surest (whoever is "
        "surest of a row)",
    )
    loss: LossWeights = Field(
        default=LossWeights(forward_kl=0.9, cross_entropy=0.1),
        description="the whole mix, where it is written: a loss that it does not name counts nothing",
    )
    temperature: float = Field(default=1.0, gt=0, le=100, description="what softens both models' distributions")
    cache: CacheConfig = CacheConfig()
    representation: RepresentationConfig | None = Field(
        default=None, description="what is learned of what goes on inside the teacher: hidden states, attention, values"
    )
    on_policy: OnPolicyConfig | None = Field(
        default=None, description="the share of rows that the student answers itself, for its teacher to score"
    )

    @property
    def has_teacher_beside(self) -> bool:
        """Whether the teacher stays in memory while the student learns."""
        return bool(self.on_policy or self.representation)

    @model_validator(mode="after")
    def _draws_for_what_is_linear(self) -> DistillationConfig:
        if self.cache.kind == "sampled" and not self.loss.is_linear:
            why = "cache.kind: sampled is unbiased with forward_kl alone, beside cross_entropy"
            raise wrong(why, "write kind: top, or loss: {forward_kl: 1}")
        return self

    @model_validator(mode="after")
    def _has_rows_for_representation(self) -> DistillationConfig:
        if self.representation and self.on_policy and self.on_policy.ratio == 1:
            why = "representation is learned on rows that keep their answers, and with on_policy: 1 none does"
            raise wrong(why, "lower on_policy, or remove representation")
        return self
