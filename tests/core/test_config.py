from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, model_validator

from slmops.core.config import Config, ConfigPath, Name, Section, one_or_many, over, validate, wrong
from slmops.core.document import MAX_BYTES, load_yaml
from slmops.core.errors import ConfigError


class Train(Section):
    main: ClassVar[str] = "method"

    method: Literal["lora", "full"] = Field(default="lora", description="how it learns")
    epochs: float = Field(default=2.0, gt=0, le=1000, description="how often each row is seen")
    rank: int = Field(default=16, ge=1, le=64, description="the adapters' rank")


class Model(Section):
    main: ClassVar[str] = "model"

    model: str = Field(description="a model reference")
    train: Annotated[Train, over(Train(method="full", epochs=8))] = Train(method="full", epochs=8)
    layers: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _is_not_cursed(self) -> Model:
        if self.model == "cursed":
            raise wrong("this model is cursed", "choose another")
        return self


class File(Config):
    name: Name = Field(description="what it is called")
    data: ConfigPath | None = Field(default=None, description="a file")
    model: Model | None = None
    many: Annotated[tuple[Train, ...], one_or_many(Train)] = ()
    tags: tuple[str, ...] | None = None
    on: bool = False


def load(folder: Path, text: str | bytes, variant: str | None = None) -> File:
    path = folder / "slmops.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return File.load(path, variant)


def problems(folder: Path, text: str | bytes) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(folder, text)
    return str(caught.value).replace(f"{folder}/", "").splitlines()


def test_a_scalar_sets_the_main_field(tmp_path: Path) -> None:
    assert load(tmp_path, "name: a\nmodel: small").model == Model(model="small")


def test_a_null_is_as_if_not_written(tmp_path: Path) -> None:
    file = load(tmp_path, "name: a\ndata:\nmodel: {model: small, train: {method: null, rank: 3}}")
    assert file.data is None
    assert file.model and file.model.train == Train(method="full", epochs=8, rank=3)


def test_what_is_not_given_comes_from_the_parents_default(tmp_path: Path) -> None:
    file = load(tmp_path, "name: a\nmodel: {model: small, train: lora}")
    assert file.model and file.model.train == Train(method="lora", epochs=8)


def test_one_may_stand_for_a_list_of_one(tmp_path: Path) -> None:
    assert load(tmp_path, "name: a\nmany: full").many == (Train(method="full"),)
    assert load(tmp_path, "name: a\nmany: [full, {rank: 2}]").many == (Train(method="full"), Train(rank=2))


def test_a_file_stays_where_it_is_wherever_the_process_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file.yaml").write_text("name: here")
    monkeypatch.chdir(tmp_path)
    read = File.load(Path("file.yaml"))
    monkeypatch.chdir("/")
    assert read.path == tmp_path / "file.yaml" and read.tried({}).root == tmp_path


def test_paths_are_relative_to_the_files_folder(tmp_path: Path) -> None:
    file = load(tmp_path, "name: a\ndata: below/../rows.jsonl")
    assert (file.data, file.root) == (tmp_path / "rows.jsonl", tmp_path)


