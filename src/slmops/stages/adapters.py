"""Adapters by themselves: trained and kept, merged with one another, merged into their base.

In come references, files and options; out go folders in peft's own format, written whole. Nothing here is a stage.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, get_args

from pydantic import model_validator

from slmops.core.begun import begin_or_go_on
from slmops.core.config import Section, nearest, wrong
from slmops.core.errors import ConfigError, ModelError, SlmopsError, need
from slmops.core.files import folder_written_whole, full_disk_explained, lock, place_whole, write_whole
from slmops.core.named import allow, code_of, is_named
from slmops.core.pipeline import Work
from slmops.core.store import Store
from slmops.data.read import read_records
from slmops.data.records import write_records
from slmops.data.sources import find_rows
from slmops.data.split import split
from slmops.models.adapters import Adapter, AdapterCard, base_id, check_base, check_same_base, read_adapter
from slmops.models.folder import Card, read_card, write_card
from slmops.models.forward import load_causal_lm
from slmops.models.lora import attach, layers_of, use, write_adapter
from slmops.models.tokenizer import Tokenizer
from slmops.runtimes.local import LocalModel
from slmops.runtimes.probes import PROBES, Probe, pairs_of, read_probes, record_probes
from slmops.runtimes.proof import require, same_logprobs, write_chain
from slmops.runtimes.rendering import check_asking
from slmops.runtimes.torch_lm import TorchRuntime
from slmops.runtimes.types import Scores
from slmops.stages.dataset import stratum_of
from slmops.stages.learning import Lesson, learned
from slmops.stages.parts import read_answered, read_task, read_task_spec
from slmops.stages.placed import record_plain
from slmops.stages.run import frozen_choices
from slmops.stages.saved import as_trained, prove_adapter, save_weights, to_ask
from slmops.stages.verbs import find_model
from slmops.tasks import load_task, read_row
from slmops.tasks.config import TaskConfig
from slmops.training.config import TrainConfig
from slmops.training.methods import ADAPTER, merge
from slmops.training.trackers import Run
from slmops.training.tracking_config import TrackingConfig

Method = Literal["linear", "cat", "ties", "dare_linear", "dare_ties"]
METHODS: tuple[Method, ...] = get_args(Method)
_THINNED = ("ties", "dare_linear", "dare_ties")
_VALIDATION = 0.15
_MERGE_AGAIN = "look at the disk, then merge it again; or keep the adapter beside its base, and report this"


class AdapterConfig(Section):
    """What an adapter learns, and how: the sections of slmops.yaml."""

    task: TaskConfig = TaskConfig()
    train: TrainConfig = TrainConfig()

    @model_validator(mode="after")
    def _makes_an_adapter(self) -> AdapterConfig:
        space = self.train.search.search_space if self.train.search else {}
        tried = [self.train.tried({name: value}) for name, of in space.items() for value in of.ends()]
        for train in (self.train, *tried):
            if not train.makes_adapter:
                raise wrong(f"train.method: {train.method} makes no adapter", "choose lora, dora or qlora")
            if train.modules_to_save:
                raise wrong("train.modules_to_save: a part that learned whole is no adapter", "remove it")
            if train.quantization_aware:
                raise wrong("train.quantization_aware: an adapter is not rounded", "remove it")
            if (train.method == "qlora") != (self.train.method == "qlora"):
                raise wrong("train.search: bases in four bits and whole ones are not compared", "search in one of them")
        return self

    def own_code(self) -> list[str]:
        """What it names of the user's own."""
        return [name for name in (self.task.type, *self.train.own_code()) if is_named(name)]


