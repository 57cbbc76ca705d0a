"""Places for adapters in an ONNX model: their matrices become inputs of the graph, and files beside it that fill these.

In come a folder that `write_onnx` made and checked adapters; the folder is changed in place. An input that no adapter
fills has rank 0 and adds nothing, so the model without any is the one it was, and adapters may differ in rank and in
which layers they are for. In an int4 model they stay fp32. Knows no runtime.

    root ─┬─ MatMul, or MatMulNBits ────────────┬─ Add ─
          └─ MatMul lora_A ── MatMul lora_B ────┘
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slmops.core.errors import ModelError, need
from slmops.core.files import write_whole
from slmops.models.adapters import (
    ONNX_BASE,
    ONNX_FOLDER,
    ONNX_WEIGHTS,
    WEIGHTS,
    Adapter,
    AdapterCard,
    BaseId,
)
from slmops.models.folder import write_card
from slmops.models.lora import PREFIX

_MODULE = re.compile(r".*layers\.(\d+)\.\w+\.(\w+)")
_NODE = re.compile(r"/model/layers\.(\d+)/\w+/(\w+)/MatMul(_Q\d)?")
_PACKED = "qkv_proj"  # the builder makes one product of three
_PARTS = ("q_proj", "k_proj", "v_proj")


@dataclass(frozen=True)
class Place:
    """Where adapters of one product of the graph go: the names of its two inputs, and its number of outputs."""

    a: str
    b: str
    outputs: int


def add_adapters(model: Path, adapters: Mapping[str, Adapter], base: BaseId) -> None:
    """Gives the ONNX model in folder `model` places for `adapters`, and writes each beside it.

    Raises:
        ModelError: an adapter cannot be computed by two products beside a layer's, or the graph has no such layer.
    """
    for adapter in adapters.values():
        if adapter.dora:
            remedy = "slmops adapter merge ADAPTER --into MODEL, and convert that"
            raise ModelError("DoRA changes the size of each output", where=str(adapter.folder), remedy=remedy)
    wanted = {_layer_of(module) for adapter in adapters.values() for module in adapter.modules}
    places = _add_places(model / "model.onnx", wanted)
    (model / ONNX_FOLDER).mkdir()
    write_whole(model / ONNX_FOLDER / ONNX_BASE, json.dumps(asdict(base), indent=2) + "\n")
    for name, adapter in adapters.items():
        folder = model / ONNX_FOLDER / name
        folder.mkdir()
        _write_weights(folder / ONNX_WEIGHTS, adapter, places)
        write_card(folder, adapter.card or AdapterCard(base, None, "full", ""))


def _layer_of(module: str) -> tuple[int, str]:
    """(layer, product) of a module: `model.layers.3.self_attn.q_proj` → (3, "q_proj")."""
    match = _MODULE.fullmatch(module)
    return (int(match[1]), match[2]) if match else (-1, module)


def _add_places(graph: Path, wanted: set[tuple[int, str]]) -> dict[tuple[int, str], Place]:
    onnx = need("onnx", "onnx")
    float32 = onnx.TensorProto.FLOAT
    proto = onnx.load(str(graph), load_external_data=False)
    shapes = {value.name: value.type.tensor_type.shape.dim for value in proto.graph.value_info}
    widths = {name: shape[-1].dim_value for name, shape in shapes.items() if shape}
    places, nodes = {}, []
    for node in proto.graph.node:
        nodes.append(node)
        match = _NODE.fullmatch(node.name)
        layer, product = (int(match[1]), match[2]) if match else (-1, "")
        parts = {(layer, part) for part in (product, *(_PARTS if product == _PACKED else ()))}
        if not parts & wanted:
            continue
        root, out, at = node.input[0], node.output[0], f"layers.{layer}.{product}"
        place = Place(f"{at}.lora_A", f"{at}.lora_B", widths[out])
        places[layer, product] = place
        node.output[0] = f"{at}.base"
        nodes += [
            onnx.helper.make_node("MatMul", [root, place.a], [f"{at}.low"], name=f"{at}.lora_A"),
            onnx.helper.make_node("MatMul", [f"{at}.low", place.b], [f"{at}.more"], name=f"{at}.lora_B"),
            onnx.helper.make_node("Add", [node.output[0], f"{at}.more"], [out], name=f"{at}.lora"),
        ]
        for name, shape in ((place.a, [widths[root], 0]), (place.b, [0, place.outputs])):
            open_shape = [f"{at}.rank" if size == 0 else size for size in shape]
            proto.graph.input.append(onnx.helper.make_tensor_value_info(name, float32, open_shape))
            proto.graph.initializer.append(onnx.helper.make_tensor(name, float32, shape, []))
        wanted = wanted - parts
    if wanted:
        lacking = ", ".join(sorted({product for _, product in wanted}))
        raise ModelError(
            f"the ONNX graph has no product of its own for {lacking}",
            where=str(graph),
            remedy="slmops adapter merge ADAPTER --into MODEL, and convert that",
        )
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    graph.write_bytes(proto.SerializeToString(deterministic=True))
    return places


def _write_weights(path: Path, adapter: Adapter, places: Mapping[tuple[int, str], Place]) -> None:
    """The adapter in ONNX Runtime's own format. What is for parts of a packed product becomes one adapter of it: their
    As side by side, and each B at the outputs of its part."""
    tensors = need("safetensors.numpy", "onnx").load_file(adapter.folder / WEIGHTS)
    found: dict[Place, list[tuple[NDArray[np.float32], NDArray[np.float32]]]] = {}
    for module, (_, outputs) in sorted(adapter.modules.items()):
        layer, product = _layer_of(module)
        place = places.get((layer, product)) or places[layer, _PACKED]
        a, b = (tensors[f"{PREFIX}{module}.lora_{part}.weight"].astype(np.float32).T for part in "AB")
        wide = np.zeros((adapter.rank, place.outputs), np.float32)
        begin = {"k_proj": place.outputs - 2 * outputs, "v_proj": place.outputs - outputs}.get(product, 0)
        wide[:, begin : begin + outputs] = adapter.scale * b
        found.setdefault(place, []).append((a, wide))
    runtime = need("onnxruntime", "onnx")
    parameters: dict[str, Any] = {}
    for place, pairs in found.items():
        parameters[place.a] = runtime.OrtValue.ortvalue_from_numpy(np.hstack([a for a, _ in pairs]))
        parameters[place.b] = runtime.OrtValue.ortvalue_from_numpy(np.vstack([b for _, b in pairs]))
    written = runtime.AdapterFormat()
    written.set_parameters(parameters)
    written.export_adapter(str(path))
