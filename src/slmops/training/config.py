"""The sections `teacher` and `student`: which models, and how they learn. Loads none."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError, model_validator

from slmops.core.config import LISTED, Section, merged, one_or_many, over, wrong
from slmops.core.mistakes import nearest
from slmops.core.named import Named
from slmops.core.search import SearchConfig, begin_of
from slmops.runtimes.remote import LOOPBACK


class ContrastiveConfig(Section):
    """How far rows of one answer are drawn together in the last hidden state, and others pushed apart."""

    main: ClassVar[str] = "weight"

    weight: float = Field(default=0.1, gt=0, le=1000, description="how much it counts beside the loss of the answer")
    kind: Literal["infonce", "margin"] = Field(
        default="infonce", description="infonce (against all others at once), or margin (pair by pair)"
    )
    temperature: float = Field(default=0.1, gt=0, le=100, description="how sharply near ones count (infonce)")
    margin: float = Field(default=0.5, gt=-1, lt=1, description="how similar others may be, as a cosine (margin)")


class TrainConfig(Section):
    """How a model learns: one schema for teacher and student."""

    main: ClassVar[str] = "method"

    method: Literal["lora", "dora", "qlora", "bottleneck", "prompt", "full"] = Field(
        default="lora",
        description="lora (low-rank adapters), dora (the same, and the size of each output), qlora (lora on a base in "
        "four bits), bottleneck (more hidden units in each MLP), prompt (tokens before every conversation), or full "
        "(all weights)",
    )
    rank: int = Field(
        default=16,
        ge=1,
        le=1024,
        description="the adapters' rank; of a bottleneck, its units, rounded up to a multiple of 32",
    )
    alpha: float = Field(default=32.0, gt=0, le=10_000, description="the adapters' scale, times rank")
    rank_stabilized: bool = Field(default=False, description="scales by alpha/√rank, not by alpha/rank (rsLoRA)")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="the share of the adapters' inputs dropped")
    targets: Annotated[tuple[str, ...], one_or_many(str)] = Field(
        default=("all",),
        min_length=1,
        description="which linear layers get adapters, by name: [q_proj, v_proj]; or all",
    )
    virtual_tokens: int = Field(
        default=20, ge=1, le=1000, description="how many tokens are put before every conversation, and learn (prompt)"
    )
    modules_to_save: Annotated[tuple[str, ...], one_or_many(str)] = Field(
        default=(), description="parts that learn whole beside the adapters, by name: [lm_head]"
    )
    loraplus_lr_ratio: float = Field(
        default=1.0, ge=1, le=1000, description="how many times faster the adapters' B learns than A (LoRA+)"
    )
    upper_layers: float = Field(
        default=0.5, gt=0, le=1, description="the share of layers that learn, from the top; the lower ones stay"
    )
    embeddings: bool = Field(
        default=False, description="whether tokens' embeddings and the output head learn, too (full, upper_layers: 1)"
    )
    target_replication: float = Field(
        default=1.0, ge=0, le=100, description="the weight of saying the answer at every token of the text, too"
    )
    quantization_aware: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="the share of steps, the last ones, in which a student computes as the symmetric int4 that ships",
    )
    vocabulary_sample: int = Field(
        default=2048,
        ge=0,
        description="how many tokens, drawn anew at each step, stand for those that no label has; 0: all are computed",
    )
    epochs: float = Field(default=1.0, gt=0, le=1000, description="how often each row is seen")
    learning_rate: float = Field(default=1.5e-3, gt=0, lt=1, description="the learning rate at its height")
    batch_size: int = Field(default=8, ge=1, le=4096, description="the number of examples a step")
    noise: float = Field(
        default=0.1, ge=0, lt=1, description="the share of words dropped, others in every epoch after 1"
    )
    warmup: float = Field(default=0.05, ge=0, lt=1, description="the share of steps in which it rises")
    schedule: Literal["cosine", "linear", "constant", "wsd"] = Field(
        default="cosine", description="how it falls then; wsd: it stays, and falls at the end"
    )
    decay: float = Field(default=0.2, gt=0, le=1, description="the share of steps in which it falls (wsd)")
    weight_decay: float = Field(default=0.01, ge=0, lt=1, description="AdamW's weight decay, of matrices")
    beta1: float = Field(default=0.9, ge=0, lt=1, description="AdamW's first beta: of the gradients' mean")
    beta2: float = Field(default=0.98, ge=0, lt=1, description="AdamW's second beta: of their squares' mean")
    max_grad_norm: float = Field(default=1.0, gt=0, le=1e6, description="what the gradient's norm is clipped at")
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="the share of gold's probability that goes to all other tokens"
    )
    loss: Literal["cross_entropy"] | Named = Field(
        default="cross_entropy", description="what is learned of the answer; module:name for a loss of your own"
    )
    contrastive: ContrastiveConfig | None = Field(
        default=None, description="learns that rows of the same answer are alike, too"
    )
    callbacks: Annotated[tuple[Named, ...], one_or_many(Named)] = Field(
        default=(), description="functions of your own, told each look at the validation rows; False ends it"
    )
    neftune_alpha: float = Field(
        default=0.0, ge=0, le=1000, description="how much noise embeddings get while it learns (5 is usual)"
    )
    validations: int = Field(default=3, ge=1, le=1000, description="how often the validation rows are looked at")
    patience: int | None = Field(
        default=None, ge=1, description="ends after so many looks without a better one, and keeps the best"
    )
    keep: Literal["last", "best"] = Field(
        default="last", description="the weights of the last step, or of the best look"
    )
    judge: Literal["loss", "metric"] = Field(
        default="loss",
        description="what makes a look better than another: loss (of the validation rows), or metric (the task's first "
        "figure: at each look the model answers them)",
    )
    gradient_checkpointing: bool = Field(
        default=False, description="computes activations twice rather than keeping them: less memory, more time"
    )
    too_long: Literal["stop", "cut", "drop"] = Field(
        default="stop",
        description="a row longer than the model's context ends the run, loses the middle of what is asked, or is left "
        "out",
    )
    search: SearchConfig | None = Field(default=None, description="tries values of the other keys, and takes the best")
    max_tokens: int = Field(default=1024, ge=64, le=65536, description="how many tokens are computed at once, packed")

    @model_validator(mode="after")
    def _fits_together(self) -> TrainConfig:
        given = self.model_fields_set
        used = _USED.get(self.method, _OF_ADAPTERS)
        if idle := next((name for name in (*_OF_ADAPTERS, *_OF_PROMPT) if name in given and name not in used), None):
            of, method = ("virtual tokens", "prompt") if idle in _OF_PROMPT else ("adapters", "lora")
            raise wrong(
                f"{idle} says how {of} learn, but the method is {self.method}",
                f"write method: {method}, or remove {idle}",
            )
        if self.method == "prompt" and "upper_layers" in given:
            raise wrong(
                "upper_layers says which layers learn, but with method: prompt none does", "remove upper_layers"
            )
        if self.quantization_aware and self.method in _NEVER_ROUNDED:
            why = f"{self.method}: {_NEVER_ROUNDED[self.method]}, so int4 cannot be learned under it"
            raise wrong(why, "write quantization_aware: 0")
        if "noise" in given and self.noise and self.epochs <= 1:
            raise wrong("noise varies rows from the second epoch on, and there is one", "remove noise, or add epochs")
        if "decay" in given and self.schedule != "wsd":
            raise wrong(
                f"decay is for the schedule wsd, not for {self.schedule}", "write schedule: wsd, or remove decay"
            )
        if self.neftune_alpha and self.method == "prompt":
            raise wrong("neftune_alpha makes noise where virtual tokens learn", "remove neftune_alpha")
        if self.neftune_alpha and self.upper_layers < 1:
            raise wrong("neftune_alpha changes what lower layers read, but they stay", "write upper_layers: 1")
        if self.embeddings and (self.method != "full" or self.upper_layers < 1):
            raise wrong("embeddings learn with all weights, beneath all layers", "write method: full, upper_layers: 1")
        if self.label_smoothing and self.loss != "cross_entropy":
            raise wrong("label_smoothing is for cross_entropy, not for a loss of your own", "smooth in your loss")
        for name, space in self.search.search_space.items() if self.search else ():
            known = [key for key in type(self).model_fields if key != "search"]
            if name not in known:
                raise wrong(f"search_space: {name} is no key of train", nearest(name, known))
            if name in _OF_PROMPT or (name == "method" and "prompt" in (*space.ends(), self.method)):
                raise wrong("search_space: virtual tokens are put into the model before any trial", f"remove {name}")
            for value in space.ends():
                try:
                    self.tried({name: value})
                except ValidationError as error:
                    raise wrong(f"search_space: {name} cannot be {value!r}: {error.errors()[0]['msg']}") from error
        return self

    def tried(self, values: Mapping[str, Any]) -> TrainConfig:
        """As it is with other `values`, and without a search.

        Raises:
            ValidationError: they cannot be, or do not fit together.
        """
        return self.model_validate(self.model_dump(exclude={"search"}, exclude_defaults=True) | dict(values))

    def own_code(self) -> tuple[str, ...]:
        """What it names of the user's own."""
        return (*(() if self.loss == "cross_entropy" else (self.loss,)), *self.callbacks)

    def begin_of_search(self) -> dict[str, Any]:
        """What is searched for, as it stands here, where that lies in the space."""
        space = self.search.search_space if self.search else {}
        return begin_of(space, partial(getattr, self), lambda name, value: getattr(self.tried({name: value}), name))

    @property
    def units(self) -> int:
        """The units of a bottleneck: whole blocks of int4, since a device would compute zeros that filled one up."""
        return -(-self.rank // _BLOCK) * _BLOCK

    @property
    def keeps_best(self) -> bool:
        return self.keep == "best" or self.patience is not None


_BLOCK = 32  # weights that share a scale: int4's default, and the size of GGUF's smallest blocks
_OF_PROMPT = ("virtual_tokens",)
_USED = {"full": (), "bottleneck": ("rank",), "prompt": _OF_PROMPT}  # by others: what is of adapters
_NEVER_ROUNDED = {
    "qlora": "its base is rounded already, to other weights than ship",
    "dora": "its sum is scaled",
    "prompt": "no weight learns but the tokens' own",
}
_OF_ADAPTERS = ("rank", "alpha", "rank_stabilized", "dropout", "targets", "modules_to_save", "loraplus_lr_ratio")

_STUDENT = TrainConfig(method="full", epochs=3, learning_rate=8e-4, quantization_aware=0.5, noise=0)
_SCRATCH = {"upper_layers": 1, "embeddings": True}


def _false_is_none(value: Any) -> Any:
    return None if value is False else value


_MOST_OTHERS = 8


class TokenPrice(Section):
    """What an endpoint asks for a million tokens."""

    input: float = Field(ge=0, le=100_000, description="the price of those it reads, in dollars")
    output: float = Field(ge=0, le=100_000, description="the price of those it writes, in dollars")


class TeacherConfig(Section):
    """The big model: one that runs here, or one behind an address."""

    main: ClassVar[str] = "model"

    model: str = Field(
        min_length=1,
        description="a model: hf:owner/name, pypi:…, file:folder, store:name, or a name of the catalogue; with an "
        "endpoint, what it is called there",
    )
    endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s@?#]+$",
        description="the address of a server that speaks OpenAI's chat completions (https://host/v1); it answers the "
        "unlabelled rows, and the student learns them as it does gold",
    )
    api_key_env: str | None = Field(
        default=None, pattern=r"^\w+$", description="the environment variable that holds the endpoint's key"
    )
    top_logprobs: int = Field(
        default=0,
        ge=0,
        le=20,
        description="how many of its likeliest tokens the endpoint is asked for at each place, 20 at most: the student "
        "learns them, too; 0: it answers, and no more",
    )
    sees: Literal["masked", "everything"] = Field(
        default="masked",
        description="what is sent to the endpoint: texts with personal data masked, or everything as it is",
    )
    usd_per_million_tokens: TokenPrice | None = Field(
        default=None,
        description="the endpoint's prices, {input: 2.5, output: 10}: the report says what its answers cost, and after "
        "how many of the student's that is saved",
    )
    train: Annotated[
        TrainConfig | None, BeforeValidator(_false_is_none, json_schema_input_type=TrainConfig | Literal[False])
    ] = Field(default=TrainConfig(), description="how it is taught the task; false: taken as it is")
    others: Annotated[tuple[TeacherConfig, ...], LISTED] = Field(
        default=(), description="further teachers, heard together with it; teacher: [A, B] says the same"
    )

    @model_validator(mode="after")
    def _fit_together(self) -> TeacherConfig:
        return _checked_together(self)

    @model_validator(mode="after")
    def _is_here_or_there(self) -> TeacherConfig:
        if self.endpoint is None:
            if self.api_key_env or self.sees != "masked" or self.top_logprobs or self.usd_per_million_tokens:
                remedy = "write endpoint: https://…, or remove what is said of one"
                raise wrong("there is no endpoint", remedy)
            return self
        if self.train and "train" in self.model_fields_set:
            raise wrong("a model behind an endpoint cannot be taught here", "remove train")
        host = urlsplit(self.endpoint).hostname or ""
        if self.api_key_env and self.endpoint.startswith("http:") and host not in LOOPBACK:
            raise wrong("http:// would send the key for all to read", "write https://")
        return self


