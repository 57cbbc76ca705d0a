"""The base models of a project: fetched where they are lacking, and known by what decides their content.

In come references of slmops.yaml; out go identities, which are part of stages' keys. models.json in the project's state
keeps those of models that come from elsewhere, so that a plan needs none that only another machine has. Makes no stage.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from slmops.core.files import write_whole
from slmops.core.measurement import ArtifactId
from slmops.core.pipeline import Work
from slmops.core.store import Store
from slmops.models.folder import check_weights, read_json
from slmops.models.references import Model, find_cached, resolve
from slmops.models.tokenizer import Tokenizer
from slmops.stages.project import MODELS_FILE, Project

_HERE = ("file:", "store:")


def identity_of(project: Project, reference: str) -> str | None:
    """What decides a model's content: of a remote one from the cache, or as it was when the project last ran, wherever
    that was; None while it was never fetched."""
    if reference.startswith("file:") or (project.root / reference).is_dir():
        return resolve(reference, base=project.root).identity
    if reference.startswith("store:"):  # what a name means now
        return Store(project.store_root).manifest(reference.removeprefix("store:")).id
    known = _known(project).get(reference)
    if known and project.engine.type == "azureml":  # what the job made was made of its own copy
        return known
    found = find_cached(reference)
    return found.identity if found else known


def base_model(project: Project, reference: str, say: Callable[[str], None] = lambda text: None) -> Model:
    """The model that `reference` names in the project, fetched where it is lacking; `say` hears of a download.

    Raises:
        ModelError: it cannot be fetched, or is not safe to load.
    """
    return resolve(reference, base=project.root, open_stored=Store(project.store_root).open, say=say)


def base_of_stage(project: Project, reference: str, work: Work) -> Model:
    """The same for a stage, whose artifact then has its licence, and tells where it came from."""
    base = base_model(project, reference, lambda text: work.progress(0.0, text))
    work.licence, work.base_models[reference] = base.licence, base.origin
    return base


def source_of_student(project: Project, work: Work) -> Path:
    """The model that a stage cuts the student from, or trims its tokens of; its licence is the artifact's, too."""
    if project.student.model is None:
        work.licence = work.parent_licences["teacher"]
        return work.inputs["teacher"]
    return base_of_stage(project, project.student.model, work).folder


def stored_base(project: Project, reference: str | None) -> dict[str, ArtifactId]:
    """The base model as a parent, where it is an artifact of the store."""
    known = identity_of(project, reference) if reference and reference.startswith("store:") else None
    return {"base": known} if known else {}


def folder_of(project: Project, reference: str) -> Path | None:
    """Where the model that `reference` names lies; None where it was never fetched, or is none. Nothing is checked."""
    if found := find_cached(reference):
        return found.folder
    if reference.startswith("store:"):
        folder = Store(project.store_root).folder(reference.removeprefix("store:"))
    else:
        folder = (project.root / reference.removeprefix("file:")).expanduser()
    return folder if (folder / "config.json").is_file() else None


def unfetched(project: Project) -> list[str]:
    """The models of which nothing is known yet."""
    return [one for _, one in references_of(project) if folder_of(project, one) is None]


def references_of(project: Project) -> list[tuple[str, str]]:
    """(the field that names it, reference) of all base models: the teachers', and the student's if it has its own."""
    own = [("student.model", project.student.model)] if project.student.model else []
    return [*(("teacher", teacher.model) for teacher in project.teachers.values()), *own]


def fetch_models(project: Project, progress: Callable[[str, float, str], None]) -> bool:
    """Fetches what is not here; whether any model is another than was known.

    Raises:
        ModelError: one cannot be fetched, is not safe to load, or is not whole.
    """

    def say(text: str) -> None:
        progress("models", 0.0, text)

    models = {one: base_model(project, one, say) for _, one in references_of(project)}
    for model in models.values():
        Tokenizer(model.folder)
        check_weights(model.folder)
    from_elsewhere = {one: model.identity for one, model in models.items() if not model.origin.startswith(_HERE)}
    return remember_models(project, from_elsewhere)


def remember_models(project: Project, identities: Mapping[str, str]) -> bool:
    """Keeps identities beside those of other variants; whether any is new."""
    known = _known(project)
    together = {**known, **identities}
    project.state.mkdir(exist_ok=True)
    write_whole(project.state / MODELS_FILE, json.dumps(together, indent=2) + "\n")
    return together != known


def _known(project: Project) -> dict[str, str]:
    file = project.state / MODELS_FILE
    known: dict[str, str] = read_json(file) if file.is_file() else {}
    return known
