"""What every runtime promises, held by each of them on the same models."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slmops.core.errors import ModelError
from slmops.runtimes.local import LocalModel
from slmops.runtimes.probes import Probe, record_probes, replay_probes
from slmops.runtimes.trie import TokenTrie
from slmops.runtimes.types import Chunk, Ids, Request, Sampling
from slmops.tasks.types import Labels, Message
from tests.runtimes.conftest import Open

LABELS = Labels(("order_status", "order_status_late", "cancel_order", "refund"))
MANY = Labels(
    tuple(f"{verb}_{thing}_{when}" for verb in ("cancel", "change", "refund") for thing in "vwxyz" for when in "abc")
)
TEXTS = ("Where is my order?", "Where is my lamp? It came damaged.", "Cancel it.", "I want a refund, please.")
FREE = Sampling(max_tokens=12)


def prompts(model: LocalModel) -> list[Ids]:
    instruction = Message("system", "You sort messages to the support of a company. Answer with one label, please.")
    return [model.prompt([instruction, Message("user", text)]) for text in TEXTS]


def written(model: LocalModel, prompt: Ids, sampling: Sampling, trie: TokenTrie | None = None) -> list[Chunk]:
    return list(model.stream(prompt, sampling, trie))


def tokens(chunks: list[Chunk]) -> Ids:
    return sum((chunk.ids for chunk in chunks), ())


def logprobs(chunks: list[Chunk]) -> list[float]:
    return [value for chunk in chunks for value in chunk.logprobs]


@pytest.mark.parametrize("closed", [False, True])
def test_what_was_asked_before_does_not_change_an_answer(open_model: Open, closed: bool) -> None:
    used = open_model()
    trie = used.constraint(LABELS) if closed else None
    for prompt in [*prompts(used), *reversed(prompts(used))]:
        fresh = written(open_model(), prompt, FREE, trie)
        again = written(used, prompt, FREE, trie)
        assert tokens(again) == tokens(fresh)
        assert logprobs(again) == pytest.approx(logprobs(fresh), abs=1e-4)


def test_reused_tokens_are_those_shared_with_what_went_before(open_model: Open) -> None:
    model = open_model()
    first, second, *_ = prompts(model)
    shared = next(i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)
    assert {chunk.reused_tokens for chunk in written(model, first, FREE)} == {0}
    assert {chunk.reused_tokens for chunk in written(model, second, FREE)} == {shared}
    assert {chunk.reused_tokens for chunk in written(model, second, FREE)} == {len(second) - 1}


def test_a_conversation_that_goes_on_reuses_the_answer_too(open_model: Open) -> None:
    model = open_model()
    prompt = prompts(model)[0]
    answer = tokens(written(model, prompt, FREE))
    longer = prompt + answer + prompts(model)[1]
    (chunk, *_) = written(model, longer, FREE)
    assert chunk.reused_tokens == len(prompt) + len(answer) - 1  # the last token was written, but never fed
    assert tokens(written(open_model(), longer, FREE)) == tokens(written(model, longer, FREE))


def test_an_answer_abandoned_halfway_does_no_harm(open_model: Open) -> None:
    model = open_model()
    first, second, *_ = prompts(model)
    stream = model.stream(first, FREE, None)
    next(stream)
    next(stream)
    del stream
    assert tokens(written(model, second, FREE)) == tokens(written(open_model(), second, FREE))


def test_a_score_is_the_sum_of_the_steps_it_was_written_in(open_model: Open) -> None:
    model = open_model()
    for prompt in prompts(model):
        chunks = written(model, prompt, FREE)
        end = (model.end,) if chunks[-1].finish == "stop" else ()
        (scores,) = model.runtime.score([(prompt, tokens(chunks) + end)])
        assert scores.logprobs == pytest.approx(logprobs(chunks), abs=1e-3)
        assert scores.total == pytest.approx(sum(logprobs(chunks)), abs=1e-3)


def test_scores_do_not_depend_on_what_is_scored_along(open_model: Open) -> None:
    model = open_model()
    pairs = [(prompt, model.answer_ids(label)) for prompt in prompts(model) for label in LABELS.values]
    together = [scores.total for scores in model.runtime.score(pairs)]
    assert together == pytest.approx([model.runtime.score([pair])[0].total for pair in pairs], abs=1e-3)


@pytest.mark.parametrize("labels", [LABELS, MANY])
def test_choosing_renormalises_the_scores_along_the_trie(open_model: Open, labels: Labels) -> None:
    """At each branch the probability of a token is its share among those that can follow. Where labels are many, the
    prompts are read once a level of them."""
    model = open_model()
    trie = model.constraint(labels)
    assert trie is not None
    chosen = model.runtime.choose(prompts(model), trie)
    for row, prompt in enumerate(prompts(model)):
        shares: dict[Ids, dict[int, float]] = {}
        for branch in trie.branches():
            allowed = trie.allowed(branch)
            scores = model.runtime.score([(prompt + branch, (other,)) for other in allowed])
            likely = [math.exp(score.total) for score in scores]
            shares[branch] = {other: share / sum(likely) for other, share in zip(allowed, likely, strict=True)}
        for column, answer in enumerate(trie.answers):
            path = (*answer, trie.end)
            at = [length for length in range(len(path)) if path[:length] in shares]
            expected = sum(math.log(shares[path[:length]][path[length]]) for length in at)
            assert chosen[row, column] == pytest.approx(expected, abs=1e-3)
    assert np.exp(chosen).sum(axis=1) == pytest.approx(1)


def test_a_model_that_is_sure_reads_on_only_where_labels_are_likely(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = LocalModel(folders["torch"])
    network: Any = model.runtime.model
    read: list[int] = []

    def sharpen(module: Any, given: Any, states: Any) -> Any:
        read.append(states.shape[1])
        return 100 * states

    network.model.norm.register_forward_hook(sharpen)
    trie = model.constraint(MANY)
    assert trie is not None
    some, tokens_read = np.exp(model.runtime.choose(prompts(model), trie)), sum(read)
    monkeypatch.setattr(TokenTrie, "matters", lambda trie, branch, told: True)
    read.clear()
    assert some == pytest.approx(np.exp(model.runtime.choose(prompts(model), trie)), abs=1e-5)
    assert tokens_read < sum(read)


def test_the_answer_written_has_the_probability_it_has_in_choosing(open_model: Open) -> None:
    model = open_model()
    trie = model.constraint(LABELS)
    assert trie is not None
    for prompt, row in zip(prompts(model), model.runtime.choose(prompts(model), trie), strict=True):
        chunks = written(model, prompt, FREE, trie)
        assert row[trie.answers.index(tokens(chunks))] == pytest.approx(sum(logprobs(chunks)), abs=1e-3)


def test_one_label_alone_is_certain(open_model: Open) -> None:
    model = open_model()
    trie = model.constraint(Labels(("refund",)))
    assert trie is not None
    assert model.runtime.choose(prompts(model), trie).tolist() == [[0.0]] * len(TEXTS)
    assert model.ask([Message("user", "hello")], grammar=Labels(("refund",))).logprob == 0


def test_the_same_seed_writes_the_same_and_another_seed_something_else(open_model: Open) -> None:
    model = open_model()
    prompt = prompts(model)[0]
    answers = [tokens(written(model, prompt, Sampling(20, 1.5, seed))) for seed in (1, 1, 2)]
    assert answers[0] == answers[1] != answers[2]


def test_what_does_not_fit_the_context_is_refused(open_model: Open) -> None:
    model = open_model()
    full = (5,) * model.runtime.limits.context
    trie = model.constraint(LABELS)
    assert trie is not None
    with pytest.raises(ModelError, match="do not fit the context of 512"):
        written(model, full, FREE)
    with pytest.raises(ModelError, match="do not fit"):
        written(model, full[:-2], FREE, trie)
    with pytest.raises(ModelError, match="do not fit"):
        model.runtime.score([(full, (5,))])
    with pytest.raises(ModelError, match="do not fit"):
        model.runtime.choose([full], trie)
    assert tokens(written(model, prompts(model)[0], FREE))


def test_free_text_ends_where_the_context_does(open_model: Open) -> None:
    model = open_model()
    chunks = written(model, (5,) * 508, Sampling(max_tokens=50, temperature=1.0))
    assert chunks[-1].finish == "length"
    assert len(tokens(chunks)) == 4


def test_a_label_longer_than_max_tokens_is_written_whole(open_model: Open) -> None:
    reply = open_model().ask([Message("user", "hello")], grammar=LABELS, sampling=Sampling(max_tokens=1))
    assert reply.text in LABELS.values


def test_prompts_longer_than_the_first_cache_are_answered_alike(folders: dict[str, Path]) -> None:
    prompt = tuple(np.random.default_rng(3).integers(20, 300, 400).tolist())
    torch, onnx = LocalModel(folders["torch"]), LocalModel(folders["onnx"])
    written(onnx, prompt[:10], FREE)
    assert tokens(written(onnx, prompt, FREE)) == tokens(written(torch, prompt, FREE))


def test_requests_are_pulled_one_by_one(open_model: Open) -> None:
    model = open_model()
    first, second, *_ = prompts(model)
    pulled: list[str] = []

    def requests():  # type: ignore[no-untyped-def]
        for request in (Request("a", first, FREE), None, Request("b", second, FREE)):
            pulled.append(request.id if request else "nothing")
            yield request

    stream = model.runtime.generate(requests())
    assert next(stream).id == "a"
    assert pulled == ["a"]
    assert [chunk.id for chunk in stream if chunk.finish] == ["a", "b"]


def test_probes_of_torch_hold_on_onnx_and_not_on_a_model_that_lost_a_layer(folders: dict[str, Path]) -> None:
    torch = LocalModel(folders["torch"])
    probes = folders["torch"] / "probes.jsonl"
    record_probes(torch.runtime, [Probe(prompt, torch.answer_ids("refund")) for prompt in prompts(torch)], probes)
    same = replay_probes(LocalModel(folders["onnx"]).runtime, probes)
    assert (same.probes, same.agreeing) == (len(TEXTS), 1)
    assert same.max_probability_difference < 1e-3
    del torch.runtime.model.model.layers[1]
    torch.runtime.model.config.num_hidden_layers = 1
    assert replay_probes(torch.runtime, probes).agreeing < 1


def test_a_model_without_probes_cannot_be_compared(folders: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "probes.jsonl").write_text("")
    with pytest.raises(ModelError, match="there are no probes"):
        replay_probes(LocalModel(folders["onnx"]).runtime, tmp_path / "probes.jsonl")


def test_a_damaged_onnx_graph_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    for path in folders["onnx"].iterdir():
        content = path.read_bytes()
        (tmp_path / path.name).write_bytes(content[: len(content) // 2] if path.suffix == ".onnx" else content)
    with pytest.raises(ModelError, match="cannot be loaded"):
        LocalModel(tmp_path)
