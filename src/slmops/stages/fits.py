"""What a project asks of its base models, held against what they are: told before anything is learned, not after.

In comes a project, and models' configs; out goes nothing, or an error that names the key. Loads no weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import lcm
from typing import Any

from slmops.core.errors import ModelError
from slmops.models.folder import positions_of, read_json, text_part
from slmops.models.forward import decoder_layers, load_skeleton
from slmops.models.references import check_reference
from slmops.stages.base_models import folder_of, references_of
from slmops.stages.estimates import cut
from slmops.stages.project import Project
from slmops.stages.rounds import STEP
from slmops.stages.teacher_beside import check_follows, check_same_tokens
from slmops.training.estimate import Shape
from slmops.training.methods import named_parts

_DIVIDED = ("llama", "gemma3_text")  # whose width is a multiple of their heads


def check_base_models(project: Project) -> None:
    """That they are named as models are; and, as far as they are here, that they have what the student is to keep of
    them, and layers and tokens that one can follow the other by.

    Raises:
        SlmopsError: they have not; names the key.
    """
    for field, reference in references_of(project):
        try:
            check_reference(reference, base=project.root)
        except ModelError as error:
            raise project.error(field, error.what, error.remedy) from error
    student, inside = project.student, project.distillation.representation
    beside = inside if project.has_teacher_beside else None
    own = folder_of(project, project.student_origin)
    if not (student.cuts or beside or project.needs_same_tokens) or own is None:
        return
    config = read_json(own / "config.json")
    check_cuts(project, config, learned=False)
    taught = folder_of(project, project.local_teacher.model) if project.local_teacher else None
    if taught is None:
        return
    if student.model:
        check_same_tokens(project, own, taught)
    if beside and isinstance(beside.layers, dict):
        layers = Shape.of(read_json(taught / "config.json")).layers
        check_follows(beside.follows(), student.layers or Shape.of(config).layers, layers)


def check_adapted(project: Project) -> None:
    """That the model which the student is made of has the parts that are to get adapters, of so high a rank.

    Raises:
        SlmopsError: it has not; names the key.
    """
    origin, train = folder_of(project, project.student_origin), project.student.train
    if not train.makes_adapter or origin is None:
        return
    model = load_skeleton(origin)
    try:
        named_parts(model, decoder_layers(model), train)
    except ModelError as error:
        raise project.error("student.train", error.what, error.remedy) from error


def check_cuts(project: Project, config: Mapping[str, Any], *, learned: bool) -> None:
    """That a model of that config.json has as much as the student is to keep of it. One that has not `learned` may come
    to more units.

    Raises:
        ConfigError: it has less, or its heads cannot be shared out so, or it could not be loaded.
    """
    of_teacher = project.student.model is None
    taught = project.local_teacher.train if of_teacher and project.local_teacher else None
    grows = not learned and taught and (taught.method == "bottleneck" or taught.search)
    cuts = project.student.cuts
    there = _sizes(config) if cuts else {}
    for name, wanted in cuts.items():
        if name in there and wanted > there[name] and not (name == "units" and grows):
            whose = "the teacher's" if of_teacher else "the model's"
            what = f"{wanted} is more than {whose} {there[name]}"
            raise project.error(f"student.{name}", what, f"choose at most {there[name]}")
    if "heads" in cuts:
        _check_heads(project, cuts["heads"], cuts.get("kv_heads", there["kv_heads"]), there)
    narrowed = [name for name in project.student.within if name != "units"]
    text = text_part(config)
    _check_architecture(project, text, narrowed)
    if narrowed and text.get("model_type") in _DIVIDED:
        _check_divided(project, cut(Shape.of(config), project.student), narrowed[0])


def _check_heads(project: Project, heads: int, shared: int, there: Mapping[str, int]) -> None:
    most = there["heads"] // there["kv_heads"]
    if heads % shared or heads // shared > most:
        each = "1" if most == 1 else f"1 to {most}"
        of = f"{shared} key-value head{'s' * (shared > 1)}"
        what = f"{heads} heads cannot be shared out evenly, {each} for each of {of}"
        choices = ", ".join(str(shared * own) for own in range(1, most + 1))
        remedy = f"write kv_heads: {heads}" if most == 1 else f"choose one of {choices}"
        raise project.error("student.heads", what, remedy)


def _check_architecture(project: Project, config: Mapping[str, Any], narrowed: Sequence[str]) -> None:
    kind, inside = config.get("model_type"), project.student.within
    if kind == "gpt2" and inside:
        raise project.error(f"student.{inside[0]}", "of gpt2 only layers can be cut", "remove it, or choose layers")
    if kind == "gemma3_text" and "width" in narrowed and not project.student.from_scratch:
        what = "the model scales its embeddings by their width"
        raise project.error("student.width", what, "remove it; cut layers, units or heads")
    rotary = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if narrowed and "short_factor" in rotary:
        what = "the model's long rotary embeddings are made for its width and heads"
        raise project.error(f"student.{narrowed[0]}", what, "remove it; cut layers or units")


def _check_divided(project: Project, kept: Shape, name: str) -> None:
    if kept.width % kept.heads:
        what = f"a width of {kept.width} is no multiple of {kept.heads} heads: transformers would not load it"
        remedy = f"choose a multiple of {lcm(STEP, kept.heads)}" if name == "width" else "choose heads that divide it"
        raise project.error(f"student.{name}", what, remedy)


def _sizes(config: Mapping[str, Any]) -> dict[str, int]:
    """How much there is of what can be cut, by the key that cuts it; of tokens there may be any number."""
    shape, positions = Shape.of(config), positions_of(config)
    return {
        "layers": shape.layers,
        "units": shape.inner,
        "kv_heads": shape.kv_heads,
        "heads": shape.heads,
        "width": shape.width,
        **({"context": positions} if positions else {}),
    }
