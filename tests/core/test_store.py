"""The store under kills, damage, full disks, other processes and any order of commits, aliases and gc."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from slmops.core import contents
from slmops.core.artifact import FORMAT, Manifest, Run, hash_file
from slmops.core.errors import BusyError, DamagedError, StoreError
from slmops.core.measurement import Interval, Measurement
from slmops.core.store import Lineage, Store

_RUN = Run("run-1", "slmops run", 7, {"slmops": "0.1"}, {"cores": 2}, "2026-01-01T00:00:00+00:00", 1.5)
_IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # where hundreds of commits wait for no disk

_CHILD = """
import itertools, os, resource, signal, sys
from pathlib import Path
from slmops.core.artifact import Run
from slmops.core.store import Store

RUN = Run("run-1", "slmops run", 7, {}, {}, "2026-01-01T00:00:00+00:00", 1.5)
root, place = Path(sys.argv[1]), Path(sys.argv[2])

def fill(folder, seed):
    (folder / "deep" / "er").mkdir(parents=True)
    for number in range(3):
        (folder / f"{number}.txt").write_text(f"{seed} {number}")
    (folder / "deep" / "er" / "shared.txt").write_text("the same in all")
    return folder

def commit(folder, seed, name=""):
    return Store(root).commit(folder, kind="dataset", key=str(seed), parents={}, made_by=RUN, name=name)
"""

_COMMIT_UNTIL_STEP = """
seed, last = sys.argv[3], int(sys.argv[4])
folder = fill(place / seed, seed)
steps = itertools.count(1)
def die_at_last(event, arguments):
    if event == "open" and not str(arguments[0]).startswith(str(place.parent)):
        return  # an import
    if event.split(".")[0] in ("open", "os", "shutil", "sqlite3", "fcntl") and next(steps) == last:
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(die_at_last)
commit(folder, seed, "kills/dataset")
print(next(steps))
"""

_COMMIT_FOREVER = """
print("ready", flush=True)
for turn in itertools.count():
    seed = f"{sys.argv[3]}-{turn}"
    commit(fill(place / seed, seed), seed, "kills/dataset")
"""

_COMMIT_TOGETHER = """
for turn in range(8):
    folder = fill(place / f"{sys.argv[3]}-{turn}", f"{sys.argv[3] if turn % 2 else 'everyone'} {turn}")
    made = commit(folder, f"{sys.argv[3]} {turn}", "crowd/dataset")
    store = Store(root)
    store.set_alias("crowd/dataset", sys.argv[3], made.id)
    store.open(f"crowd/dataset@{sys.argv[3]}")
"""

_COMMIT_UNDER_A_LIMIT = """
limit = int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
commit(place, "limited")
"""

_USE = """
import time
with Store(root).in_use():
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=_IN_MEMORY) as folder:
        yield Path(folder)


@pytest.fixture
def store(place: Path) -> Store:
    return Store(place / "store")


@pytest.fixture
def commit(store: Store, place: Path) -> Callable[..., Manifest]:
    """Commits files given as {path: text}."""

    def commit_files(files: Mapping[str, str], **told: object) -> Manifest:
        return _commit(store, place / "out", files, **told)

    return commit_files


Commit = Callable[..., Manifest]


# --- what is committed comes back ---


def test_a_committed_folder_comes_back_whole_and_is_gone_from_where_it_was(
    store: Store, commit: Commit, place: Path
) -> None:
    made = commit({"a.txt": "one", "deep/er/b.txt": "two"}, kind="dataset", key="k", name="p/dataset", licence="CC0")
    folder = store.open(made.id)
    assert (folder / "a.txt").read_text() == "one"
    assert (folder / "deep/er/b.txt").read_text() == "two"
    assert not (place / "out").exists()
    assert store.manifest(made.id) == store.find("k") == made
    assert json.loads(folder.with_suffix(".json").read_text())["licence"] == "CC0"
    assert store.verify() == store.orphans() == []


