"""The command line: exit codes, errors for people, JSON for programs, and nothing heavy before it is needed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest

from slmops.core.files import wait_for_lock
from tests.stages.tiny_project import write_project

SLMOPS = str(Path(sys.executable).with_name("slmops"))


def slmops(*words: str, folder: Path, program: str = SLMOPS) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *words], cwd=folder, capture_output=True, text=True, check=False)


def test_help_and_a_plan_import_nothing_heavy(tmp_path: Path) -> None:
    heavy = "torch, transformers, onnxruntime_genai, sklearn, matplotlib"
    code = (
        "import sys\nsys.argv = ['slmops', '--help']\nimport slmops.cli\n"
        "try:\n    slmops.cli.main()\nexcept SystemExit:\n    pass\n"
        f"print([name for name in '{heavy}'.split(', ') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("words", [("nonsense",), ("alias", "no-alias-sign"), ("run", "--from"), ()])
def test_wrong_usage_ends_with_2(words: tuple[str, ...], tmp_path: Path) -> None:
    assert slmops(*words, folder=tmp_path).returncode == 2


def test_an_error_is_one_line_with_its_place_and_remedy(tmp_path: Path) -> None:
    (tmp_path / "slmops.yaml").write_text("name: x\nstudent: {from: teacher, layer: 3}\n")
    done = slmops("plan", folder=tmp_path)
    assert done.returncode == 1
    assert "slmops.yaml:2 · student.layer: there is no such field — did you mean layers?" in done.stderr
    assert "Traceback" not in done.stderr


def test_debug_shows_where_an_error_was_raised(tmp_path: Path) -> None:
    assert "Traceback" in slmops("plan", "--debug", folder=tmp_path).stderr


def test_an_error_of_the_system_is_one_line_with_the_files_name(tmp_path: Path) -> None:
    (tmp_path / "a-file").write_text("")
    done = slmops("init", "a-file/project", folder=tmp_path)
    assert (done.returncode, done.stderr) == (1, "error: a-file/project: Not a directory\n")
    assert "Traceback" in slmops("init", "a-file/project", "--debug", folder=tmp_path).stderr


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_command_says_how_to_go_on(tmp_path: Path, by: signal.Signals) -> None:
    slmops("init", ".", "--name", "held", folder=tmp_path)
    held = tmp_path / ".slmops" / "store" / "lock"
    with wait_for_lock(held):
        child = subprocess.Popen(
            [SLMOPS, "gc"],
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(by, signal.SIG_DFL),  # a job in the background ignores it
        )
        while child.poll() is None and held not in map(Path.resolve, Path(f"/proc/{child.pid}/fd").iterdir()):
            time.sleep(0.02)
        child.send_signal(by)
        _, said = child.communicate(timeout=10)
    assert (child.returncode, said) == (130, "interrupted; the same command goes on where it was\n")


def test_init_writes_a_project_once(tmp_path: Path) -> None:
    first = slmops("init", "my-task", "--json", folder=tmp_path)
    assert Path(json.loads(first.stdout)["config"]).name == "slmops.yaml"
    again = slmops("init", "my-task", folder=tmp_path)
    assert again.returncode == 1
    assert "is there already" in again.stderr


def test_commands_on_an_empty_store_print_json(tmp_path: Path) -> None:
    slmops("init", ".", "--name", "empty", folder=tmp_path)
    assert json.loads(slmops("list", "--json", folder=tmp_path).stdout) == []
    assert json.loads(slmops("verify", "--json", folder=tmp_path).stdout) == {"damages": []}
    assert json.loads(slmops("gc", "--json", folder=tmp_path).stdout)["artifacts"] == []
    assert "properties" in json.loads(slmops("schema", "--json", folder=tmp_path).stdout)


def test_gc_names_what_a_killed_run_had_begun_and_deletes_it_when_asked(tmp_path: Path) -> None:
    slmops("init", ".", "--name", "begun", folder=tmp_path)
    begun = ["search/work/student-123", "verdict/work/student-123", "work/student-123"]
    for name in begun:
        scratch = tmp_path / ".slmops" / name / "scratch"
        scratch.mkdir(parents=True)
        (scratch / "checkpoint").write_bytes(bytes(1_000_000))

    assert "unfinished work/student-123 (1.0 MB; stays without --unfinished)" in slmops("gc", folder=tmp_path).stdout
    assert "would free 3.0 MB" in slmops("gc", "--unfinished", "--dry-run", folder=tmp_path).stdout
    assert scratch.is_dir()
    told = json.loads(slmops("gc", "--unfinished", "--json", folder=tmp_path).stdout)
    assert (told["unfinished"], told["freed_bytes"]) == (begun, 3_000_000)
    assert not list((tmp_path / ".slmops").glob("**/scratch"))


def test_a_project_that_is_a_link_to_another_has_a_store_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "link").mkdir()
    slmops("init", ".", "--name", "own", folder=tmp_path / "own")
    (tmp_path / "link" / "slmops.yaml").symlink_to(tmp_path / "own" / "slmops.yaml")
    begun = tmp_path / "own" / ".slmops" / "work" / "student-123"
    begun.mkdir(parents=True)
    assert slmops("gc", "--unfinished", folder=tmp_path / "link").returncode == 0
    assert begun.is_dir() and (tmp_path / "link" / ".slmops" / "store").is_dir()


def test_what_a_console_cannot_show_ends_no_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    done = slmops("init", "…", "--name", "here", folder=tmp_path)
    assert done.returncode == 0 and (tmp_path / "…" / "slmops.yaml").is_file() and "\\u2026" in done.stdout


def test_no_text_commands_the_terminal(tmp_path: Path) -> None:
    row = json.dumps({"text": "hello there", "label": "\x1b]52;c;ZXZpbA==\x1b\\\x9b31m"})
    (tmp_path / "rows.jsonl").write_text(f"{row}\n" * 3)
    for how in ((), ("--json",)):
        said = slmops("data", "check", "rows.jsonl", *how, folder=tmp_path)
        assert "ZXZpbA" in said.stdout + said.stderr
        assert not set("\x1b\x9b") & set(said.stdout + said.stderr)


def test_what_came_with_a_model_is_no_project(tmp_path: Path) -> None:
    (tmp_path / "slmops.json").write_text("{}")
    (tmp_path / "slmops.yaml").write_text("task: evil:Task")
    (tmp_path / "evil.py").write_text("import pathlib; pathlib.Path('ran').touch()")
    assert slmops("ask", "file:.", "hi", folder=tmp_path).returncode == 1
    assert not (tmp_path / "ran").exists()


def test_the_version_is_told(tmp_path: Path) -> None:
    assert slmops("--version", folder=tmp_path).stdout == f"slmops {version('slmops')}\n"


def test_doctor_names_what_mends_a_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    too_old = tmp_path / "site" / "transformers-4.57.0.dist-info"
    too_old.mkdir(parents=True)
    (too_old / "METADATA").write_text("Metadata-Version: 2.1\nName: transformers\nVersion: 4.57.0\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(too_old.parent), *filter(None, sys.path)]))
    monkeypatch.setenv("SLMOPS_STORE", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("COLUMNS", "300")
    done = slmops("doctor", "--json", folder=tmp_path)
    looked_at = {finding["what"]: finding for finding in json.loads(done.stdout)}
    assert {"python", "machine", "extra privacy", "extra names", "disk", "disk of models", "pip"} <= looked_at.keys()
    assert all(finding["well"] or finding["remedy"] for finding in looked_at.values())
    assert looked_at["extra train"]["says"] == "transformers 4.57.0 is not >=5.23"
    assert "pip install 'slmops[train]'" in slmops("doctor", folder=tmp_path).stdout
    assert looked_at["extra train"]["remedy"] == "pip install 'slmops[train]'"
    assert str(tmp_path / "elsewhere") in looked_at["disk of the store"]["says"]
    assert done.returncode == 1


def test_a_model_reference_of_no_known_form_is_explained(tmp_path: Path) -> None:
    done = slmops("ask", "nowhere", "hello", folder=tmp_path)
    assert done.returncode == 1
    assert "'nowhere' is no model reference" in done.stderr


def test_data_check_ends_with_1_where_something_would_spoil_learning(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("message,intent\nWhere is it?,track\nMy card was charged twice,refund\n")
    good = slmops("data", "check", "train.csv", "--json", folder=tmp_path)
    report = json.loads(good.stdout)
    assert good.returncode == 0
    assert report["files"][0]["labels"] == {"track": 1, "refund": 1}
    assert [finding["severity"] for finding in report["findings"]] == ["warning"]  # few rows
    with (tmp_path / "train.csv").open("a") as file:
        file.write("where is it,refund\n")
    bad = slmops("data", "check", "train.csv", folder=tmp_path)
    assert bad.returncode == 1
    assert "error: train.csv: the same text with different labels (1)" in bad.stdout


def test_an_adapter_learns_by_a_loss_of_ones_own(tmp_path: Path, warm: Path) -> None:
    write_project(tmp_path)
    assert slmops("new", "loss", "Mine", folder=tmp_path).returncode == 0
    learn = ("adapter", "train", "file:model", "--data", "data/labelled.jsonl")
    learn += ("--train", "{loss: 'mine:Mine', epochs: 1, rank: 2}")
    program = str(warm.with_name("slmops"))
    made = slmops(*learn, "--out", "fitted", folder=tmp_path, program=program)
    assert made.returncode == 0, made.stderr
    (tmp_path / "mine.py").unlink()
    gone = slmops(*learn, "--out", "other", folder=tmp_path, program=program)
    assert gone.returncode == 1 and "No module named 'mine'" in gone.stderr
