"""TRL's SFTTrainer learns rows of ours, in a process of its own: `python -m benchmarks.peer_trl < job.json`.

In come conversations, options of its SFTConfig and how many steps to take; out go, on the last line, examples/s without
the first step, peak memory and, where a folder is named, the trained model. bf16 is taken only where this machine is
fast at it: TRL's own default would make it a hundred times slower elsewhere. Knows nothing of slmops' own training.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from benchmarks.child import run_module
from benchmarks.lessons import Conversation
from slmops.core.machine import default_threads, peak_memory_mb
from slmops.models.forward import NumberFormat


@dataclass(frozen=True)
class Job:
    """`steps` are timed, after one that warms up."""

    model: str
    conversations: Sequence[Conversation]
    method: Literal["lora", "full"]
    number_format: NumberFormat
    steps: int
    options: Mapping[str, Any] = field(default_factory=dict)  # of SFTConfig
    out: str = ""


@dataclass(frozen=True)
class Found:
    examples_per_s: float
    examples: float  # a step
    peak_mb: float


def of_any_trainer(number_format: NumberFormat) -> dict[str, Any]:
    """Options that every trainer of TRL gets: on the processor, saying and saving nothing."""
    return {
        "use_cpu": True,  # without a GPU it asks for this
        "bf16": number_format == "bfloat16",
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
    }


def run_trl(job: Job) -> Found:
    return Found(**run_module("benchmarks.peer_trl", job))


def _train(job: Job) -> Found:
    import torch
    from datasets import Dataset  # type: ignore[import-untyped]
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    torch.set_num_threads(default_threads())
    ends: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *arguments: Any, **named: Any) -> None:
            ends.append(time.perf_counter())

    adapters = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    with tempfile.TemporaryDirectory() as folder:
        config = SFTConfig(
            folder,
            max_steps=job.steps + 1,
            **of_any_trainer(job.number_format),
            **job.options,
        )
        trainer = SFTTrainer(
            job.model,
            args=config,
            train_dataset=Dataset.from_list(list(job.conversations)),
            peft_config=adapters if job.method == "lora" else None,
            callbacks=[Clock()],
        )
        packed = len(job.conversations) / len(trainer.train_dataset)  # examples in a row of it
        trainer.train()
        if job.out:
            model = trainer.model.merge_and_unload() if job.method == "lora" else trainer.model
            model.save_pretrained(job.out)
            trainer.processing_class.save_pretrained(job.out)
    examples = packed * config.train_batch_size * config.gradient_accumulation_steps
    return Found(examples * job.steps / (ends[-1] - ends[0]), examples, peak_memory_mb() * 1.048576)


if __name__ == "__main__":
    print(json.dumps(asdict(_train(Job(**json.load(sys.stdin))))))
