"""`engine: azureml`, against a stand-in for Azure on loopback that runs the job for real."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from ruamel.yaml import YAML
from typer.testing import CliRunner

from slmops.cli import run as cli
from slmops.core.errors import FullDiskError, GateError, SlmopsError
from slmops.stages import on_azure
from slmops.stages.azure_job import write_job
from slmops.stages.on_azure import against_baseline, run_on_azure
from slmops.stages.project import Project
from slmops.stages.run import open_store, run
from tests.azure import WORKSPACE, Azure, serving
from tests.stages.tiny_project import write_config, write_project

_ENGINE = json.dumps({"type": "azureml", "compute": "cpu-cluster", **WORKSPACE})
_TEACHER = "{model: 'file:model', train: {epochs: 1}}"
_STUDENT = "{from: teacher, layers: 1, train: {epochs: 2}}"
_BEHIND_AN_ADDRESS = "{model: m, endpoint: 'https://host/v1', api_key_env: KEY}"
SHORT = {"engine": _ENGINE, "teacher": _TEACHER, "student": _STUDENT, "synthesis": None}
SHORT |= {"evaluation": "{compare: [untrained, int4], bench: {messages: 2}}"}


@pytest.fixture
def azure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Azure]:
    known = socket.getaddrinfo

    def resolve(host: str, *rest: object, **named: object) -> object:
        """The name of a storage account is found, as by Azure's name servers."""
        return known("localhost" if str(host).endswith(".localhost") else host, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    (tmp_path / "azure").mkdir()
    with serving(tmp_path / "azure") as (server, told):
        for name, value in told.items():
            monkeypatch.setenv(name, value)
        yield server


def _project(folder: Path, **changes: str | None) -> Project:
    project = Project.load(write_project(folder, **SHORT | changes))
    (project.state / "choices.json").unlink()  # Azure's machine is probed, not this one
    return project


def test_a_project_runs_in_azure_and_what_it_made_comes_back(azure: Azure, tmp_path: Path) -> None:
    """Interrupted, it follows the job that it submitted; a gate that fell short there is told here; and what was made
    is what would have been made here."""
    (tmp_path / "there" / "private").mkdir(parents=True)
    (tmp_path / "there" / "private" / "key.txt").write_text("secret")
    project = _project(
        tmp_path / "there", gates="{min_accuracy: {at_least: 1.0, bound: low}}", deployment="foundry-local"
    )

    def interrupt(stage: str, share: float, note: str) -> None:
        if "Queued" in note or "Running" in note:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_on_azure(project, progress=interrupt)
    with pytest.raises(GateError, match="accuracy"):
        run_on_azure(project)
    assert [job["properties"]["status"] for job in azure.jobs.values()] == ["Failed"]
    sent = "\n".join(azure.blobs)
    assert "slmops.yaml" in sent and "labelled.jsonl" in sent and "key.txt" not in sent
    before = len(azure.asked)
    write_config(tmp_path / "there", **SHORT, deployment="foundry-local")

    project = Project.load(project.path)
    outcome = run_on_azure(project)

    assert len(azure.asked) == before  # nothing is lacking, so nobody is asked
    stages = ["dataset", "teacher", "labels", "pruned", "targets", "student", "int4", "evidence"]
    assert [made.stage.name for made in outcome.made] == [*stages, "bundle"]
    assert [made.stage.name for made in outcome.made if made.ran] == ["bundle"]
    assert open_store(project).verify() == []
    figures = {name for name, _, _ in against_baseline(project, outcome)}
    assert {"accuracy", "latency_ms", "model_bytes"} <= figures
    app = typer.Typer()
    app.command()(cli.run)
    said = CliRunner().invoke(app, ["--config", str(project.path)], catch_exceptions=False).stdout
    assert "before it learned" in said and "report: " in said
    told = json.loads(CliRunner().invoke(app, ["--config", str(project.path), "--json"]).stdout)
    assert told["against_baseline"].keys() == figures
    here = write_project(tmp_path / "here", **SHORT)
    (here.parent / ".slmops" / "choices.json").write_text((project.state / "choices.json").read_text())
    local = run(Project.load(here), until="student")
    assert {one.manifest.id for one in local.made} < {one.manifest.id for one in outcome.made}


def test_a_job_that_fails_is_told_with_its_log_and_what_was_changed_is_refused(azure: Azure, tmp_path: Path) -> None:
    project = _project(tmp_path / "project")
    azure.breaks = True
    with pytest.raises(SlmopsError, match=r"ended as Failed; it made nothing — its log: https://localhost"):
        run_on_azure(project, command="train")
    azure.breaks, azure.spoils = False, True
    with pytest.raises(SlmopsError, match="is not there, or was changed"):
        run_on_azure(project, command="train")
    assert not (project.state / "choices.json").exists() and open_store(project).entries() == []
    azure.spoils = False
    assert [made.stage.name for made in run_on_azure(project, command="train").made] == ["dataset", "teacher"]
    assert len(azure.jobs) == 3


def test_a_job_whose_output_found_no_room_is_not_paid_for_again(
    azure: Azure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = _project(tmp_path / "project")

    def full(*asked: object) -> None:
        raise FullDiskError("the disk is full")

    with monkeypatch.context() as patch, pytest.raises(FullDiskError):
        patch.setattr(on_azure, "adopt", full)
        run_on_azure(project, command="train")
    assert [made.stage.name for made in run_on_azure(project, command="train").made] == ["dataset", "teacher"]
    assert len(azure.jobs) == 1


def test_a_workspace_without_credentials_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("AZURE", "IDENTITY", "ARM_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
    with pytest.raises(SlmopsError, match="Azure does not know who asks — az login"):
        run_on_azure(_project(tmp_path / "project"))


def test_the_job_is_written_and_held_against_the_schema_without_any_network(tmp_path: Path) -> None:
    own = "{compare: [int4], metrics: 'mine:score'}"
    (tmp_path / "mine.py").write_text("def score(answer, gold): return 1.0\n")
    job = write_job(_project(tmp_path, evaluation=own))
    content = YAML(typ="safe").load(job.file.read_text())
    assert content["command"].startswith(
        "export SLMOPS_STORE=$PWD/.slmops/store; slmops run --here --config slmops.yaml;"
    )
    assert content["compute"] == "azureml:cpu-cluster" and content["type"] == "command"
    assert {"slmops.yaml", "mine.py", "data/test.jsonl", "model/config.json"} <= set(job.sent)
    assert (job.file.parent / "code" / "data" / "test.jsonl").is_file()
    two = _ENGINE[:-1] + ', "workers": 2}'
    write_config(tmp_path, **SHORT | {"engine": two})
    assert (
        "torchrun --standalone --nproc-per-node 2" in write_job(Project.load(tmp_path / "slmops.yaml")).file.read_text()
    )


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"engine": "{type: azureml}"}, r"slmops.yaml:8 · engine: what is to run the job is not said — write compute"),
        ({"engine": "{compute: a}"}, r"engine: compute is for Azure ML, but the type is local"),
        ({"engine": "{type: azureml, compute: a, workspace: w}"}, "add subscription, resource_group"),
        ({"engine": "{type: azureml, compute: 'a;b'}"}, r"engine.compute"),
        ({"student": "{model: 'store:mine'}", "teacher": None}, "the store of this machine is not in Azure"),
        ({"teacher": "{model: 'file:modle'}"}, "modle"),
        (
            {"data": "{train: data/labelled.jsonl, test: data/test.jsonl, privacy: all}"},
            "rows are masked as they are read",
        ),
        ({"teacher": _BEHIND_AN_ADDRESS, "student": "{model: 'file:model'}"}, "a key is never part of a job"),
        ({"data": "{train: ../other.jsonl, test: data/test.jsonl}"}, "lies outside the project's folder — copy it"),
        ({"data": "{train: 'HERE/data/labelled.jsonl', test: data/test.jsonl}"}, "is a path of this machine only"),
    ],
)
def test_what_cannot_be_sent_is_refused_by_name(tmp_path: Path, changes: dict[str, str | None], told: str) -> None:
    (tmp_path / "other.jsonl").write_text('{"text": "a", "label": "b"}\n')
    folder = tmp_path / "project"
    filled = {key: value and value.replace("HERE", str(folder)) for key, value in changes.items()}
    with pytest.raises(SlmopsError, match=told):
        write_job(_project(folder, **filled))
