"""What tokens spell, whatever kind of tokenizer they are of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slmops.core.errors import ModelError
from slmops.models.spelling import Spelling
from slmops.models.tokenizer import Tokenizer
from tests.tiny import write_sentencepiece

any_text = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="▁"))


@pytest.fixture(scope="module", params=["bytes", "sentencepiece"])
def tokenizer(request: Any, tiny_tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    if request.param == "bytes":
        return Tokenizer(tiny_tokenizer)
    folder = tmp_path_factory.mktemp("sentencepiece") / "tokenizer"
    write_sentencepiece(folder)
    return Tokenizer(folder)


@given(text=any_text)
def test_a_texts_tokens_spell_its_bytes(tokenizer: Tokenizer, text: str) -> None:
    pieces = Spelling(tokenizer).pieces(tokenizer.encode(text))
    assert pieces is not None
    assert b"".join(pieces) == text.encode()


@given(text=any_text.filter(bool))
def test_a_text_begins_with_the_token_that_it_is_encoded_to(tokenizer: Tokenizer, text: str) -> None:
    spelling, ids = Spelling(tokenizer), tokenizer.encode(text)
    found = spelling.first_token(text.encode(), first=True)
    piece = spelling.piece(found, first=True) if found is not None else None
    assert piece is not None and text.encode().startswith(piece)
    if spelling.pieces(tokenizer.encode("a")) == [b"a"] and Spelling(tokenizer).piece(ids[0], first=False) == piece:
        assert found == ids[0]


def test_within_a_text_no_space_is_put_before(tokenizer: Tokenizer) -> None:
    spelling = Spelling(tokenizer)
    found = spelling.first_token(b"order", first=False)
    assert found is not None and b"order".startswith(spelling.piece(found, first=False) or b"?")
    spaced = spelling.first_token(b" order", first=False)
    assert spaced is not None and (spelling.piece(spaced, first=False) or b"").startswith(b" ")


def test_special_tokens_spell_nothing(tokenizer: Tokenizer) -> None:
    spelling = Spelling(tokenizer)
    assert all(spelling.piece(id, first=False) is None for id in tokenizer.special_ids.values())
    assert spelling.pieces((*tokenizer.encode("a"), next(iter(tokenizer.special_ids.values())))) is None


def test_a_tokenizer_that_does_not_tell_is_refused(tmp_path: Path) -> None:
    model = {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["a", -1.0]], "byte_fallback": False}
    (tmp_path / "tokenizer.json").write_text(json.dumps({"version": "1.0", "model": model, "added_tokens": []}))
    with pytest.raises(ModelError, match="does not tell what its tokens spell"):
        Spelling(Tokenizer(tmp_path))
