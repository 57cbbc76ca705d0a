"""How large a student would be, before any is made: parameters, bytes as int4, and what a token costs.

Read from the config of the model that it is cut from; nothing is loaded and nothing is run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from slmops.core.errors import ModelError
from slmops.models.folder import read_json
from slmops.models.references import find_cached, resolve
from slmops.optimization.config import OptimizationConfig
from slmops.stages.project import Project
from slmops.stages.run import Progress, fetch_models, open_store

_SHARES = (1, 3 / 4, 1 / 2, 2 / 5, 1 / 3, 1 / 4, 1 / 5, 1 / 6, 1 / 10)  # of the layers
_FEWER_TOKENS = 8192
_SCALE = 4  # bytes, one for each block of weights


@dataclass(frozen=True)
class Size:
    """A model's sizes. `tables` are the numbers that ONNX keeps of rotary embeddings, in fp32."""

    layers: int
    width: int
    units: int
    heads: int
    kv_heads: int
    head_width: int
    vocabulary: int
    tied: bool
    tables: int

    @classmethod
    def of(cls, config: dict[str, Any]) -> Size:
        """From a model's config.json.

        Raises:
            ModelError: it is not of an architecture that can be cut.
        """
        try:
            heads, width = config["num_attention_heads"], config["hidden_size"]
            head_width = config.get("head_dim") or width // heads
            return cls(
                config["num_hidden_layers"],
                width,
                config["intermediate_size"],
                heads,
                config.get("num_key_value_heads") or heads,
                head_width,
                config["vocab_size"],
                bool(config.get("tie_word_embeddings", True)),
                config["max_position_embeddings"] * head_width,
            )
        except KeyError as error:
            raise ModelError(f"its config.json has no {error}", remedy="choose a model of a supported family") from None

    @property
    def of_layers(self) -> int:
        attention = 2 * self.width * self.head_width * (self.heads + self.kv_heads)
        return self.layers * (attention + 3 * self.width * self.units)

    @property
    def of_tokens(self) -> int:
        return self.vocabulary * self.width

    @property
    def parameters(self) -> int:
        """Of its matrices."""
        return self.of_layers + self.of_tokens * (1 if self.tied else 2)

    @property
    def a_token(self) -> int:
        """Parameters that a token is multiplied by, once it is written freely."""
        return self.of_layers + self.of_tokens

    def int4_bytes(self, block: int) -> float:
        return self.parameters * (0.5 + _SCALE / block) + 4 * self.tables


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
    student, teacher = project.student, project.local_teacher
    reference = student.model or (teacher.model if teacher else "")
    found = find_cached(reference) or resolve(reference, base=project.root, open_stored=open_store(project).open)
    whole = Size.of(read_json(found.folder / "config.json"))
    kv_heads = student.kv_heads or whole.kv_heads
    narrow = replace(
        whole,
        width=student.width or whole.width,
        units=student.units or whole.units,
        kv_heads=kv_heads,
        heads=whole.heads * kv_heads // whole.kv_heads,
        tables=(student.context or whole.tables // whole.head_width) * whole.head_width,
    )
    asked = (student.layers or whole.layers, whole.vocabulary if student.vocabulary == "all" else student.vocabulary)
    layers = {asked[0], *(max(1, round(whole.layers * share)) for share in _SHARES)}
    tokens = {asked[1], whole.vocabulary, min(_FEWER_TOKENS, whole.vocabulary)}
    last = project.optimization[-1] if project.optimization else OptimizationConfig()
    options = []
    for count in sorted(layers, reverse=True):
        for vocabulary in sorted(tokens, reverse=True):
            size = replace(narrow, layers=count, vocabulary=vocabulary)
            work = size.a_token / whole.a_token
            room, is_asked = round(size.int4_bytes(last.block_size)), (count, vocabulary) == asked
            options.append(Option(count, vocabulary, size.parameters, room, work, is_asked))
    return options
