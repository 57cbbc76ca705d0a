"""What a tokenizer's tokens spell: the bytes of each, and which token a text begins with.

Works on what tokenizer.json says: byte-level encodings, and those that write a space as ▁ and fall back to bytes. Knows
no model and no chat format.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tokenizers.pre_tokenizers import ByteLevel

from slmops.core.errors import ModelError
from slmops.models.tokenizer import Ids, Tokenizer

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


class Spelling:
    """The tokens of a tokenizer as bytes. Special tokens spell nothing."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        described = tokenizer.description()
        self._tokenizer = tokenizer
        self._first: dict[bytes, int | None] = {}
        self._bytes = dict(_read(described, tokenizer))
        self._ids = {piece: id for id, piece in sorted(self._bytes.items(), reverse=True)}
        self._longest = max(map(len, self._ids), default=0)
        self._puts_a_space = tokenizer.puts_a_space

    def pieces(self, ids: Ids) -> list[bytes] | None:
        """What each token of a text's beginning spells, without a space that the tokenizer puts before it; None where
        one of them spells nothing."""
        found = [self.piece(id, first=place == 0) for place, id in enumerate(ids)]
        return None if None in found else [piece for piece in found if piece is not None]

    def piece(self, id: int, *, first: bool) -> bytes | None:
        """What a token spells; `first`: at the beginning of a text."""
        piece = self._bytes.get(id)
        return piece.removeprefix(b" ") if piece and first and self._puts_a_space else piece

    def first_token(self, text: bytes, *, first: bool) -> int | None:
        """The token that a text begins with: as the tokenizer encodes it, else the longest there is; `first`: it stands
        at the beginning of all."""
        if first and self._puts_a_space:
            text = b" " + text
        if text not in self._first:
            encoded = self._encoded_first(text)
            self._first[text] = self._longest_first(text) if encoded is None else encoded
        return self._first[text]

    def _encoded_first(self, text: bytes) -> int | None:
        try:
            ids = self._tokenizer.encode(text.decode())
        except UnicodeDecodeError:
            return None
        piece = self._bytes.get(ids[0]) if ids else None
        return ids[0] if piece and text.startswith(piece) and self._joined(ids) == text else None

    def _longest_first(self, text: bytes) -> int | None:
        lengths = range(min(len(text), self._longest), 0, -1)
        return next((self._ids[text[:length]] for length in lengths if text[:length] in self._ids), None)

    def _joined(self, ids: Ids) -> bytes:
        return b"".join(self._bytes.get(id, b"") for id in ids)


def byte_of(letter: str) -> int:
    """The byte that a byte-level letter stands for: printable ones for themselves, the others from U+0100 on."""
    code = ord(letter)
    if code < 0x100:
        return code
    hidden = [byte for byte in range(256) if not (0x21 <= byte <= 0x7E or 0xA1 <= byte <= 0xAC or byte >= 0xAE)]
    return hidden[code - 0x100]


def parts_of(node: Any) -> Iterator[dict[str, Any]]:
    """A part of a tokenizer.json and all that it is made of."""
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from parts_of(value)
    elif isinstance(node, list):
        for value in node:
            yield from parts_of(value)


def _read(described: dict[str, Any], tokenizer: Tokenizer) -> Iterator[tuple[int, bytes]]:
    model, special = described["model"], set(tokenizer.special_ids.values())
    vocabulary: dict[str, int] = model.get("vocab") if isinstance(model.get("vocab"), dict) else {}
    added = {token["id"]: token["content"] for token in described.get("added_tokens", ()) if token["id"] not in special}
    is_bytes = any(part.get("type") == "ByteLevel" for part in parts_of(described.get("pre_tokenizer")))
    if not vocabulary or not (is_bytes or model.get("byte_fallback")):
        raise ModelError(
            "its tokenizer does not tell what its tokens spell",
            remedy="write distillation.match: answers, or a student with the teacher's tokens",
        )
    bytes_of = {letter: byte_of(letter) for letter in ByteLevel.alphabet()}
    for token, id in vocabulary.items():
        if id in special or id in added:
            continue
        if is_bytes and bytes_of.keys() >= set(token):
            yield id, bytes(map(bytes_of.__getitem__, token))
        elif not is_bytes:
            found = _BYTE.fullmatch(token)
            yield id, bytes([int(found[1], 16)]) if found else token.replace("▁", " ").encode()
    for id, content in added.items():
        yield id, content.encode()