def test_equal_content_has_one_id_one_copy_and_both_keys(store: Store, commit: Commit) -> None:
    first = commit({"a": "same", "b": "same"}, key="one", name="p/a")
    second = commit({"a": "same", "b": "same"}, key="two", name="p/a")
    assert first.id == second.id
    assert [made.key for key in ("one", "two") if (made := store.find(key))] == ["one", "two"]
    assert [entry.version for entry in store.entries()] == [1]
    folder = store.open(first.id)
    assert (folder / "a").samefile(folder / "b")


def test_a_name_counts_versions_of_what_changes_and_never_uses_a_number_twice(store: Store, commit: Commit) -> None:
    for text in ("one", "two", "two", "one"):
        commit({"a": text}, key=text, name="p/a")
    assert [entry.version for entry in store.entries(name="p/a")] == [1, 2, 3]
    store.set_alias("p/a", "kept", "p/a:2")
    store.gc()
    commit({"a": "one"}, key="one", name="p/a")
    assert [(entry.version, entry.aliases) for entry in store.entries(name="p/a")] == [(2, ("kept",)), (4, ())]


def test_every_kind_of_reference_finds_the_artifact(store: Store, commit: Commit) -> None:
    first, second = commit({"a": "1"}, key="1", name="p/a"), commit({"a": "2"}, key="2", name="p/a")
    store.set_alias("p/a", "production", first.id)
    for reference in (first.id, first.id[:8], "p/a:1", "p/a@production", "store:p/a@production", f"store:{first.id}"):
        assert store.manifest(reference).id == first.id
    assert store.manifest("p/a").id == second.id


@pytest.mark.parametrize("reference", ["p/b", "p/a:9", "p/a@production", "../../etc", "", "x" * 10_000, "p/a' OR 1"])
def test_an_unknown_reference_names_what_is_near(store: Store, commit: Commit, reference: str) -> None:
    commit({"a": "1"}, name="p/a")
    with pytest.raises(StoreError, match=r"there is no .* in the store — (did you mean p/a|`slmops list`)") as caught:
        store.manifest(reference)
    assert len(str(caught.value)) < 400


def test_the_beginning_of_several_ids_is_refused(store: Store, commit: Commit) -> None:
    made = commit({"a": "1"})
    _change_index(store, f"INSERT INTO artifacts VALUES ('{made.id[:-1]}x', 'dataset', 1, '')")
    with pytest.raises(StoreError, match="begins the ids of several"):
        store.manifest(made.id[:6])
    with pytest.raises(StoreError, match="there is no"):
        store.manifest(made.id[:5])


def test_measurements_stand_beside_an_artifact_and_know_their_subject(store: Store, commit: Commit) -> None:
    size = Measurement("size", "MB", "", Interval.exact(1.0))
    made = commit({"a": "1"}, measurements=[size])
    speed = Measurement("speed", "tokens/s", "", Interval(10.0, 9.0, 11.0, n=5), {"threads": 2}, "run-2")
    for _ in range(2):
        store.measure(made.id, [speed])
    told = store.manifest(made.id)
    assert [(each.name, each.subject, each.run) for each in told.measurements] == [
        ("size", made.id, "run-1"),
        ("speed", made.id, "run-2"),
    ]
    assert told.id == made.id


def test_lineage_reaches_all_ancestors_and_children_answer_back(store: Store, commit: Commit) -> None:
    data = commit({"a": "data"}, kind="dataset", key="d")
    teacher = commit({"a": "teacher"}, kind="teacher", key="t", parents={"data": data.id})
    student = commit({"a": "s"}, kind="student", key="s", parents={"data": data.id, "teacher": teacher.id})
    tree = store.lineage(student.id)
    assert tree.parents["teacher"].parents["data"] is tree.parents["data"]
    assert tree.parents["data"] == Lineage(data, {})
    assert [child.kind for child in store.children(data.id)] == ["teacher", "student"]


def test_content_made_again_from_its_own_descendant_has_a_finite_lineage(store: Store, commit: Commit) -> None:
    first = commit({"a": "1"}, key="1")
    second = commit({"a": "2"}, key="2", parents={"from": first.id})
    commit({"a": "1"}, key="3", parents={"from": second.id})
    assert store.lineage(first.id).parents["from"].parents == {}
    store.gc()
    assert store.entries() == []


