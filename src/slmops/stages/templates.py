"""Files to begin from: code of one's own (`slmops new KIND NAME`), which works as it is."""

from __future__ import annotations

import keyword
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from slmops.core.errors import SlmopsError
from slmops.core.files import write_whole

Kind = Literal["loss", "metric", "callback", "task", "variation"]

_LOSS = '''"""A loss: what is learned of an answer. In slmops.yaml: train: {{loss: {module}:{name}}}"""

import torch


def {name}(logits, target_ids):
    """(target,) losses, of (target, vocabulary) logits and the (target,) ids that would have been right.

    This one is cross-entropy that counts less what is nearly right already (Lin et al. 2017, arXiv 1708.02002).
    """
    logprob = torch.log_softmax(logits, dim=-1).gather(1, target_ids[:, None])[:, 0]
    return -((1 - logprob.exp()) ** 2) * logprob
'''
_METRIC = '''"""A figure: how right an answer is. In slmops.yaml: evaluation: {{metrics: {module}:{name}}}"""


def {name}(answer, gold):
    """0 to 1, for an answer as the task reads it, and the row's gold. An invalid answer gets 0 without being asked."""
    return float(str(answer).casefold() == str(gold).casefold())
'''
_CALLBACK = '''"""A callback: hears how training goes. In slmops.yaml: train: {{callbacks: {module}:{name}}}"""


def {name}(point):
    """Told after each look at the validation rows: point.step, point.loss, point.validation_loss, and point.rows, the
    worst ones where the loss leapt. False ends the training."""
    return point.validation_loss is None or point.validation_loss > 0.01
'''
_TASK = '''"""A task: how a row is asked and answered. In slmops.yaml: task: {module}:{name}"""

from slmops.core.errors import InvalidAnswer
from slmops.tasks.base import TaskBase
from slmops.tasks.metrics import accuracy, valid_answers


class {name}(TaskBase):
    name = "{name}"
    instruction = "Answer with one word."
    metrics = (accuracy(), valid_answers())

    def read(self, parts):
        """What is asked, and the right answer where the row has one."""
        return {{"text": parts["text"]}}, parts.get("answer")

    def parse(self, text):
        """The answer that a text is."""
        words = text.split()
        if len(words) != 1:
            raise InvalidAnswer(f"{{text!r}} is not one word", remedy="write one word")
        return words[0]
'''
_VARIATION = '''"""A variation: another text, whose answer the teacher gives. In slmops.yaml:
synthesis: {{augment: 2, vary: {module}:{name}}}"""


def {name}(text, generator):
    """A text as somebody else might write it, by chance: a NumPy generator, seeded. One that was there is left out.

    This one exchanges two words that stand beside each other.
    """
    words = text.split()
    if len(words) > 1:
        at = generator.integers(len(words) - 1)
        words[at], words[at + 1] = words[at + 1], words[at]
    return " ".join(words)
'''
_TEMPLATES: dict[Kind, tuple[str, str]] = {
    "loss": (_LOSS, "train: {{loss: {module}:{name}}}"),
    "metric": (_METRIC, "evaluation: {{metrics: {module}:{name}}}"),
    "callback": (_CALLBACK, "train: {{callbacks: {module}:{name}}}"),
    "task": (_TASK, "task: {module}:{name}"),
    "variation": (_VARIATION, "synthesis: {{augment: 2, vary: {module}:{name}}}"),
}


def new_file(kind: Kind, name: str, folder: Path) -> tuple[Path, str]:
    """Writes NAME.py into `folder`; returns it, and what to write in slmops.yaml.

    Raises:
        SlmopsError: the name cannot be one in Python, or there is such a file.
    """
    if not name.isidentifier() or keyword.iskeyword(name):
        raise SlmopsError(f"{name!r} is no name in Python", remedy="use letters, digits and _, no digit first")
    path = folder / f"{name.lower()}.py"
    if path.exists():
        raise SlmopsError("is there already", where=str(path), remedy="choose another name")
    if find_spec(path.stem):
        raise SlmopsError(f"a library is called {path.stem}", remedy="choose another name")
    text, line = (part.format(module=path.stem, name=name) for part in _TEMPLATES[kind])
    write_whole(path, text)
    return path, line
