"""The section `tracking`: where trainings can be followed. What is tracked is no content: it changes no stage's key."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from slmops.core.config import Name, Section, one_or_many, wrong

Tracked = Literal["tensorboard", "mlflow", "wandb"]
_BELONGS = {"project": ("mlflow", "wandb"), "mlflow_uri": ("mlflow",), "wandb_mode": ("wandb",)}


class TrackingConfig(Section):
    """Where trainings can be followed, beside the console and the curve; changing it makes nothing anew."""

    main: ClassVar[str] = "to"

    to: Annotated[tuple[Tracked, ...], one_or_many(Tracked)] = Field(
        default=(), description="tensorboard, mlflow or wandb (Weights & Biases), or several of them"
    )
    project: Name | None = Field(
        default=None, description="what MLflow's experiment and W&B's project are called; as this project if absent"
    )
    mlflow_uri: str | None = Field(
        default=None,
        pattern=r"^(https?://[^\s@?#]+|sqlite:///\S+)$",
        description="MLflow's server (https://host) or database (sqlite:///file); a database in .slmops if absent. A "
        "server's password or token comes from MLflow's own environment variables",
    )
    wandb_mode: Literal["offline", "online"] = Field(
        default="offline", description="offline (files for wandb sync), or online, with the key in WANDB_API_KEY"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> TrackingConfig:
        for key, trackers in _BELONGS.items():
            if key in self.model_fields_set and not set(trackers) & set(self.to):
                raise wrong(f"{key} is for {' and '.join(trackers)}", f"name {trackers[0]} in to, or remove {key}")
        return self