def train(
    reference: str,
    data: Path,
    out: Path,
    config: AdapterConfig | None = None,
    *,
    fields: Mapping[str, str] | None = None,
    store: Store | None = None,
    seed: int = 7,
    force: bool = False,
    report: Callable[[float, str], None] = lambda share, note: None,
) -> Adapter:
    """Trains an adapter for the model on the rows of `data`, a share of which is held out, into the new folder `out`.
    Killed, the same call goes on where it was; one that asks otherwise begins anew, and says why.

    Raises:
        SlmopsError: `out` is there already, a row cannot be used, or memory does not suffice (unless `force`).
    """
    if out.exists():
        raise SlmopsError("exists already", where=str(out), remedy="give another folder, or remove it")
    model, config = find_model(reference, store), config or AdapterConfig()
    for name in config.own_code():
        allow(name)
    asked = config.model_dump(mode="json") | {"fields": dict(fields or {}), "seed": seed}
    asked |= {"model": model.identity, "data": find_rows(data).digest()}
    asked |= {"code": [code_of(name, "adapter") for name in config.own_code()]}
    begun = out.with_name(f".{out.name}.begun")
    explained = full_disk_explained(begun, otherwise="write to a larger disk")
    with explained, lock(begun / "lock"), Store.keep_in_use(store):
        place = begin_or_go_on(begun, asked, lambda text: report(0.0, text))
        choices = frozen_choices(place)
        need("torch", "train").set_num_threads(choices["threads"])
        dataset, made, scratch = place / "dataset", place / "adapter", place / "scratch"
        shutil.rmtree(made, ignore_errors=True)
        for folder in (dataset, made, scratch):
            folder.mkdir(exist_ok=True)
        _write_dataset(data, dataset, config.task, fields, seed)
        work = Work({"dataset": dataset}, {}, made, scratch, seed, choices, report, force)
        rows = read_answered(dataset, "train", read_task(dataset))
        run = Run(TrackingConfig(), place / "tracking", out.name, "adapter")
        network = learned(Lesson(model.folder, rows, "full"), config.train, work, run)
        trained = as_trained(network, to_ask(model.folder, dataset, "full", network.config.max_position_embeddings))
        card = AdapterCard(base_id(model.folder), read_task_spec(dataset), "full", model.licence)
        write_adapter(network, ADAPTER, made, card, reference)
        del network
        _prove_written(trained, model.folder, made, exact=config.train.method != "qlora")
        place_whole(made, out)
    shutil.rmtree(begun)
    return read_adapter(out)


def _prove_written(trained: Sequence[Probe], base: Path, made: Path, *, exact: bool) -> None:
    """Records the probes of the adapter in `made`, read anew beside its base, and holds it against what was trained;
    not `exact`: it learned beside a base in four bits, and what that moves stands in the proof.

    Raises:
        ProofError: what was written is not what was trained.
    """
    reloaded = LocalModel(base, adapters={ADAPTER: made}).runtime
    found = [Scores(probe.logprobs) for probe in record_probes(reloaded, trained, made / PROBES, ADAPTER)]
    prove_adapter(trained, found, made, exact=exact)


def _write_dataset(data: Path, out: Path, config: TaskConfig, fields: Mapping[str, str] | None, seed: int) -> None:
    given = config.given()
    draft = load_task(config.type, **given)
    rows = read_records(
        data, read=lambda parts: read_row(draft, parts), check=draft.check, answered=True, fields=fields
    )
    options = given | dict(draft.learned([record.gold for record in rows]))
    kept, held_out = split(rows, _VALIDATION, seed, stratum_of(load_task(config.type, **options)))
    write_records(out / "train.jsonl", kept)
    write_records(out / "validation.jsonl", held_out)
    write_whole(out / "task.json", json.dumps({"name": config.type, "options": options}, ensure_ascii=False))


