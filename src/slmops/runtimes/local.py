"""A model folder that can be asked in words: tokenizer, chat family and the runtime that fits the folder.

In come messages, out go texts. Knows no task: what the answer may be is a grammar that is passed in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from slmops.core.errors import need
from slmops.models.families import encode_answer, encode_prompt, end_token, family_of
from slmops.models.folder import ends_told, is_onnx
from slmops.models.forward import NumberFormat
from slmops.models.tokenizer import Ids, Tokenizer
from slmops.runtimes.decoding import check_fits, least_room
from slmops.runtimes.json_constraint import compile_schema
from slmops.runtimes.trie import TokenTrie
from slmops.runtimes.types import Chunk, Constraint, Request, Runtime, Sampling, Written, gather
from slmops.tasks.types import Grammar, JsonSchema, Message, TokenLogprobs


@dataclass(frozen=True)
class Reply:
    """A text, how it was written, and its probability under the grammar (its own, without one); what a server tells of
    its tokens, and of how many it read."""

    text: str
    tokens: int
    reused_tokens: int
    logprob: float
    finish: str
    token_logprobs: tuple[TokenLogprobs, ...] | None = None
    prompt_tokens: int = 0


class LocalModel:
    """The model of `folder`, loaded, with `adapters`: folders by name. An ONNX model has those in it, too."""

    def __init__(
        self,
        folder: Path,
        *,
        threads: int = 0,
        number_format: NumberFormat = "float32",
        adapters: Mapping[str, Path] | None = None,
    ) -> None:
        self._folder = folder
        self.tokenizer = Tokenizer(folder)
        self.family = family_of(self.tokenizer)
        self.end = end_token(self.tokenizer, self.family)
        ends = frozenset({self.end, *ends_told(folder / "generation_config.json")})  # its authors' beside its format's
        self.runtime = _open_runtime(folder, ends, threads, number_format, adapters)

    def prompt(self, messages: Sequence[Message]) -> Ids:
        return encode_prompt(self.tokenizer, self.family, messages)

    def check_room(self, messages: Sequence[Message], constraint: Constraint | None, where: str) -> None:
        """That an answer fits behind the prompt.

        Raises:
            ModelError: it does not; what asks stands at `where`.
        """
        check_fits(self._least(messages, constraint), self.runtime.limits, where)

    def has_room(self, messages: Sequence[Message], constraint: Constraint | None) -> bool:
        """Whether an answer fits behind the prompt."""
        return self._least(messages, constraint) <= self.runtime.limits.context

    def _least(self, messages: Sequence[Message], constraint: Constraint | None) -> int:
        """The tokens of the prompt and of what an answer must have room for."""
        return len(self.prompt(messages)) + least_room(constraint)

    def constraint(self, grammar: Grammar | None) -> Constraint | None:
        """The grammar compiled for this model's tokens."""
        return compile_grammar(grammar, self._folder, self.tokenizer, self.end)

    def answer_ids(self, text: str) -> Ids:
        return encode_answer(self.tokenizer, self.family, text)

    def stream(
        self, prompt: Ids, sampling: Sampling, constraint: Constraint | None, adapter: str | None = None
    ) -> Iterator[Chunk]:
        return self.runtime.generate(iter([Request("", prompt, sampling, constraint, adapter)]))

    def ask(
        self,
        messages: Sequence[Message],
        *,
        grammar: Grammar | None = None,
        sampling: Sampling | None = None,
        adapter: str | None = None,
    ) -> Reply:
        """One answer, whole."""
        prompt = self.prompt(messages)
        chunks = self.stream(prompt, sampling or Sampling(), self.constraint(grammar), adapter)
        return self._reply(prompt, gather(chunks))

    def ask_all(
        self, asked: Sequence[Sequence[Message]], sampling: Sampling, constraint: Constraint | None
    ) -> list[Reply]:
        """The answers to many conversations, at once where the runtime can; each draws by a seed of its own."""
        requests = [
            Request(str(row), self.prompt(messages), replace(sampling, seed=sampling.seed + row), constraint)
            for row, messages in enumerate(asked)
        ]
        written = self.runtime.write(requests)
        return [self._reply(request.prompt, one) for request, one in zip(requests, written, strict=True)]

    def _reply(self, prompt: Ids, written: Written) -> Reply:
        text, count = self.tokenizer.decode(written.ids), len(prompt)
        return Reply(text, len(written.ids), written.reused_tokens, written.logprob, written.finish, None, count)


def compile_grammar(grammar: Grammar | None, folder: Path, tokenizer: Tokenizer, end: int) -> Constraint | None:
    """The grammar compiled for the tokens of the model in `folder`."""
    if isinstance(grammar, JsonSchema):
        return compile_schema(grammar.schema, folder, tokenizer, end)
    return None if grammar is None else TokenTrie((tokenizer.encode(value) for value in grammar.values), end)


def import_runtime(folder: Path) -> None:
    """What it takes to run the model of `folder`, without the model: so that what that adds can be told."""
    if is_onnx(folder):
        need("onnxruntime_genai", "onnx")
    else:
        need("transformers.models.auto.modeling_auto", "train")


def _open_runtime(
    folder: Path,
    ends: frozenset[int],
    threads: int,
    number_format: NumberFormat,
    adapters: Mapping[str, Path] | None,
) -> Runtime:
    if is_onnx(folder):
        from slmops.runtimes.onnx_genai import OnnxRuntime

        return OnnxRuntime(folder, ends=ends, threads=threads, adapters=adapters)
    from slmops.runtimes.torch_lm import TorchRuntime

    return TorchRuntime(folder, ends=ends, threads=threads, number_format=number_format, adapters=adapters)
