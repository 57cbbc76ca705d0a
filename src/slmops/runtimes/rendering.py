"""How a folder's own runtime asks: by the tokenizer, chat template and end token that stand in it.

In come a model folder and probes, out come links: whether their ids are those that were learned. A folder of ONNX is
asked by ONNX Runtime GenAI, which Foundry Local stands on, any other by transformers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from slmops.core.errors import ModelError, need
from slmops.models.families import encode_answer, encode_prompt, end_token, family_of
from slmops.models.folder import is_onnx, read_json
from slmops.models.tokenizer import Ids, Tokenizer
from slmops.runtimes.probes import Probe
from slmops.runtimes.proof import Link, same_end, same_ids

Written = list[tuple[Ids, Ids]]  # prompt and answer of each probe


def check_asking(stage: str, folder: Path, probes: Sequence[Probe]) -> list[Link]:
    """Whether our code, and the folder's own runtime, write the probes as they were learned, and where that stops."""
    tokenizer = Tokenizer(folder)
    family = family_of(tokenizer)
    end = end_token(tokenizer, family)
    ours = [
        (encode_prompt(tokenizer, family, probe.messages), encode_answer(tokenizer, family, probe.text))
        for probe in probes
    ]
    plain = plain_probes(tokenizer, probes)
    if is_onnx(folder):
        runtime, theirs, config = "ONNX Runtime GenAI", _by_genai(folder, plain, end), "genai_config.json"
        found = read_json(folder / config)["model"]["eos_token_id"]
    else:
        runtime, theirs, config = "transformers", _by_transformers(folder, plain, end), "generation_config.json"
        found = read_json(folder / config).get("eos_token_id")
    told = "the model must go with the {} that it was trained with"
    return [
        same_ids(stage, "tokenizer", probes, ours, tokenizer.show, told.format("tokenizer.json")),
        same_ids(
            stage,
            f"chat template, by {runtime}",
            plain,
            theirs,
            tokenizer.show,
            told.format("chat template and tokenizer"),
        ),
        same_end(stage, f"end token, by {runtime}", found, end, f"write eos_token_id: {end} into {config}"),
    ]


def plain_probes(tokenizer: Tokenizer, probes: Sequence[Probe]) -> list[Probe]:
    """Those whose texts hold no control token: our templates break one, our code takes it for characters."""
    said = [(probe, " ".join([probe.text, *(message.content for message in probe.messages)])) for probe in probes]
    return [probe for probe, text in said if not any(token in text for token in tokenizer.special_ids)]


def _by_transformers(folder: Path, probes: Sequence[Probe], end: int) -> Written:
    transformers = need("transformers", "train")
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        return [
            (
                tuple(tokenizer.apply_chat_template(_asked(probe), add_generation_prompt=True, return_dict=False)),
                (*tokenizer(probe.text, add_special_tokens=False)["input_ids"], end),
            )
            for probe in probes
        ]
    except Exception as error:  # tokenizers and templates raise whatever they raise
        raise _cannot_ask("transformers", folder, error) from error


def _by_genai(folder: Path, probes: Sequence[Probe], end: int) -> Written:
    genai = need("onnxruntime_genai", "onnx")

    def ids(text: str) -> Ids:
        return tuple(int(token) for token in tokenizer.encode(text))

    try:
        tokenizer = genai.Tokenizer(genai.Model(str(folder)))
        return [
            (ids(tokenizer.apply_chat_template(json.dumps(_asked(probe)))), (*ids(probe.text), end)) for probe in probes
        ]
    except RuntimeError as error:
        raise _cannot_ask("ONNX Runtime GenAI", folder, error) from error


def _cannot_ask(runtime: str, folder: Path, error: Exception) -> ModelError:
    remedy = "check tokenizer.json and the chat template of tokenizer_config.json"
    return ModelError(f"{runtime} cannot write prompts: {error}", where=str(folder), remedy=remedy)


def _asked(probe: Probe) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in probe.messages]