def test_entries_tell_aliases_of_other_names_in_full(store: Store, commit: Commit) -> None:
    commit({"a": "1"}, kind="student", name="p/student")
    commit({"a": "2"}, kind="dataset", key="nameless")
    store.set_alias("p/student", "latest", "p/student")
    store.set_alias("support", "production", "p/student")
    nameless, student = store.entries()
    assert (nameless.name, nameless.version, nameless.key) == ("", 0, "nameless")
    assert student.aliases == ("latest", "support@production")
    assert store.entries(kind="student") == store.entries(name="p/student") == [student]


# --- what must not come in ---


def test_links_devices_and_names_that_do_not_travel_are_refused(store: Store, place: Path) -> None:
    makers: list[Callable[[Path], object]] = [
        lambda folder: (folder / "link").symlink_to("/etc/passwd"),
        lambda folder: (folder / "folder").symlink_to(place),
        lambda folder: os.mkfifo(folder / "pipe"),
        lambda folder: (folder / "a\\b").write_text(""),
        lambda folder: (folder / "a\nb").write_text(""),
        lambda folder: Path(os.fsdecode(os.fsencode(folder) + b"/\xff")).write_text(""),
    ]
    for number, make in enumerate(makers):
        folder = place / str(number)
        folder.mkdir()
        (folder / "good.txt").write_text("good")
        make(folder)
        with pytest.raises(StoreError, match=r"only plain files|would not survive"):
            _commit(store, folder, {})
        assert (folder / "good.txt").exists()
    assert store.entries() == store.orphans() == []


def test_an_empty_or_missing_folder_or_the_stores_own_is_refused(store: Store, commit: Commit, place: Path) -> None:
    made = commit({"a": "1"})
    (place / "empty").mkdir()
    for folder in (place / "empty", place / "missing", store.open(made.id), store.root, place):
        with pytest.raises(StoreError, match=r"no file to commit|own folders"):
            _commit(store, folder, {})
    assert store.verify() == []


def test_unknown_parents_and_impossible_names_are_refused_before_anything_moves(
    store: Store, commit: Commit, place: Path
) -> None:
    with pytest.raises(StoreError, match="the parent data, 00000"):
        commit({"a": "1"}, parents={"data": "0" * 64})
    for name in ("a:1", "a@b", "/a", "a b", "../a"):
        with pytest.raises(StoreError, match="cannot be an artifact's name"):
            commit({"a": "1"}, name=name)
    assert (place / "out" / "a").read_text() == "1"
    assert store.entries() == store.orphans() == []


def test_a_file_with_a_second_name_is_copied_so_that_the_other_name_cannot_change_it(store: Store, place: Path) -> None:
    (place / "mine.txt").write_text("mine")
    (place / "out").mkdir()
    os.link(place / "mine.txt", place / "out" / "a.txt")
    made = _commit(store, place / "out", {})
    (place / "mine.txt").write_text("changed")
    assert (store.open(made.id) / "a.txt").read_text() == "mine"


def test_a_folder_on_another_disk_is_copied_in(store: Store, tmp_path: Path) -> None:
    made = _commit(store, tmp_path / "out", {"a.txt": "far away"})
    assert (store.open(made.id) / "a.txt").read_text() == "far away"
    assert not (tmp_path / "out").exists()


# --- kills ---


def test_a_commit_killed_at_any_step_leaves_no_artifact_and_works_when_run_again(store: Store, place: Path) -> None:
    for seed in ("first", "second"):  # the first has more to do
        steps = int(_run(_COMMIT_UNTIL_STEP, store.root, place / "work", seed, 0).stdout)
    for step in range(1, steps, 4):
        seed = f"killed {step}"
        child = _run(_COMMIT_UNTIL_STEP, store.root, place / "work", seed, step)
        assert child.returncode == -signal.SIGKILL
        assert store.verify() == []
        folder = place / "work" / seed
        made = store.find(seed)
        assert made is None or (store.root / "artifacts" / f"{made.id}.json").exists()
        if made is None or folder.exists():
            again = _commit(store, folder, {}, key=seed)
            assert made is None or made.id == again.id
        found = store.find(seed)
        assert found is not None
        assert sorted(found.files) == ["0.txt", "1.txt", "2.txt", "deep/er/shared.txt"]
        assert (store.open(found.id) / "2.txt").read_text() == f"{seed} 2"
    store.gc()
    assert store.entries() == store.orphans() == store.verify() == []