def _checked_together(teacher: TeacherConfig) -> TeacherConfig:
    if len(teacher.others) > _MOST_OTHERS:
        raise wrong(f"found {len(teacher.others) + 1} teachers, expected at most {_MOST_OTHERS + 1}", "name fewer")
    if teacher.others and teacher.endpoint:
        raise wrong("the first of several teachers is cut and measured, which no endpoint can be", "name it later")
    for other in teacher.others:
        if other.others:
            raise wrong("another teacher has others of its own", "name all of them beside it")
    return teacher


def _first_and_others(value: Any) -> Any:
    if not isinstance(value, list | tuple) or not value:
        return value
    first, *others = TypeAdapter(tuple[TeacherConfig, ...]).validate_python(tuple(value))
    if first.others and others:
        raise wrong("found others in a list of teachers", "name all of them in the list")
    return _checked_together(first.model_copy(update={"others": tuple(others)})) if others else first


Teachers = Annotated[  # one, or a list of them: the first one, with all others
    TeacherConfig, BeforeValidator(_first_and_others, json_schema_input_type=TeacherConfig | tuple[TeacherConfig, ...])
]


class StudentConfig(Section):
    """The small model, which ships."""

    main: ClassVar[str] = "model"

    from_: Literal["teacher", "scratch"] | None = Field(
        default=None,
        alias="from",
        description="teacher (cut from the teacher), or scratch (random weights in the architecture of the teacher, or "
        "of model)",
    )
    model: str | None = Field(default=None, min_length=1, description="a ready small model: hf:owner/name …")
    layers: int | None = Field(default=None, ge=1, le=1000, description="the number of layers kept; all if absent")
    keep: Literal["lower", "spread", "dissimilar", "least-missed", "greedy"] = Field(
        default="lower",
        description="which layers: lower (the first ones and the last), spread (evenly), dissimilar (all but the "
        "neighbours that together change least), least-missed (without which, one at a time, training rows would cost "
        "most), or greedy (what stays when the least missed goes, again and again)",
    )
    rounds: int = Field(
        default=1,
        ge=1,
        le=100,
        description="in how many rounds layers, units, heads and width are cut, the student learning after each; the "
        "steps are shared by all",
    )
    units: int | None = Field(
        default=None, ge=32, multiple_of=32, description="the hidden units kept of every MLP; all if absent"
    )
    kv_heads: int | None = Field(
        default=None, ge=1, description="the key-value heads kept in every layer, each with its queries; all if absent"
    )
    heads: int | None = Field(
        default=None,
        ge=1,
        description="the query heads kept in every layer, as many of each key-value head that is kept; all of these if "
        "absent",
    )
    width: int | None = Field(
        default=None, ge=32, multiple_of=32, description="the channels kept of the hidden states; all if absent"
    )
    context: int | None = Field(
        default=None,
        ge=64,
        description="how many tokens it can read and write together: ONNX keeps a table of so many positions; as many "
        "as its source if absent",
    )
    vocabulary: Literal["all"] | Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default="all",
        description="all tokens, or about how many: those of the project's texts, however many these are, then the "
        "commonest others; what has no token any more is spelled in smaller pieces",
    )
    prompt: Literal["short", "full"] = Field(default="short", description="short (without the instruction), or full")
    train: Annotated[TrainConfig, over(_STUDENT)] = Field(default=_STUDENT, description="how it learns")

    @model_validator(mode="before")
    @classmethod
    def _learns_all_from_scratch(cls, value: Any) -> Any:
        """Nothing is known that could stay."""
        if isinstance(value, Mapping) and value.get("from") == "scratch":
            train = value.get("train")
            return {**value, "train": merged(_SCRATCH, {} if train is None else train, TrainConfig)}
        return value

    @model_validator(mode="after")
    def _has_one_origin(self) -> StudentConfig:
        if not self.from_scratch and (self.from_ is None) == (self.model is None):
            found = "both from and model" if self.model else "neither from nor model"
            raise wrong(f"found {found}", "write from: teacher, or model: hf:owner/name")
        if self.from_scratch and not self.train.embeddings:
            raise wrong("from scratch, embeddings know nothing that could stay", "remove train.embeddings")
        if self.from_scratch and (idle := {"keep", "rounds"} & self.model_fields_set):
            raise wrong(f"{min(idle)} says how a model is cut, but from scratch none is", f"remove {min(idle)}")
        if "keep" in self.model_fields_set and self.layers is None:
            raise wrong("keep says which layers stay, but all do", "give layers, or remove keep")
        if self.rounds > 1 and self.layers is None and not self.is_narrower:
            raise wrong("rounds says how parts are cut, but all stay", "give layers, units, kv_heads, heads or width")
        if self.rounds > 1 and self.train.search:
            raise wrong("a search would end in another student after each round", "remove rounds, or search")
        if self.rounds > 1 and self.train.method in ("prompt", "bottleneck"):
            why = f"method: {self.train.method} would add its own to the model in each of the rounds"
            raise wrong(why, "write method: full, or remove rounds")
        if self.rounds > 1 and self.train.noise and self.train.epochs <= self.rounds:
            raise wrong("noise varies rows from the second epoch on, which no round has", "remove noise, or rounds")
        return self

    @property
    def from_scratch(self) -> bool:
        return self.from_ == "scratch"

    @property
    def cuts(self) -> dict[str, int]:
        """What is kept of each part that is cut, but for tokens."""
        sizes = {name: getattr(self, name) for name in ("layers", "units", "kv_heads", "heads", "width", "context")}
        return {name: kept for name, kept in sizes.items() if kept is not None}

    @property
    def is_narrower(self) -> bool:
        """Whether something within its layers is cut, too."""
        return any(name in self.cuts for name in ("units", "kv_heads", "heads", "width"))
