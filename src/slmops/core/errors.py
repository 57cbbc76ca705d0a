"""Errors that speak to the user: what happened, where, what to do.

    SlmopsError                 exit code 1
    ├── ConfigError             slmops.yaml says something that cannot be run
    ├── DataError               a row or a data file cannot be used
    ├── ModelError              a model reference or a model folder cannot be used
    ├── StoreError              the store is damaged, too new, or lacks what was asked for
    │   └── DamagedError        a stored file is not what its digest says
    ├── BusyError               another run works in this project
    ├── ProofError                  a step of the export changed the model
    ├── MissingExtraError       a part of slmops is not installed
    ├── InvalidAnswer           a model's text is no answer to the task
    └── GateError               exit code 3: a figure fell short of its gate

Knows nothing of consoles: `cli` prints them, a traceback only with --debug.
"""

from __future__ import annotations

import gc
import importlib
from types import ModuleType


class SlmopsError(Exception):
    """An error for the user: `what` happened, `where` (file:line · field), and the `remedy`."""

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        self.what, self.where, self.remedy = what, where, remedy
        super().__init__(str(self))

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text} — {self.remedy}" if self.remedy else text


class ConfigError(SlmopsError):
    """slmops.yaml says something that cannot be run."""


class DataError(SlmopsError):
    """A row or a data file cannot be used."""


class ModelError(SlmopsError):
    """A model reference or a model folder cannot be used."""


class StoreError(SlmopsError):
    """The store is damaged, too new, or lacks what was asked for."""


class DamagedError(StoreError):
    """A stored file is not what its digest says."""


class FullDiskError(SlmopsError):
    """There is no room left to write to."""


class BusyError(SlmopsError):
    """Another run works in this project."""


class ProofError(SlmopsError):
    """A step of the export changed the model; nothing is published."""


class MissingExtraError(SlmopsError):
    """A part of slmops is not installed."""


class InvalidAnswer(SlmopsError):
    """A model's text is no answer to the task."""


class GateError(SlmopsError):
    """A measured figure fell short of its gate; nothing is published."""

    exit_code = 3


def need(module: str, extra: str) -> ModuleType:
    """Imports `module`, or says which `pip install` brings it.

    Raises:
        MissingExtraError: the module, or a part of it, is not installed.
    """
    collects = gc.isenabled()
    gc.disable()  # what is loaded stays; looking through it again and again would be a tenth of loading it
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"this needs {error.name or module}, which is not installed", remedy=f"pip install 'slmops[{extra}]'"
        ) from error
    finally:
        if collects:
            gc.enable()
