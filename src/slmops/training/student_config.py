"""The section `student`: what the small model is made of, and how it learns. Loads none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from slmops.core.config import Section, merged, over, wrong
from slmops.tasks.types import Prompt
from slmops.training.config import TrainConfig

_STUDENT = TrainConfig(method="full", epochs=3, learning_rate=8e-4, quantization_aware=0.5, noise=0)
_SCRATCH = {"upper_layers": 1, "embeddings": True}


class StudentConfig(Section):
    """The small model, which ships."""

    main: ClassVar[str] = "model"

    from_: Literal["teacher", "scratch"] | None = Field(
        default=None,
        alias="from",
        description="teacher (cut from the teacher), or scratch (random weights in the architecture of the teacher, or "
        "of model)",
    )
    model: str | None = Field(default=None, min_length=1, description="a ready small model: hf:owner/name …")
    layers: int | None = Field(default=None, ge=1, le=1000, description="the number of layers kept; all if absent")
    keep: Literal["lower", "spread", "dissimilar", "least-missed", "greedy"] = Field(
        default="lower",
        description="which layers: lower (the first ones and the last), spread (evenly), dissimilar (all but the "
        "neighbours that together change least), least-missed (without which, one at a time, training rows would cost "
        "most), or greedy (what stays when the least missed goes, again and again)",
    )
    rounds: int = Field(
        default=1,
        ge=1,
        le=100,
        description="in how many rounds layers, units, heads and width are cut, the student learning after each; the "
        "steps are shared by all",
    )
    units: int | None = Field(
        default=None, ge=32, multiple_of=32, description="the hidden units kept of every MLP; all if absent"
    )
    kv_heads: int | None = Field(
        default=None, ge=1, description="the key-value heads kept in every layer, each with its queries; all if absent"
    )
    heads: int | None = Field(
        default=None,
        ge=1,
        description="the query heads kept in every layer, as many of each key-value head that is kept; all of these if "
        "absent",
    )
    width: int | None = Field(
        default=None, ge=32, multiple_of=32, description="the channels kept of the hidden states; all if absent"
    )
    context: int | None = Field(
        default=None,
        ge=64,
        description="how many tokens it can read and write together: ONNX keeps a table of so many positions; as many "
        "as its source if absent",
    )
    vocabulary: Literal["all"] | Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default="all",
        description="all tokens, or about how many: those of the project's texts, however many these are, then the "
        "commonest others; what has no token any more is spelled in smaller pieces",
    )
    prompt: Prompt = Field(default="short", description="short (without the instruction), or full")
    train: Annotated[TrainConfig, over(_STUDENT)] = Field(default=_STUDENT, description="how it learns")

    @model_validator(mode="before")
    @classmethod
    def _learns_all_from_scratch(cls, value: Any) -> Any:
        """Nothing is known that could stay."""
        if isinstance(value, Mapping) and value.get("from") == "scratch":
            train = value.get("train")
            return {**value, "train": merged(_SCRATCH, {} if train is None else train, TrainConfig)}
        return value

    @model_validator(mode="after")
    def _has_one_origin(self) -> StudentConfig:
        if not self.from_scratch and (self.from_ is None) == (self.model is None):
            found = "both from and model" if self.model else "neither from nor model"
            raise wrong(f"found {found}", "write from: teacher, or model: hf:owner/name")
        if self.from_scratch and not self.train.embeddings:
            raise wrong("from scratch, embeddings know nothing that could stay", "remove train.embeddings")
        if self.from_scratch and (idle := {"keep", "rounds"} & self.model_fields_set):
            raise wrong(f"{min(idle)} says how a model is cut, but from scratch none is", f"remove {min(idle)}")
        if "keep" in self.model_fields_set and self.layers is None:
            raise wrong("keep says which layers stay, but all do", "give layers, or remove keep")
        if self.rounds > 1 and self.layers is None and not self.is_narrower:
            raise wrong("rounds says how parts are cut, but all stay", "give layers, units, kv_heads, heads or width")
        if self.rounds > 1 and self.train.search:
            raise wrong("a search would end in another student after each round", "remove rounds, or search")
        if self.rounds > 1 and self.train.method in ("prompt", "bottleneck"):
            why = f"method: {self.train.method} would add its own to the model in each of the rounds"
            raise wrong(why, "write method: full, or remove rounds")
        if self.rounds > 1 and self.train.noise and self.train.epochs <= self.rounds:
            raise wrong("noise varies rows from the second epoch on, which no round has", "remove noise, or rounds")
        return self

    @property
    def from_scratch(self) -> bool:
        return self.from_ == "scratch"

    @property
    def cuts(self) -> dict[str, int]:
        """What is kept of each part that is cut, but for tokens."""
        sizes = {name: getattr(self, name) for name in ("layers", "units", "kv_heads", "heads", "width", "context")}
        return {name: kept for name, kept in sizes.items() if kept is not None}

    @property
    def within(self) -> tuple[str, ...]:
        """The keys that cut something within its layers."""
        return tuple(name for name in ("width", "heads", "kv_heads", "units") if name in self.cuts)

    @property
    def is_narrower(self) -> bool:
        """Whether something within its layers is cut, too."""
        return bool(self.within)
