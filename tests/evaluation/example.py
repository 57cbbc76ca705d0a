"""A summary as the example project's run makes it, for tests of the report."""

from __future__ import annotations

import math
import random
from typing import Any

from slmops.core.measurement import Interval
from slmops.evaluation.summary import Summary

LABELS = [
    *("order_status", "delivery_problem", "damaged_or_faulty", "return_or_exchange", "refund_status", "cancel_order"),
    *("change_order", "payment_failed", "wrong_charge", "account_access", "membership", "product_question"),
]
_CONFIG = """name: support-triage
task: classification
data: {train: data/labelled.jsonl, unlabelled: data/unlabelled.jsonl, test: data/test.jsonl}
teacher: smollm2-135m-instruct
student: {from: teacher, layers: 6}
optimization: int4
gates: {keep_accuracy: 0.97, max_latency_ratio: 0.10}
deployment: foundry-local
"""
_LONG = (
    "<|im_start|>system\nRead the message and answer with the one label that fits it best, exactly as it is written "
    f"here.\nLabels: {', '.join(LABELS)}<|im_end|>\n<|im_start|>user\n{{text}}<|im_end|>\n<|im_start|>assistant\n"
)
_SHORT = "<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"
_CONFUSED = {
    (0, 1): 2,
    (1, 0): 1,
    (2, 3): 1,
    (3, 4): 1,
    (4, 3): 1,
    (5, 6): 2,
    (7, 8): 1,
    (8, 10): 2,
    (10, 8): 2,
    (11, 2): 1,
}
_MESSAGES = (
    ("Your driver's app says delivered at 14:02. I was home all day and the only thing delivered was a leaflet.", 1, 0),
    ("cancelled plus in jan & ur still taking 7.99 off me every month??", 8, 10),
    ("can u make it 2 lamps instead of 3, or just bin the order if thats easier", 6, 5),
    ("The drawer front arrived with a long scratch but honestly I've gone off the colour too.", 2, 3),
    ("Do the Tarn shades fit a B22 fitting? Mine buzzes.", 11, 2),
)


