"""Following a training: in TensorBoard, MLflow and Weights & Biases, read back with their own readers; killed, and
where a tracker fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from slmops.core.config import validate
from slmops.core.errors import ConfigError, SlmopsError
from slmops.training.curve import Moment, Point
from slmops.training.trackers import Run, check_trackers
from slmops.training.tracking import followed, read_journal
from slmops.training.tracking_config import TrackingConfig
from tests.training.offline_wandb import history


def run_in(folder: Path, **tracking: Any) -> Run:
    return Run(TrackingConfig(**tracking), folder / "tracking", "tiny", "teacher-1", parameters={"rank": 4})


def moment(step: int) -> Moment:
    held_out = 1.5 / step if step % 3 == 0 else None
    return Moment(Point(step, 1.0 / step, held_out), 0.001 * step, 0.5, examples=8, seconds=0.25)


def follow(run: Run, steps: Iterable[int]) -> list[str]:
    """Tells the moments of `steps`; returns the warnings."""
    warnings: list[str] = []
    with followed(run, warnings.append) as watch:
        for step in steps:
            watch(moment(step))
    return warnings


def test_a_moment_is_told_with_what_the_machine_did(tmp_path: Path) -> None:
    run = run_in(tmp_path)

    follow(run, range(1, 4))

    rows = read_journal(run)
    assert [row.step for row in rows] == [1, 2, 3]
    figures = rows[2].figures
    told = {"loss": 1 / 3, "validation_loss": 0.5, "learning_rate": 0.003, "gradient_norm": 0.5, "examples_per_s": 32.0}
    assert figures == pytest.approx(told | {name: figures[name] for name in ("cpu_percent", "memory_mb")})
    assert figures["memory_mb"] > 10


def in_tensorboard(run: Run) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.folder / "tensorboard" / run.name)).Reload()
    return {name: [(one.step, one.value) for one in events.Scalars(name)] for name in events.Tags()["scalars"]}


def in_mlflow(run: Run) -> dict[str, list[tuple[int, float]]]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{run.folder / 'mlflow.db'}")
    (found,) = client.search_runs([client.get_experiment_by_name(run.project).experiment_id])
    assert found.data.params == {"rank": "4"}
    told = {name: client.get_metric_history(found.info.run_id, name) for name in found.data.metrics}
    return {name: sorted((one.step, one.value) for one in metrics) for name, metrics in told.items()}


def in_wandb(run: Run) -> dict[str, list[tuple[int, float]]]:
    (file,) = (run.folder / "wandb").glob("offline-run-*/*.wandb")
    told: dict[str, list[tuple[int, float]]] = {}
    until = time.monotonic() + 30  # another process writes it, on a busy machine later
    while not (rows := history(file)) and time.monotonic() < until:
        time.sleep(0.2)
    for row in rows:
        for name in row.keys() - {"_step", "_timestamp", "_runtime"}:
            told.setdefault(name, []).append((row["_step"], row[name]))
    return told


_READERS = {"tensorboard": in_tensorboard, "mlflow": in_mlflow, "wandb": in_wandb}


@pytest.mark.parametrize("tracker", _READERS)
def test_a_killed_training_is_one_run_and_no_step_is_told_twice(tracker: str, tmp_path: Path) -> None:
    run = run_in(tmp_path, to=(tracker,))
    killed = subprocess.run([sys.executable, "-m", __name__, str(tmp_path), tracker], cwd=Path(__file__).parents[2])
    assert killed.returncode == -signal.SIGKILL
    time.sleep(1.1)  # TensorBoard orders files by the second in their names

    assert follow(run, range(3, 8)) == []  # from its checkpoint on, after step 2

    told = _READERS[tracker](run)
    assert [step for step, _ in told["loss"]] == [1, 2, 3, 4, 5, 6, 7]
    assert [value for _, value in told["loss"]] == pytest.approx([1 / step for step in range(1, 8)])
    assert [step for step, _ in told["validation_loss"]] == [3, 6]
    assert told.keys() == {"loss", "validation_loss", *read_journal(run)[0].figures}
    assert [row.step for row in read_journal(run)] == [1, 2, 3, 4, 5, 6, 7]


def test_a_line_of_the_journal_that_a_kill_cut_off_is_told_again(tmp_path: Path) -> None:
    run = run_in(tmp_path)
    follow(run, range(1, 4))
    (path,) = run.folder.rglob("*.jsonl")
    path.write_bytes(path.read_bytes()[:-9])

    follow(run, range(2, 5))

    assert [row.step for row in read_journal(run)] == [1, 2, 3, 4]


def test_a_server_that_cannot_be_reached_costs_one_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    run = run_in(tmp_path, to=("mlflow",), mlflow_uri="http://127.0.0.1:9")

    (warning,) = follow(run, range(1, 4))

    assert warning.startswith("warning: mlflow fails and is told no more") and "127.0.0.1" in warning
    assert len(read_journal(run)) == 3


def test_a_full_disk_costs_a_warning_each_and_no_training(tmp_path: Path) -> None:
    code = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    code += "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
    code += "from pathlib import Path; from tests.training.test_tracking import follow, run_in\n"
    code += f"print(*follow(run_in(Path({str(tmp_path)!r}), to=('tensorboard',)), range(1, 99)), sep='\\n')"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])

    assert done.returncode == 0, done.stderr
    told = [line.split()[1] for line in done.stdout.splitlines()]
    assert sorted(told) == ["journal", "tensorboard"], done.stdout


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ({"to": "tensorbord"}, "did you mean tensorboard?"),
        ({"to": "tensorboard", "mlflow_uri": "http://host"}, "mlflow_uri is for mlflow — name mlflow in to"),
        ({"project": "mine"}, "project is for mlflow and wandb"),
        ({"to": "mlflow", "mlflow_uri": "https://me:secret@host"}, "mlflow_uri"),
    ],
)
def test_what_would_do_nothing_or_hold_a_secret_is_refused(written: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        validate(TrackingConfig, written, "slmops.yaml")


def test_online_without_a_key_is_told_before_anything_is_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    with pytest.raises(SlmopsError, match="export WANDB_API_KEY, or write wandb_mode: offline"):
        check_trackers(TrackingConfig(to=("wandb",), wandb_mode="online"))


def test_a_tracker_that_is_not_installed_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(SlmopsError, match=r"pip install 'slmops\[tracking\]'"):
        check_trackers(TrackingConfig(to=("wandb",)))


def _killed_at_step_4(folder: Path, tracker: str) -> None:
    with followed(run_in(folder, to=(tracker,)), print) as watch:
        for step in range(1, 5):
            watch(moment(step))
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    _killed_at_step_4(Path(sys.argv[1]), sys.argv[2])
