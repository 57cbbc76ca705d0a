"""Text ↔ token ids, through the Rust tokenizer alone (importing transformers would cost a device 200 MB).

Text of users never becomes a special token: `<|im_end|>` in a message is encoded as plain characters.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as RustTokenizer

from slmops.core.artifact import hash_json
from slmops.core.errors import ModelError
from slmops.models.folder import CHAT_TEMPLATE, read_json

Ids = tuple[int, ...]
MAX_TOKENIZER_BYTES = 100_000_000
_MARKER = re.compile(r"<[|｜].+[|｜]>")
_VIRTUAL = re.compile(r"<\|virtual_\d+\|>")


def virtual_name(number: int) -> str:
    """What the virtual token of that number is called: one that was learned, and that templates alone write."""
    return f"<|virtual_{number}|>"


class Tokenizer:
    """The tokenizer of a model folder (`tokenizer.json`)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise ModelError("there is no tokenizer.json", where=str(folder), remedy="save the fast tokenizer with it")
        if path.stat().st_size > MAX_TOKENIZER_BYTES:
            raise ModelError("tokenizer.json is larger than 100 MB", where=str(folder), remedy="check its origin")
        try:
            self._tokenizer = RustTokenizer.from_file(str(path))
        except Exception as error:
            raise ModelError(f"tokenizer.json cannot be read: {error}", where=str(folder)) from error
        self._tokenizer.encode_special_tokens = True
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        added = self._tokenizer.get_added_tokens_decoder()
        # DeepSeek's tokenizers do not call the markers of their turns special: a message could open a turn
        markers = [token.content for token in added.values() if _MARKER.fullmatch(token.content) and not token.special]
        self._tokenizer.add_special_tokens(markers)
        self.special_ids = {
            token.content: index for index, token in added.items() if token.special or token.content in markers
        }
        self._eats_space = {token.content for token in added.values() if token.rstrip}  # Phi 3's markers do
        contents = sorted(self.special_ids, key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, contents)) if contents else r"(?!)")

    def __contains__(self, token: str) -> bool:
        return self._tokenizer.token_to_id(token) is not None

    @property
    def puts_a_space(self) -> bool:
        """Whether a text is encoded as if a space stood before it, as by Phi 3 and Mistral."""
        first = self.encode("a")[:1]
        return bool(first) and str(self._tokenizer.id_to_token(first[0])).startswith(("▁", "Ġ"))

    @property
    def virtual(self) -> dict[str, int]:
        """The virtual tokens with their ids, in the order of these."""
        found = {name: id for name, id in self.special_ids.items() if _VIRTUAL.fullmatch(name)}
        return dict(sorted(found.items(), key=lambda item: item[1]))

    @property
    def virtual_ids(self) -> Ids:
        return tuple(self.virtual.values())

    @property
    def chat_template(self) -> str | None:
        """How its authors write conversations, in Jinja; None where they do not say. Never run."""
        alone, config = self._folder / CHAT_TEMPLATE, self._folder / "tokenizer_config.json"
        if alone.is_file():
            return alone.read_text("utf-8", "replace")
        told = read_json(config) if config.is_file() else None
        found = told.get("chat_template") if isinstance(told, dict) else None
        return None if found is None else json.dumps(found, ensure_ascii=False)

    @property
    def vocabulary_size(self) -> int:
        return self._tokenizer.get_vocab_size(with_added_tokens=True)

    @property
    def vocabulary_id(self) -> str:
        """The hash of all tokens and their ids."""
        return hash_json(self._tokenizer.get_vocab(with_added_tokens=True))

    def description(self) -> dict[str, Any]:
        """What tokenizer.json says of it, without padding and truncation."""
        described: dict[str, Any] = json.loads(self._tokenizer.to_str())
        return described

    def encode(self, text: str) -> Ids:
        """Ids of plain text: special tokens in it are characters like others."""
        return tuple(self._tokenizer.encode(text, add_special_tokens=False).ids) if text else ()

    def encode_template(self, pieces: list[tuple[str, bool]]) -> Ids:
        """Ids of a rendered conversation: (text, from the template?) pieces. Only the template's text may hold special
        tokens; what stands between two of them is encoded as one, as a tokenizer given the whole string would."""
        ids: list[int] = []
        pending = ""
        for text, from_template in pieces:
            if not from_template:
                pending += text
                continue
            position = 0
            for match in self._special.finditer(text):
                ids.extend(self.encode(pending + text[position : match.start()]))
                ids.append(self.special_ids[match.group()])
                pending, position = "", match.end()
                if match.group() in self._eats_space:
                    position += len(text[position:]) - len(text[position:].lstrip())
            pending += text[position:]
        ids.extend(self.encode(pending))
        return tuple(ids)

    def show(self, id: int) -> str:
        """The text of one token, special tokens by their names; part of a character as `�`."""
        return str(self._tokenizer.decode([id], skip_special_tokens=False))

    def decode(self, ids: Ids) -> str:
        """Text of ids, special tokens left out."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))
