"""Fine-tunes as Microsoft Olive was asked to: texts learned whole, an adapter in peft's format where Olive puts its."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slmops.core.artifact import hash_json
from slmops.core.begun import begin_or_go_on
from slmops.core.config import validate
from slmops.core.errors import ConfigError, need
from slmops.core.files import full_disk_explained, lock, place_whole, write_whole
from slmops.models.adapters import AdapterCard, base_id
from slmops.models.folder import context_of, read_json, text_part, write_card
from slmops.models.forward import load_causal_lm
from slmops.models.packing import Example
from slmops.models.references import Model, resolve
from slmops.models.tokenizer import Tokenizer
from slmops.optimization.olive import Finetuning, read_run
from slmops.runtimes.probes import Probe, pairs_of
from slmops.runtimes.torch_lm import score
from slmops.stages.diagnosis import Diagnosis
from slmops.stages.learning import CURVE_FILE, has_room
from slmops.stages.olive_texts import faults_of_texts, read_texts
from slmops.stages.run import frozen_choices
from slmops.stages.saved import as_trained, prove_adapter
from slmops.training.config import MOST_EPOCHS, TrainConfig
from slmops.training.curve import Point, write_curve
from slmops.training.diagnosis import Course, Fault
from slmops.training.methods import prepare, save_adapter, usual_targets
from slmops.training.own import gold_loss
from slmops.training.trainer import train

Report = Callable[[float, str], None]
_PROBES, _PROBED = 4, 64  # texts, and tokens of each
_SCRATCH = ".slmops-finetune"  # in the folder asked for: what a killed run goes on from


@dataclass(frozen=True)
class Finetuned:
    """What was made: the adapter's folder, from how many texts and tokens it learned, and how."""

    adapter: Path
    texts: int
    tokens: int
    curve: tuple[Point, ...]
    faults: tuple[Fault, ...]


def run_olive(config: Path, *, force: bool = False, report: Report = lambda share, text: None) -> Finetuned:
    """Does what an Olive run configuration (JSON or YAML) asks for."""
    return finetune(read_run(config), force=force, report=report)


def finetune(asked: Finetuning, *, force: bool = False, report: Report = lambda share, text: None) -> Finetuned:
    """Trains, and writes `adapter`, `model_config.json` and `curve.jsonl` into the folder asked for. Killed, it goes on
    where it was, unless it is asked otherwise; with `force`, even where an estimate says that there is no room.

    Raises:
        SlmopsError: model or rows cannot be used, the model's own code was to be run, or there is no room.
        BusyError: another run works in that folder.
    """

    def say(text: str) -> None:
        report(0.0, text)

    base = resolve(asked.model, say=say)
    if asked.trusts_code and _has_code(base.folder):
        what = "slmops never runs a model's own code, and this one has some"
        raise ConfigError(what, where=asked.trusts_code, remedy="remove it: transformers may know the model without")
    tokenizer, context = Tokenizer(base.folder), context_of(base.folder)
    examples = read_texts(asked.texts, base.folder, context, say)
    validation = read_texts(asked.validation, base.folder, context, say) if asked.validation else []
    validation = [Example(f"eval-{one.row}", one.path, one.learn) for one in validation]
    config = _config(asked, len(examples), text_part(read_json(base.folder / "config.json"))["model_type"])
    texts = {one.row: one.path[-1] for one in (*examples, *validation)}
    decides = {"model": base.identity, "train": config.model_dump(mode="json"), "seed": asked.seed}
    decides |= {"texts": hash_json(texts)[:12]}
    with full_disk_explained(asked.out, otherwise="write to a larger disk"), lock(asked.out / _SCRATCH / "lock"):
        scratch = begin_or_go_on(asked.out / _SCRATCH, decides, say)
        choices = frozen_choices(scratch)
        if not force:
            has_room(base.folder, [*examples, *validation], config, choices["number_format"], scratch)
        need("torch", "train").set_num_threads(choices["threads"])
        model = prepare(load_causal_lm(base.folder), config, asked.seed)
        diagnosis = Diagnosis(Course(keeps_best=config.keeps_best), report)
        curve = train(
            model,
            examples,
            config,
            gold_loss(config),
            validation=validation,
            seed=asked.seed,
            number_format=choices["number_format"],
            scratch=scratch,
            goes_on=diagnosis.look,
            show=lambda row: tokenizer.decode(texts[row]),
            report=report,
        )
        of_texts = faults_of_texts(asked.texts, examples, min(asked.texts.max_tokens, context), base.folder)
        faults = [*diagnosis.end(curve), *of_texts]
        trained, part = as_trained(model, _probes(examples)), asked.out / _SCRATCH / "adapter"
        save_adapter(model, _name_of(asked, base), part)
        del model  # one at a time
        _prove_saved(trained, base, part, exact=config.method != "qlora")
        adapter = _publish(part, asked, base, curve)
    shutil.rmtree(asked.out / _SCRATCH)
    return Finetuned(adapter, len(examples), sum(sum(one.learn) for one in examples), tuple(curve), tuple(faults))


