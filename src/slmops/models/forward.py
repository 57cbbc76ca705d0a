"""One forward pass of a causal language model over a packed batch, with the output head only at targets.

Works on a transformers model (with or without LoRA layers inside) and a Batch. Knows no loss and no optimizer.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from slmops.core.errors import ModelError, need
from slmops.models.attention import lay_out, register
from slmops.models.folder import check_model_folder, check_weights
from slmops.models.packing import Batch, Example, pack
from slmops.models.tokenizer import Ids

if TYPE_CHECKING:
    from torch import Tensor, nn

NumberFormat = Literal["float32", "bfloat16"]

_SCALES = {"logit_scale": 1, "lm_head_multiplier": 1, "logits_scaling": -1}  # of Cohere, of Falcon H1, of Granite


def load_causal_lm(folder: Path, number_format: NumberFormat = "float32") -> nn.Module:
    """The model of a checked folder, its weights in `number_format`, without any code from the folder.

    Raises:
        ModelError: the folder is not safe to load, is no causal language model, or lacks some of its weights.
    """
    torch, transformers = need("torch", "train"), need("transformers", "train")
    check_model_folder(folder)
    check_weights(folder)
    transformers.logging.disable_progress_bar()
    with _damage_told(folder):
        model, loaded = transformers.AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=getattr(torch, number_format),
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,  # None would ask whoever sits there
            attn_implementation=register(),
            output_loading_info=True,
        )
    if lacking := sorted(loaded["missing_keys"]):  # transformers would draw them at random
        what = f"its weights lack {lacking[0]}" + f" and {len(lacking) - 1} more" * (len(lacking) > 1)
        raise ModelError(what, where=str(folder), remedy="fetch the whole model, or correct config.json")
    _check_known(model, folder)
    whole: nn.Module = model.eval()
    return whole


def load_skeleton(folder: Path) -> nn.Module:
    """The model of a checked folder without its weights: what its parts are called, and their sizes.

    Raises:
        ModelError: the folder is no causal language model.
    """
    torch, transformers = need("torch", "train"), need("transformers", "train")
    with _damage_told(folder), torch.device("meta"):
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        model: nn.Module = transformers.AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    _check_known(model, folder)
    return model


@contextmanager
def _damage_told(folder: Path) -> Iterator[None]:
    """Raises ModelError for whatever its readers raise: a damaged folder makes them raise anything."""
    try:
        yield
    except Exception as error:
        raise ModelError(
            f"cannot be loaded as a causal language model: {error}", where=str(folder), remedy="check config.json"
        ) from error


def _check_known(model: nn.Module, folder: Path) -> None:
    if getattr(model.config, "attn_logit_softcapping", None):
        what = f"{type(model).__name__} has a soft cap in its attention, which ours has not"
        raise ModelError(what, where=str(folder), remedy="choose a model without one (Gemma 3 for Gemma 2)")
    if not hasattr(getattr(model, model.base_model_prefix), _name_of_layers(model)):
        what = f"{type(model).__name__} keeps its layers where we do not look: it may see images, too"
        raise ModelError(what, where=str(folder), remedy="choose one that reads text only")


def pack_for(model: nn.Module, examples: Sequence[Example], max_tokens: int) -> Iterator[Batch]:
    """Batches as `pack` makes them; of a model whose rows would not stay apart in them, one example each."""
    return pack(examples, max_tokens if keeps_apart(model) else 1)


def keeps_apart(model: nn.Module) -> bool:
    """Whether tokens of one packed row know nothing of another's: not where layers join neighbours by more than
    attention, as by the convolutions of LFM 2, of Mamba, and of the linear attention of Qwen 3.5."""
    convolution = need("torch", "train").nn.Conv1d
    return not any(isinstance(part, convolution) for part in decoder_layers(model).modules())


def target_logits(model: nn.Module, batch: Batch, among: Ids | None = None) -> Tensor:
    """(target, vocab) logits in fp32, each from the position before its target; of the tokens `among`, if given."""
    return head_logits(model, last_states(model, batch)[batch.target_at], among)


def last_states(model: nn.Module, batch: Batch) -> Tensor:
    """(sequence · time, width) last hidden states."""
    return run_layers(model, batch, batch.ids)


def run_layers(model: nn.Module, batch: Batch, below: Tensor, layers: slice = slice(None)) -> Tensor:
    """(sequence · time, width) hidden states above `layers`; `below` are (sequence, time) token ids, or the (sequence,
    time, width) hidden states beneath the first of them. Above the last layer stands the final norm."""
    decoder: Any = getattr(model, model.base_model_prefix)
    chosen = decoder_layers(model)[layers]
    if len(chosen) < len(decoder_layers(model)):
        whole, decoder = decoder, copy.copy(decoder)  # shares all weights; only what it is made of differs
        decoder._modules, decoder.config = dict(whole._modules), copy.copy(whole.config)
        decoder.layers = chosen
        if getattr(whole.config, "layer_types", None):
            decoder.config.layer_types = whole.config.layer_types[layers]
        if chosen[-1] is not whole.layers[-1]:
            decoder.norm = need("torch", "train").nn.Identity()
    named = {"inputs_embeds" if below.is_floating_point() else "input_ids": below}
    named["attention_mask"] = batch.ids.new_ones(1, 1, 1, 1)  # nobody reads it, but else one of time · time is made
    states: Tensor = decoder(
        **named, position_ids=batch.positions, use_cache=False, layout=lay_out(batch)
    ).last_hidden_state
    return states.flatten(0, 1)


def head_logits(model: nn.Module, states: Tensor, among: Ids | None = None) -> Tensor:
    """(position, vocab) logits in fp32 of hidden states; of the tokens `among` only, if given."""
    from torch.nn import functional

    head: Any = model.get_output_embeddings()
    if among is None:
        logits = head(states).float()
    elif hasattr(head, "lora_A"):  # an adapter beside the head has its say on all tokens
        logits = head(states)[:, list(among)].float()
    else:
        kept = list(among)
        rows = head.rows_of(kept) if hasattr(head, "rows_of") else head.weight[kept]  # not all, where some are learned
        bias = None if head.bias is None else head.bias[kept]
        logits = functional.linear(states, rows, bias).float()
    for name, power in _SCALES.items():
        if scale := getattr(model.config, name, None):
            logits = logits * scale**power
    cap = getattr(model.config, "final_logit_softcapping", None)
    return (logits / cap).tanh() * cap if cap else logits


def decoder_layers(model: nn.Module) -> nn.ModuleList:
    """The model's layers, the lowest first."""
    layers: nn.ModuleList = getattr(getattr(model, model.base_model_prefix), _name_of_layers(model))
    return layers


def put_layers(model: nn.Module, layers: nn.ModuleList) -> None:
    """Makes them the model's layers."""
    setattr(getattr(model, model.base_model_prefix), _name_of_layers(model), layers)


def _name_of_layers(model: nn.Module) -> str:
    return "layers" if can_begin_between_layers(model) else "h"


def can_begin_between_layers(model: nn.Module) -> bool:
    """Whether `run_layers` can take states from beneath any layer: not where positions are added beneath the first
    (GPT-2)."""
    return hasattr(getattr(model, model.base_model_prefix), "layers")


def computing_copy(model: nn.Module, number_format: NumberFormat) -> nn.Module:
    """The fp32 `model` itself, or a copy that computes in bf16, on processors that the probe found fast at it.

    Everything is in bf16, not only products as under autocast: on two cores, casts and elementwise work in fp32 took as
    long as the products (measured: 9.6 against 6.5 examples/s). Buffers stay as they are: angles of rotary embeddings
    need fp32.
    """
    torch = need("torch", "train")
    if number_format == "float32":
        return model
    computing = copy.deepcopy(model)
    for parameter in computing.parameters():
        parameter.data = parameter.data.to(torch.bfloat16)
    return computing
