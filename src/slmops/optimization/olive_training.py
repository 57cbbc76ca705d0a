"""The training arguments of transformers that an Olive pass may give; defaults are Olive's, else transformers'."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from slmops.core.config import Section
from slmops.optimization.olive_keys import LOADED, MACHINE, NUMBERS, PADDED, idle, only, refused

_LOGGED = "the curve is written to curve.jsonl"
_RESUMES = "a run that was killed goes on by itself when started again"
_Distributed = Annotated[Any, refused("training is on this machine, in one process", "remove it")]


class TrainingArgs(Section):
    """Training arguments of transformers."""

    learning_rate: float = Field(default=2e-4, gt=0, lt=1, description="the learning rate at its height")
    lr_scheduler_type: Literal["constant", "constant_with_warmup", "linear", "cosine"] = Field(
        default="constant", description="how the learning rate goes on"
    )
    warmup_ratio: float = Field(default=0.03, ge=0, lt=1, description="the share of steps in which it rises")
    warmup_steps: int = Field(default=0, ge=0, description="the steps in which it rises, instead of a share")
    num_train_epochs: float = Field(default=3.0, gt=0, le=1000, description="how often each text is seen")
    max_steps: int = Field(default=-1, description="how many steps, whatever num_train_epochs says; -1: unbounded")
    per_device_train_batch_size: int = Field(default=8, ge=1, le=4096, description="texts computed at once")
    gradient_accumulation_steps: int = Field(default=1, ge=1, le=4096, description="how often, in a step")
    weight_decay: float = Field(default=0.0, ge=0, lt=1, description="AdamW's weight decay")
    max_grad_norm: float = Field(default=1.0, gt=0, le=1e6, description="what the gradient's norm is clipped at")
    label_smoothing_factor: float = Field(default=0.0, ge=0, lt=1, description="the share of other tokens")
    neftune_noise_alpha: float = Field(default=0.0, ge=0, le=1000, description="noise on embeddings")
    gradient_checkpointing: bool = Field(default=False, description="computes activations twice: less memory")
    seed: int = Field(default=42, ge=0, lt=2**32, description="what decides everything random")
    eval_steps: int | None = Field(default=None, ge=1, description="after how many steps eval rows are looked at")
    load_best_model_at_end: bool = Field(default=False, description="keeps the weights of the best look")
    metric_for_best_model: Literal["loss", "eval_loss"] = Field(default="loss", description="what tells the best")
    optim: Annotated[
        str, only(lambda value: "adamw" in str(value), "the optimizer is AdamW", "write adamw_torch, or remove it")
    ] = Field(default="adamw_torch", description="the optimizer")
    adam_beta1: float = Field(default=0.9, ge=0, lt=1, description="AdamW's first beta")
    adam_beta2: float = Field(default=0.999, ge=0, lt=1, description="AdamW's second beta")
    adam_epsilon: Annotated[Any, only(lambda value: value == 1e-8, "AdamW's epsilon is 1e-8", "remove it")] = 1e-8
    dataloader_drop_last: Annotated[Any, refused("an epoch's last texts are learned, too", "write false")] = None
    deepspeed: _Distributed = None
    fsdp: _Distributed = None
    push_to_hub: Annotated[Any, refused("nothing is published", "push the folder yourself")] = None
    resume_from_checkpoint: Annotated[Any, refused(_RESUMES, "remove it")] = None
    bf16: Any = idle(NUMBERS)
    fp16: Any = idle(NUMBERS)
    tf32: Any = idle(MACHINE)
    use_cpu: Any = idle(MACHINE)
    ddp_find_unused_parameters: Any = idle(MACHINE)
    torch_compile: Any = idle(MACHINE)
    gradient_checkpointing_kwargs: Any = idle("there is one way to compute activations twice")
    data_seed: Any = idle("the seed decides the order, too")
    full_determinism: Any = idle("a run on the same machine gives the same")
    group_by_length: Any = idle(PADDED)
    per_device_eval_batch_size: Any = idle("as many eval rows are computed at once as fit")
    eval_accumulation_steps: Any = idle("as many eval rows are computed at once as fit")
    dataloader_num_workers: Any = idle(LOADED)
    dataloader_pin_memory: Any = idle(LOADED)
    remove_unused_columns: Any = idle(LOADED)
    eval_strategy: Any = idle("eval rows are looked at after every eval_steps steps, else three times")
    evaluation_strategy: Any = idle("eval rows are looked at after every eval_steps steps, else three times")
    greater_is_better: Any = idle("the best is the smallest loss")
    logging_steps: Any = idle(_LOGGED)
    logging_first_step: Any = idle(_LOGGED)
    logging_strategy: Any = idle(_LOGGED)
    logging_dir: Any = idle(_LOGGED)
    log_level: Any = idle(_LOGGED)
    report_to: Any = idle(_LOGGED)
    run_name: Any = idle(_LOGGED)
    disable_tqdm: Any = idle("progress is shown where there is someone to see it")
    output_dir: Any = idle(_RESUMES)
    logging_nan_inf_filter: Any = idle("a loss that is no number ends the run")
    overwrite_output_dir: Any = idle(_RESUMES)
    save_strategy: Any = idle(_RESUMES)
    save_steps: Any = idle(_RESUMES)
    save_total_limit: Any = idle(_RESUMES)
    save_safetensors: Any = idle("weights are always safetensors")