def _has_code(model: Path) -> bool:
    paths = [model / name for name in ("config.json", "tokenizer_config.json")]
    return any("auto_map" in read_json(path) for path in paths if path.is_file())


def _config(asked: Finetuning, texts: int, model_type: str) -> TrainConfig:
    """Our `train` section, with all that depends on how many texts and which model there are."""
    keys: dict[str, Any] = dict(asked.train)
    steps_an_epoch = math.ceil(texts / keys["batch_size"])
    steps = asked.steps or max(1, round(steps_an_epoch * keys["epochs"]))
    keys["epochs"] = steps / steps_an_epoch
    if keys["epochs"] > MOST_EPOCHS:
        what = f"{steps:,} steps are {keys['epochs']:,.0f} passes over {texts:,} texts, more than {MOST_EPOCHS:,}"
        raise ConfigError(what, where="max_steps", remedy=f"write at most {MOST_EPOCHS * steps_an_epoch:,}")
    keys["max_tokens"] = max(1024, asked.texts.max_tokens)
    if "targets" not in keys:
        keys["targets"] = usual_targets(model_type)
    if asked.warmup_steps:
        keys["warmup"] = min(asked.warmup_steps / steps, 0.99)
    if asked.eval_steps:
        keys["validations"] = max(1, min(1000, steps // asked.eval_steps))
    return validate(TrainConfig, keys, "what Olive was asked for")


def _name_of(asked: Finetuning, base: Model) -> str:
    return asked.model.removeprefix("hf:").partition("@")[0] if asked.model.startswith("hf:") else str(base.folder)


def _probes(examples: Sequence[Example]) -> list[Probe]:
    """Some texts' beginnings, the second half of each to be found as likely by what was saved."""
    beginnings = [one.path[-1][:_PROBED] for one in examples[:_PROBES] if len(one.path[-1]) > 1]
    return [Probe(ids[: len(ids) // 2], ids[len(ids) // 2 :], row=str(at)) for at, ids in enumerate(beginnings)]


def _prove_saved(trained: Sequence[Probe], base: Model, part: Path, *, exact: bool) -> None:
    """Holds what peft reads in `part`, beside its base, against what was trained; not `exact`: on a base in four bits.

    Raises:
        ProofError: it is not what was trained.
    """
    saved = need("peft", "train").PeftModel.from_pretrained(load_causal_lm(base.folder), part).get_base_model()
    prove_adapter(trained, score(saved.eval(), pairs_of(trained)), part, exact=exact)


def _publish(part: Path, asked: Finetuning, base: Model, curve: Sequence[Point]) -> Path:
    """The adapter, whole, in place of one that was there; what Olive's other commands read of it; the curve."""
    name, adapter = _name_of(asked, base), asked.out / "adapter"
    write_card(part, AdapterCard(base_id(base.folder), None, "full", base.licence))
    shutil.rmtree(adapter, ignore_errors=True)
    place_whole(part, adapter)
    told = {"model_path": name, "task": "text-generation", "adapter_path": str(adapter.resolve())}
    write_whole(asked.out / "model_config.json", json.dumps({"type": "HfModel", "config": told}, indent=4) + "\n")
    write_curve(asked.out / CURVE_FILE, curve)
    return adapter
