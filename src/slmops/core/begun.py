"""Where something long is made: what asks for the same goes on there, what asks for something else begins anew.

Works on folders and JSON values; knows no model.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from slmops.core.changes import describe_changes
from slmops.core.files import write_whole

_ASKED, _WORK = "asked.json", "work"


def begin_or_go_on(place: Path, asked: Mapping[str, Any], say: Callable[[str], None]) -> Path:
    """The folder to work in, within `place`, which is locked: empty unless `asked`, in JSON's terms, is what it was
    begun with. Else `say` hears what changed."""
    file, work = place / _ASKED, place / _WORK
    before = json.loads(file.read_text("utf-8")) if file.is_file() else None
    if before != asked:
        if before is not None:
            say(f"warning: since it was begun, {describe_changes(before, asked)}: it begins anew")
        file.unlink(missing_ok=True)  # first: a kill leaves no half of what was made under the name of all of it
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        write_whole(file, json.dumps(asked, indent=1) + "\n")
    return work
