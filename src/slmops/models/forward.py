"""One forward pass of a causal language model over a packed batch, with the output head only at targets.

Works on a transformers model (with or without LoRA layers inside) and a Batch. Knows no loss and no optimizer.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from slmops.core.errors import ModelError, need
from slmops.models.attention import lay_out, register
from slmops.models.folder import check_model_folder
from slmops.models.packing import Batch

if TYPE_CHECKING:
    from torch import Tensor, nn

NumberFormat = Literal["float32", "bfloat16"]


def load_causal_lm(folder: Path) -> nn.Module:
    """The model of a checked folder in fp32, without any code from the folder.

    Raises:
        ModelError: the folder is not safe to load or is no causal language model.
    """
    torch, transformers = need("torch", "train"), need("transformers", "train")
    check_model_folder(folder)
    transformers.logging.disable_progress_bar()
    try:
        model: nn.Module = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, use_safetensors=True, attn_implementation=register()
        )
    except Exception as error:  # a damaged folder makes its readers raise whatever they raise
        raise ModelError(
            f"cannot be loaded as a causal language model: {error}", where=str(folder), remedy="check config.json"
        ) from error
    return model.eval()


def target_logits(model: nn.Module, batch: Batch) -> Tensor:
    """(target, vocab) logits in fp32, each from the position before its target."""
    hidden = target_states(model, batch)
    logits = model.get_output_embeddings()(hidden).float()
    cap = getattr(model.config, "final_logit_softcapping", None)
    return (logits / cap).tanh() * cap if cap else logits


def target_states(model: nn.Module, batch: Batch) -> Tensor:
    """(target, width) last hidden states at the positions that predict targets."""
    decoder: Any = getattr(model, model.base_model_prefix)
    states: Tensor = decoder(
        input_ids=batch.ids, position_ids=batch.positions, use_cache=False, layout=lay_out(batch)
    ).last_hidden_state
    return states.reshape(-1, states.shape[-1])[batch.target_at]


def autocast(number_format: NumberFormat) -> AbstractContextManager[Any]:
    """bf16 products where the probe found them fast, plain fp32 elsewhere."""
    import torch

    return torch.autocast("cpu", dtype=torch.bfloat16) if number_format == "bfloat16" else nullcontext()
