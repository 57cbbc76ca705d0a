"""Makes a model narrower: keeps the hidden units, groups of heads and channels that do most. Learns nothing.

In come a model and which parts stay; it is changed in place, and stays a plain one of its architecture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from slmops.core.errors import ModelError
from slmops.models.forward import decoder_layers

if TYPE_CHECKING:
    from torch import Tensor, nn

_OF_HEADS = ("q_norm", "k_norm")  # these are as wide as a head


def keep_units(model: nn.Module, kept: Sequence[Tensor]) -> None:
    """Keeps so many hidden units of every layer's MLP: their indices, a layer each."""
    import torch

    for layer, at in zip(decoder_layers(model), kept, strict=True):
        mlp: Any = layer.mlp
        size = mlp.down_proj.in_features
        if hasattr(mlp, "gate_up_proj"):  # Phi 3 has both in one
            _keep_rows(mlp.gate_up_proj, torch.cat([at, size + at]))
        else:
            _keep_rows(mlp.gate_proj, at)
            _keep_rows(mlp.up_proj, at)
        _keep_columns(mlp.down_proj, at)
    model.config.intermediate_size = len(kept[0])


def keep_groups(model: nn.Module, kept: Sequence[Tensor]) -> None:
    """Keeps so many groups of heads of every layer, each the keys and values that it shares with its queries.

    Raises:
        ModelError: its rotary embeddings are told by how many heads there are.
    """
    import torch

    config: Any = model.config
    check_rotary(config, "kv_heads")
    _check_counted(model, "kv_heads")
    heads, groups = config.num_attention_heads, config.num_key_value_heads
    width = head_width(model)
    for layer, at in zip(decoder_layers(model), kept, strict=True):
        attention: Any = layer.self_attn
        keys, queries = _spread(at, width), _spread(at, width * heads // groups)
        if hasattr(attention, "qkv_proj"):  # Phi 3 has all in one
            values_at, keys_at = (heads + groups) * width, heads * width
            _keep_rows(attention.qkv_proj, torch.cat([queries, keys_at + keys, values_at + keys]))
        else:
            for linear, rows in ((attention.q_proj, queries), (attention.k_proj, keys), (attention.v_proj, keys)):
                _keep_rows(linear, rows)
        _keep_columns(attention.o_proj, queries)
        if hasattr(attention, "num_key_value_heads"):
            attention.num_key_value_heads = len(at)
    config.head_dim, config.num_key_value_heads = width, len(kept[0])
    config.num_attention_heads = len(kept[0]) * heads // groups


def keep_heads(model: nn.Module, kept: Sequence[Tensor]) -> None:
    """Keeps so many of the heads that share keys and values, in every group of every layer: their (group, query)
    indices within the group, a layer each.

    Raises:
        ModelError: its rotary embeddings are told by how many heads there are.
    """
    import torch

    config: Any = model.config
    check_rotary(config, "heads")
    _check_counted(model, "heads")
    heads, groups, width = config.num_attention_heads, config.num_key_value_heads, head_width(model)
    first = torch.arange(groups)[:, None] * (heads // groups)
    for layer, at in zip(decoder_layers(model), kept, strict=True):
        attention: Any = layer.self_attn
        queries = _spread((first + at).flatten(), width)
        if hasattr(attention, "qkv_proj"):  # Phi 3 has all in one
            shared = torch.arange(heads * width, attention.qkv_proj.out_features)
            _keep_rows(attention.qkv_proj, torch.cat([queries, shared]))
        else:
            _keep_rows(attention.q_proj, queries)
        _keep_columns(attention.o_proj, queries)
        attention.num_key_value_groups = at.shape[1]
    config.head_dim, config.num_attention_heads = width, kept[0].numel()


def keep_channels(model: nn.Module, at: Tensor) -> None:
    """Keeps so many channels of the hidden states, in every layer the same.

    Raises:
        ModelError: its embeddings are scaled by the width, or its rotary ones told by it.
    """
    import torch

    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    if hasattr(embeddings, "embed_scale"):
        raise ModelError("it scales its embeddings by their width", remedy="remove student.width")
    check_rotary(model.config, "width")
    decoder: Any = getattr(model, model.base_model_prefix)
    if isinstance(decoder.norm, torch.nn.LayerNorm):
        raise ModelError("its norms have a shape of their own", remedy="remove student.width; cut layers or units")
    tied, width = head.weight is embeddings.weight, head_width(model)
    embeddings.weight = torch.nn.Parameter(embeddings.weight.detach()[:, at])
    embeddings.embedding_dim = len(at)
    if tied:
        head.weight, head.in_features = embeddings.weight, len(at)
    else:
        _keep_columns(head, at)
    _keep_weight(decoder.norm, at)
    for layer in decoder_layers(model):
        for name, module in layer.named_modules():
            last = name.rpartition(".")[2]
            if last in ("o_proj", "down_proj"):
                _keep_rows(module, at)
            elif isinstance(module, torch.nn.Linear):
                _keep_columns(module, at)
            elif last.endswith("norm") and last not in _OF_HEADS:
                _keep_weight(module, at)
    model.config.hidden_size, model.config.head_dim = len(at), width


def head_width(model: nn.Module) -> int:
    """How wide a head is."""
    config: Any = model.config
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def check_rotary(config: Any, name: str) -> None:
    """Raises ModelError where long rotary embeddings have a factor for each of the dimensions that width and heads
    make."""
    if "short_factor" in (getattr(config, "rope_parameters", None) or {}):
        raise ModelError(
            "its long rotary embeddings are made for its width and heads", remedy=f"remove student.{name}; cut units"
        )


def _check_counted(model: nn.Module, name: str) -> None:
    """Raises ModelError where a layer counts its heads itself (StableLM), and would not know that some are gone."""
    if any(hasattr(layer.self_attn, "num_heads") for layer in decoder_layers(model)):
        raise ModelError(
            "its layers count their heads themselves", remedy=f"remove student.{name}; cut layers or units"
        )


def _spread(groups: Tensor, width: int) -> Tensor:
    """The rows of whole groups, each of `width`."""
    import torch

    return (groups[:, None] * width + torch.arange(width)).flatten()


def _keep_rows(linear: Any, at: Tensor) -> None:
    import torch

    linear.weight = torch.nn.Parameter(linear.weight.detach()[at])
    if linear.bias is not None:
        linear.bias = torch.nn.Parameter(linear.bias.detach()[at])
    linear.out_features = len(at)


def _keep_columns(linear: Any, at: Tensor) -> None:
    import torch

    linear.weight = torch.nn.Parameter(linear.weight.detach()[:, at])
    linear.in_features = len(at)


def _keep_weight(norm: Any, at: Tensor) -> None:
    import torch

    norm.weight = torch.nn.Parameter(norm.weight.detach()[at])
