"""slmops: from a task and a big teacher to a tiny, proven language model on your own devices.

The commands as Python calls. Nothing heavy is imported before it is used.

    import slmops
    project = slmops.Project.load(Path("slmops.yaml"))
    slmops.run(project)
    print(slmops.summarize(project).quality_kept)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_EXPORTS = {
    "Project": "slmops.stages.project",
    "json_schema": "slmops.stages.project",
    "init": "slmops.stages.start",
    "plan": "slmops.stages.run",
    "run": "slmops.stages.run",
    "run_on_azure": "slmops.stages.on_azure",
    "open_store": "slmops.stages.run",
    "summarize": "slmops.stages.report",
    "write_report": "slmops.stages.report",
    "prove": "slmops.stages.prove",
    "judge": "slmops.stages.verdict",
    "account": "slmops.stages.ledger",
    "search": "slmops.stages.search",
    "sizes": "slmops.stages.sizes",
    "ask": "slmops.stages.verbs",
    "convert": "slmops.stages.verbs",
    "evaluate": "slmops.stages.verbs",
    "bench": "slmops.stages.verbs",
    "train": "slmops.stages.adapters",
    "AdapterConfig": "slmops.stages.adapters",
    "read_adapter": "slmops.models.adapters",
    "merge_adapters": "slmops.stages.adapters",
    "merge_into": "slmops.stages.adapters",
    "doctor": "slmops.stages.doctor",
    "advise": "slmops.stages.advise",
    "run_olive": "slmops.stages.olive",
    "Store": "slmops.core.store",
    "SlmopsError": "slmops.core.errors",
}
__all__ = list(_EXPORTS)

if TYPE_CHECKING:
    from slmops.core.errors import SlmopsError as SlmopsError
    from slmops.core.store import Store as Store
    from slmops.models.adapters import read_adapter as read_adapter
    from slmops.stages.adapters import AdapterConfig as AdapterConfig
    from slmops.stages.adapters import merge_adapters as merge_adapters
    from slmops.stages.adapters import merge_into as merge_into
    from slmops.stages.adapters import train as train
    from slmops.stages.advise import advise as advise
    from slmops.stages.doctor import doctor as doctor
    from slmops.stages.ledger import account as account
    from slmops.stages.olive import run_olive as run_olive
    from slmops.stages.on_azure import run_on_azure as run_on_azure
    from slmops.stages.project import Project as Project
    from slmops.stages.project import json_schema as json_schema
    from slmops.stages.prove import prove as prove
    from slmops.stages.report import summarize as summarize
    from slmops.stages.report import write_report as write_report
    from slmops.stages.run import open_store as open_store
    from slmops.stages.run import plan as plan
    from slmops.stages.run import run as run
    from slmops.stages.search import search as search
    from slmops.stages.sizes import sizes as sizes
    from slmops.stages.start import init as init
    from slmops.stages.verbs import ask as ask
    from slmops.stages.verbs import bench as bench
    from slmops.stages.verbs import convert as convert
    from slmops.stages.verbs import evaluate as evaluate
    from slmops.stages.verdict import judge as judge


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'slmops' has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)
