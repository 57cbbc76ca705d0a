"""Mathematical reasoning: a problem is solved step by step, and the last number is the answer."""

from __future__ import annotations

from slmops.core.errors import InvalidAnswer
from slmops.tasks.base import TaskBase
from slmops.tasks.metrics import valid_answers
from slmops.tasks.text_metrics import exact_number, last_number, token_f1
from slmops.tasks.types import Metric


class Mathematics(TaskBase):
    """Steps, then the number; `#### 42` marks it, otherwise it is the last one."""

    name = "mathematics"
    instruction = "Solve the problem step by step. Write the result as a number at the end, after ####."
    varied = None  # another number is another problem

    metrics: tuple[Metric, ...] = (exact_number(), valid_answers(), token_f1())

    def parse(self, text: str) -> str:
        if last_number(text) is None:
            raise InvalidAnswer("the answer has no number", remedy="end with #### and the number")
        return text.strip()
