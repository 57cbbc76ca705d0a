"""Says where a project's bundle is: `python scripts/where.py slmops.yaml`."""

from __future__ import annotations

import sys
from pathlib import Path

from slmops import Project, open_store

project = Project.load(Path(sys.argv[1]))
print("bundle:", open_store(project).open(f"{project.name}/bundle"))
