"""How large a student would be, before any is made: parameters, bytes as int4, what a token and an answer cost.

Read from the config of the model that it is cut from, and from the project's rows; nothing is loaded and learned.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

from slmops.core.errors import ModelError
from slmops.models.families import encode_answer, encode_prompt, family_of
from slmops.models.folder import positions_of, read_json
from slmops.models.references import find_cached
from slmops.models.tokenizer import Tokenizer
from slmops.optimization.config import OptimizationConfig
from slmops.optimization.vocabulary import trim_tokenizer
from slmops.stages.base_models import base_model, fetch_models
from slmops.stages.before import Progress
from slmops.stages.estimates import cut
from slmops.stages.parts import read_answered, read_part, read_task
from slmops.stages.project import Project
from slmops.stages.run import choices, open_store, plan, run
from slmops.stages.vocabulary import encoded
from slmops.tasks.types import PROMPTS, Task, messages_for
from slmops.training.estimate import Shape

_SHARES = (1, 3 / 4, 1 / 2, 2 / 5, 1 / 3, 1 / 4, 1 / 5, 1 / 6, 1 / 10)  # of the layers
_FEWER_TOKENS = 8192
_SCALE = 4  # bytes, one for each block of weights
_ROWS = 200  # by which is told how long a message and its answer are


@dataclass(frozen=True)
class Option:
    """A student that could be; `asked` is the one that slmops.yaml asks for. `work` is what a token costs, as a share
    of the whole model's; `latency_ms` what an answer takes, roughly: its products at the speed that was probed."""

    layers: int
    vocabulary: int
    parameters: int
    int4_bytes: int
    work: float
    latency_ms: float
    asked: bool


def sizes(project: Project, progress: Progress = lambda stage, share, note: None) -> list[Option]:
    """The students of fewer layers and tokens, the largest first, each with the units, heads and width that are asked.
    Tokens are those of the project's rows, and of the teacher's answers where it has answered; it makes the dataset.

    Raises:
        ModelError: the model is not of an architecture that can be cut, or its tokens cannot.
    """
    fetch_models(project, progress)
    student, reference = project.student, project.student_origin
    found = find_cached(reference) or base_model(project, reference)
    config = read_json(found.folder / "config.json")
    whole, asked = Shape.of(config), cut(Shape.of(config), student)
    dataset, labels = _rows(project, progress)
    tokenizer, task = Tokenizer(found.folder), read_task(dataset)
    kept = _kept_tokens(project, tokenizer, whole.vocabulary, task, dataset, labels)
    if student.vocabulary != "all":
        asked = replace(asked, vocabulary=kept[student.vocabulary])
    lengths, gflops = _lengths(project, tokenizer, task, dataset), choices(project)["gflops"]["float32"]
    positions = student.context or positions_of(config)
    last = project.optimization[-1] if project.optimization else OptimizationConfig()
    layers = {asked.layers, *(max(1, round(whole.layers * share)) for share in _SHARES)}
    options = []
    for count in sorted(layers, reverse=True):
        for vocabulary in sorted({whole.vocabulary, *kept.values()}, reverse=True):
            shape = replace(asked, layers=count, vocabulary=vocabulary)
            work, room = a_token(shape) / a_token(whole), round(int4_bytes(shape, positions, last.block_size))
            took = an_answer(shape, *lengths) / (gflops * 1e6)
            options.append(Option(count, vocabulary, shape.weights, room, work, took, shape == asked))
    return options


def int4_bytes(shape: Shape, positions: int, block: int) -> float:
    """Of an ONNX model: half a byte and a share of a scale for each weight, and the table of rotary embeddings, a sine
    and a cosine in fp32 for every second dimension of a head, at each position."""
    return shape.weights * (0.5 + _SCALE / block) + 4 * positions * shape.queries / shape.heads


def a_token(shape: Shape) -> int:
    """How many weights a token is multiplied by, once it is written freely."""
    return shape.layers * shape.layer + shape.vocabulary * shape.width


def an_answer(shape: Shape, asked: float, written: float) -> float:
    """Operations of the products for so many tokens that are read and written."""
    return 2 * (shape.layers * shape.layer * asked + a_token(shape) * written)


def _rows(project: Project, progress: Progress) -> tuple[Path, Path | None]:
    """The dataset, made where it is not there, and the teacher's answers if they are."""
    made = {item.stage.name: item.made for item in plan(project)}
    if not made["dataset"]:
        run(project, until="dataset", progress=progress)
        made = {item.stage.name: item.made for item in plan(project)}
    store, dataset, labels = open_store(project), made["dataset"], made.get("labels")
    assert dataset
    return store.open(dataset.id), store.open(labels.id) if labels else None


def _kept_tokens(
    project: Project, tokenizer: Tokenizer, rows: int, task: Task, dataset: Path, labels: Path | None
) -> dict[int, int]:
    """How many tokens stay where about so many are asked for; nothing of a tokenizer that cannot be trimmed, and need
    not be."""
    asked, family = project.student.vocabulary, family_of(tokenizer)
    used = {id for ids in encoded(tokenizer, dataset, labels) for id in ids}
    for record in read_part(dataset, "unlabelled") if labels is None else ():
        for prompt in PROMPTS:
            used |= {*encode_prompt(tokenizer, family, messages_for(task, prompt, record))}
    wanted = {_FEWER_TOKENS} if tokenizer.vocabulary_size > _FEWER_TOKENS else set()
    wanted |= {asked} if asked != "all" else set()
    described = tokenizer.description()
    try:
        return {tokens: len(trim_tokenizer(described, used, tokens, rows).kept) for tokens in wanted}
    except ModelError:
        if asked != "all":
            raise
        return {}


def _lengths(project: Project, tokenizer: Tokenizer, task: Task, dataset: Path) -> tuple[float, float]:
    """How many tokens a message comes to as the student is asked, and how many its answer."""
    family, some = family_of(tokenizer), read_answered(dataset, "train", task)[:_ROWS]
    messages = (messages_for(task, project.student.prompt, record) for record, _ in some)
    length = mean(len(encode_prompt(tokenizer, family, asked)) for asked in messages)
    return length, mean(len(encode_answer(tokenizer, family, answer)) for _, answer in some)