def test_a_commit_killed_at_any_moment_leaves_whole_artifacts_only(store: Store, place: Path) -> None:
    for turn in range(12):
        with _child(_COMMIT_FOREVER, store.root, place / "work", turn) as child:
            time.sleep(random.uniform(0, 0.1))
            child.send_signal(signal.SIGKILL)
        assert store.verify() == []
        for entry in store.entries():
            assert len(list(store.open(entry.id).rglob("*.txt"))) == 4
    store.set_alias("kills/dataset", "last", "kills/dataset")
    store.gc()
    assert len(store.entries()) == 1
    assert store.orphans() == store.verify() == []


# --- damage ---


def test_a_changed_file_is_found_by_verify_and_by_open_with_the_remedy(store: Store, commit: Commit) -> None:
    made = commit({"a.txt": "right", "b.txt": "good"}, kind="student", key="k")
    _damage(store.open(made.id) / "a.txt", "wrong")
    with pytest.raises(DamagedError, match=rf"a\.txt of student {made.id[:12]} was changed.*slmops run --from student"):
        store.open(made.id)
    (damage,) = store.verify()
    assert (damage.path, damage.artifact) == ("a.txt", made.id)


def test_a_file_is_read_once_by_a_process_until_it_changes(
    store: Store, commit: Commit, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, asked = commit({"a.txt": "right", "b.txt": "good"}), list[Path]()
    monkeypatch.setattr(contents, "_SETTLED_S", -1.0)
    monkeypatch.setattr(contents, "hash_file", lambda path: asked.append(path) or hash_file(path))
    for _ in range(3):
        folder = store.open(made.id)
    assert len(asked) == len(made.files)
    assert store.verify() == [] and len(asked) > len(made.files)  # it reads whatever was read before
    changed = folder / "a.txt"
    changed.chmod(0o644)
    changed.write_bytes(bytes(reversed(changed.read_bytes())))
    with pytest.raises(DamagedError, match="was changed"):
        store.open(made.id)


@pytest.mark.parametrize("hurt", [lambda path: _damage(path, "cut"), Path.unlink], ids=["truncated", "missing"])
def test_a_truncated_or_missing_file_is_found_by_every_look(
    store: Store, commit: Commit, hurt: Callable[[Path], object]
) -> None:
    made = commit({"a.txt": "whole"}, key="k")
    hurt(store.open(made.id) / "a.txt")
    assert store.find("k") is None
    assert [damage.path for damage in store.verify()] == ["a.txt"]
    with pytest.raises(DamagedError, match=r"has 3 bytes instead of 5|is missing"):
        store.open(made.id)


def test_a_link_in_place_of_a_file_is_damage(store: Store, commit: Commit, place: Path) -> None:
    made = commit({"a.txt": "whole"}, key="k")
    (place / "other.txt").write_text("whole")
    path = store.open(made.id) / "a.txt"
    path.unlink()
    path.symlink_to(place / "other.txt")
    assert store.find("k") is None
    assert len(store.verify()) == 1


def test_damage_is_healed_by_committing_again_also_where_others_share_the_file(store: Store, commit: Commit) -> None:
    files = {"shared.txt": "right", "own.txt": "own"}
    made, other = commit(files, key="k"), commit({"theirs.txt": "right"}, kind="teacher", key="t")
    _damage(store.open(made.id) / "shared.txt", "wrong")
    assert len(store.verify()) == 2
    assert commit(files, key="k").id == made.id
    assert store.verify() == store.orphans() == []
    assert (store.open(other.id) / "theirs.txt").read_text() == "right"


def test_a_damaged_index_is_named(store: Store, commit: Commit) -> None:
    commit({"a": "1"})
    for path in store.root.glob("index.sqlite*"):
        path.write_bytes(b"not a database" * 100)
    with pytest.raises(DamagedError, match="index is damaged"):
        store.entries()


@pytest.mark.parametrize("left", [None, b""], ids=["gone", "emptied"])
def test_a_lost_index_is_not_taken_for_an_empty_one(store: Store, commit: Commit, left: bytes | None) -> None:
    made = commit({"a": "1"})
    for path in store.root.glob("index.sqlite*"):
        path.unlink()
    with pytest.raises(StoreError, match="index failed"):
        store.entries()
    assert not list(store.root.glob("index.sqlite*"))
    if left is not None:
        (store.root / "index.sqlite").write_bytes(left)
    with pytest.raises(DamagedError, match="index is lost — restore it from a backup, or move the store away"):
        Store(store.root).gc()
    assert (store.root / "artifacts" / made.id / "a").read_text() == "1"


# --- full disks, newer formats, other processes ---


@pytest.mark.parametrize("limit", [100_000, 4_500, 0], ids=["a file", "the index", "anything"])
def test_a_full_disk_leaves_nothing_half_written_and_the_folder_as_it_was(
    store: Store, place: Path, limit: int
) -> None:
    folder = place / "out"
    folder.mkdir()
    (folder / "a.bin").write_bytes(b"x" * 300_000)
    if limit == 100_000:
        os.link(folder / "a.bin", place / "mine.bin")  # so that it must be copied
    child = _run(_COMMIT_UNDER_A_LIMIT, store.root, folder, limit)
    assert child.returncode == 1
    assert "FullDiskError" in child.stderr or "StoreError" in child.stderr
    assert store.entries() == store.verify() == []
    assert not [path for path in store.orphans() if path.name.endswith(".part")]
    assert (folder / "a.bin").stat().st_size == 300_000
    assert store.open(_commit(store, folder, {}).id)


def test_a_store_written_by_a_newer_version_is_refused_untouched(store: Store, commit: Commit) -> None:
    commit({"a": "1"})
    _change_index(store, f"PRAGMA user_version = {FORMAT + 1}")
    before = {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()}
    with pytest.raises(StoreError, match=r"newer slmops \(format 2, this one knows 1\) — pip install -U slmops"):
        Store(store.root)
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("spoilt", ["../../../outside/bashrc", "/etc/passwd", "c:evil", "a\\\\b"])
def test_a_store_of_a_stranger_leads_nowhere_else(store: Store, commit: Commit, spoilt: str) -> None:
    made = commit({"plain.txt": "1"})
    _change_index(store, f"UPDATE makings SET manifest = replace(manifest, 'plain.txt', '{spoilt}')")
    with pytest.raises(DamagedError, match=r"is no manifest: .* is no file's name"):
        store.open(made.id)


def test_a_store_in_an_impossible_place_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="SLMOPS_STORE"):
        Store(tmp_path / "file" / "store")


