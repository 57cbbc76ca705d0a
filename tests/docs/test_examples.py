"""No example in a page is dead: commands and Python are run, YAML is what the schema takes, generated pages are fresh.

A block is run where the comment above it says: `<!-- run in made -->`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from ruamel.yaml import YAML
from scripts.reference import PAGES, renewed

import slmops
from slmops.core.config import merged
from slmops.stages.project import Project
from tests.docs.conftest import Place

ROOT = Path(__file__).parent.parent.parent
TEXTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
_BLOCK = re.compile(r"^(?:<!-- run in (?P<where>\w+) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)^```$", re.M | re.S)
_SMALLEST = {
    "name": "smallest",
    "data": {"train": "train.jsonl", "test": "test.jsonl"},
    "teacher": "smollm2-135m-instruct",
    "student": {"from": "teacher", "layers": 6},
}


class Block(NamedTuple):
    page: str
    where: str | None
    language: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.page}: {self.text.splitlines()[0][:50]}"


def blocks() -> list[Block]:
    return [
        Block(path.relative_to(ROOT).as_posix(), match["where"], match["language"], match["text"])
        for path in TEXTS
        for match in _BLOCK.finditer(path.read_text())
    ]


def test_what_the_page_on_python_names_is_there() -> None:
    named = re.findall(r"\bslmops\.(?!yaml)(\w+)", (ROOT / "docs/python.md").read_text())
    assert "run_on_azure" in named
    assert [name for name in named if not hasattr(slmops, name)] == []


_RUN = [block for block in blocks() if block.where]
_YAML = [block for block in blocks() if block.language == "yaml"]


@pytest.mark.parametrize("block", _RUN, ids=lambda block: block.name)
def test_an_example_runs(block: Block, place: Place, environment: dict[str, str], warm: Path) -> None:
    shell = {"bash": ["bash", "-euo", "pipefail", "-c"], "python": [str(warm), "-c"]}[block.language]

    done = subprocess.run(
        [*shell, block.text], cwd=place(str(block.where)), env=environment, capture_output=True, text=True, timeout=600
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize("block", _YAML, ids=lambda block: block.name)
def test_yaml_in_a_page_is_what_the_schema_takes(block: Block, tmp_path: Path) -> None:
    written = YAML(typ="safe").load(block.text)
    whole = written if {"name", "data"} <= written.keys() else merged(_SMALLEST, written)
    if "student" in written and "name" not in written:
        whole = whole | {"student": written["student"]}  # its alternatives exclude one another
    path = tmp_path / "slmops.yaml"
    with path.open("w") as stream:
        YAML(typ="safe").dump(whole, stream)

    Project.load(path)


@pytest.mark.parametrize("page", PAGES)
def test_a_generated_page_is_fresh(page: str) -> None:
    path = ROOT / "docs" / page

    assert path.read_text() == renewed(path), f"docs/{page} is stale: make docs"


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]

    subprocess.run(command, cwd=ROOT, check=True)

    assert (tmp_path / "site" / "index.html").is_file()


def test_links_between_files_lead_somewhere() -> None:
    for path in TEXTS:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name}: {target}"
