"""What an Olive run configuration can say of fine-tuning, key by key (olive-ai 0.13): what we do as Olive does, what
changes nothing here and is told, what we refuse.

In comes a file's data in which `config`, `params`, `extra_args` and `engine` were taken apart, since Olive lets their
keys stand one level higher, too. Defaults are Olive's. Knows nothing of what becomes of it.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from slmops.core.config import Section, one_or_many, wrong
from slmops.optimization.olive_keys import LOADED, MACHINE, NUMBERS, PADDED, idle, lower, only, refused
from slmops.optimization.olive_training import TrainingArgs
from slmops.tasks.config import columns_of

_BUILDERS = ("json", "csv", "parquet", "arrow")  # names of `datasets` for files given by themselves
_SPLIT = re.compile(r"([\w.-]+)(\[-?\d*%?:-?\d*%?\])?")
_PASSES = ("lora", "qlora", "dora")
_FILES = "models and results stand where slmops keeps them"
_EVALUATED = "no metric of Olive's is computed; slmops eval measures"
_Code = Annotated[Any, refused("slmops runs no code that comes with a model or a configuration", "remove it")]


class LoadKwargs(Section):
    """How a model is loaded."""

    trust_remote_code: Any = idle("no code that comes with a model is run: a model that needs its own is refused")
    quantization_method: Annotated[Any, refused("the model is to lie unquantized", "write type: QLoRA")] = None
    quantization_config: Annotated[Any, refused("the model is to lie unquantized", "write type: QLoRA")] = None
    revision: str | None = Field(default=None, description="the model's revision on the hub")
    torch_dtype: Any = idle(NUMBERS)
    dtype: Any = idle(NUMBERS)
    attn_implementation: Any = idle("attention is our own, or plain where that would err")
    device_map: Any = idle(MACHINE)
    max_memory: Any = idle(MACHINE)
    cache_dir: Any = idle(_FILES)
    use_safetensors: Any = idle("weights are always safetensors")
    low_cpu_mem_usage: Any = idle(MACHINE)


class InputModel(Section):
    """The model to learn."""

    type: Annotated[Literal["hfmodel", "pytorchmodel"], BeforeValidator(lower)] = Field(
        default="hfmodel", description="the kind of model: HfModel"
    )
    model_path: str = Field(min_length=1, description="the model: a folder, or owner/name on the hub")
    task: Annotated[Literal["text-generation", "text-generation-with-past"], BeforeValidator(lower)] = Field(
        default="text-generation", description="what models of text are for, and nothing else is learned"
    )
    load_kwargs: LoadKwargs = LoadKwargs()
    adapter_path: Annotated[Any, refused("the model has an adapter already", "merge it into the model first")] = None
    model_script: _Code = None
    model_loader: _Code = None
    script_dir: _Code = None
    io_config: Any = idle("nothing is exported")
    model_attributes: Any = idle("they are read from the model's config.json")


class LoadDataset(Section):
    """Which rows."""

    type: Annotated[Literal["huggingface_dataset"], BeforeValidator(lower)] = Field(
        default="huggingface_dataset", description="the loader: huggingface_dataset"
    )
    data_name: str | None = Field(default=None, description="a folder, owner/name on the hub, or json, csv, parquet")
    subset: str | None = Field(default=None, description="a folder of the data set")
    split: str = Field(default="validation", description="the split, or a slice of it: train[:4096]")
    data_files: Annotated[tuple[str, ...], one_or_many(str)] = Field(default=(), description="the files of rows")
    data_dir: Annotated[Any, refused("a folder within a data set is its subset here", "write subset")] = None
    col_filters: Annotated[Any, refused("rows are not filtered", "filter the file first")] = None
    trust_remote_code: Any = idle("no code that comes with a data set is run: rows are read from its files")
    cache_dir: Any = idle(_FILES)

    @model_validator(mode="after")
    def _names_rows(self) -> LoadDataset:
        by_files = self.data_name in (None, *_BUILDERS)
        if by_files != bool(self.data_files):
            found = "no data_files" if by_files else f"both data_files and the data set {self.data_name}"
            raise wrong(f"found {found}", "name files, or a data set")
        if not (part := _SPLIT.fullmatch(self.split)):
            raise wrong(f"{self.split!r} is no split", "write a split, or one slice of it: train[:4096], train[10%:]")
        if self.data_files and "split" in self.model_fields_set and part[1] != "train":
            raise wrong(
                f"found the split {part[1]} of data_files, all of whose rows are the split train",
                "write train, or a slice: train[:90%] to learn from, train[90%:] to judge by",
            )
        if part[2] and len(self.data_files) > 1:
            raise wrong("found a slice of several files", "name one file, or no slice")
        return self


def _template(text: str) -> str:
    columns_of(text)
    return text


class PreProcess(Section):
    """What of a row is learned."""

    type: Annotated[
        Literal["text_generation_huggingface_pre_process", "huggingface_pre_process"], BeforeValidator(lower)
    ] = Field(default="text_generation_huggingface_pre_process", description="how rows become texts")
    text_template: Annotated[str, AfterValidator(_template)] | None = Field(
        default=None, min_length=1, description="the text, with columns in braces"
    )
    text_cols: Annotated[tuple[str, ...], one_or_many(str)] = Field(
        default=("text",), description="the columns that make the text, joined by a space"
    )
    chat_template: Annotated[
        bool, only(lambda value: not isinstance(value, str), "a model's own chat format is used", "write true")
    ] = Field(default=False, description="whether messages are written in the model's chat format")
    message_col: str = Field(default="messages", description="the column of messages (chat_template)")
    add_special_tokens: bool = Field(default=True, description="whether begin and end tokens stand around each text")
    strategy: Literal["join", "line-by-line"] = Field(
        default="join", description="join (texts one after another, in blocks), or line-by-line"
    )
    joiner: str = Field(default="\n\n", description="what stands between texts (join)")
    max_seq_len: int = Field(default=1024, ge=2, le=65536, description="the length of a block, or of a text at most")
    max_samples: int | None = Field(default=None, ge=1, description="how many blocks, or texts, at most")
    drop_short_sequences: Annotated[Any, refused("short texts are learned, too", "remove it")] = None
    text_formatting_func: _Code = None
    user_script: _Code = None
    script_dir: _Code = None
    stride: Any = idle("blocks do not overlap (join)")
    trust_remote_code: Any = idle("no code that comes with a tokenizer is run: tokenizer.json says all")
    model_name: Any = idle("the tokenizer is that of input_model")
    task: Any = idle("it is that of input_model")
    pad_to_max_len: Any = idle(PADDED)
    padding_side: Any = idle(PADDED)
    use_attention_mask: Any = idle(PADDED)
    processing_batch_size: Any = idle(LOADED)
    random_seed: Any = idle("nothing is drawn where texts are joined or stand line by line")
    random_retries: Any = idle("nothing is drawn where texts are joined or stand line by line")


class Data(Section):
    """Rows, and what of them is learned."""

    name: str | None = Field(default=None, description="what passes call it")
    type: Annotated[Literal["huggingfacecontainer", "datacontainer"], BeforeValidator(lower)] = Field(
        default="huggingfacecontainer", description="the kind of container: HuggingfaceContainer"
    )
    user_script: _Code = None
    script_dir: _Code = None
    load_dataset_config: LoadDataset = Field(description="which rows")
    pre_process_data_config: PreProcess = PreProcess()
    post_process_data_config: Any = idle("it is for evaluators")
    dataloader_config: Any = idle(LOADED)


_NamedData = Annotated[
    Annotated[str, Tag("a name")] | Annotated[Data, Tag("keys")],
    Discriminator(lambda value: "a name" if isinstance(value, str) else "keys"),
]


class Pass(Section):
    """A LoRA, QLoRA or DoRA pass."""

    type: Annotated[Literal["lora", "qlora", "dora"], BeforeValidator(lower)] = Field(description="the kind of pass")
    r: int = Field(default=64, ge=1, le=1024, description="the adapters' rank")
    alpha: float | None = Field(default=None, gt=0, le=10_000, description="the adapters' scale, times rank")
    lora_alpha: float | None = Field(default=None, gt=0, le=10_000, description="the same as alpha")
    lora_dropout: float = Field(default=0.05, ge=0, lt=1, description="the share of inputs dropped")
    target_modules: Annotated[tuple[str, ...], one_or_many(str)] = Field(
        default=(), description="which linear layers get adapters"
    )
    modules_to_save: Annotated[tuple[str, ...], one_or_many(str)] = Field(
        default=(), description="which parts learn whole"
    )
    train_data_config: _NamedData | None = Field(
        default=None, description="a name among data_configs, or one itself; the only one, if absent"
    )
    eval_data_config: _NamedData | None = Field(default=None, description="a name among data_configs, or one itself")
    training_args: TrainingArgs = TrainingArgs()
    quant_type: Annotated[
        Any, only(lambda value: value == "nf4", "the base lies in NF4", "write nf4, or remove it")
    ] = "nf4"
    double_quant: Any = idle("scales of the four-bit base stay in fp32")
    save_quant_config: Any = idle("the adapter is written for a base in its own precision")
    compute_dtype: Any = idle(NUMBERS)
    torch_dtype: Any = idle(NUMBERS)
    device_map: Any = idle(MACHINE)
    allow_tf32: Any = idle(MACHINE)
    ephemeral_gpu_offload: Any = idle(MACHINE)
    host: Any = idle(MACHINE)
    evaluator: Any = idle(_EVALUATED)

    @model_validator(mode="before")
    @classmethod
    def _is_ours(cls, value: Any) -> Any:
        kind = value.get("type") if isinstance(value, dict) else None
        if isinstance(kind, str) and kind.lower() not in _PASSES:
            raise wrong(f"slmops does not run the pass {kind}", "it runs LoRA, QLoRA and DoRA; remove it")
        return value

    @model_validator(mode="after")
    def _has_one_alpha(self) -> Pass:
        if self.alpha and self.lora_alpha and self.alpha != self.lora_alpha:
            raise wrong("found alpha and lora_alpha", "remove one of them")
        return self


class Run(Section):
    """A whole run configuration."""

    input_model: InputModel | None = Field(default=None, description="the model to learn")
    model: InputModel | None = Field(default=None, description="the same as input_model")
    data_configs: tuple[Data, ...] = Field(default=(), strict=False, description="rows, by name")
    passes: dict[str, Annotated[tuple[Pass, ...], one_or_many(Pass)]] = Field(
        min_length=1, description="what is done to the model: {lora: {type: LoRA}}"
    )
    output_dir: str = Field(default=".", min_length=1, description="where the adapter goes")
    search_strategy: Annotated[Any, refused("Olive's search is not run", "remove it; see docs/fine-tuning.md")] = None
    packaging_config: Annotated[Any, refused("nothing is packaged", "remove it")] = None
    azureml_client: Annotated[Any, refused("nothing is run on Azure ML", "remove it")] = None
    auto_optimizer_config: Annotated[Any, refused("the model is fine-tuned, not optimized", "remove it")] = None
    systems: Any = idle(MACHINE)
    host: Any = idle(MACHINE)
    target: Any = idle(MACHINE)
    evaluators: Any = idle(_EVALUATED)
    evaluator: Any = idle(_EVALUATED)
    evaluate_input_model: Any = idle(_EVALUATED)
    plot_pareto_frontier: Any = idle(_EVALUATED)
    no_artifacts: Any = idle("the adapter, model_config.json and curve.jsonl are written, nothing else")
    workflow_id: Any = idle(_FILES)
    cache_dir: Any = idle(_FILES)
    cache_config: Any = idle(_FILES)
    clean_cache: Any = idle(_FILES)
    clean_evaluation_cache: Any = idle(_FILES)
    enable_shared_cache: Any = idle(_FILES)
    log_severity_level: Any = idle("slmops tells what it does, whatever the level")
    ort_log_severity_level: Any = idle("ONNX Runtime has no part in it")
    ort_py_log_severity_level: Any = idle("ONNX Runtime has no part in it")
    log_to_file: Any = idle("what is told goes to the console")

    @model_validator(mode="after")
    def _has_one_model(self) -> Run:
        if bool(self.input_model) == bool(self.model):
            raise wrong("found no input_model" if not self.model else "found input_model and model", "name one")
        return self
