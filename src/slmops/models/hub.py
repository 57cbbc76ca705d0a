"""Hugging Face's hub: whether it can be asked, and the files of a repository fetched. Knows no cache and no alias."""

from __future__ import annotations

import glob
import http.client
import os
import shutil
import threading
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from slmops.core.errors import SlmopsError, need
from slmops.core.files import is_full_disk

_TIMEOUT_S = 4.0


def hub_is_blocked() -> str | None:
    """Why the model hub cannot be asked, or None; costs at most a few seconds, name look-up included."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return "HF_HUB_OFFLINE is set"
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    outcome: list[str | None] = []

    def knock() -> None:
        try:
            with urllib.request.urlopen(endpoint + "/api/models?limit=1", timeout=_TIMEOUT_S):
                outcome.append(None)
        except (OSError, ValueError, http.client.HTTPException) as error:
            outcome.append(f"{endpoint} does not answer: {error}")

    thread = threading.Thread(target=knock, daemon=True)
    thread.start()
    thread.join(_TIMEOUT_S + 1)
    return outcome[0] if outcome else f"{endpoint} does not answer within {_TIMEOUT_S:.0f} s"


def fetch_snapshot(
    kind: Literal["model", "dataset"],
    name: str,
    revision: str,
    folder: Path,
    choose: Callable[[Any], Sequence[str]],
    failure: type[SlmopsError],
) -> Any:
    """Downloads the files of a repository that `choose` names into `folder`; in comes, and is returned, what the hub
    tells of it. `failure` is what is raised when the hub cannot be asked or does not give them; a full disk is left to
    the caller to tell."""
    if reason := hub_is_blocked():
        remedy = "name a file or a folder, or mend the network"
        raise failure(f"cannot be fetched: {reason}", where=f"hf:{name}", remedy=remedy)
    hub = need("huggingface_hub", "train")
    try:
        api = hub.HfApi(endpoint=os.environ.get("HF_ENDPOINT"))  # as it is now, not as it was when first imported
        info = api.repo_info(name, repo_type=kind, revision=revision, files_metadata=True, timeout=10)
        names = [glob.escape(file) for file in choose(info)]
        api.snapshot_download(name, repo_type=kind, revision=info.sha, local_dir=folder, allow_patterns=names)
    except SlmopsError:
        raise
    except Exception as error:  # whatever the hub's library raises
        if is_full_disk(error):
            raise
        remedy = "check the name and your network"
        raise failure(f"cannot be fetched: {error}", where=f"hf:{name}", remedy=remedy) from error
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    return info
