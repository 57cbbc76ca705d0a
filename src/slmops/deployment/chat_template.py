"""A chat family's format as a Jinja template, for runtimes that are given messages instead of tokens.

In come a family and the control tokens of its tokenizer, out goes a template that renders what `encode_prompt` encodes:
no system text of its own, and no message that can end a turn. Knows no runtime and no files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from slmops.models.families import Family

# A family without system turns: the system text stands before that of the first message.
_LEAD_IN = (
    "{% if loop.index0 == 1 and messages[0]['role'] == 'system' %}"
    "{% set text = messages[0]['content'] + '\\n\\n' + text %}"
    "{% endif %}"
)


def chat_template(family: Family, control_tokens: Iterable[str]) -> str:
    """The template. A control token inside a message is broken by a space: a runtime that tokenizes the rendered text
    would obey it, where ours takes it for plain characters."""
    written = family.begin + family.end + "".join(family.prompt_template().values())
    return "".join(
        (
            _put(_quoted(family.begin)),
            "{% for message in messages %}{% set text = message['content'] %}",
            _LEAD_IN if family.system is None else "",
            *(_break(token) for token in sorted(control_tokens) if token in written),
            "{% if message['role'] == 'system' %}",
            _turn(family.system) if family.system else "",
            "{% elif message['role'] == 'assistant' %}",
            _turn(family.assistant),
            "{% else %}",
            _turn(family.user),
            "{% endif %}{% endfor %}{% if add_generation_prompt %}",
            _put(_quoted(family.assistant[0])),
            "{% endif %}",
        )
    )


def _break(token: str) -> str:
    broken = f"{token[0]} {token[1:]}"  # by split and join: ONNX Runtime GenAI's Jinja has no `replace`
    return "{% set text = text.split(" + _quoted(token) + ")|join(" + _quoted(broken) + ") %}"


def _turn(around: tuple[str, str]) -> str:
    return _put(f"{_quoted(around[0])} + text + {_quoted(around[1])}")


def _put(expression: str) -> str:
    return "{{ " + expression + " }}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
