from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slmops.tasks import further_metric, load_task
from slmops.tasks.metrics import EntityF1, MacroF1, accuracy, valid_answers
from slmops.tasks.schemas import facts_of
from slmops.tasks.text_metrics import length_match, names_kept, rouge, token_f1
from slmops.tasks.types import Metric, Record, Source

LABELS = ("a", "b", "c")
ANSWERS = st.lists(st.tuples(st.sampled_from((*LABELS, None)), st.sampled_from(LABELS)), min_size=1, max_size=40)


def figure(metric: Metric, predicted: list[str | None], gold: list[str]) -> float:
    return float(metric.reduce(metric.rows(predicted, gold).sum(axis=0)))


def test_a_number_is_the_same_fact_however_it_is_written() -> None:
    assert facts_of({"price": 5}) == facts_of({"price": 5.0}) != facts_of({"price": 5.5})
    assert facts_of({"none": 0}) == facts_of({"none": 0.0}) != {}
    assert facts_of({"blank": " "}) == {}


def test_an_invalid_answer_is_wrong_and_told_apart() -> None:
    predicted, gold = ["a", None, "b", "b"], ["a", "a", "b", "c"]
    assert figure(accuracy(), predicted, gold) == 0.5
    assert figure(valid_answers(), predicted, gold) == 0.75
    assert figure(MacroF1(LABELS), predicted, gold) == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)


def test_an_answer_gains_nothing_by_what_it_does_not_state() -> None:
    nothing = {"items": [], "city": None, "day": "", "urgent": False}
    stated = {"items": [{"product": "hose", "quantity": 0}], "city": "Rome", "day": "", "urgent": True}
    assert facts_of(nothing) == {}
    assert sum(facts_of(stated).values()) == 3
    rows = EntityF1(facts_of).rows([nothing, stated, None], [stated, stated, stated])
    assert rows.tolist() == [[0, 0, 3], [3, 3, 3], [0, 0, 3]]


@given(ANSWERS)
def test_macro_f1_is_what_scikit_learn_finds(answers: list[tuple[str | None, str]]) -> None:
    from sklearn.metrics import f1_score

    predicted, gold = [answer for answer, _ in answers], [right for _, right in answers]
    seen = sorted({answer for answer in (*predicted, *gold) if answer})
    known = f1_score(gold, [answer or "invalid" for answer in predicted], labels=seen, average="macro", zero_division=0)
    assert figure(MacroF1(LABELS), predicted, gold) == pytest.approx(known)


@pytest.mark.parametrize("metric", [accuracy(), valid_answers(), MacroF1(LABELS)], ids=lambda metric: metric.name)
def test_many_sums_reduce_at_once(metric: Metric) -> None:
    rows = metric.rows(["a", "b", None], ["a", "c", "c"])
    weights = np.array([[1, 1, 1], [3, 0, 0], [0, 1, 2]], dtype=float)
    at_once = metric.reduce(weights @ rows)
    assert at_once.tolist() == [float(metric.reduce(weight @ rows)) for weight in weights]


def test_predictions_and_gold_must_be_as_many() -> None:
    with pytest.raises(ValueError):
        accuracy().rows(["a"], ["a", "b"])


@pytest.mark.parametrize(
    ("name", "gold"),
    [
        ("conversation", {"reply": "your parcel is on its way to you"}),
        ("summarization", "two people talk about a parcel"),
    ],
)
def test_bleu_holds_an_answer_against_what_gold_says(name: str, gold: Any) -> None:
    task = load_task(name)
    metric, said = further_metric("bleu", task), task.parse(task.write(gold))
    scores = [float(metric.reduce(metric.rows([one], [gold]).sum(axis=0))) for one in (said, "quite another thing")]
    assert scores == [pytest.approx(1.0), 0.0]


@pytest.mark.parametrize(
    "gold", ["Москва строит новый мост", "Η γέφυρα είναι νέα", "東京に橋を架ける", "Die Brücke über die Förde"]
)
def test_rouge_reads_every_script(gold: str) -> None:
    for kind in ("rouge1", "rougeL"):
        assert figure(rouge(kind), [gold], [gold]) == 1.0
        assert figure(rouge(kind), ["..."], [gold]) == 0.0
    half = gold.split()[0] if " " in gold else gold[:4]
    assert 0 < figure(rouge("rougeL"), [half], [gold]) < 1


def test_what_is_written_without_spaces_is_compared_by_its_characters() -> None:
    for right in ("我想取消订单", "ฉันต้องการยกเลิก"):
        for metric in (token_f1(), length_match()):
            half = float(metric.rows([right[: len(right) // 2]], [right])[0, 0])
            assert 0.3 < half < 0.8
    assert token_f1().rows(["cancel my order"], ["cancel it"])[0, 0] == pytest.approx(0.4)
    summaries = load_task("summarization")
    texts = [Record(str(n), {"text": text}, "取消订单", Source("")) for n, text in enumerate(["我想取消订单", "订 单"])]
    assert summaries.baseline(texts, texts) == ["我想取消", "订 单"]


def test_rouge_of_english_is_that_of_rouge_score() -> None:
    from rouge_score.rouge_scorer import RougeScorer

    gold, said = (
        "The U.S. banks' 3 loans were approved, running late",
        "Banks in the US approve three loans; it runs late",
    )
    own = RougeScorer(["rougeL"], use_stemmer=True).score(gold, said)["rougeL"].fmeasure
    assert figure(rouge("rougeL"), [said], [gold]) == pytest.approx(own)


def test_a_name_is_kept_as_a_word_of_its_own() -> None:
    gold = "She met Ann on day 5"
    assert figure(names_kept(), ["ANN, 5."], [gold]) == 1.0
    assert figure(names_kept(), ["the annual report of 2015"], [gold]) == 0.0
