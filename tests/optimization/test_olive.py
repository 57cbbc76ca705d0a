"""Every key that Olive takes is done, told, or refused with its place; no other is taken."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from slmops.core.errors import ConfigError
from slmops.optimization.olive import Finetuning, read_run
from slmops.optimization.olive_options import read_options
from slmops.training.config import TrainConfig

LOAD = {"data_name": "owner/rows", "split": "train[:10]"}
ARGUMENTS = {"learning_rate": 1e-4, "max_steps": 50, "lr_scheduler_type": "linear", "warmup_steps": 10}
PASS = {"r": 8, "alpha": 4, "target_modules": ["q_proj"], "train_data_config": "rows", "training_args": ARGUMENTS}
MODEL = {"model_path": "owner/model", "task": "text-generation"}
RUN: dict[str, Any] = {
    "input_model": {"type": "HfModel", "config": MODEL},
    "data_configs": [
        {
            "name": "rows",
            "type": "HuggingfaceContainer",
            "load_dataset_config": {"params": LOAD},
            "pre_process_data_config": {"text_template": "{a} 😀"},
        }
    ],
    "passes": {"f": {"type": "LoRA", "config": PASS}},
    "engine": {"output_dir": "out"},
}


def read(folder: Path, *changes: tuple[str, str]) -> Finetuning:
    """What is read of RUN with words of it changed, written as JSON with a key a line."""
    text = json.dumps(RUN, indent="\t")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "olive.json"
    path.write_text(text)
    return read_run(path)


def test_a_run_is_read_in_our_own_words(tmp_path: Path) -> None:
    asked = read(tmp_path)
    assert (asked.model, asked.texts.sources, asked.out) == (
        "hf:owner/model",
        ("hf:owner/rows#train[:10]",),
        Path("out"),
    )
    assert (asked.steps, asked.warmup_steps, asked.seed, asked.notes) == (50, 10, 42, ())
    assert asked.texts.template == "{a} 😀"
    config = TrainConfig.model_validate(dict(asked.train))
    told = (config.method, config.rank, config.alpha, config.dropout, config.targets, config.schedule)
    assert told == ("lora", 8, 4, 0.05, ("q_proj",), "linear")
    assert (config.beta1, config.beta2) == (0.9, 0.999)  # those of transformers, which Olive trains with
    other = read(tmp_path, ('"max_steps"', '"adam_beta2": 0.95, "dataloader_drop_last": false, "max_steps"'))
    assert other.train["beta2"] == 0.95 and other.notes == ()


def test_keys_may_stand_one_level_higher_and_a_file_be_yaml(tmp_path: Path) -> None:
    from ruamel.yaml import YAML

    flat = RUN | {
        "input_model": {"type": "hfmodel"} | MODEL,
        "passes": {"f": [{"type": "lora"} | PASS]},
        "output_dir": "out",
    }
    flat["data_configs"] = [RUN["data_configs"][0] | {"load_dataset_config": LOAD}]
    del flat["engine"]
    with (tmp_path / "olive.yaml").open("w") as stream:
        YAML(typ="safe").dump(flat, stream)
    assert read_run(tmp_path / "olive.yaml") == read(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"alpha"', '"alfa"', "passes.f.alfa: there is no such field — did you mean alpha?"),
        ('"max_steps"', '"max_step"', "passes.f.training_args.max_step: there is no such field — did you mean max_s"),
        ('"LoRA"', '"LoHa"', "passes.f: slmops does not run the pass LoHa — it runs LoRA, QLoRA and DoRA"),
        ('"LoRA"', '"OnnxConversion"', "passes.f: slmops does not run the pass OnnxConversion"),
        ('"r": 8', '"r": "8"', "passes.f.r: found '8', expected a whole number — write 8 without quotes"),
        ('_config": "rows"', '_config": "row"', "train_data_config: no data_config is called 'row' — did you mean"),
        ('"split": "train[:10]"', '"split": "train+test"', "load_dataset_config: 'train+test' is no split"),
        ('"owner/rows"', '"json"', "load_dataset_config: found no data_files — name files, or a data set"),
        ('"{a}', '"{a', "text_template: '{a 😀' is no template"),
        ('"text-generation"', '"text-classification"', "input_model.task: found 'text-classification', expected"),
        ('"r": 8', '"r": 8, "quant_type": "fp4"', "passes.f.quant_type: the base lies in NF4"),
        ('"max_steps"', '"deepspeed": true, "max_steps"', "training_args.deepspeed: training is on this machine"),
        ('"max_steps"', '"dataloader_drop_last": true, "max_steps"', "dataloader_drop_last: an epoch's last texts are"),
        ('"text_template"', '"user_script": "own.py", "text_template"', "user_script: slmops runs no code that"),
        ('"output_dir"', '"search_strategy": "random", "output_dir"', "search_strategy: Olive's search is not run"),
        ('"type": "LoRA"', '"type": "LoRA", "r": 4', "found r twice — leave one"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_an_error_with_its_line(tmp_path: Path, old: str, new: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, (old, new))
    assert re.match(rf"{re.escape(str(tmp_path))}/olive\.json:\d+", str(caught.value))
    assert told in str(caught.value)
    line = int(str(caught.value).partition("json:")[2].split(" ")[0].rstrip(":"))
    near = (tmp_path / "olive.json").read_text().splitlines()[line - 2 : line + 8]
    assert any(new.split(",")[0] in one for one in near)


def test_what_changes_nothing_is_told_in_a_line_each(tmp_path: Path) -> None:
    asked = read(
        tmp_path, ('"r": 8', '"r": 8, "torch_dtype": "bfloat16"'), ('"output_dir"', '"cache_dir": "c", "output_dir"')
    )
    dtype, cache = asked.notes
    assert re.search(r"olive\.json:\d+ · passes\.f\.torch_dtype: the number format is probed", dtype)
    assert re.search(r"olive\.json:\d+ · cache_dir: ", cache)


def test_code_that_was_to_be_trusted_is_told_with_its_place(tmp_path: Path) -> None:
    trusting = ('"model_path"', '"load_kwargs": {"trust_remote_code": true}, "model_path"')
    asked = read(tmp_path, trusting, ('"split"', '"trust_remote_code": true, "split"'))
    assert re.search(r"olive\.json:\d+ · input_model\.load_kwargs\.trust_remote_code$", asked.trusts_code)
    assert [note.partition("trust_remote_code: ")[2].split(":")[0] for note in asked.notes] == [
        "no code that comes with a model is run",
        "no code that comes with a data set is run",
    ]
    assert read(tmp_path).trusts_code == ""


def test_a_key_that_another_leaves_nothing_to_say_is_told(tmp_path: Path) -> None:
    constant = ('"linear"', '"constant", "num_train_epochs": 2, "eval_steps": 5')
    told = [note.partition("training_args.")[2] for note in read(tmp_path, constant).notes]
    assert sorted(told) == [
        "eval_steps: there are no eval rows",
        "num_train_epochs: max_steps says how long",
        "warmup_steps: a constant learning rate has no warm-up, as in transformers",
    ]
    (note,) = read(tmp_path, ('"LoRA"', '"QLoRA"')).notes
    assert "passes.f.target_modules: all linear layers get adapters, as in Olive's QLoRA" in note


def test_training_arguments_follow_the_options_of_finetune() -> None:
    options = {"model_name_or_path": "owner/model", "data_name": "json", "data_files": "a.jsonl,b.jsonl"}
    options |= {"method": "lora", "lora_r": 4, "text_template": r"é{a}\n", "eval_split": "train"}
    asked = read_options(options, ["--learning_rate", "1e-4", "--per_device_train_batch_size=4", "--bf16"])
    assert (asked.train["learning_rate"], asked.train["batch_size"], asked.train["rank"]) == (1e-4, 4, 4)
    assert asked.texts.template == "é{a}\n" and asked.texts.sources == ("a.jsonl", "b.jsonl")
    assert asked.validation == asked.texts and not asked.texts.marked
    with pytest.raises(ConfigError, match="found the split validation of data_files, all of whose rows"):
        read_options(options | {"eval_split": "validation"}, [])
    assert len(asked.notes) == 1 and "bf16" in asked.notes[0]
    with pytest.raises(ConfigError, match=r"^--lerning_rate: there is no such option — did you mean --learning_rate\?"):
        read_options(options, ["--lerning_rate", "1e-4"])
    with pytest.raises(ConfigError, match="found --text_template and --use_chat_template — give one"):
        read_options(options | {"use_chat_template": True}, [])
