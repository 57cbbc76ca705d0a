"""TRL's DistillationTrainer teaches a student prompts of ours, in a process of its own: `python -m
benchmarks.peer_distil < job.json`.

In come conversations without answers, the folders of a teacher and of a student, and options of its
DistillationConfig; out go, on the last line, the seconds that training took, and in a folder the student. The student
writes, and learns what its teacher says of it; both read the same prompt. Knows nothing of slmops' own training.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.child import run_module
from benchmarks.lessons import Conversation
from benchmarks.peer_trl import of_any_trainer
from slmops.core.machine import default_threads
from slmops.models.forward import NumberFormat


@dataclass(frozen=True)
class Job:
    teacher: str
    student: str
    conversations: Sequence[Conversation]  # prompt alone
    epochs: float
    number_format: NumberFormat
    out: str
    options: Mapping[str, Any] = field(default_factory=dict)  # of DistillationConfig


@dataclass(frozen=True)
class Found:
    seconds: float


def run_trl(job: Job) -> Found:
    return Found(**run_module("benchmarks.peer_distil", job))


def _distil(job: Job) -> Found:
    import torch
    from datasets import Dataset  # type: ignore[import-untyped]
    from transformers import AutoModelForCausalLM
    from trl import DistillationConfig, DistillationTrainer

    torch.set_num_threads(default_threads())
    with tempfile.TemporaryDirectory() as folder:
        config = DistillationConfig(
            folder,
            num_train_epochs=job.epochs,
            **of_any_trainer(job.number_format),
            **job.options,
        )
        trainer = DistillationTrainer(
            model=job.student,
            teacher_model=AutoModelForCausalLM.from_pretrained(job.teacher),
            args=config,
            train_dataset=Dataset.from_list(list(job.conversations)),
        )
        begun = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - begun
        trainer.model.save_pretrained(job.out)
        trainer.processing_class.save_pretrained(job.out)
    return Found(seconds)


if __name__ == "__main__":
    print(json.dumps(asdict(_distil(Job(**json.load(sys.stdin))))))
