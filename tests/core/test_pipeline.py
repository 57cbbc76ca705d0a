"""The pipeline: what runs, what does not, and that no kill changes what comes out. Real stores, real processes."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from slmops.core.errors import BusyError, DamagedError, SlmopsError
from slmops.core.files import lock
from slmops.core.measurement import Measurement
from slmops.core.pipeline import Stage, Work, drop_unfinished, run, unfinished
from slmops.core.store import Store
from tests.core.chain import CHOICES, chain, ids, plan_all, ran, run_all


def test_everything_is_made_in_order_and_nothing_again(tmp_path: Path) -> None:
    first = run_all(tmp_path)
    second = run_all(tmp_path)

    assert ran(first) == ["a", "b", "c", "d"]
    assert ran(second) == []
    assert ids(first) == ids(second)


def test_a_plan_says_what_a_run_would_do_and_does_nothing(tmp_path: Path) -> None:
    planned = plan_all(tmp_path)
    assert [(item.stage.name, item.runs) for item in planned] == [(name, True) for name in "abcd"]
    assert Store(tmp_path / "store").entries() == []

    run_all(tmp_path)
    assert {item.why for item in plan_all(tmp_path)} == {"unchanged"}


def test_a_changed_section_runs_its_stage_and_what_follows(tmp_path: Path) -> None:
    before = ids(run_all(tmp_path))
    made = run_all(tmp_path, chain(b="other"))

    assert ran(made) == ["b", "d"]
    assert {name for name in before if ids(made)[name] != before[name]} == {"b", "d"}


def test_what_follows_does_not_run_when_the_content_is_the_same(tmp_path: Path) -> None:
    run_all(tmp_path, chain(b={"says": "same", "note": 1}))
    made = run_all(tmp_path, chain(b={"says": "same", "note": 2}))

    assert ran(made) == ["b"]


def test_a_higher_version_of_the_code_runs_the_stage(tmp_path: Path) -> None:
    run_all(tmp_path)
    stages = [replace(stage, version=2) if stage.name == "c" else stage for stage in chain()]

    assert ran(run_all(tmp_path, stages)) == ["c"]


def test_another_choice_runs_only_the_stages_that_use_it(tmp_path: Path) -> None:
    run_all(tmp_path)

    assert ran(run_all(tmp_path, None, {"threads": 4, "format": "bf16"})) == ["c"]


def test_a_plan_says_what_changed_since_a_stage_was_made_or_begun(tmp_path: Path) -> None:
    asked = {"says": "B", "train": {"rank": 16, "targets": ["all"]}, "seed": 7}
    run_all(tmp_path, chain(b=asked))
    other = {"says": "other", "train": {"rank": 8, "targets": ["all"]}, "seed": 7}
    why = {item.stage.name: item.why for item in plan_all(tmp_path, chain(b=other))}
    assert why == {"a": "unchanged", "b": "says B → other, train.rank 16 → 8", "c": "unchanged", "d": "input changes"}

    begun = tmp_path / "begun"
    with pytest.raises(TypeError):
        run_all(begun, chain(b={"says": 1, "seed": 8}))
    why = {item.stage.name: item.why for item in plan_all(begun, chain(b={"says": "B", "seed": 7}))}
    assert why["b"] == "never made; since it was begun: says 1 → B, seed 8 → 7"


def test_what_was_begun_stays_until_it_is_made_or_dropped(tmp_path: Path) -> None:
    begun, dropped = tmp_path / "begun", tmp_path / "dropped"
    for folder in (begun, dropped):
        with pytest.raises(TypeError):
            run_all(folder, chain(b={"says": 1}))
        run_all(folder)
        assert [work.name[:2] for work in unfinished(folder)] == ["b-"]

    with pytest.raises(TypeError):
        run_all(begun, chain(b={"says": 1}))
    assert (unfinished(begun)[0] / "scratch" / "touched").is_file()
    with lock(dropped / "lock"), pytest.raises(BusyError):
        drop_unfinished(dropped)
    drop_unfinished(dropped)
    assert not unfinished(dropped)


def test_what_another_alias_names_stays_at_gc(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    for alias, stages in (("main", chain()), ("tiny", chain(b="other"))):
        list(run(plan_all(tmp_path, stages), store, tmp_path, "demo", CHOICES, seed=1, aliases=[alias]))

    assert store.gc().artifacts == ()
    main, tiny, latest = (store.manifest(f"demo/d@{alias}").id for alias in ("main", "tiny", "latest"))
    assert main != tiny == latest


def test_going_back_to_an_earlier_config_runs_nothing_and_is_the_latest_again(tmp_path: Path) -> None:
    first = ids(run_all(tmp_path))
    run_all(tmp_path, chain(b="other"))
    back = run_all(tmp_path)

    assert ran(back) == []
    store = Store(tmp_path / "store")
    assert {name: store.manifest(f"demo/{name}@latest").id for name in first} == first
    assert {name: store.manifest(f"demo/{name}").id for name in first} == first
    store.gc()
    assert ran(run_all(tmp_path)) == []


def test_first_runs_that_stage_and_all_that_follow_from_it_again(tmp_path: Path) -> None:
    before = run_all(tmp_path)
    made = run_all(tmp_path, first="b")

    assert ran(made) == ["b", "d"]
    assert ids(made) == ids(before)


def test_only_runs_nothing_but_that_stage(tmp_path: Path) -> None:
    run_all(tmp_path)
    made = run_all(tmp_path, only="b")

    assert [one.stage.name for one in made] == ["b"] == ran(made)


def test_only_needs_its_inputs_to_have_been_made(tmp_path: Path) -> None:
    with pytest.raises(SlmopsError, match="d needs b, c, never made as configured — slmops run"):
        run_all(tmp_path, only="d")
    assert Store(tmp_path / "store").entries() == []


def test_until_runs_a_stage_and_what_it_needs(tmp_path: Path) -> None:
    assert ran(run_all(tmp_path, until="c")) == ["a", "c"]
    assert ran(run_all(tmp_path)) == ["b", "d"]


@pytest.mark.parametrize("asked", ["first", "only", "until"])
def test_a_stage_that_is_not_there_is_named_with_those_that_are(tmp_path: Path, asked: str) -> None:
    with pytest.raises(SlmopsError, match="there is no stage 'teacher' — choose one of a, b, c, d"):
        plan_all(tmp_path, **{asked: "teacher"})


def test_two_projects_make_the_same_ids_whatever_the_time_and_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run_all(tmp_path / "one")
    monkeypatch.setattr("slmops.core.pipeline.describe_machine", lambda: {"cpu": "another"})
    monkeypatch.setattr("slmops.core.pipeline.describe_versions", lambda: {"torch": "9.9"})
    second = run_all(tmp_path / "two")

    assert ids(first) == ids(second)
    assert [one.manifest.key for one in first] == [one.manifest.key for one in second]
    assert first[0].manifest.made_by.machine != second[0].manifest.made_by.machine


def test_measurements_change_no_id(tmp_path: Path) -> None:
    before = run_all(tmp_path)[-1].manifest
    store = Store(tmp_path / "store")
    store.measure(before.id, [Measurement("latency_ms", "ms", "", before.measurements[0].value)])
    again = run_all(tmp_path, first="d")[-1].manifest

    assert again.id == before.id
    assert again.measurements[0].value != before.measurements[0].value
    assert ran(run_all(tmp_path)) == []


def test_the_last_run_of_a_stage_says_how_long_the_next_will_take(tmp_path: Path) -> None:
    assert plan_all(tmp_path)[1].estimate == chain()[1].estimate
    run_all(tmp_path, chain(pause_s=0.1))

    again = plan_all(tmp_path, chain(a="other"))[1]
    assert again.runs
    assert 0.3 <= again.estimate.minutes * 60 < 3
    assert again.estimate.megabytes < 1
    assert plan_all(tmp_path)[1].estimate.minutes == 0
    asked_otherwise = plan_all(tmp_path, chain(b="other"))[1]
    assert asked_otherwise.runs and asked_otherwise.estimate == chain()[1].estimate


def test_what_a_stage_reads_from_the_store_beside_its_inputs_stays_as_long_as_what_it_made(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    base = run_all(tmp_path / "other", [chain()[0]])[0].manifest
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "weights").write_text("w")
    base = store.commit(folder, kind="base", key="k", parents={}, made_by=base.made_by, name="other/base")
    run_all(tmp_path, [replace(chain()[0], stored={"base": base.id})])

    assert store.manifest("demo/a").parents == {"base": base.id}
    assert store.gc().artifacts == ()


def test_a_stage_that_was_killed_took_the_time_of_both_runs(tmp_path: Path) -> None:
    def make(work: Work) -> None:
        begun = work.scratch / "begun"
        time.sleep(0.2)
        if not begun.exists():
            begun.touch()
            raise KeyboardInterrupt
        (work.out / "a").write_text("a")

    stage = replace(chain()[0], make=make)
    with pytest.raises(KeyboardInterrupt):
        run_all(tmp_path, [stage])
    assert run_all(tmp_path, [stage])[0].manifest.made_by.seconds >= 0.4


def test_a_stage_that_fails_leaves_no_artifact_and_the_next_run_begins_there(tmp_path: Path) -> None:
    def fail(work: Work) -> None:
        (work.out / "half.txt").write_text("half")
        raise SlmopsError("it broke")

    stages: list[Stage] = [replace(stage, make=fail) if stage.name == "c" else stage for stage in chain()]
    with pytest.raises(SlmopsError, match="it broke"):
        run_all(tmp_path, stages)

    assert [entry.kind for entry in Store(tmp_path / "store").entries()] == ["a", "b"]
    made = run_all(tmp_path)
    assert ran(made) == ["c", "d"]
    assert "half.txt" not in made[2].manifest.files


def test_a_damaged_input_is_named_before_anything_is_made_of_it(tmp_path: Path) -> None:
    made = run_all(tmp_path)
    damaged = Store(tmp_path / "store").open(made[0].manifest.id) / "1.txt"
    damaged.chmod(0o644)
    damaged.write_text("X" + damaged.read_text()[1:])

    with pytest.raises(DamagedError, match=r"1\.txt of a .* — `slmops run --from a`"):
        run_all(tmp_path, chain(b="other"))
    assert ran(run_all(tmp_path, first="a")) == ["a", "b", "c", "d"]
    assert Store(tmp_path / "store").verify() == []


def test_a_second_run_at_once_is_refused_and_names_the_first(tmp_path: Path) -> None:
    other = _start(tmp_path, pause_s=0.5)
    try:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(BusyError, match=f"process {other.pid} has been at work here"):
            run_all(tmp_path)
        assert plan_all(tmp_path)[0].why == "unchanged"  # looking is allowed
    finally:
        other.kill()
        other.wait()
    assert len(run_all(tmp_path)) == 4


def test_a_run_killed_at_any_moment_ends_with_the_same_ids(tmp_path: Path) -> None:
    expected = ids(run_all(tmp_path / "alone"))
    chance = random.Random(7)
    started = time.perf_counter()
    _start(tmp_path / "timed", pause_s=0.01).wait()
    whole_s = time.perf_counter() - started

    for attempt in range(2):
        folder = tmp_path / str(attempt)
        for _ in range(4):
            run = _start(folder, pause_s=0.01)
            time.sleep(chance.uniform(0.3, 1.1) * whole_s)
            run.kill()
            run.wait()
        made = run_all(folder)
        assert ids(made) == expected
        store = Store(folder / "store")
        assert store.verify() == []
        assert {name: store.manifest(f"demo/{name}@latest").id for name in expected} == expected
        assert not any((folder / "work").iterdir())


def test_a_kill_between_an_artifact_and_its_name_is_mended(tmp_path: Path) -> None:
    made = run_all(tmp_path)
    store = Store(tmp_path / "store")
    store.remove_alias("demo/d", "latest")
    left = tmp_path / "work" / f"d-{made[-1].manifest.key[:12]}" / "scratch"
    left.mkdir(parents=True)

    assert ran(run_all(tmp_path)) == []
    assert store.manifest("demo/d@latest").id == made[-1].manifest.id
    assert not left.exists()


def test_an_unchanged_run_writes_nothing_into_the_audit_log(tmp_path: Path) -> None:
    run_all(tmp_path)
    before = Store(tmp_path / "store").audit()
    run_all(tmp_path)

    assert Store(tmp_path / "store").audit() == before


def _start(folder: Path, pause_s: float) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.core.chain", str(folder), str(pause_s)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root)
