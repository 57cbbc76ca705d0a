"""Few and real fixtures: a tiny random model with a real tokenizer, and the default model cut to two layers."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("slmops", deadline=None)  # a busy machine is no failure
settings.load_profile("slmops")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"  # workers that share the cores by threads of both wait for one another


@pytest.fixture(scope="session")
def tiny_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a ChatML byte-level tokenizer of about 400 tokens."""
    from tests.tiny import write_tokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder, ("<|im_start|>", "<|im_end|>"))
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer Llama of width 32 in ChatML, as a model folder."""
    from tests.tiny import write_model

    folder = tmp_path_factory.mktemp("model")
    write_model(folder, "llama", ("<|im_start|>", "<|im_end|>"))
    return folder


@pytest.fixture(scope="session")
def default_model() -> Path:
    """The catalogue's default model, downloaded once."""
    from slmops.models.references import resolve

    return resolve("smollm2-135m-instruct").folder


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A `python` beside a `slmops`, whose processes begin with the libraries loaded."""
    from tests.warm import Warm

    started = Warm(tmp_path_factory.mktemp("warm"))
    yield started.folder / "python"
    started.stop()


@pytest.fixture
def fill_disk() -> Iterator[Callable[[int], None]]:
    """Lets no file grow beyond so many bytes from now on, here and in children: what is written fails as on a full
    disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