@pytest.mark.parametrize(
    "text, problem",
    [
        ("name: a\nmodel:\n  model: x\n  layers: 0", "4 · model.layers: 0 is less than 1 — choose 1 or more"),
        ("name: a\nmany: {rank: 65}", "2 · many.rank: 65 is more than 64 — choose 1…64"),
        (
            "name: a\nmany:\n- full\n- epochs: 0",
            "4 · many.1.epochs: 0 is not more than 0 — choose more than 0, at most 1,000",
        ),
        ("name: a\nmany: {rank: two}", "2 · many.rank: found 'two', expected a whole number — choose 1…64"),
        ("name: a\nmany: {rank: 2.5}", "2 · many.rank: found 2.5, expected a whole number — choose 1…64"),
        ("name: a\nmany: {rank: true}", "2 · many.rank: found true, expected a whole number — choose 1…64"),
        ("name: a\nmany: {rank: '2'}", "2 · many.rank: found '2', expected a whole number — write 2 without quotes"),
        (
            "name: a\nmany: {epochs: .nan}",
            "2 · many.epochs: found nan, expected a finite number — choose more than 0, at most 1,000",
        ),
        ("name: a\nmany: loro", "2 · many: found 'loro', expected lora, full — did you mean lora?"),
        ("name: a\nmany: 7", "2 · many: found 7, expected lora, full — it is how it learns"),
        ("name: 1.10", '1 · name: found 1.1, expected text — write "1.1" in quotes, if you mean it'),
        ("name: ../a", "1 · name: '../a' cannot be a name — use letters, digits, '.', '-' and '_', 64 at most"),
        ("name: a\non: 1", "2 · on: found 1, expected true or false — correct it"),
        ("name: a\ntags: 5", "2 · tags: found 5, expected a list — correct it"),
        ("name: a\ndata: [x]", "2 · data: found a list, expected a file's path — it is a file"),
        ("name: a\nmodel:\n  layer: 3\n  model: x", "3 · model.layer: there is no such field — did you mean layers?"),
        ("name: a\nmodel: {qq: 3, model: x}", "2 · model.qq: there is no such field — known are model, train, layers"),
        ("on: true\nmodel: x", "1 · name: is missing — add it: what it is called"),
        ("name: a\non: true\nmodel:\n  layers: 3", "3 · model.model: is missing — add it: a model reference"),
        ("name: a\nmodel: [x]", "2 · model: found a list, expected keys — known are model, train, layers"),
        ("name: a\nmodel:\n  layers: 2\n  model: cursed", "2 · model: this model is cursed — choose another"),
    ],
)
def test_a_problem_names_line_field_and_remedy(tmp_path: Path, text: str, problem: str) -> None:
    assert problems(tmp_path, text) == [f"slmops.yaml:{problem}"]


def test_all_problems_are_told_in_the_files_order(tmp_path: Path) -> None:
    found = problems(tmp_path, "on: 3\nnome: a\nmodel: {layers: 0}\nmany:\n- {rank: 0, epochs: x}\n")
    assert [line.partition(": ")[0] for line in found] == [
        "slmops.yaml:1 · name",
        "slmops.yaml:1 · on",
        "slmops.yaml:2 · nome",
        "slmops.yaml:3 · model.model",
        "slmops.yaml:3 · model.layers",
        "slmops.yaml:5 · many.0.epochs",
        "slmops.yaml:5 · many.0.rank",
    ]


def test_a_thousand_problems_do_not_flood_the_screen(tmp_path: Path) -> None:
    found = problems(tmp_path, "name: a\n" + "".join(f"key{index}: 1\n" for index in range(1000)))
    assert len(found) == 51 and found[-1] == "… and 950 more"


def test_a_variant_is_laid_over_the_file_section_by_section(tmp_path: Path) -> None:
    text = (
        "name: a\nmodel: small\nmany: [lora, full]\nvariants: {b: {model: {layers: 3}, many: full}, c: {model: null}}"
    )
    assert load(tmp_path, text, "b").model == Model(model="small", layers=3)
    assert load(tmp_path, text, "b").many == (Train(method="full"),)
    assert load(tmp_path, text, "c").model is None
    assert load(tmp_path, text).model == Model(model="small")


@pytest.mark.parametrize(
    "variants, problem",
    [
        ("  b:\n    model:\n      layers: 0", "6 · variants.b.model.layers: 0 is less than 1 — choose 1 or more"),
        (
            "  latest: {}",
            "4 · variants.latest: a run calls artifacts 'latest' itself — call the variant something else",
        ),
        ("  b: {model: {layer: 1}}", "4 · variants.b.model.layer: there is no such field — did you mean layers?"),
        ("  b: {model: {model: null}}", "4 · variants.b.model.model: is missing — add it: a model reference"),
        ("  b: {variants: {}}", "4 · variants.b: found variants in a variant — move them beside it"),
        (
            "  b: 3",
            "4 · variants.b: found 3, expected keys — it is alternatives to compare: name → what is laid over the file",
        ),
        ("  b: {}\n  c: {}\n  b: {}", "6: found the key 'b' again, after line 4 — rename one of the two, or remove it"),
    ],
)
def test_a_variant_is_checked_even_if_not_asked_for(tmp_path: Path, variants: str, problem: str) -> None:
    assert problems(tmp_path, f"name: a\nmodel: small\nvariants:\n{variants}") == [f"slmops.yaml:{problem}"]


def test_a_problem_of_the_file_is_not_told_again_for_each_variant(tmp_path: Path) -> None:
    found = problems(tmp_path, "model: {layers: 0}\nvariants: {b: {on: true}, c: {model: {train: full}}}")
    assert len(found) == 3


