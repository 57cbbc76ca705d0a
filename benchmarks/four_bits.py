"""A base in four bits, beside bitsandbytes and torchao: one layer of the default model, forward and backward.

The largest matrix of an MLP reads 1,024 tokens, and the gradient goes back through it, in the number format that this
machine is fast at; the three take turns. Noted beside the times: how far the weight is from what it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.beside_trl import number_format
from benchmarks.learn import MODEL
from benchmarks.results import Asked, Group, Measured
from slmops.core.machine import default_threads
from slmops.core.statistics import bootstrap
from slmops.models.forward import decoder_layers, load_causal_lm
from slmops.models.references import resolve

_PEERS = ("bitsandbytes", "torchao")
_TOKENS, _ROUNDS = 1024, 30


def groups() -> list[Group]:
    what = f"a layer in four bits reads {_TOKENS:,} tokens and passes the gradient back"
    asked = tuple(Asked(f"four-bits-{peer}", f"{what} (peer: {peer}'s 4-bit NormalFloat)", "ms") for peer in _PEERS)
    return [Group(asked, lambda wanted: _measure())]


def _measure() -> Iterator[tuple[str, Measured]]:
    import torch

    from slmops.models.nf4 import NF4Linear

    torch.set_num_threads(default_threads())
    plain = decoder_layers(load_causal_lm(resolve(MODEL).folder))[0].mlp.up_proj.requires_grad_(False)
    layers = {"ours": NF4Linear(plain), "bitsandbytes": _of_bitsandbytes(plain), "torchao": _of_torchao(plain)}
    weights = {
        "ours": layers["ours"].weight,
        "bitsandbytes": _dequantized(layers["bitsandbytes"]),
        "torchao": layers["torchao"].weight.get_original_weight(),
    }
    off = {
        name: float((weight.float() - plain.weight).norm() / plain.weight.norm()) for name, weight in weights.items()
    }
    asked = torch.randn(_TOKENS, plain.in_features, dtype=getattr(torch, number_format())).requires_grad_(True)
    seconds = np.array([[_time(layer, asked) for layer in layers.values()] for _ in range(_ROUNDS + 1)])[1:]
    for place, peer in enumerate(_PEERS, 1):
        pair = seconds[:, [0, place]]
        ratio = bootstrap(pair, lambda sums: sums[..., 0] / sums[..., 1], seed=0)
        ours, theirs = 1e3 * pair.mean(axis=0)
        note = f"{number_format()}; the weight is off by {off['ours']:.4f} (peer: {off[peer]:.4f}) of its norm"
        yield f"four-bits-{peer}", Measured(float(ours), ratio, float(theirs), note)


def _time(layer: Callable[[Any], Any], asked: Any) -> float:
    begun = time.perf_counter()
    layer(asked).sum().backward()
    asked.grad = None
    return time.perf_counter() - begun


def _of_bitsandbytes(plain: Any) -> Any:
    import bitsandbytes  # type: ignore[import-untyped]
    import torch

    layer = bitsandbytes.nn.Linear4bit(
        plain.in_features,
        plain.out_features,
        bias=False,
        compute_dtype=getattr(torch, number_format()),
        compress_statistics=False,
        quant_type="nf4",
    )
    layer.load_state_dict({"weight": plain.weight})
    return layer.to("cpu")


def _dequantized(layer: Any) -> Any:
    import bitsandbytes

    return bitsandbytes.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)


def _of_torchao(plain: Any) -> Any:
    import torch
    from torchao.quantization import NF4Tensor  # type: ignore[import-untyped]

    layer = torch.nn.Linear(plain.in_features, plain.out_features, bias=False)
    weight = NF4Tensor.from_tensor(plain.weight.detach().to(getattr(torch, number_format())), 64, 256)
    layer.weight = torch.nn.Parameter(weight, requires_grad=False)
    return layer
