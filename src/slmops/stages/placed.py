"""Models that were converted by themselves, and adapters put beside them, each held against torch: on its probes, or on
what it says to plain questions where it came without any."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from slmops.core.config import Name, Section, validate
from slmops.core.errors import ModelError
from slmops.models.adapters import ONNX_FOLDER, check_base, read_adapter
from slmops.models.tokenizer import Tokenizer
from slmops.optimization.config import Precision
from slmops.optimization.onnx_adapters import add_adapters
from slmops.runtimes.onnx_genai import OnnxRuntime
from slmops.runtimes.probes import PROBES, Parity, Probe, record_probes, replay_probes
from slmops.runtimes.torch_lm import TorchRuntime
from slmops.runtimes.types import Request, Runtime, Sampling

# How far a probed token's probability may move on average. fp32 must be the same model; a quantized base may differ,
# but not be another.
_LIMITS = {"fp32": 0.001, "int8": 0.05, "int4": 0.25}
_NONE: frozenset[int] = frozenset()  # of end tokens: it goes on
_QUESTIONS = ("What is the capital of France?", "Where is my order? It should have come a week ago.", "Hello!")


def put_adapters(source: Path, converted: Path, adapters: Mapping[str, Path], precision: Precision) -> None:
    """Gives the ONNX model that was made of `source` places for adapters, puts `adapters` beside it, and checks that
    it says with each what torch does.

    Raises:
        ModelError: an adapter is none for this model, or says something else.
    """
    names = validate(_Names, {"names": tuple(adapters)}, "--adapter").names
    checked = {name: read_adapter(adapters[name]) for name in names}
    add_adapters(converted, checked, check_base(checked.values(), source))
    tokenizer = Tokenizer(source)
    for name, adapter in checked.items():
        probes, known = converted / ONNX_FOLDER / name / PROBES, adapter.folder / PROBES
        if known.is_file():
            shutil.copyfile(known, probes)
        else:
            record_plain(TorchRuntime(source, ends=_NONE, adapters={name: adapter.folder}), tokenizer, probes, name)
    runtime = OnnxRuntime(converted, ends=_NONE)
    for name in checked:
        parity = replay_probes(runtime, converted / ONNX_FOLDER / name / PROBES, name)
        _check_parity(parity, precision, f"--adapter {name}")


class _Names(Section):
    names: tuple[Name, ...]


def check_plainly(runtime: Runtime, source: Path, converted: Path, precision: Precision) -> None:
    """That the model which was made of `source` says to plain questions what that does in `runtime`.

    Raises:
        ModelError: it says something else.
    """
    with TemporaryDirectory() as place:
        probes = Path(place) / PROBES
        record_plain(runtime, Tokenizer(source), probes)
        _check_parity(replay_probes(OnnxRuntime(converted, ends=_NONE), probes), precision, str(converted))


def record_plain(runtime: Runtime, tokenizer: Tokenizer, probes: Path, adapter: str | None = None) -> None:
    """Probes of what came without any: how it goes on after plain questions."""
    prompts = [tokenizer.encode(text) for text in _QUESTIONS]
    written = runtime.write([Request("", prompt, Sampling(16), adapter=adapter) for prompt in prompts])
    asked = [Probe(prompt, answer.ids) for prompt, answer in zip(prompts, written, strict=True)]
    record_probes(runtime, asked, probes, adapter)


def _check_parity(parity: Parity, precision: Precision, where: str) -> None:
    """Raises ModelError where a converted model is another than that of the probes."""
    if parity.mean_probability_difference > _LIMITS[precision]:
        raise ModelError(
            f"{precision} is no longer the same model: over {parity.probes} probes a token's probability moved "
            f"by {parity.mean_probability_difference:.3f} on average, {_LIMITS[precision]} is allowed",
            where=where,
            remedy="choose a higher precision or a smaller block_size",
        )