def test_processes_that_commit_together_lose_nothing(place: Path) -> None:
    root, names = place / "store", ["ann", "bob", "cem", "dia"]
    children = [_start(_COMMIT_TOGETHER, root, place / "work", name) for name in names]
    assert [child.wait(timeout=60) for child in children] == [0] * 4
    store = Store(root)
    assert [entry.version for entry in store.entries()] == list(range(1, len(store.entries()) + 1))
    assert len({entry.id for entry in store.entries()}) == 4 + 4 * 4
    assert sum(entry.action == "commit" for entry in store.audit()) == 4 * 8
    assert store.verify() == store.orphans() == []


def test_gc_waits_for_nobody_and_deletes_nothing_under_anybodys_hands(store: Store, commit: Commit) -> None:
    commit({"a": "1"})
    with _child(_USE, store.root, store.root) as child:
        with pytest.raises(BusyError, match=f"process {child.pid} has been at work here"):
            store.gc()
        assert len(store.entries()) == 1
        child.send_signal(signal.SIGKILL)
    assert len(store.gc().artifacts) == 1


# --- gc and audit ---


def test_gc_keeps_what_an_alias_or_its_descendant_needs_and_frees_the_rest(store: Store, commit: Commit) -> None:
    data = commit({"a": "data"}, kind="dataset", key="d", name="p/dataset")
    student = commit({"a": "student"}, kind="student", key="s", parents={"data": data.id}, name="p/student")
    dropped = commit({"a": "dropped " * 100, "b": "data"}, kind="student", key="x", name="p/student")
    store.set_alias("p/student", "production", student.id)
    foretold = store.gc(dry_run=True)
    assert [artifact.id for artifact in foretold.artifacts] == [dropped.id]
    assert len(store.entries()) == 3
    assert store.gc() == foretold
    assert 800 < foretold.freed_bytes < 2_000
    assert [entry.name for entry in store.entries()] == ["p/dataset", "p/student"]
    assert store.find("x") is None
    assert commit({"a": "dropped " * 100, "b": "data"}, kind="student", key="x").id == dropped.id
    assert store.verify() == store.orphans() == []


