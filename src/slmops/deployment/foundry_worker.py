"""Runs Foundry Local's SDK in a process of its own.

Reads one JSON object on stdin: the folder, its id, a scratch folder, the model cache, and either conversations to
answer or nothing, which leaves the model registered. Writes JSON on stdout, a line each: {"done": n} after each answer,
then answers and times, or {"error": …}. Started by `foundry_local`, which has checked the folder.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import foundry_local_sdk as sdk


def main() -> None:
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the SDK prints goes to stderr
    spec = json.loads(sys.stdin.buffer.read())
    try:
        reply = _reply(spec, lambda done: print(json.dumps({"done": done}), file=replies, flush=True))
    except sdk.FoundryLocalException as error:
        reply = {"error": str(error)}
    print(json.dumps(reply), file=replies)
    replies.close()


def _reply(spec: dict[str, Any], report: Callable[[int], None]) -> dict[str, Any]:
    scratch = Path(spec["scratch"])
    configuration = sdk.Configuration(
        app_name="slmops",
        app_data_dir=str(scratch / "app"),
        logs_dir=str(scratch / "logs"),
        model_cache_dir=spec["cache"],
        log_level=sdk.LogLevel.ERROR,
        disable_nonessential_telemetry=True,
    )
    with sdk.FoundryLocalManager(configuration) as manager:
        catalog = manager.get_catalog(sdk.CatalogType.LOCAL)  # the public one would be fetched
        started = time.perf_counter()
        with sdk.ModelInfoBuilder() as metadata:
            metadata.set_string_property("task", "chat-completion")
            model = catalog.register_model(spec["folder"], spec["id"], metadata)
        registered = time.perf_counter()
        if "asked" not in spec:
            return {}
        model.load()
        loaded = time.perf_counter()
        answers = []
        for number, messages in enumerate(spec["asked"], start=1):
            try:
                answers.append(_ask(model, messages, spec["max_tokens"], spec["labels"]))
            except sdk.FoundryLocalException as error:
                raise sdk.FoundryLocalException(f"{error} (text {number})") from error
            report(number)
        model.unload()
        catalog.unregister_model(spec["id"])
    times = {"register_ms": (registered - started) * 1e3, "load_ms": (loaded - registered) * 1e3}
    return {"answers": answers, **times}


def _ask(model: Any, messages: list[dict[str, str]], max_tokens: int, labels: list[str]) -> dict[str, Any]:
    """One request as an application sends it to the OpenAI-compatible endpoint."""
    request: dict[str, Any] = {"messages": messages, "max_tokens": max_tokens}
    if labels:
        choice = " | ".join(json.dumps(label, ensure_ascii=False) for label in labels)
        request["response_format"] = {"type": "lark_grammar", "lark_grammar": f"start: {choice}"}
    body = json.dumps(request | {"model": model.id, "temperature": 0})
    started = time.perf_counter()
    with sdk.ChatSession(model) as session, sdk.Request() as asked:
        asked.add_item(sdk.TextItem(body, sdk.TextItemType.OPENAI_JSON))
        with session.process_request(asked) as response:
            answered = json.loads(response.get_item(0).text)
    latency_ms = (time.perf_counter() - started) * 1e3
    text, prompt_tokens = answered["choices"][0]["message"]["content"], answered["usage"]["prompt_tokens"]
    return {"text": text, "prompt_tokens": prompt_tokens, "latency_ms": latency_ms}


if __name__ == "__main__":
    main()
