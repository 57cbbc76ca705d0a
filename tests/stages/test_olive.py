"""What people have for Microsoft Olive runs as it is: the guide's three examples, and what they make."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from slmops.cli import olive
from slmops.core.errors import ProofError, SlmopsError
from slmops.models.adapters import WEIGHTS, base_id, read_adapter
from slmops.models.tokenizer import Tokenizer
from slmops.optimization.olive import Texts
from slmops.optimization.olive_options import read_options
from slmops.runtimes.proof import read_chain
from slmops.stages import olive as stage
from slmops.stages.olive import finetune
from slmops.stages.olive_texts import read_texts
from slmops.training.curve import read_curve
from slmops.training.methods import save_adapter
from tests.models.architectures import ARCHITECTURES
from tests.stages.tiny_project import write_rows
from tests.tiny import write_model

LLAMA = ARCHITECTURES[0]
PHRASES = r"""
olive finetune \
  --model_name_or_path meta-llama/Llama-3.2-1B-Instruct \
  --trust_remote_code \
  --output_path models/llama/ft \
  --data_name xxyyzzz/phrase_classification \
  --text_template "<|start_header_id|>user<|end_header_id|>\n{phrase}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n{tone}" \
  --method lora \
  --max_steps 100 \
  --log_level 1
"""  # noqa: E501
DIALOGUE = r"""
# olive-config.yaml
model:
  type: PyTorchModel
  config:
    model_path: "microsoft/DialoGPT-medium"
    task: "text-generation"

data_configs:
  - name: "custom_dataset"
    type: "HuggingfaceContainer"
    load_dataset_config:
      data_files: "path/to/your/dataset.json"
      split: "train"
    pre_process_data_config:
      text_template: "User: {input}\nAssistant: {output}"

passes:
  lora:
    type: LoRA
    config:
      r: 16
      lora_alpha: 32
      target_modules: ["c_attn", "c_proj"]
      modules_to_save: ["ln_f", "lm_head"]
"""
CODE = r"""
olive finetune \
  --method qlora \
  --model_name_or_path meta-llama/Meta-Llama-3-8B \
  --data_name nampdn-ai/tiny-codes \
  --train_split "train[:4096]" \
  --eval_split "train[4096:4224]" \
  --text_template "### Language: {programming_language} \n### Question: {prompt} \n### Answer: {response}" \
  --per_device_train_batch_size 16 \
  --per_device_eval_batch_size 16 \
  --max_steps 150 \
  --logging_steps 50 \
  --output_path adapters/tiny-codes
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write_llama(name: str) -> None:
    sizes = {"hidden_size": 128, "head_dim": 64}  # room for Olive's rank of 64
    write_model(Path(name), LLAMA.model_type, LLAMA.markers, **sizes)


def write_gpt2(name: str) -> None:
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128}
    write_model(Path(name), "gpt2", ("<|im_start|>", "<|im_end|>"), **sizes)


def slmops(command: str, *more: str) -> str:
    """What a command line for Olive prints when it is given to slmops."""
    import typer

    app = typer.Typer()
    olive.register(app)
    app.command()(lambda: None)  # so that `olive` stays a group
    done = CliRunner().invoke(app, [*shlex.split(command.replace("\\\n", " ")), *more])
    if done.exception:
        raise done.exception
    return done.output


def adapted(model: str, adapter: str) -> torch.nn.Module:
    base = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    loaded: torch.nn.Module = peft.PeftModel.from_pretrained(base, adapter).eval()
    return loaded


def loss_of(model: torch.nn.Module, folder: str, text: str) -> float:
    tokenizer = Tokenizer(Path(folder))
    ids = torch.tensor([tokenizer.encode_template([(text, True)])])
    with torch.inference_mode():
        return float(model(input_ids=ids, labels=ids).loss)


