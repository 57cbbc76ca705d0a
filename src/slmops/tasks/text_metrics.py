"""Figures over texts: overlap of words and characters with a text that is right, numbers, names.

In come an answer and the gold (a text, or a list of texts all of which are right), out goes a score from 0 to 1. ROUGE,
chrF and BLEU are computed by the field's own libraries.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from slmops.core.errors import need
from slmops.tasks.base import all_of
from slmops.tasks.metrics import Mean, Rows
from slmops.tasks.types import Json

_EXTRA = "evaluation"
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_NUMBER = re.compile(r"(?:(?<![\w)])[-−])?(?:\d[\d,]*(?:\.\d+)?|(?<![\w.])\.\d+)")  # 5-3 ends with 3, not with -3
UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # kana and Chinese characters
UNSPACED += "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
UNITS = re.compile(rf"[{UNSPACED}]|[^\s{UNSPACED}]+")  # words, and what is written without spaces by characters
_WORDS = re.compile(rf"[{UNSPACED}]|(?:(?![{UNSPACED}])[^\W_])+")
_NAMES = re.compile(r"(?<![.!?:\n] )(?<!^)\b[A-Z]\w+|\d+(?:[.,]\d+)*", re.M)


def normalised(text: str) -> str:
    """Lower case, without punctuation, English articles and doubled spaces (Rajpurkar et al. 2016, arXiv 1606.05250,
    evaluation script)."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match() -> Mean:
    """The share of answers that are a right one but for case, punctuation and articles."""
    return Mean(
        "exact_match", lambda answer, gold: float(normalised(answer) in {normalised(right) for right in all_of(gold)})
    )


def token_f1() -> Mean:
    """F1 of the words of answer and gold, the best of several (Rajpurkar et al. 2016, section 6.1); of what is written
    without spaces, of its characters."""
    return Mean("token_f1", lambda answer, gold: max(_word_f1(answer, right) for right in all_of(gold)))


def exact_number() -> Mean:
    """The share of answers whose last number is the gold's."""
    return Mean("accuracy", lambda answer, gold: float(last_number(answer) == last_number(all_of(gold)[0])))


def rouge(kind: str) -> Mean:
    """ROUGE F1 with stemming (Lin 2004), `rouge1`, `rouge2` or `rougeL`; the best of several golds."""
    return Mean(kind.lower(), lambda answer, gold: max(_rouge(kind, right, answer) for right in all_of(gold)))


def names_kept() -> Mean:
    """The share of the gold's names and numbers that the answer has, the best of several golds; 1 where it has none.

    A name is a capitalised word inside a sentence."""
    return Mean("names_kept", lambda answer, gold: max(_covered(answer, right) for right in all_of(gold)))


def length_match() -> Mean:
    """How near the answer's length is to the gold's, in words: shorter over longer."""
    return Mean("length_match", lambda answer, gold: max(_length_ratio(answer, right) for right in all_of(gold)))


def chrf() -> Mean:
    """The mean of the sentences' chrF (Popović 2015), 0 to 1, by sacrebleu."""
    return Mean("chrf", lambda answer, gold: _chrf().sentence_score(answer, all_of(gold)).score / 100)


class Bleu:
    """Corpus BLEU (Papineni et al. 2002), 0 to 1, by sacrebleu. `write` turns what is no text into one."""

    name = "bleu"
    higher_is_better = True

    def __init__(self, write: Callable[[Json], str] = str) -> None:
        self._write = write

    def rows(self, predicted: Sequence[Json], gold: Sequence[Json]) -> Rows:
        """(example, 10): matching n-grams and n-grams for n = 1 … 4, the answer's and the gold's length in tokens."""
        rows = []
        for answer, right in zip(predicted, gold, strict=True):
            rights = all_of(right) if isinstance(right, list | tuple) else [self._text(right)]
            said = _bleu().sentence_score("" if answer is None else self._text(answer), rights)
            rows.append([*said.counts, *said.totals, said.sys_len, said.ref_len])
        return np.array(rows, dtype=np.float64).reshape(len(rows), 10)

    def _text(self, said: Json) -> str:
        return said if isinstance(said, str) else self._write(said)

    def reduce(self, sums: Rows) -> Rows:
        compute = need("sacrebleu.metrics", _EXTRA).BLEU.compute_bleu
        counts = sums.round().astype(int).reshape(-1, 10).tolist()
        scores = [compute(row[:4], row[4:8], row[8], row[9], smooth_method="none").score / 100 for row in counts]
        return np.array(scores).reshape(sums.shape[:-1])


def last_number(text: str) -> float | None:
    """The number behind the last `####`, else the last number in `text`; None if there is none."""
    found = _NUMBER.findall(text.rpartition("####")[2]) or _NUMBER.findall(text)
    return float(found[-1].replace(",", "").replace("−", "-")) if found else None


def _word_f1(answer: str, right: str) -> float:
    said, wanted = UNITS.findall(normalised(answer)), UNITS.findall(normalised(right))
    shared = sum((Counter(said) & Counter(wanted)).values())
    return 2 * shared / (len(said) + len(wanted)) if said or wanted else 1.0


def _covered(answer: str, right: str) -> float:
    wanted = set(_NAMES.findall(right))
    said = [re.search(rf"(?<!\w){re.escape(name)}(?!\w)", answer, re.IGNORECASE) for name in wanted]
    return sum(found is not None for found in said) / len(wanted) if wanted else 1.0


def _length_ratio(answer: str, right: str) -> float:
    lengths = sorted((len(UNITS.findall(answer)), len(UNITS.findall(right))))
    return lengths[0] / lengths[1] if lengths[1] else 1.0


def _rouge(kind: str, right: str, answer: str) -> float:
    return float(_rouge_scorer(kind).score(right, answer)[kind].fmeasure)


@cache
def _rouge_scorer(kind: str) -> Any:
    return need("rouge_score.rouge_scorer", _EXTRA).RougeScorer([kind], tokenizer=_Words())


class _Words:
    """Words of any script in lower case, English ones stemmed, as rouge_score does it with its own, which knows English
    letters only; what is written without spaces is taken character by character."""

    def __init__(self) -> None:
        self._stem = need("nltk.stem.porter", _EXTRA).PorterStemmer().stem

    def tokenize(self, text: str) -> list[str]:
        words = _WORDS.findall(text.lower())
        return [self._stem(word) if len(word) > 3 and word.isascii() else word for word in words]


@cache
def _chrf() -> Any:
    return need("sacrebleu.metrics", _EXTRA).CHRF()


@cache
def _bleu() -> Any:
    return need("sacrebleu.metrics", _EXTRA).BLEU(effective_order=True)  # which its counts do not depend on