def merge_adapters(
    folders: Sequence[Path],
    out: Path,
    method: Method,
    weights: Sequence[float] | None = None,
    density: float | None = None,
    seed: int = 7,
) -> Adapter:
    """One adapter of several of the same base, through peft, in the new folder `out`; weighed alike unless `weights`
    say otherwise. `density` is the share of each that TIES and DARE keep; what DARE drops is drawn by the seed.

    Raises:
        ModelError: they are of different bases, or cannot be merged by this method.
    """
    torch, adapters = need("torch", "train"), [read_adapter(folder) for folder in folders]
    weights = weights or [1 / len(adapters)] * len(adapters)
    if len(adapters) < 2 or len(weights) != len(adapters):
        found = f"found {len(adapters)} adapters and {len(weights)} weights"
        raise SlmopsError(found, remedy="give two adapters or more, and a weight for each")
    if not all(map(isfinite, weights)) or not any(weights):
        raise SlmopsError(f"found {list(weights)}", where="--weights", remedy="give finite numbers, not all of them 0")
    if (density is None) == (method in _THINNED) or not 0 < (1 if density is None else density) <= 1:
        what = f"{method} keeps a share of each" if method in _THINNED else f"{method} keeps all"
        raise SlmopsError(
            what, where="--density", remedy="give one above 0, to 1" if method in _THINNED else "remove it"
        )
    _check_alike(adapters, method)
    names = [str(index) for index in range(len(adapters))]
    wrapped = attach(layers_of(adapters), dict(zip(names, adapters, strict=True)))
    torch.manual_seed(seed)
    wrapped.add_weighted_adapter(names, list(weights), "merged", combination_type=method, density=density)
    card = adapters[0].card
    if card and any(adapter.card and adapter.card.task != card.task for adapter in adapters):
        card = AdapterCard(card.base, None, card.prompt, card.licence)
    with folder_written_whole(out) as made:
        write_adapter(wrapped.get_base_model(), "merged", made, card, adapters[0].base_name)
    return read_adapter(out)


def to_method(name: str) -> Method:
    """Raises ConfigError where no way of merging is called so."""
    for method in METHODS:
        if method == name:
            return method
    raise ConfigError(f"there is no method {name!r}", where="--method", remedy=nearest(name, METHODS))


def _check_alike(adapters: Sequence[Adapter], method: Method) -> None:
    first, *others = adapters
    for adapter in others:
        if first.card and adapter.card:
            check_same_base(
                adapter.card.base, first.card.base, str(adapter.folder), f"{adapter.base_name}; {first.base_name}"
            )
        elif first.card or adapter.card or first.base_name != adapter.base_name:
            raise ModelError(
                f"{first.folder} and {adapter.folder} are not known to be of one base "
                f"({first.base_name}; {adapter.base_name})",
                remedy="merge adapters of one base",
            )
        if adapter.rank != first.rank and method != "cat":
            found = f"ranks {first.rank} and {adapter.rank}, {method} needs the same"
            raise ModelError(found, where=str(adapter.folder), remedy="--method cat takes any")
    if dora := next((adapter for adapter in adapters if adapter.dora), None):
        raise ModelError(
            "sizes of outputs (DoRA) cannot be added", where=str(dora.folder), remedy="merge it --into MODEL"
        )


def merge_into(reference: str, folder: Path, out: Path, *, store: Store | None = None) -> Path:
    """The model with the adapter folded into its weights: one plain model, in the new folder `out`.

    Raises:
        ModelError: the adapter is not for this model.
        ProofError: what was written says something else than the adapter beside its base did.
    """
    base, adapter = find_model(reference, store), read_adapter(folder)
    check_base([adapter], base.folder)
    with Store.keep_in_use(store), folder_written_whole(out) as made, TemporaryDirectory() as place:
        probes = folder / PROBES
        comes_with_probes = probes.is_file()
        if not comes_with_probes:
            probes = Path(place) / PROBES
            beside = TorchRuntime(base.folder, ends=frozenset(), adapters={ADAPTER: folder})
            record_plain(beside, Tokenizer(base.folder), probes, ADAPTER)
            del beside  # one at a time
        model = load_causal_lm(base.folder)
        attach(model, {ADAPTER: adapter})
        use(model, ADAPTER)
        save_weights(merge(model), base.folder, made)
        del model
        card = adapter.card
        if card and card.task:
            write_card(made, Card(card.task, card.prompt, card.licence))
        elif own := read_card(base.folder):
            write_card(made, own)
        was = read_probes(probes)
        found = TorchRuntime(made, ends=frozenset()).score(pairs_of(was))
        links = [same_logprobs("adapter", "merged and saved", was, found, _MERGE_AGAIN)]
        if comes_with_probes:
            shutil.copyfile(probes, made / PROBES)
            links += check_asking("adapter", made, was)
            write_chain(made, links)
        require(links)
    return out
