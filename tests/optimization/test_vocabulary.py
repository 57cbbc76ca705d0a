"""A vocabulary trimmed to a domain: texts of the domain are as they were, no character of any other is lost."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slmops.core.errors import ModelError
from slmops.models.families import family_of
from slmops.models.folder import CHAT_TEMPLATE
from slmops.models.forward import load_causal_lm, target_logits
from slmops.models.packing import Example, pack
from slmops.models.tokenizer import Tokenizer
from slmops.optimization.vocabulary import Vocabulary, heard_tokens, trim_model, trim_tokenizer, write_tokenizer
from tests.models.architectures import ARCHITECTURES, Architecture
from tests.tiny import TEXTS, write_sentencepiece

DOMAIN = TEXTS[:2]
any_text = st.text(st.characters(exclude_categories=("Cs",)))  # of all planes; lone surrogates are no text


@pytest.fixture(scope="module")
def source(tiny_tokenizer: Path) -> Tokenizer:
    return Tokenizer(tiny_tokenizer)


def trimmed(source: Tokenizer, at_least: int = 0) -> Vocabulary:
    return trim_tokenizer(source.description(), {id for text in DOMAIN for id in source.encode(text)}, at_least)


def written(vocabulary: Vocabulary, source: Path, out: Path) -> Tokenizer:
    out.mkdir(exist_ok=True)
    write_tokenizer(vocabulary, source, out)
    return Tokenizer(out)


@pytest.fixture(scope="module")
def small(source: Tokenizer, tiny_tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return written(trimmed(source), tiny_tokenizer, tmp_path_factory.mktemp("small"))


def test_special_tokens_that_a_model_has_no_row_for_go(source: Tokenizer) -> None:
    described = source.description()
    rows = 1 + max(*described["model"]["vocab"].values(), *(token["id"] for token in described["added_tokens"]))
    image = {**described["added_tokens"][0], "id": rows, "content": "<image>"}
    more = described | {"added_tokens": [*described["added_tokens"], image]}
    assert trim_tokenizer(more, source.encode(DOMAIN[0]), 0).kept[-1] == rows
    assert trim_tokenizer(more, source.encode(DOMAIN[0]), 0, rows) == trim_tokenizer(
        described, source.encode(DOMAIN[0]), 0
    )


@given(text=any_text)
def test_no_character_of_any_plane_is_lost(small: Tokenizer, text: str) -> None:
    assert small.decode(small.encode(text)) == text


def test_every_character_there_is_can_be_written(small: Tokenizer) -> None:
    for start in range(0, 0x110000, 0x1000):
        text = "".join(map(chr, (code for code in range(start, start + 0x1000) if not 0xD800 <= code < 0xE000)))
        assert small.decode(small.encode(text)) == text


def test_the_texts_it_was_made_of_are_encoded_as_before(source: Tokenizer, small: Tokenizer) -> None:
    new_id = trimmed(source).new_id
    for text in DOMAIN:
        assert small.encode(text) == tuple(new_id[id] for id in source.encode(text))


@given(words=st.lists(st.sampled_from([word for text in DOMAIN for word in text.split()]), min_size=1))
def test_texts_of_the_domain_are_encoded_as_before(source: Tokenizer, small: Tokenizer, words: list[str]) -> None:
    text, new_id = " ".join(words), trimmed(source).new_id
    if all(id in new_id for id in source.encode(text)):
        assert small.encode(text) == tuple(new_id[id] for id in source.encode(text))


def test_it_is_smaller_and_filled_up_with_the_commonest_to_what_is_asked(source: Tokenizer) -> None:
    least, more = trimmed(source), trimmed(source, source.vocabulary_size - 20)
    assert len(least.kept) < source.vocabulary_size - 30
    assert set(least.kept) <= set(more.kept)
    assert len(more.kept) in (source.vocabulary_size - 20, source.vocabulary_size - 19)
    never = 13  # bytes that no text has
    assert len(trimmed(source, 10**6).kept) == source.vocabulary_size - never


def test_special_tokens_stay_what_they_are(source: Tokenizer, small: Tokenizer) -> None:
    assert small.special_ids.keys() == source.special_ids.keys()
    assert small.special_ids["<|im_end|>"] not in small.encode("<|im_end|>")


def test_a_byte_that_the_tokenizer_lacked_is_added(source: Tokenizer, tiny_tokenizer: Path, tmp_path: Path) -> None:
    """SmolLM2's tokenizer drops the characters of most planes in silence."""
    described = source.description()
    lost = chr(ord("ò"))  # the byte 0xF2, with which characters of plane 8 begin
    lacking = {token: id for token, id in described["model"]["vocab"].items() if token != lost}
    gap = described["model"]["vocab"][lost]
    described["model"]["vocab"] = {token: id - (id > gap) for token, id in lacking.items()}
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "tokenizer.json").write_text(json.dumps(described))
    poor = Tokenizer(tmp_path / "source")
    assert poor.decode(poor.encode("a\U00080000b")) != "a\U00080000b"
    vocabulary = trim_tokenizer(poor.description(), set(poor.encode("a")), 0)
    assert vocabulary.kept.count(None) == 1
    small = written(vocabulary, tmp_path / "source", tmp_path / "small")
    assert small.decode(small.encode("a\U00080000b")) == "a\U00080000b"