def test_the_guides_first_example_sorts_phrases_with_lora() -> None:
    model = "meta-llama/Llama-3.2-1B-Instruct"
    write_llama(model)
    tones = ("joy", "fear", "sadness")
    Path("xxyyzzz").mkdir()
    rows = [{"phrase": f"phrase {number}", "tone": tones[number % 3]} for number in range(60)]
    write_rows(Path("xxyyzzz/phrase_classification/train.jsonl"), rows)

    told = slmops(PHRASES, "--max_seq_len", "64", "--max_samples", "8", "--learning_rate", "0.01")

    assert "changes nothing · olive finetune · log_severity_level" in told
    assert "input_model.load_kwargs.trust_remote_code: no code that comes with a model is run" in told
    text = "<|start_header_id|>user<|end_header_id|>\nphrase 4<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n"
    plain = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    learned = adapted(model, "models/llama/ft/adapter")
    assert loss_of(learned, model, f"{text}fear") < 0.9 * loss_of(plain, model, f"{text}fear")
    settings = json.loads(Path("models/llama/ft/adapter/adapter_config.json").read_text())
    assert (settings["r"], settings["lora_alpha"], settings["lora_dropout"]) == (64, 16, 0.05)
    assert set(settings["target_modules"]) and all(
        name.endswith(("q_proj", "v_proj")) for name in settings["target_modules"]
    )
    assert list(read_curve(Path("models/llama/ft/curve.jsonl")))[-1].step == 100
    adapter = Path("models/llama/ft/adapter")
    assert [link.holds for link in read_chain(adapter)] == [True]
    other = LLAMA.write(Path("other"))
    assert read_adapter(adapter).card.base.weights != base_id(other).weights  # by which another base is refused


def test_an_adapter_that_is_not_what_was_trained_is_not_handed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def save_half(model: torch.nn.Module, name: str, folder: Path) -> None:
        save_adapter(model, name, folder)
        file = folder / WEIGHTS
        save_file({key: 0.5 * weight for key, weight in load_file(file).items()}, file, {"format": "pt"})

    write_llama("meta-llama/Llama-3.2-1B-Instruct")
    Path("xxyyzzz").mkdir()
    rows = [{"phrase": f"phrase {number}", "tone": "joy"} for number in range(20)]
    write_rows(Path("xxyyzzz/phrase_classification/train.jsonl"), rows)
    monkeypatch.setattr(stage, "save_adapter", save_half)
    with pytest.raises(ProofError, match="adapter · saved"):
        slmops(PHRASES, "--max_seq_len", "64", "--max_samples", "8", "--learning_rate", "0.01")
    assert not Path("models/llama/ft/adapter").exists()


def test_a_model_with_code_of_its_own_is_refused_where_it_is_to_be_trusted() -> None:
    model = Path("meta-llama/Llama-3.2-1B-Instruct")
    write_llama(str(model))
    told = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(told | {"auto_map": {"AutoModelForCausalLM": "own.Model"}}))
    with pytest.raises(SlmopsError, match=r"trust_remote_code: slmops never runs a model's own code"):
        slmops(PHRASES)


def test_the_guides_second_example_teaches_gpt2_to_talk_with_a_head_of_its_own() -> None:
    model = "microsoft/DialoGPT-medium"
    write_gpt2(model)
    Path("olive-config.yaml").write_text(DIALOGUE)
    Path("path/to/your").mkdir(parents=True)
    rows = [{"input": f"What is {n}?", "output": f"It is {n} and no more."} for n in range(40)]
    Path("path/to/your/dataset.json").write_text(json.dumps(rows))

    slmops("olive run --config olive-config.yaml --setup")

    weights = adapted(model, "adapter").state_dict()
    wholly = [name for name in weights if ".modules_to_save." in name]
    assert [name.split(".modules_to_save")[0].rpartition(".")[2] for name in wholly] == ["ln_f", "ln_f", "lm_head"]
    for name in wholly:
        original = weights[name.replace("modules_to_save.default", "original_module")]
        assert not torch.equal(weights[name], original)
    assert {name.split(".lora_A")[0].rpartition(".")[2] for name in weights if ".lora_A." in name} == {
        "c_attn",
        "c_proj",
    }
    assert json.loads(Path("model_config.json").read_text())["config"]["adapter_path"] == str(Path("adapter").resolve())


def test_the_guides_third_example_learns_slices_of_code_on_a_base_in_four_bits() -> None:
    model = "meta-llama/Meta-Llama-3-8B"
    write_llama(model)
    Path("nampdn-ai").mkdir()
    rows = [
        {"programming_language": "Python", "prompt": f"add {n % 9}", "response": f"x + {n % 9}"} for n in range(4096)
    ]
    rows += [row | {"response": "held out"} for row in rows[:128]] + [{"prompt": "never read"}]
    write_rows(Path("nampdn-ai/tiny-codes/train.jsonl"), rows)

    told = slmops(CODE, "--max_steps", "2", "--max_samples", "20", "--max_seq_len", "128")

    assert "training_args.logging_steps: the curve is written to curve.jsonl" in told
    assert "learned 2,540 tokens of 20 texts in 2 steps" in told and "on eval rows" in told
    adapted(model, "adapters/tiny-codes/adapter")


