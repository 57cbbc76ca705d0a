"""A model folder is checked before anything in it is opened."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pytest

from slmops.core.errors import ModelError
from slmops.models.folder import Card, check_model_folder, read_card, weight_files, write_card
from slmops.models.forward import load_causal_lm


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def refused(folder: Path, why: str) -> None:
    with pytest.raises(ModelError, match=why) as caught:
        load_causal_lm(folder)
    assert str(folder) in caught.value.where


def test_a_good_folder_passes(folder: Path) -> None:
    check_model_folder(folder)
    assert [path.name for path in weight_files(folder)] == ["model.safetensors"]


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "no such folder")


def test_a_folder_without_config_is_refused(folder: Path) -> None:
    (folder / "config.json").unlink()
    refused(folder, r"no config\.json")


@pytest.mark.parametrize("content", ["", "{", "\xff", "[" * 100_000])
def test_a_config_that_is_no_json_is_refused(folder: Path, content: str) -> None:
    (folder / "config.json").write_bytes(content.encode("latin-1"))
    refused(folder, "is no JSON")


def test_a_config_that_is_no_object_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text("[]")
    refused(folder, "no JSON object")


def test_a_config_larger_than_ten_megabytes_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"x": "y" * 10_000_000}))
    refused(folder, "larger than 10 MB")


def test_a_folder_without_weights_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    refused(folder, "no weights")


def test_pickled_weights_are_refused_and_never_run(folder: Path, tmp_path: Path) -> None:
    witness = tmp_path / "run"

    class Attack:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return Path.touch, (witness,)

    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Attack()))
    refused(folder, "pickled")
    assert not witness.exists()


def test_pickled_weights_beside_safe_ones_are_left_alone(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"no pickle at all")
    load_causal_lm(folder)


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd", "..", 7, "a\0b"])
def test_an_index_that_names_a_path_outside_is_refused(folder: Path, name: object) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"lm_head.weight": name}}))
    refused(folder, "leaves the folder")


def test_an_index_that_names_a_missing_file_is_refused(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-2.safetensors"}}')
    refused(folder, "which is not there")


@pytest.mark.parametrize("content", ["[]", "{}", '{"weight_map": []}'])
def test_an_index_without_a_map_is_refused(folder: Path, content: str) -> None:
    (folder / "model.safetensors.index.json").write_text(content)
    refused(folder, "no weight_map")


def test_a_link_that_leaves_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").rename(tmp_path / "elsewhere.safetensors")
    (folder / "model.safetensors").symlink_to(tmp_path / "elsewhere.safetensors")
    refused(folder, "link leaves")


def test_a_link_in_a_subfolder_that_leaves_is_refused(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "root").symlink_to("/")
    refused(folder, "link leaves")


def test_a_link_to_itself_is_refused(folder: Path) -> None:
    (folder / "loop").symlink_to(folder / "loop")
    refused(folder, "link leaves")


def test_a_link_within_the_folder_is_fine(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "blob")
    (folder / "model.safetensors").symlink_to("blob")
    load_causal_lm(folder)


def test_weights_that_are_cut_short_are_refused(folder: Path) -> None:
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    for damaged in (whole[:-100], b"", b"version https://git-lfs.github.com/spec/v1\nsize 269060552\n"):
        weights.write_bytes(damaged)
        refused(folder, r"model\.safetensors: is no whole file of weights: .* — fetch it again \(in a clone: git lfs")


def test_weights_that_lack_what_config_promises_are_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": config["num_hidden_layers"] + 1}))
    refused(
        folder, r"its weights lack model\.layers\.2\.\S+ and 8 more — fetch the whole model, or correct config\.json"
    )


def test_an_adapter_beside_the_weights_is_refused(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")
    refused(folder, "an adapter lies in a model's folder")


def test_code_in_the_folder_is_not_run(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda *asked: "y")  # whoever sits there agrees
    witness = tmp_path / "run"
    (folder / "evil.py").write_text(f"open({str(witness)!r}, 'w')\n")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    refused(folder, "cannot be loaded")
    assert not witness.exists()


def test_a_card_is_read_as_it_was_written(folder: Path) -> None:
    assert read_card(folder) is None
    card = Card({"name": "classification", "options": {"labels": ["é", "b"]}}, "short", "CC0-1.0")
    write_card(folder, card)
    assert read_card(folder) == card


@pytest.mark.parametrize(
    "text, what",
    [
        ("[1]", "is no card of slmops"),
        ("{", "is no JSON"),
        ('{"foo": 1}', "is no card of slmops: task: Field required"),
        ('{"task": {}, "prompt": "short", "licence": ""}', "names no task"),
        (
            '{"task": {"kind": 1}, "prompt": "long", "format": 2}',
            r"written by a newer slmops \(format 2, this one knows 1",
        ),
    ],
)
def test_a_card_that_cannot_be_read_is_told(folder: Path, text: str, what: str) -> None:
    (folder / "slmops.json").write_text(text)
    with pytest.raises(ModelError, match=what):
        read_card(folder)
