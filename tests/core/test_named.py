"""Code of the user's own: what its hash covers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from slmops.core.named import allow, code_of

_FILES = {
    "own_loss.py": "import json\nimport own_sums\nfrom own_parts import deep\n\ndef loss():\n    import own_late\n",
    "own_sums.py": "import own_loss\n",  # they may import each other
    "own_late.py": "",
    "own_parts/__init__.py": "",
    "own_parts/deep.py": "from . import deeper\n",
    "own_parts/deeper.py": "",
    "own_parts/other.py": "",
    "unrelated.py": "",
}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    for name, text in _FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    path, modules = list(sys.path), set(sys.modules)
    allow("own_loss:loss", tmp_path)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


@pytest.mark.parametrize("name", _FILES)
def test_code_is_its_file_and_those_beside_it_that_it_imports(place: Path, name: str) -> None:
    before = code_of("own_loss:loss", "train.loss")
    (place / name).write_text((place / name).read_text() + "# changed\n")
    changed = code_of("own_loss:loss", "train.loss") != before
    assert changed is (name not in ("unrelated.py", "own_parts/other.py"))
