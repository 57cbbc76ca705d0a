"""How large a student would be, before any is made: parameters, bytes as int4, and what a token costs.

Read from the config of the model that it is cut from; nothing is loaded and nothing is run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from slmops.models.folder import read_json
from slmops.models.references import find_cached
from slmops.optimization.config import OptimizationConfig
from slmops.stages.base_models import base_model, fetch_models
from slmops.stages.estimates import cut
from slmops.stages.fits import check_cuts
from slmops.stages.project import Project
from slmops.stages.run import Progress
from slmops.training.estimate import Shape

_SHARES = (1, 3 / 4, 1 / 2, 2 / 5, 1 / 3, 1 / 4, 1 / 5, 1 / 6, 1 / 10)  # of the layers
_FEWER_TOKENS = 8192
_SCALE = 4  # bytes, one for each block of weights


@dataclass(frozen=True)
class Option:
    """A student that could be; `asked` is the one that slmops.yaml asks for. `work` is what a token costs, as a share
    of the whole model's."""

    layers: int
    vocabulary: int
    parameters: int
    int4_bytes: int
    work: float
    asked: bool


def sizes(project: Project, progress: Progress = lambda stage, share, note: None) -> list[Option]:
    """The students of fewer layers and tokens, the largest first, each with the units, heads and width that are asked.

    Raises:
        ModelError: the model is not of an architecture that can be cut.
    """
    fetch_models(project, progress)
    student, reference = project.student, project.student_origin
    found = find_cached(reference) or base_model(project, reference)
    config = read_json(found.folder / "config.json")
    check_cuts(project, config, learned=False)
    whole, asked = Shape.of(config), cut(Shape.of(config), student)
    positions = min(student.context or config["max_position_embeddings"], config["max_position_embeddings"])
    last = project.optimization[-1] if project.optimization else OptimizationConfig()
    layers = {asked.layers, *(max(1, round(whole.layers * share)) for share in _SHARES)}
    tokens = {asked.vocabulary, whole.vocabulary, min(_FEWER_TOKENS, whole.vocabulary)}
    options = []
    for count in sorted(layers, reverse=True):
        for vocabulary in sorted(tokens, reverse=True):
            shape = replace(asked, layers=count, vocabulary=vocabulary)
            work, room = a_token(shape) / a_token(whole), round(int4_bytes(shape, positions, last.block_size))
            options.append(Option(count, vocabulary, shape.weights, room, work, shape == asked))
    return options


def int4_bytes(shape: Shape, positions: int, block: int) -> float:
    """Of an ONNX model: half a byte and a share of a scale for each weight, and the table of rotary embeddings, a sine
    and a cosine in fp32 for every second dimension of a head, at each position."""
    return shape.weights * (0.5 + _SCALE / block) + 4 * positions * shape.queries / shape.heads


def a_token(shape: Shape) -> int:
    """How many weights a token is multiplied by, once it is written freely."""
    return shape.layers * shape.layer + shape.vocabulary * shape.width
