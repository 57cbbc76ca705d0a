"""Fine-tuning beside Microsoft Olive's own: the same run configuration goes to `olive run` and to `slmops olive run`.

The default model learns whole texts of GSM8K by LoRA, at Olive's defaults, for a few steps; what is timed is the whole
command, from start to adapter, as it is waited for. The loss is taken by transformers alone, of texts that neither saw.
Olive's own default of bfloat16 is kept only where this machine is fast at it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.beside_trl import number_format
from benchmarks.learn import MODEL
from benchmarks.projects import write_jsonl
from benchmarks.public import read_public
from benchmarks.results import SLMOPS, Asked, Group, Measured
from slmops.core.measurement import Interval
from slmops.core.statistics import bootstrap
from slmops.models.references import resolve

_TEMPLATE = "### Question: {question}\n### Answer: {answer}"
_COMMANDS = {"ours": (SLMOPS, "olive", "run"), "olive": (sys.executable, "-m", "olive", "run", "--config")}
_LEARNED, _HELD_OUT, _STEPS, _ROUNDS = 200, 40, 8, 2


def groups() -> list[Group]:
    seconds = Asked("olive-lora", f"the same file of Olive's: LoRA, {_STEPS} steps, the whole command", "s")
    loss = Asked("olive-lora-loss", f"loss (nats a token) of {_HELD_OUT} other texts after that", "")
    return [Group((seconds, loss), lambda wanted: _measure())]


def _measure() -> Iterator[tuple[str, Measured]]:
    rows = read_public("gsm8k", "train")[: _LEARNED + _HELD_OUT]
    held_out = [_TEMPLATE.format(**row) for row in rows[_LEARNED:]]
    taken: list[list[float]] = []
    losses: list[list[float]] = []
    for _ in range(_ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            write_jsonl(Path(folder, "rows.jsonl"), rows[:_LEARNED])
            taken.append([_run(side, Path(folder)) for side in _COMMANDS])
            losses.append([_loss(Path(folder, side, "adapter"), held_out) for side in _COMMANDS])
    ratio = bootstrap(np.array(taken), lambda sums: sums[..., 0] / sums[..., 1], seed=0)
    ours, peer = np.mean(taken, axis=0)
    yield "olive-lora", Measured(float(ours), ratio, float(peer), number_format())
    ours, peer = np.mean(losses, axis=0)
    yield "olive-lora-loss", Measured(float(ours), Interval.exact(float(ours / peer)), float(peer), number_format())


def _run(side: str, folder: Path) -> float:
    """Seconds until the adapter lies in the folder's `side`."""
    config = folder / f"{side}.json"
    config.write_text(json.dumps(_config(folder, folder / side)))
    quiet = {"OLIVE_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1"}
    begun = time.perf_counter()
    subprocess.run([*_COMMANDS[side], str(config)], check=True, cwd=folder, env=os.environ | quiet, stdout=sys.stderr)
    return time.perf_counter() - begun


def _config(folder: Path, out: Path) -> dict[str, object]:
    texts = {
        "name": "texts",
        "type": "HuggingfaceContainer",
        "load_dataset_config": {"data_name": "json", "data_files": str(folder / "rows.jsonl"), "split": "train"},
        "pre_process_data_config": {"text_template": _TEMPLATE, "max_seq_len": 512},
    }
    lora = {
        "type": "LoRA",
        "torch_dtype": number_format(),
        "train_data_config": "texts",
        "training_args": {"max_steps": _STEPS, "per_device_train_batch_size": 4, "learning_rate": 1e-3},
    }
    return {
        "input_model": {"type": "HfModel", "model_path": str(resolve(MODEL).folder)},
        "data_configs": [texts],
        "passes": {"lora": lora},
        "output_dir": str(out),
        "cache_dir": str(folder / "cache"),  # else a file that was run before is not run again
    }


def _loss(adapter: Path, texts: Sequence[str]) -> float:
    """Nats a token that stands behind another."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = resolve(MODEL).folder
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder, dtype="float32"), adapter).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    total = count = 0.0
    with torch.no_grad():
        for text in texts:
            ids = tokenizer(text, return_tensors="pt").input_ids
            total += float(model(input_ids=ids, labels=ids).loss) * (ids.shape[1] - 1)
            count += ids.shape[1] - 1
    return total / count
