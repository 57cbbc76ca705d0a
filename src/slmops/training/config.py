"""What can be said about training: one schema for teacher and student."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from slmops.core.config import Section


class TrainConfig(Section):
    """How a model learns."""

    main: ClassVar[str] = "method"

    method: Literal["lora", "full"] = Field("lora", description="low-rank adapters, or all weights but the embeddings")
    epochs: float = Field(2.0, gt=0, le=1000, description="how often each row is seen")
    learning_rate: float = Field(1.5e-3, gt=0, lt=1, description="at its peak")
    batch_size: int = Field(16, ge=1, le=4096, description="examples a step")
    noise: float = Field(0.1, ge=0, lt=1, description="share of words dropped, others in every epoch but the first")
    rank: int = Field(16, ge=1, le=1024, description="of the adapters (lora)")
    alpha: float = Field(32.0, gt=0, description="scale of the adapters is alpha / rank (lora)")
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the steps in which the learning rate grows")
    schedule: Literal["cosine", "linear", "constant"] = Field("cosine", description="of the learning rate after that")
    weight_decay: float = Field(0.01, ge=0, lt=1, description="of the weights that learn")
    max_tokens: int = Field(1024, ge=64, le=65536, description="in a packed sequence")


class LossWeights(Section):
    """How much each loss counts."""

    forward_kl: float = Field(0.9, ge=0, description="the teacher's distribution")
    cross_entropy: float = Field(0.1, ge=0, description="the answer itself, gold or accepted")


class CacheConfig(Section):
    """What is kept of the teacher's distribution."""

    top_k: int = Field(64, ge=1, le=4096, description="tokens kept; the mass of all others is one more")


class DistillationConfig(Section):
    """How the student learns from the teacher."""

    loss: LossWeights = LossWeights()
    temperature: float = Field(2.0, gt=0, le=100, description="both distributions are softened by it")
    cache: CacheConfig = CacheConfig()
