"""Families of chat models: how each writes a conversation, and where it stops.

A family is told from its tokenizer's own marker tokens, because one architecture (`llama`) serves many formats.
Sources of the formats: the chat templates that the models' authors publish with their tokenizers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from slmops.core.errors import ModelError
from slmops.models.tokenizer import Ids, Tokenizer
from slmops.tasks.types import Message, Role


@dataclass(frozen=True)
class Family:
    """A chat format: per role the text before and after the content; `markers` are tokens only this format has. Where
    it `thinks`, a model whose own template never writes a thought is of another one, with the same tokens."""

    name: str
    markers: tuple[str, ...]
    system: tuple[str, str] | None  # None: the system text is put before the first user message
    user: tuple[str, str]
    assistant: tuple[str, str]
    end: str  # the token that ends an answer
    begin: str = ""
    thinks: bool = False

    def around(self, role: Role) -> tuple[str, str]:
        turns = {"system": self.system, "user": self.user, "assistant": self.assistant}
        return turns[role] or ("", "\n\n")

    def prompt_template(self) -> dict[str, str]:
        """The format as `{Content}` templates (Foundry Local's `PromptTemplate`)."""
        template = {role: "{Content}".join(self.around(role)) for role in ("system", "user", "assistant")}
        return template | {"prompt": self.begin + template["user"] + self.assistant[0]}


_NO_THOUGHT = "<think>\n\n</think>\n\n"  # how models that think are told to answer at once, in every turn

_DEEPSEEK = Family(
    "deepseek",
    ("<｜User｜>", "<｜Assistant｜>"),
    system=("", ""),
    user=("<｜User｜>", ""),
    assistant=("<｜Assistant｜>", "<｜end▁of▁sentence｜>"),
    end="<｜end▁of▁sentence｜>",
    begin="<｜begin▁of▁sentence｜>",
)
_CHATML = Family(
    "chatml",  # SmolLM, Qwen 2
    ("<|im_start|>", "<|im_end|>"),
    system=("<|im_start|>system\n", "<|im_end|>\n"),
    user=("<|im_start|>user\n", "<|im_end|>\n"),
    assistant=("<|im_start|>assistant\n", "<|im_end|>\n"),
    end="<|im_end|>",
)


def _thinking(family: Family, name: str, *markers: str, thought: str = _NO_THOUGHT) -> Family:
    """The format of a model that thinks, with more `markers`, told to answer at once."""
    before, after = family.assistant
    more = (*family.markers, *markers)
    return replace(family, name=name, markers=more, assistant=(before + thought, after), thinks=True)


FAMILIES = (
    _thinking(_DEEPSEEK, "deepseek-r1", "<think>"),
    _DEEPSEEK,
    Family(
        "phi-4",
        ("<|im_start|>", "<|im_sep|>"),
        system=("<|im_start|>system<|im_sep|>", "<|im_end|>"),
        user=("<|im_start|>user<|im_sep|>", "<|im_end|>"),
        assistant=("<|im_start|>assistant<|im_sep|>", "<|im_end|>"),
        end="<|im_end|>",
    ),
    Family(
        "phi-4-mini",
        ("<|user|>", "<|end|>", "<|tool|>"),
        system=("<|system|>", "<|end|>"),
        user=("<|user|>", "<|end|>"),
        assistant=("<|assistant|>", "<|end|>"),
        end="<|end|>",
    ),
    Family(
        "phi-3",
        ("<|user|>", "<|end|>"),
        system=("<|system|>\n", "<|end|>\n"),
        user=("<|user|>\n", "<|end|>\n"),
        assistant=("<|assistant|>\n", "<|end|>\n"),
        end="<|end|>",
    ),
    _thinking(_CHATML, "smollm-3", "<think>", "<|begin_of_text|>", thought=_NO_THOUGHT.removesuffix("\n")),
    _thinking(_CHATML, "qwen-3", "<think>"),
    _CHATML,
    Family(
        "llama-3",
        ("<|start_header_id|>", "<|eot_id|>"),
        system=("<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>"),
        user=("<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"),
        assistant=("<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>"),
        end="<|eot_id|>",
        begin="<|begin_of_text|>",
    ),
    Family(
        "gemma-3",
        ("<start_of_turn>", "<end_of_turn>"),
        system=None,
        user=("<start_of_turn>user\n", "<end_of_turn>\n"),
        assistant=("<start_of_turn>model\n", "<end_of_turn>\n"),
        end="<end_of_turn>",
        begin="<bos>",
    ),
    Family(
        "mistral",
        ("[INST]", "[/INST]", "[SYSTEM_PROMPT]"),
        system=("[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
        user=("[INST]", "[/INST]"),
        assistant=("", "</s>"),
        end="</s>",
        begin="<s>",
    ),
    Family(
        "mistral-v3",
        ("[INST]", "[/INST]"),
        system=None,
        user=("[INST] ", "[/INST]"),
        assistant=("", "</s>"),
        end="</s>",
        begin="<s>",
    ),
)


def family_of(tokenizer: Tokenizer) -> Family:
    """The first family all of whose markers are in the tokenizer's vocabulary; its conversations begin with the virtual
    tokens, where the tokenizer has such.

    Raises:
        ModelError: no known family; the model has no chat format that we know.
    """
    template = tokenizer.chat_template
    thinks = template is None or "think>" in template  # Qwen 3's Instruct-2507 has the token, and no thought
    for family in FAMILIES:
        if all(marker in tokenizer for marker in family.markers) and (thinks or not family.thinks):
            return replace(family, begin=family.begin + "".join(tokenizer.virtual))
    raise ModelError(
        "the tokenizer has the markers of no known chat format",
        remedy="use an instruction-tuned model of: " + ", ".join(family.name for family in FAMILIES),
    )


def encode_prompt(tokenizer: Tokenizer, family: Family, messages: Sequence[Message]) -> Ids:
    """Ids of a conversation up to where the assistant is to write."""
    return tokenizer.encode_template([*_pieces(family, messages), (family.assistant[0], True)])


def encode_lesson(tokenizer: Tokenizer, family: Family, messages: Sequence[Message]) -> tuple[Ids, tuple[bool, ...]]:
    """Ids of a conversation up to the end of the assistant's last turn, and which of them are learned: its words, with
    the end token, of every turn that says so."""
    ids: list[int] = []
    learn: list[bool] = []
    waiting = [(family.begin, True)]
    for message in _merged(family, messages):
        before, after = family.around(message.role)
        if not message.learn:
            waiting += [(before, True), (message.content, False), (after, True)]
            continue
        asked = tokenizer.encode_template([*waiting, (before, True)])
        answer = encode_answer(tokenizer, family, message.content)
        ids += [*asked, *answer]
        learn += [False] * len(asked) + [True] * len(answer)
        waiting = [(after.removeprefix(family.end), True)]
    return tuple(ids), tuple(learn)


def encode_answer(tokenizer: Tokenizer, family: Family, text: str) -> Ids:
    """Ids of what the assistant writes, its end token included."""
    return (*tokenizer.encode(text), end_token(tokenizer, family))


def end_token(tokenizer: Tokenizer, family: Family) -> int:
    """The id at which the family's answers end."""
    return tokenizer.special_ids[family.end]


def render_prompt(family: Family, messages: Sequence[Message]) -> str:
    """The conversation as one text, for people to read."""
    return "".join(text for text, _ in _pieces(family, messages)) + family.assistant[0]


def _pieces(family: Family, messages: Sequence[Message]) -> list[tuple[str, bool]]:
    pieces = [(family.begin, True)]
    for message in _merged(family, messages):
        before, after = family.around(message.role)
        pieces += [(before, True), (message.content, False), (after, True)]
    return pieces


def _merged(family: Family, messages: Sequence[Message]) -> Sequence[Message]:
    """A family without system turns gets the system's words before the first message."""
    if family.system is None and len(messages) > 1 and messages[0].role == "system":
        first, second, *rest = messages
        return [Message(second.role, f"{first.content}\n\n{second.content}", second.learn), *rest]
    return messages