def test_what_was_begun_otherwise_begins_anew_and_says_so() -> None:
    write_llama("model")
    write_rows(Path("rows.jsonl"), [{"text": f"phrase {number}"} for number in range(8)])
    asked = {"model_name_or_path": "model", "data_name": "json", "data_files": "rows.jsonl", "method": "lora"}
    asked |= {"train_split": "train", "output_path": "out"}

    def dying(share: float, note: str) -> None:
        if note.startswith("step 2/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune(read_options(asked, ["--max_steps", "3"]), report=dying)
    told: list[str] = []
    made = finetune(read_options(asked, ["--max_steps", "3", "--seed", "5"]), report=lambda _, note: told.append(note))
    assert "warning: since it was begun, seed 42 → 5: it begins anew" in told
    assert made.curve[-1].step == 3 and not Path("out/.slmops-finetune").exists()


def read(rows: list[dict[str, object]], context: int = 64, **changes: object) -> list[tuple[int, ...]]:
    """The ids that would be learned of rows, without the first of each, which only is read."""
    LLAMA.write(Path("model"))
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {"template": None, "columns": ("text",), "messages": None, "marked": False, "joined": False}
    settings |= {"joiner": "\n\n", "max_tokens": 64, "most": None} | changes
    found = read_texts(Texts(("rows.jsonl",), **settings), Path("model"), context, lambda text: None)  # type: ignore[arg-type]
    assert all(one.learn == (False, *(True,) * (len(one.path[0]) - 1)) for one in found)
    return [one.path[0] for one in found]


def decoded(ids: tuple[int, ...]) -> str:
    return "".join(map(Tokenizer(Path("model")).show, ids))


def test_texts_are_learned_whole_alone_or_joined_into_blocks() -> None:
    rows: list[dict[str, object]] = [{"text": "where is my order"}, {"text": ""}, {"text": "cancel it"}]
    assert [decoded(ids) for ids in read(rows)] == ["where is my order", "cancel it"]
    whole = Tokenizer(Path("model")).encode("where is my order") + Tokenizer(Path("model")).encode("\n\n")
    whole += Tokenizer(Path("model")).encode("cancel it")
    assert read(rows, joined=True, max_tokens=8) == [whole[start : start + 8] for start in range(0, len(whole), 8)]
    assert read(rows, joined=True, max_tokens=8, most=1) == [whole[:8]]
    assert [len(ids) for ids in read(rows, context=3)] == [3, 3]
    with pytest.raises(SlmopsError, match=r"rows\.jsonl:1: there is no column 'txt' — did you mean text\?"):
        read(rows, columns=("txt",))
    with pytest.raises(SlmopsError, match=r"rows\.jsonl:1 · text: found half a character"):
        read([{"text": "\ud83d"}])
    with pytest.raises(SlmopsError, match="there is nothing to learn: all texts are blank"):
        read([{"text": ""}])


def test_markers_of_a_template_are_tokens_and_those_of_a_row_are_text() -> None:
    (ids,) = read([{"a": "<|eot_id|>"}], template="{a}<|eot_id|>{a!r:>3}")
    marker = Tokenizer(Path("model")).special_ids["<|eot_id|>"]
    assert ids.count(marker) == 1 and decoded(ids) == "<|eot_id|><|eot_id|>'<|eot_id|>'"
    (ids,) = read([{"text": "cancel it"}], marked=True)
    assert decoded(ids) == "cancel it <|eot_id|>"


def test_a_conversation_is_learned_in_the_models_own_format() -> None:
    turns = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "good day"}]
    (ids,) = read([{"chat": turns}], messages="chat")
    assert decoded(ids).endswith("hello<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\ngood day<|eot_id|>")
    with pytest.raises(SlmopsError, match=r"rows\.jsonl:1 · chat: found no conversation"):
        read([{"chat": turns[:1]}], messages="chat")
