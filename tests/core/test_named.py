"""Code of the user's own: what its hash covers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from slmops.core.errors import ConfigError
from slmops.core.named import allow, code_of, load_named

_FILES = {
    "own_losses/__init__.py": "",
    "own_losses/focal.py": "import json\nimport own_sums\nfrom own_parts import deep\n\n"
    "def loss():\n    import own_late\n",
    "own_sums.py": "import own_losses.focal\n"  # they may import each other
    "try:\n    from .own_late import x\nexcept ImportError:\n    from own_twice import y\n",
    "own_late.py": "a language of its own",
    "own_twice/__init__.py": "y = 1\n",
    "own_twice.py": "",  # never read: a package comes first
    "own_parts/__init__.py": "",
    "own_parts/deep.py": "from . import deeper\n",
    "own_parts/deeper.py": "",
    "own_parts/other.py": "",
    "unrelated.py": "",
}
_NOT_READ = ("own_twice.py", "own_parts/other.py", "unrelated.py")
_NAME = "own_losses.focal:loss"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    for name, text in _FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    path, modules = list(sys.path), set(sys.modules)
    allow(_NAME, tmp_path)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


@pytest.mark.parametrize("name", _FILES)
def test_code_is_its_file_and_those_beside_it_that_it_imports(place: Path, name: str) -> None:
    before = code_of(_NAME, "train.loss")
    (place / name).write_text((place / name).read_text() + "# changed\n")
    assert (code_of(_NAME, "train.loss") != before) is (name not in _NOT_READ)


def test_code_that_is_installed_is_its_own_file(place: Path) -> None:
    allow("statistics:mean")
    assert len(code_of("statistics:mean", "evaluation.metrics")) == 64


@pytest.mark.parametrize("code", ["def f(x: torch.Tensor): ...", "raise ValueError(1)", "import sys; sys.exit(3)"])
def test_code_that_ends_while_it_is_imported_is_named(place: Path, code: str) -> None:
    (place / "own_broken.py").write_text(code + "\n")
    allow("own_broken:f", place)
    with pytest.raises(ConfigError, match="own_broken:f ended while it was imported") as caught:
        load_named("own_broken:f", "train.loss")
    assert caught.value.where == "train.loss" and "mend own_broken.py" in caught.value.remedy


def test_a_file_that_is_called_like_a_library_stands_for_none(place: Path) -> None:
    (place / "colorsys.py").write_text("raise ValueError\n")
    allow("colorsys:rgb_to_hsv", place)
    assert load_named("colorsys:rgb_to_hsv", "train.loss")(0, 0, 0) == (0.0, 0.0, 0)
