"""Code generation: Python for a description. An answer is valid if it parses; it is right if the user's tests pass.

The tests run in a process of its own with limits (`sandbox`), since a model's code is not to be trusted.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping

from slmops.core.errors import InvalidAnswer
from slmops.tasks.base import TaskBase, all_of
from slmops.tasks.metrics import Mean, of_part, valid_answers
from slmops.tasks.sandbox import passes
from slmops.tasks.text_metrics import chrf
from slmops.tasks.types import Json, Parts

_FENCED = re.compile(r"```(?:python)?[ \t\r]*\n(.*?)```", re.S)


class Code(TaskBase):
    """Python for each text. Gold is `{"code", "tests"}`; tests are statements such as `assert add(1, 2) == 3`."""

    name = "code"
    instruction = "Write Python code that does what is asked. Answer with the code only."
    varied = None

    metrics = (
        Mean("tests_passed", lambda answer, gold: float(passes(answer, gold["tests"]))),
        valid_answers(),
        of_part(chrf(), "code"),
    )

    def read(self, parts: Parts) -> tuple[Mapping[str, Json], Json | None]:
        code = parts.get("code", parts.get("answer"))
        gold = None if code is None else {"code": str(code), "tests": all_of(parts.get("tests", []))}
        return {"text": parts["text"]}, gold

    def check(self, gold: Json) -> None:
        self.parse(gold["code"])
        for test in gold["tests"]:
            self.parse(test)

    def write(self, gold: Json) -> str:
        return str(gold["code"])

    def parse(self, text: str) -> str:
        """The code, taken out of a fence if it stands in one."""
        fenced = _FENCED.search(text)
        code = fenced.group(1) if fenced else text
        try:
            ast.parse(code)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise InvalidAnswer(f"the answer is no Python: {error}"[:200], remedy="mend the code") from error
        return code.rstrip()
