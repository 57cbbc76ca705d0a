"""Commands that take what Microsoft Olive takes: `olive run` and `olive finetune`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from slmops.cli.options import AsJson, Force

if TYPE_CHECKING:
    from slmops.optimization.olive import Finetuning

_MORE = {"allow_extra_args": True, "ignore_unknown_options": True}


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Run what you have for Microsoft Olive, as it is.", no_args_is_help=True)
    group.command()(run)
    group.command(context_settings=_MORE)(finetune)
    app.add_typer(group, name="olive")


def run(
    file: Annotated[Path | None, typer.Argument(help="Olive's run configuration, JSON or YAML.")] = None,
    config: Annotated[Path | None, typer.Option("--config", "--run-config", help="The same.")] = None,
    model: Annotated[str | None, typer.Option("--model_name_or_path", "-m", help="Instead of the file's.")] = None,
    output: Annotated[str | None, typer.Option("--output_path", "-o", help="Instead of the file's.")] = None,
    setup: Annotated[bool, typer.Option("--setup", help="There is nothing to set up.")] = False,
    log_level: Annotated[int | None, typer.Option("--log_level", help="Changes nothing.")] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Do what an Olive run configuration asks for: LoRA, QLoRA and DoRA passes.

    Keys that mean nothing here are told; unknown ones, and what slmops does not do, are errors.
    """
    from slmops.optimization.olive import read_run

    path = file or config
    if path is None or (file and config):
        raise typer.BadParameter("name one file: slmops olive run FILE")
    _finetune(read_run(path, model_path=model or "", output_dir=output or ""), force, as_json)


def finetune(
    context: typer.Context,
    model_name_or_path: Annotated[
        str, typer.Option("--model_name_or_path", "-m", help="A folder, or owner/name on the hub.")
    ],
    data_name: Annotated[str, typer.Option("--data_name", "-d", help="A folder, owner/name, or json, csv, parquet.")],
    output_path: Annotated[
        str, typer.Option("--output_path", "-o", help="Where the adapter goes.")
    ] = "finetuned-adapter",
    task: Annotated[str | None, typer.Option("--task", "-t", help="What the model is for: text-generation.")] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust_remote_code", help="Changes nothing; refused where the model has code of its own.")
    ] = False,
    method: Annotated[Literal["lora", "qlora"], typer.Option("--method", help="How it is fine-tuned.")] = "lora",
    lora_r: Annotated[int, typer.Option("--lora_r", help="The adapters' rank.")] = 64,
    lora_alpha: Annotated[int, typer.Option("--lora_alpha", help="The adapters' scale, times rank.")] = 16,
    target_modules: Annotated[
        str | None, typer.Option("--target_modules", help="Linear layers that get adapters: q_proj,v_proj.")
    ] = None,
    torch_dtype: Annotated[str | None, typer.Option("--torch_dtype", help="Changes nothing: probed.")] = None,
    train_subset: Annotated[str | None, typer.Option("--train_subset", help="A folder of the data set.")] = None,
    train_split: Annotated[str, typer.Option("--train_split", help="A split or slice: train[:4096].")] = "train",
    eval_subset: Annotated[str | None, typer.Option("--eval_subset", help="A folder of the data set.")] = None,
    eval_split: Annotated[str | None, typer.Option("--eval_split", help="A split or slice to look at.")] = None,
    data_files: Annotated[str | None, typer.Option("--data_files", help="Files of rows: a.jsonl,b.jsonl.")] = None,
    text_field: Annotated[str | None, typer.Option("--text_field", help="The column that is learned.")] = None,
    text_template: Annotated[
        str | None, typer.Option("--text_template", help="The text that is learned, columns in braces.")
    ] = None,
    use_chat_template: Annotated[
        bool, typer.Option("--use_chat_template", help="Learn the column messages, in the model's chat format.")
    ] = False,
    max_seq_len: Annotated[int, typer.Option("--max_seq_len", help="Tokens of a block.")] = 1024,
    add_special_tokens: Annotated[
        str | None, typer.Option("--add_special_tokens", help="True: begin and end tokens around each text.")
    ] = None,
    max_samples: Annotated[int, typer.Option("--max_samples", help="Blocks at most.")] = 256,
    batch_size: Annotated[
        int | None, typer.Option("--batch_size", help="Changes nothing; see --per_device_train_batch_size.")
    ] = None,
    log_level: Annotated[int | None, typer.Option("--log_level", help="Changes nothing.")] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Fine-tune as `olive finetune` does, with its own options.

    Training arguments of transformers may follow: --max_steps 100 --learning_rate 1e-4 …
    """
    from slmops.optimization.olive_options import read_options

    options = {name: value for name, value in context.params.items() if name not in ("force", "as_json")}
    _finetune(read_options(options, context.args), force, as_json)


def _finetune(asked: Finetuning, force: bool, as_json: bool) -> None:
    from slmops.core.console import console, print_json, print_wrong, show_progress
    from slmops.stages.olive import finetune

    if not as_json:
        for note in asked.notes:
            console.print(f"changes nothing · {note}", soft_wrap=True)
    with show_progress() as progress:
        made = finetune(asked, force=force, report=lambda share, text: progress("finetune", share, text))
    if as_json:
        told = {"adapter": made.adapter, "texts": made.texts, "tokens": made.tokens, "notes": asked.notes}
        print_json(told | {"faults": made.faults})
        return
    last = made.curve[-1]
    held_out = "" if last.validation_loss is None else f", on eval rows {last.validation_loss:.3f}"
    learned = f"learned {made.tokens:,} tokens of {made.texts:,} texts in {last.step} steps"
    console.print(f"{learned}: loss {made.curve[1].loss:.3f} → {last.loss:.3f}{held_out}", soft_wrap=True)
    print_wrong(made.faults)
    console.print(f"wrote {made.adapter}", soft_wrap=True)
