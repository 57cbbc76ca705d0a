"""A distillation job as guides to Azure Machine Learning write it, made into a slmops.yaml.

In comes a mapping (teacher_model, student_model, training_data, task_type, hyperparameters …) in YAML or JSON; out goes
the text of our own config, and what is left to fill in or cannot mean here what it means there. Runs nothing.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.compat import StringIO

from slmops.core.config import Section
from slmops.core.document import load_yaml
from slmops.core.errors import ConfigError
from slmops.core.mistakes import as_error, explain
from slmops.models.references import CATALOGUE

FILL_IN = "https://fill-in.invalid/v1"  # of a teacher whose address the job does not tell
_KEY = "TEACHER_API_KEY"
_SCHEMES = ("hf:", "pypi:", "file:", "store:")
_HUB = {  # what Azure's catalogue calls small models
    "phi-4-mini": "microsoft/Phi-4-mini-instruct",
    "phi-4-mini-instruct": "microsoft/Phi-4-mini-instruct",
    "phi-3.5-mini-instruct": "microsoft/Phi-3.5-mini-instruct",
    "phi-3-mini-4k-instruct": "microsoft/Phi-3-mini-4k-instruct",
    "phi-3-mini-128k-instruct": "microsoft/Phi-3-mini-128k-instruct",
    "llama-3.1-8b-instruct": "meta-llama/Llama-3.1-8B-Instruct",
    "meta-llama-3.1-8b-instruct": "meta-llama/Llama-3.1-8B-Instruct",
}
_TASKS = {
    "conversation": "conversation",
    "classification": "classification",
    "nli": "inference",
    "natural_language_inference": "inference",
    "qa": "question-answering",
    "nlu_qa": "question-answering",
    "question_answering": "question-answering",
    "math": "mathematics",
    "mathematical_reasoning": "mathematics",
    "summarization": "summarization",
    "text_summarization": "summarization",
    "translation": "translation",
    "extraction": "extraction",
    "generation": "generation",
}
_CLOSED = ("classification", "inference")  # of these the student learns the labels' probabilities


class Hyperparameters(Section):
    """How the student learns."""

    learning_rate: float | None = Field(default=None, gt=0)
    batch_size: int | None = Field(default=None, ge=1)
    num_epochs: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, gt=0)


class GuideJob(Section):
    """The job; `teacher_endpoint` is ours: where a teacher that is too large for here answers."""

    teacher_model: str = Field(min_length=1)
    student_model: str = Field(min_length=1)
    training_data: str = Field(min_length=1)
    validation_data: str | None = None
    test_data: str = "./test_data.jsonl"
    task_type: str
    hyperparameters: Hyperparameters = Hyperparameters()
    metrics: tuple[Literal["accuracy", "bleu_score", "inference_time"], ...] = ("accuracy", "inference_time")
    name: str | None = None
    compute: str | None = None
    teacher_endpoint: str | None = None


def read_job(path: Path) -> GuideJob:
    """The job in a file of YAML or JSON.

    Raises:
        ConfigError: with all that is wrong with it, by line.
    """
    document = load_yaml(path)
    try:
        return GuideJob.model_validate(document.data, strict=False)
    except ValidationError as error:
        raise as_error(path, explain(error, GuideJob, [document])) from error


def config_of(job: GuideJob, source: str, name: str | None = None) -> tuple[str, tuple[str, ...]]:
    """The text of slmops.yaml, and what is left to fill in.

    Raises:
        ConfigError: a task or a student is not known here.
    """
    given = job.hyperparameters
    task = _TASKS.get(re.sub(r"[\s-]+", "_", job.task_type).lower())
    if task is None:
        known = ", ".join(sorted(_TASKS))
        raise ConfigError(f"there is no task type {job.task_type!r}", where=f"{source} · task_type", remedy=known)
    student = _reference(job.student_model)
    if student is None:
        what = f"it is not known where {job.student_model!r} is"
        remedy = "write hf:owner/name, file:folder or " + ", ".join(_HUB)
        raise ConfigError(what, where=f"{source} · student_model", remedy=remedy)
    teacher = None if job.teacher_endpoint else _reference(job.teacher_model)
    softens = teacher and task in _CLOSED
    learn = {"learning_rate": given.learning_rate, "batch_size": given.batch_size, "epochs": given.num_epochs}
    data = {"train": job.training_data, "validation": job.validation_data, "test": job.test_data}
    config: dict[str, Any] = {
        "name": name or job.name or f"{job.student_model.rpartition('/')[2].rpartition(':')[2]}-distilled",
        "engine": {"type": "azureml", "compute": job.compute} if job.compute else None,
        "task": task,
        "data": _given({**data, "unlabelled": None if teacher else job.training_data}),
        "teacher": teacher
        or {"model": job.teacher_model, "endpoint": job.teacher_endpoint or FILL_IN, "api_key_env": _KEY},
        "student": _given({"model": student, "train": _given(learn) or None}),
        "distillation": {"temperature": given.temperature} if softens and given.temperature else None,
        "evaluation": {"metrics": "bleu"} if "bleu_score" in job.metrics else None,
    }
    left = [] if teacher or job.teacher_endpoint else [f"teacher.endpoint: the address of {job.teacher_model}"]
    if not teacher:
        left.append(f"{_KEY}: the variable that holds its key" + (", in an engine.environment" if job.compute else ""))
        if not job.validation_data:
            left.append(
                "data.validation: a file; rows held out of the training data would be answered and learned, too"
            )
    if "test_data" not in job.model_fields_set:
        left.append(f"{job.test_data}: rows to judge by")
    if given.temperature and not softens:
        why = "of written answers they are learned as they are" if teacher else "a teacher behind an address tells none"
        left.append(f"temperature is left out: it softens probabilities, and {why}")
    written = StringIO()
    YAML().dump(_given(config), written)
    return f"# Made from {source}\n{written.getvalue()}", tuple(left)


def _reference(model: str) -> str | None:
    """The model as we name it; None for one that is only known by the name it has in Azure."""
    if model.startswith(_SCHEMES) or model in CATALOGUE:
        return model
    if known := _HUB.get(model.lower()):
        return f"hf:{known}"
    return f"hf:{model}" if re.fullmatch(r"[\w.-]+/[\w.-]+", model) else None


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