def test_gc_takes_away_what_does_not_belong(store: Store, commit: Commit) -> None:
    made = commit({"a": "1"}, name="p/a")
    store.set_alias("p/a", "kept", "p/a")
    folder = store.open(made.id)
    (folder / "cache").mkdir()
    (folder / "cache" / "left.bin").write_text("left")
    (store.root / "artifacts" / ("0" * 64)).mkdir()
    (store.root / "files" / "zz").symlink_to("/etc")
    assert [path.name for path in store.orphans()] == ["left.bin", "zz"]
    assert store.verify() == []
    store.gc()
    assert [path.name for path in (store.root / "artifacts").iterdir() if path.is_dir()] == [made.id]
    assert not (folder / "cache").exists()


def test_a_removed_alias_keeps_nothing(store: Store, commit: Commit) -> None:
    commit({"a": "1"}, name="p/a")
    store.set_alias("p/a", "kept", "p/a", by="ann")
    store.remove_alias("p/a", "kept", by="bob")
    store.gc()
    assert store.entries() == []
    told = [(entry.action, entry.by) for entry in store.audit()]
    assert told[1:3] == [("set alias", "ann"), ("remove alias", "bob")]
    with pytest.raises(StoreError):
        store.remove_alias("p/a", "kept")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit SET by = 'nobody'",
        "DELETE FROM audit",
        "INSERT OR REPLACE INTO audit SELECT number, at, 'nobody', action, subject, details, previous, hash FROM audit",
    ],
)
def test_audit_rows_cannot_be_changed(store: Store, commit: Commit, change: str) -> None:
    commit({"a": "1"})
    before = store.audit()
    with pytest.raises(sqlite3.IntegrityError, match="the audit log only grows"):
        _change_index(store, change)
    assert store.audit() == before


@pytest.mark.parametrize(
    "change", ["UPDATE audit SET by = 'nobody' WHERE number = 2", "DELETE FROM audit WHERE number = 3"]
)
def test_verify_finds_an_audit_log_changed_around_the_triggers(store: Store, commit: Commit, change: str) -> None:
    for text in ("1", "2", "3"):
        commit({"a": text}, key=text)
    triggers = ("audit_is_never_changed", "audit_is_never_shortened")
    _change_index(store, *(f"DROP TRIGGER {trigger}" for trigger in triggers), change)
    (damage,) = store.verify()
    assert damage.what in ("the audit log was changed at entry 2", "the audit log was changed at entry 3")


# --- any order ---