def test_so_is_a_tokenizer_that_falls_back_to_bytes(tmp_path: Path) -> None:
    write_sentencepiece(tmp_path / "source")
    source = Tokenizer(tmp_path / "source")
    vocabulary = trimmed(source)
    small = written(vocabulary, tmp_path / "source", tmp_path / "small")
    assert 256 < len(vocabulary.kept) < source.vocabulary_size
    for text in DOMAIN:
        assert small.encode(text) == tuple(vocabulary.new_id[id] for id in source.encode(text))

    @given(text=any_text.filter(lambda text: "▁" not in text))  # which is a space to such tokenizers, as it was
    def loses_nothing(text: str) -> None:
        assert small.decode(small.encode(text)) == source.decode(source.encode(text)) == text

    loses_nothing()


def test_the_template_that_tells_families_apart_stays(tmp_path: Path) -> None:
    folder = next(one for one in ARCHITECTURES if one.name == "qwen-3").write(tmp_path / "model")
    (folder / CHAT_TEMPLATE).write_text("{{ messages }}")  # writes no thought, as that of Instruct-2507
    small = written(trimmed(Tokenizer(folder)), folder, tmp_path / "small")
    assert family_of(small).name == family_of(Tokenizer(folder)).name == "chatml"


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda architecture: architecture.name)
def test_what_is_kept_is_computed_as_before(architecture: Architecture, tmp_path: Path) -> None:
    folder = architecture.write(tmp_path / "model")
    source, model = Tokenizer(folder), load_causal_lm(folder)
    vocabulary = trimmed(source)
    small = trim_model(copy.deepcopy(model), vocabulary.kept)
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert (small.get_output_embeddings().weight is small.get_input_embeddings().weight) == tied
    assert small.config.vocab_size == len(vocabulary.kept)
    ids = source.encode(DOMAIN[0])
    old = Example("a", (ids,), (True,) * len(ids))
    new = Example("a", (tuple(vocabulary.new_id[id] for id in ids),), (True,) * len(ids))
    with torch.inference_mode():
        expected, found = (target_logits(m, next(pack([e], 512))) for m, e in ((model, old), (small, new)))
    assert torch.allclose(found, expected[:, list(vocabulary.kept)], atol=1e-5)
    small.save_pretrained(tmp_path / "small")
    assert torch.equal(
        load_causal_lm(tmp_path / "small").get_input_embeddings().weight, small.get_input_embeddings().weight
    )


def test_the_ids_that_a_config_names_are_the_new_ones(tmp_path: Path) -> None:
    folder = ARCHITECTURES[1].write(tmp_path / "model")
    source, model = Tokenizer(folder), load_causal_lm(folder)
    model.config.eos_token_id = [source.special_ids["<|im_end|>"], source.vocabulary_size - 1]
    vocabulary = trimmed(source)
    trim_model(model, vocabulary.kept)
    assert model.config.eos_token_id == [vocabulary.new_id[source.special_ids["<|im_end|>"]]]


def test_a_tokenizer_that_cannot_spell_everything_is_refused(source: Tokenizer) -> None:
    no_bytes = source.description() | {"pre_tokenizer": {"type": "Whitespace"}}
    with pytest.raises(ModelError, match=r"no bytes.*student.vocabulary: all"):
        trim_tokenizer(no_bytes, [], 0)
    with pytest.raises(ModelError, match=r"no byte-pair encoding"):
        trim_tokenizer(source.description() | {"model": {"type": "Unigram", "vocab": []}}, [], 0)


def test_a_teacher_with_more_rows_than_tokens_is_heard_in_those_of_the_student(tmp_path: Path) -> None:
    for name, rows in (("small", 100), ("large", 120)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps({"vocab_size": rows}))
    small, large = tmp_path / "small", tmp_path / "large"
    assert heard_tokens(small, small) is None
    assert heard_tokens(small, large) == list(range(100))
    assert heard_tokens(large, small) == [*range(100), *[None] * 20]