def make_summary(**overrides: Any) -> Summary:
    """The realistic summary, with fields replaced by `overrides`."""
    ids = {stage: f"{index:02d}a7c3e5{'9b04f1d2' * 7}"[:64] for index, (stage, *_) in enumerate(_STAGES)}
    fields: dict[str, Any] = {
        "accuracy_kept": Interval(0.9868, 0.9643, 1.0094, n=240),
        "quality_kept": Interval(0.9868, 0.9643, 1.0094, n=240),
        "latency_reduction": Interval(0.9523, 0.9497, 0.9548, n=240),
        "model_bytes_reduction": Interval.exact(0.9351),
        "memory_reduction": Interval.exact(0.7812),
        "name": "support-triage",
        "task": "classification",
        "config": _CONFIG,
        "labels": LABELS,
        "made": {
            "run": "20260214-101502-7f3a",
            "date": "2026-02-14T10:15:02+00:00",
            "command": "slmops run --config examples/support-triage/slmops.yaml",
            "seed": 7,
            "versions": {"slmops": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0", "onnxruntime-genai": "0.18.0"},
            "machine": {
                "cpu": "Intel(R) Xeon(R) Processor @ 2.70GHz",
                "extensions": ["avx2", "avx512f", "avx512_bf16", "amx_bf16"],
                "cores": 2,
                "memory_mb": 8324,
                "system": "Linux 6.8.0",
                "python": "3.11.9",
            },
            "choices": {"number_format": "bfloat16", "threads": 2, "usd_per_hour": 0.1},
        },
        "data": {
            "train": 519,
            "validation": 91,
            "test": 240,
            "unlabelled": 402,
            "labelled_by_teacher": 377,
            "rejected": {"confidence below 0.8": 23, "the same text as a test message": 2},
        },
        "shipped": "int4",
        "subjects": _subjects(ids),
        "against_teacher_int4": {
            "accuracy_kept": Interval(0.9912, 0.9688, 1.0137, n=240),
            "quality_kept": Interval(0.9912, 0.9688, 1.0137, n=240),
            "latency_reduction": Interval(0.8421, 0.8344, 0.8502, n=240),
            "model_bytes_reduction": Interval.exact(0.5904),
            "memory_reduction": Interval.exact(0.2913),
        },
        "comparisons": [
            {"a": "int4", "b": "teacher", "metric": "accuracy", "difference": _apart(-0.0125, 0.023), "p_value": 0.453},
            {"a": "int4", "b": "student", "metric": "accuracy", "difference": _apart(-0.0042, 0.012), "p_value": 1.0},
            {
                "a": "int4",
                "b": "classical",
                "metric": "accuracy",
                "difference": _apart(0.075, 0.046),
                "p_value": 0.0021,
            },
            {"a": "int4", "b": "untrained", "metric": "accuracy", "difference": _apart(0.82, 0.05), "p_value": 1e-40},
        ],
        "gates": [
            {"name": "keep_accuracy", "sentence": "accuracy kept is 98.7 %, at least 97 % was asked", "passed": True},
            {
                "name": "max_latency_ratio",
                "sentence": "latency is 4.8 % of the teacher’s, at most 10 %",
                "passed": True,
            },
        ],
        "published": [
            {
                "claim": "distillation: time against the teacher",
                "published": "−85 % (3.2 s → 0.48 s)",
                "ours": Interval(0.9523, 0.9497, 0.9548, n=240),
                "unit": "reduction",
                "reached": True,
            },
            {
                "claim": "distillation: model bytes against the teacher",
                "published": "−95 % (1.2 TB → 60 GB)",
                "ours": Interval.exact(0.9351),
                "unit": "reduction",
                "reached": False,
            },
            {
                "claim": "distillation: resident memory against the teacher",
                "published": "−95 % (1.2 TB → 60 GB)",
                "ours": Interval.exact(0.7812),
                "unit": "reduction",
                "reached": False,
                "note": "the Python process included",
            },
            {
                "claim": "distillation: accuracy kept",
                "published": "92 % (94.5 % → 87.0 %)",
                "ours": Interval(0.9868, 0.9643, 1.0094, n=240),
                "unit": "share",
                "reached": True,
            },
            {
                "claim": "distillation: operating cost",
                "published": "−60 %",
                "ours": Interval.exact(0.9523),
                "unit": "reduction",
                "reached": True,
                "note": "same price an hour, more answers in it",
            },
            {
                "claim": "int4: size",
                "published": "−75 % or better",
                "ours": Interval.exact(0.8399),
                "unit": "reduction",
                "reached": True,
                "note": "against the student in fp32; accuracy −0.4\u00a0points (−1.6 to +0.8)",
            },
            {
                "claim": "int4: bytes, fp32 = 1",
                "published": "0.125",
                "ours": Interval.exact(0.1601),
                "unit": "ratio",
                "reached": False,
                "note": "theirs is nominal: scales, and what stays in fp32, add",
            },
        ],
        "curves": {
            "teacher": _curve(66, 2, 2.2, 0.07, (0.29, 0.21)),
            "student": _curve(480, 8, 1.9, 0.22, (0.91, 0.62, 0.47, 0.40, 0.36, 0.335, 0.33, 0.331)),
        },
        "confusion": {"subject": "int4", "matrix": _matrix()},
        "mistakes": [
            {
                "text": text,
                "gold": LABELS[gold],
                "answers": {"teacher": LABELS[(gold, wrong)[index % 3 == 1]], "int4": LABELS[wrong]},
                "right": ["teacher"] if index % 3 != 1 else [],
            }
            for index, (text, gold, wrong) in enumerate(_MESSAGES * 6)
        ],
        "lineage": [
            {
                "stage": stage,
                "kind": kind,
                "id": ids[stage],
                "parents": {p: ids.get(p, "e1" * 32) for p in parents},
                "seconds": seconds,
                "size_bytes": size,
            }
            for stage, kind, parents, seconds, size in _STAGES
        ],
        "foundry_local": {
            "quality": _share(0.9292),
            "valid_answers": _share(0.9958),
            "same_as_artifact": _share(0.9958),
            "latency_ms": Interval(41.2, 40.1, 42.6, n=240),
        },
    }
    return Summary(**(fields | overrides))


_STAGES: tuple[tuple[str, str, tuple[str, ...], float, int], ...] = (
    ("dataset", "dataset", (), 0.4, 214_000),
    ("teacher", "model", ("dataset", "base"), 143.2, 541_000_000),
    ("labels", "dataset", ("teacher", "dataset"), 18.3, 402_000),
    ("pruned", "model", ("teacher",), 1.1, 219_000_000),
    ("targets", "targets", ("teacher", "labels"), 47.6, 8_300_000),
    ("student", "model", ("pruned", "targets"), 171.9, 219_000_000),
    ("int4", "onnx", ("student",), 13.4, 36_900_000),
    ("evidence", "evidence", ("int4", "student", "teacher", "dataset"), 64.8, 310_000),
    ("bundle", "bundle", ("int4", "evidence"), 3.2, 37_000_000),
)


def _share(value: float) -> Interval:
    half = 1.96 * math.sqrt(max(value * (1 - value), 1e-4) / 240)
    return Interval(value, max(0.0, value - half), min(1.0, value + half), n=240)


def _apart(value: float, half: float) -> Interval:
    return Interval(value, value - half, value + half, n=240)


def _around(value: float, part: float = 0.02) -> Interval:
    return Interval(value, value * (1 - part), value * (1 + 1.4 * part), n=240)


def _subjects(ids: dict[str, str]) -> list[dict[str, Any]]:
    rows = (
        ("teacher", "smollm2-135m-instruct + LoRA, torch fp32", _LONG, 0.946, 166.0, 538e6, 1041.0, 31.0),
        ("untrained", "smollm2-135m-instruct, torch fp32", _LONG, 0.121, 164.0, 538e6, 1039.0, 31.2),
        ("student", "6 of 30 layers, distilled, torch fp32", _SHORT, 0.938, 12.6, 218e6, 655.0, 4.1),
        ("int4", "student as ONNX, int4 in blocks of 32", _SHORT, 0.933, 7.92, 34.9e6, 228.0, 2.9),
        ("teacher_int4", "teacher as ONNX, int4 in blocks of 32", _LONG, 0.942, 50.1, 85.2e6, 321.0, 9.4),
    )
    told = [
        {
            "name": name,
            "what": what,
            "artifact": ids.get(name),
            "prompt": prompt,
            "figures": {
                "accuracy": _share(accuracy),
                "macro_f1": _share(accuracy - 0.006),
                "valid_answers": Interval.exact(1.0),
                "latency_ms": _around(latency),
                "latency_p95_ms": _around(latency * 1.31, 0.05),
                "ttft_ms": _around(latency * 0.62),
                "per_token_ms": _around(token),
                "throughput_per_s": _around(1000 / latency / 1.03),
                "peak_memory_mb": Interval.exact(peak),
                "load_memory_mb": Interval.exact(peak - 190),
                "load_s": Interval.exact(peak / 700),
                "cpu_percent": Interval.exact(187.4),
                "model_bytes": Interval.exact(model),
                "disk_bytes": Interval.exact(model + 2.4e6),
                "cost_per_million_usd": _around(0.1 / 3600 * latency * 1.03 * 1000),
            },
        }
        for name, what, prompt, accuracy, latency, model, peak, token in rows
    ]
    classical = {
        "accuracy": _share(0.858),
        "macro_f1": _share(0.851),
        "valid_answers": Interval.exact(1.0),
        "latency_ms": _around(1.4),
        "throughput_per_s": _around(690.0),
        "model_bytes": Interval.exact(9.7e6),
        "cost_per_million_usd": _around(0.04),
    }
    return [*told, {"name": "classical", "what": "TF-IDF with logistic regression", "figures": classical}]


def _matrix() -> list[list[int]]:
    matrix = [[20 if row == column else 0 for column in range(12)] for row in range(12)]
    for (row, column), count in _CONFUSED.items():
        matrix[row][column] += count
        matrix[row][row] -= count
    return matrix


def _curve(steps: int, epochs: int, start: float, end: float, held_out: tuple[float, ...]) -> list[dict[str, Any]]:
    noise = random.Random(7)
    every = max(1, steps // 40)
    points = []
    for step in range(every, steps + 1, every):
        loss = end + (start - end) * math.exp(-6 * step / steps) * noise.uniform(0.85, 1.15)
        epoch, within = divmod(step * epochs, steps)
        points.append(
            {
                "step": step,
                "loss": loss,
                "validation_loss": held_out[epoch - 1] if within < every * epochs and epoch else None,
            }
        )
    return points