class AnyOrder(RuleBasedStateMachine):
    """Commits, aliases, damage and gc in any order, against a model of what must still be there."""

    def __init__(self) -> None:
        super().__init__()
        self.place = Path(tempfile.mkdtemp(dir=_IN_MEMORY))
        self.store = Store(self.place / "store")
        self.parents: dict[str, set[str]] = {}  # of every artifact that is there
        self.aliases: dict[tuple[str, str], str] = {}
        self.versions: dict[str, list[str | None]] = {"a": [], "b": []}

    def teardown(self) -> None:
        shutil.rmtree(self.place)

    @rule(text=st.sampled_from("123456"), kind=st.sampled_from(["k", "l"]), name=st.sampled_from("ab"), data=st.data())
    def commit(self, text: str, kind: str, name: str, data: st.DataObject) -> None:
        known = sorted(self.parents)
        parents = data.draw(st.sets(st.sampled_from(known), max_size=2)) if known else set()
        told = {str(number): parent for number, parent in enumerate(sorted(parents))}
        files = {"own.txt": text, "shared.txt": "in all"}
        made = _commit(self.store, self.place / "out", files, kind=kind, key=f"{text}{told}", parents=told, name=name)
        self.parents.setdefault(made.id, set()).update(parents)
        if self.versions[name][-1:] != [made.id]:
            self.versions[name].append(made.id)

    @precondition(lambda self: self.parents)
    @rule(name=st.sampled_from("ab"), alias=st.sampled_from("xy"), data=st.data())
    def set_alias(self, name: str, alias: str, data: st.DataObject) -> None:
        artifact = data.draw(st.sampled_from(sorted(self.parents)))
        self.store.set_alias(name, alias, artifact)
        self.aliases[name, alias] = artifact

    @precondition(lambda self: self.aliases)
    @rule(data=st.data())
    def remove_alias(self, data: st.DataObject) -> None:
        name, alias = data.draw(st.sampled_from(sorted(self.aliases)))
        self.store.remove_alias(name, alias)
        del self.aliases[name, alias]

    @rule()
    def gc(self) -> None:
        foretold = self.store.gc(dry_run=True)
        assert self.store.gc() == foretold
        needed, found = set[str](), set(self.aliases.values())
        while found:
            needed |= found
            found = {parent for artifact in found for parent in self.parents[artifact]} - needed
        assert {artifact.id for artifact in foretold.artifacts} == set(self.parents) - needed
        self.parents = {id: parents for id, parents in self.parents.items() if id in needed}
        self.versions = {name: [id if id in needed else None for id in ids] for name, ids in self.versions.items()}
        assert self.store.orphans() == []

    @precondition(lambda self: self.parents)
    @rule(data=st.data())
    def damage_and_commit_again(self, data: st.DataObject) -> None:
        manifest = self.store.manifest(data.draw(st.sampled_from(sorted(self.parents))))
        folder = self.store.open(manifest.id)
        files = {path: (folder / path).read_text() for path in manifest.files}
        _damage(folder / "shared.txt", "broken")
        assert self.store.verify()
        told = {"kind": manifest.kind, "key": manifest.key, "parents": manifest.parents}
        assert _commit(self.store, self.place / "out", files, **told).id == manifest.id

    @invariant()
    def everything_is_there_and_right(self) -> None:
        assert self.store.verify() == []
        assert {entry.id for entry in self.store.entries()} == set(self.parents)
        for (name, alias), artifact in self.aliases.items():
            assert self.store.open(f"{name}@{alias}").name == artifact
        for name, ids in self.versions.items():
            there = [(number, id) for number, id in enumerate(ids, 1) if id]
            assert [(entry.version, entry.id) for entry in self.store.entries(name=name)] == there


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(
    max_examples=30, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)


def _commit(store: Store, folder: Path, files: Mapping[str, str], **told: object) -> Manifest:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).unlink(missing_ok=True)
        (folder / path).write_text(text)
    return store.commit(folder, **{"kind": "dataset", "key": "k", "parents": {}, "made_by": _RUN, **told})  # type: ignore[arg-type]


def _change_index(store: Store, *statements: str) -> None:
    with closing(sqlite3.connect(store.root / "index.sqlite")) as index, index:
        for statement in statements:
            index.execute(statement)


def _damage(path: Path, text: str) -> None:
    path.chmod(0o644)
    path.write_text(text)


def _start(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _CHILD + code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", _CHILD + code, *map(str, arguments)], capture_output=True, text=True)


def _child(code: str, *arguments: object) -> subprocess.Popen[str]:
    child = _start(code, *arguments)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child