def test_an_unknown_variant_gets_its_neighbour_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no variant 'smal' — did you mean small\?"):
        load(tmp_path, "name: a\nvariants: {small: {}}", "smal")


def test_a_later_check_finds_the_line_of_its_field(tmp_path: Path) -> None:
    text = "name: a\nmodel:\n  model: x\n  layers: 40\nvariants:\n  b:\n    model: {layers: 50}"
    error = load(tmp_path, text).error("model.layers", "40 is more than 30", "choose 1…30")
    assert str(error) == f"{tmp_path}/slmops.yaml:4 · model.layers: 40 is more than 30 — choose 1…30"
    assert load(tmp_path, text, "b").error("model.layers", "", "").where.endswith(":7 · variants.b.model.layers")
    assert load(tmp_path, text).error("model.train.rank", "", "").where.endswith(":2 · model.train.rank")


def test_a_section_from_the_command_line_is_checked_alike() -> None:
    with pytest.raises(ConfigError, match=r"^command line · rank: 0 is less than 1 — choose 1…64$"):
        validate(Train, {"rank": 0}, "command line")


@pytest.mark.parametrize(
    "text, problem",
    [
        ("", "slmops.yaml: found no keys"),
        ("- a", "slmops.yaml: found no keys"),
        ("name: a\nname: b", "slmops.yaml:2: found the key 'name' again, after line 1"),
        ("name: a\nmodel: {model: x,\n  model: y}", "slmops.yaml:3: found the key 'model' again, after line 2"),
        ("name: a\ntags: [a\non: true", "slmops.yaml:3: is no YAML"),
        ("name: a\n\ton: true", "slmops.yaml:2: is no YAML"),
        ("name: a\n---\nname: b", "slmops.yaml:2: is no YAML"),
        ("name: a\nmodel: !!python/object:os.system x", "slmops.yaml:2: found the tag"),
        ("name: a\n? [b]\n: c", "slmops.yaml:2: found a key that is no text"),
        ("name: &a [*a]", "slmops.yaml:1: found too many values, or nested too deep"),
        ("name: " + "[" * 100_000, "slmops.yaml: is nested too deep"),
        ('name: "\\ud800"', "slmops.yaml:1: found a character that no text can hold"),
        ("name: a\non: !!int", "slmops.yaml:2: found '', which cannot be read"),
        ("name: a\non: " + "9" * 5000, "slmops.yaml:2: found '9999"),
        ("name: a\x07b", "slmops.yaml: is no YAML"),
        ("%YAML 1.3\n---\nname: a", "slmops.yaml: is no YAML"),
        (b"name: a\non: \xff", "slmops.yaml:2: found the byte 0xff, expected UTF-8"),
        (b"#" * (MAX_BYTES + 1), "slmops.yaml: has more than 200,000 bytes"),
    ],
)
def test_what_is_no_sound_yaml_is_refused(tmp_path: Path, text: str | bytes, problem: str) -> None:
    (found,) = problems(tmp_path, text)
    assert found.startswith(problem) and " — " in found


def test_references_that_explode_are_refused_at_once(tmp_path: Path) -> None:
    bomb = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 20))
    started = time.monotonic()
    assert "too many values" in problems(tmp_path, bomb)[0]
    assert time.monotonic() - started < 3


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.yaml: cannot be read: No such file .* — slmops init makes one"):
        load_yaml(tmp_path / "nothing.yaml")


def test_dates_and_keys_that_look_like_values_are_text(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("\ufeffon: 2024-01-01\n1: yes\nnull: 1e-3\n")
    assert load_yaml(path).data == {"on": "2024-01-01", "1": "yes", "null": 0.001}


def test_the_schema_takes_the_scalar_too() -> None:
    schema = File.model_json_schema()
    scalar, keys = schema["$defs"]["Model"]["anyOf"]
    assert scalar["type"] == "string" and keys["additionalProperties"] is False
    assert {"$ref": "#/$defs/Train"} in schema["properties"]["many"]["anyOf"]


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
TREES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "data", "model", "train", "layers", "many", "rank", "epochs", "variants", "on"])
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(tree=TREES)
def test_any_data_is_a_config_or_a_config_error(tree: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    import json

    folder = tmp_path_factory.getbasetemp()
    try:
        load(folder, "name: a\n" + json.dumps(tree) if not isinstance(tree, dict) else json.dumps({"name": "a"} | tree))
    except ConfigError as error:
        assert str(folder) in str(error)
