"""The store: what it promises after kill -9, a full disk, a lost drive and two launchers."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budgetplan.calibrate import durable, lock
from budgetplan.calibrate.durable import StoreError
from budgetplan.calibrate.lock import Held, Lost
from budgetplan.calibrate.result import Evaluation, Result
from budgetplan.calibrate.run_folder import OtherSpec, RunFolder, by_step
from budgetplan.calibrate.spec import Data
from budgetplan.calibrate.store import Store
from budgetplan.core.errors import UnknownName, UserError
from tests.calibrate.worlds import spec, store_of

RESULT = Result(status="finished", evaluations=(Evaluation(20, 10240, 3.5),), train_loss=3.4)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return Store(tmp_path).add(spec())


def record(step: int, **more: Any) -> dict[str, Any]:
    return {"step": step, "tokens": 512 * step, "loss": 4.0 - step / 100, **more}


# --- specs --------------------------------------------------------------------------------------


def test_the_same_spec_is_the_same_run_and_a_changed_one_is_another(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first, again, other = store.add(spec()), store.add(spec()), store.add(spec(seed=1))
    assert first.path == again.path
    assert other.id != first.id
    assert sorted(each.id for each in store.runs()) == sorted([first.id, other.id])
    assert store.get(first.id[:6]).spec == spec()


def test_adding_leaves_a_finished_run_as_it_is(run: RunFolder) -> None:
    run.finish(RESULT)
    again = Store(run.path.parents[1]).add(spec())
    assert again.state == "finished"
    assert again.result == RESULT


def test_data_that_was_moved_is_read_from_its_new_place(tmp_path: Path) -> None:
    def lying(place: str) -> Any:
        return spec(data=Data(paths=(place,), fingerprint="0123"))

    store = Store(tmp_path)
    run = store.add(lying("/old/tokens.bin"))
    moved = store.add(lying("/new/tokens.bin"))
    assert moved.path == run.path
    assert moved.spec.data.paths == ("/new/tokens.bin",)
    with moved.lock():
        moved.finish(RESULT)
    assert store.add(lying("/newest/tokens.bin")).spec.data.paths == ("/new/tokens.bin",)
    assert len(list(store.runs())) == 1


def test_a_run_that_is_not_there_is_named(tmp_path: Path) -> None:
    store, runs = store_of(tmp_path, 2)
    with pytest.raises(UnknownName, match="unknown run 'zz'") as caught:
        store.get("zz")
    assert runs[0].id in caught.value.remedy
    with pytest.raises(UnknownName):
        store.get("")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 1}, "a spec of version 1, older than 2"),
        ({"version": 7}, "a spec of version 7, newer than 2"),
        ({"steps": 21}, "not the one that was planned here"),
        ({"steps": -1}, "steps: Input should be greater than 0"),
        ({"dropout": 0.1}, "version 2, but with dropout, which is not known here"),
        (None, "no spec of a run"),
    ],
)
def test_a_spec_that_was_not_written_here_is_named(
    run: RunFolder, change: dict[str, Any] | None, words: str
) -> None:
    path = run.path / "spec.json"
    content = json.loads(path.read_text())
    path.write_text("{" if change is None else json.dumps({**content, **change}))
    fresh = RunFolder(run.path)
    with pytest.raises(OtherSpec) as caught:
        _ = fresh.spec
    assert words in caught.value.problem
    assert str(path) in caught.value.problem
    assert caught.value.remedy
    assert fresh.state == "planned"  # status does not need the spec


# --- states and results ---------------------------------------------------------------------------


def test_a_run_goes_through_its_states(run: RunFolder) -> None:
    assert run.state == "planned"
    with run.lock():
        assert run.state == "running"
    assert run.state == "interrupted"
    with run.lock():
        run.finish(RESULT)
        assert run.state == "finished"
    assert run.state == "finished"
    assert [each.ending for each in run.attempts()] == ["released", "released"]


def test_a_result_survives_the_way_to_disk(run: RunFolder) -> None:
    result = Result(
        status="diverged",
        evaluations=(Evaluation(10, 5120, math.inf),),
        train_loss=math.nan,
        reason="loss is NaN at step 11",
    )
    run.finish(result)
    json.loads((run.path / "result.json").read_text(), parse_constant=pytest.fail)  # plain JSON
    back = run.result
    assert back is not None
    assert run.state == "diverged"
    assert back.evaluations == ((10, 5120, math.inf),)
    assert back.train_loss is not None
    assert math.isnan(back.train_loss)


def test_a_finished_run_is_never_written_again(run: RunFolder) -> None:
    run.finish(RESULT)
    with pytest.raises(StoreError, match="has ended before"):
        run.finish(Result(status="failed"))
    assert run.result == RESULT


def test_a_failed_run_can_be_tried_again_and_its_failure_is_kept(run: RunFolder) -> None:
    with pytest.raises(StoreError, match="is planned, not failed"):
        run.retry()
    run.finish(Result(status="failed", reason="out of memory"))
    run.retry()
    assert run.state == "planned"
    assert "out of memory" in (run.path / "failure-1.json").read_text()


@pytest.mark.parametrize("damage", ["", "{", '{"status": "fini', "[]", '{"status": "well"}'])
def test_a_damaged_result_is_not_taken_for_one(run: RunFolder, damage: str) -> None:
    (run.path / "result.json").write_text(damage)
    assert run.state == "planned"
    assert run.result is None
    assert run.remarks
    with run.lock():
        run.finish(RESULT)
    assert run.result == RESULT


# --- metrics --------------------------------------------------------------------------------------


def test_records_come_back_as_they_were(run: RunFolder) -> None:
    told: list[object] = []
    run.listeners.append(told.append)
    records = [record(1), record(2, gradient_norm=math.inf)]
    for each in records:
        run.append(each)
    assert run.metrics() == records
    assert told == records
    run.append(record(3, loss=math.nan))
    assert math.isnan(run.metrics()[-1]["loss"])
    for line in (run.path / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)


@given(cut=st.integers(0, 400), junk=st.binary(max_size=20))
@settings(max_examples=60, deadline=None)
def test_whatever_is_cut_off_the_whole_records_before_it_are_read(
    tmp_path_factory: pytest.TempPathFactory, cut: int, junk: bytes
) -> None:
    run = RunFolder(tmp_path_factory.mktemp("run"))
    for step in range(1, 6):
        run.append(record(step))
    path = run.path / "metrics.jsonl"
    data = path.read_bytes()
    kept = data[: min(cut, len(data))]
    junk = junk.replace(b"\n", b"")
    path.write_bytes(kept + junk)
    whole = kept.count(b"\n")
    assert run.metrics()[:whole] == [record(step) for step in range(1, whole + 1)]
    if (kept + junk)[-1:] not in (b"", b"\n"):
        assert "cut short" in run.remarks[-1]
    with run.lock():  # the next writer begins on a line of its own
        run.append(record(9))
    fresh = RunFolder(run.path)
    assert fresh.metrics() == [record(step) for step in range(1, whole + 1)] + [record(9)]
    assert fresh.remarks == []


def test_a_line_of_zeros_as_a_lost_power_leaves_it_is_left_out_and_said(run: RunFolder) -> None:
    run.append(record(1))
    with (run.path / "metrics.jsonl").open("ab") as file:
        file.write(b"\0" * 30 + b"\n")
    run.append(record(2))
    assert [each["step"] for each in run.metrics()] == [1, 2]
    assert run.remarks == ["metrics.jsonl, line 2: no record, left out"]


def test_steps_made_again_after_a_resume_count_once() -> None:
    first = [
        {"step": 1, "loss": 5.0},
        {"step": 2, "loss": 4.0},
        {"step": 2, "validation_loss": 4.5},
    ]
    again = [
        {"step": 2, "loss": 4.1},
        {"step": 2, "validation_loss": 4.6},
        {"step": 3, "loss": 3.0},
    ]
    assert by_step([*first, *again]) == [first[0], *again]


# --- one writer -----------------------------------------------------------------------------------


def test_a_run_has_one_writer(run: RunFolder) -> None:
    with run.lock(), pytest.raises(Held, match=f"written by process {os.getpid()} on"):
        RunFolder(run.path).lock().__enter__()
    with run.lock():
        with pytest.raises(Held):
            RunFolder(run.path).finish(RESULT)
        assert run.result is None


def test_the_place_of_a_killed_writer_is_taken_at_once(run: RunFolder) -> None:
    script = (
        "import sys, time; from budgetplan.calibrate.run_folder import RunFolder; "
        "from pathlib import Path; lock = RunFolder(Path(sys.argv[1])).lock(); lock.__enter__(); "
        "print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(run.path)], stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"held\n"
        assert run.state == "running"
        with pytest.raises(Held, match=f"process {writer.pid}"), run.lock():
            pass
        writer.send_signal(signal.SIGKILL)
    assert run.state == "interrupted"
    with run.lock() as held:
        assert held.number == 2
    assert [each.ending for each in run.attempts()] == ["", "released"]


def test_a_recycled_process_id_is_no_life_sign(run: RunFolder) -> None:
    with run.lock() as held:
        mine = {**held.holder, "birth": "1"}  # the same pid, born at another time
    (run.path / "attempt-2.json").write_text(json.dumps(mine))
    assert run.state == "interrupted"


def test_a_writer_on_another_machine_is_judged_by_its_heartbeat(run: RunFolder) -> None:
    path = run.path / "attempt-1.json"
    path.write_text(json.dumps({"host": "elsewhere", "name": "node7", "pid": 1, "birth": "1"}))
    assert run.state == "running"
    with pytest.raises(Held, match="process 1 on node7"), run.lock():
        pass
    silent = time.time() - lock.SILENCE - 1
    os.utime(path, (silent, silent))
    assert run.state == "interrupted"
    with run.lock() as held:
        assert held.number == 2


def test_the_heart_beats(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "BEAT", 0.01)
    with run.lock() as held:
        os.utime(held.path, (1, 1))
        deadline = time.monotonic() + 10
        while held.path.stat().st_mtime < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert held.path.stat().st_mtime > 2


def test_who_was_taken_for_dead_writes_no_more(run: RunFolder) -> None:
    with run.lock() as held:
        (run.path / "attempt-2.json").write_text("{}")  # as another machine does
        with pytest.raises(Lost, match="no longer ours: another process took it over"):
            run.finish(RESULT)
        with pytest.raises(Lost):
            run.append(record(1))
        assert held.number == 1
    assert run.result is None
    assert json.loads((run.path / "attempt-1.json").read_text()).get("ending") is None


def test_of_many_who_take_over_at_once_one_gets_the_run(run: RunFolder) -> None:
    (run.path / "attempt-1.json").write_text(json.dumps({"ending": "interrupted"}))
    barrier = threading.Barrier(16)
    got: list[int] = []

    def take() -> None:
        barrier.wait()
        with contextlib.suppress(Held):
            got.append(lock.Lock(run.path).number)

    threads = [threading.Thread(target=take) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [2]


# --- drives ---------------------------------------------------------------------------------------


def full(monkeypatch: pytest.MonkeyPatch, *, after: int, code: int = errno.ENOSPC) -> None:
    """Let a disk take so many more bytes; the write that meets its end is short, as a kernel's."""
    room = [after]
    real = os.write

    def write(handle: int, data: bytes) -> int:
        if room[0] <= 0:
            raise OSError(code, os.strerror(code))
        written = real(handle, bytes(data)[: room[0]])
        room[0] -= written
        return written

    monkeypatch.setattr(os, "write", write)


@pytest.mark.parametrize("room", [0, 1, 30])
def test_a_full_disk_loses_no_record_and_no_result(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    run.append(record(1))
    before = (run.path / "metrics.jsonl").read_bytes()
    with monkeypatch.context() as patched:
        full(patched, after=room)
        with pytest.raises(StoreError, match=r"metrics\.jsonl: the disk is full"):
            run.append(record(2))
    assert (run.path / "metrics.jsonl").read_bytes() == before
    with monkeypatch.context() as patched:
        full(patched, after=room)
        with pytest.raises(StoreError, match=r"result\.json: the disk is full"):
            run.finish(RESULT)
    assert sorted(path.name for path in run.path.iterdir()) == ["metrics.jsonl", "spec.json"]
    run.append(record(2))
    run.finish(RESULT)
    assert len(run.metrics()) == 2
    assert run.result == RESULT


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.EROFS, "the drive is read-only"),
        (errno.EDQUOT, "quota"),
        (errno.EACCES, "permission denied"),
        (errno.ESTALE, "the network drive was lost"),
        (errno.EIO, "the drive fails"),
    ],
)
def test_every_fault_of_a_drive_is_told(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, code: int, words: str
) -> None:
    full(monkeypatch, after=0, code=code)
    with pytest.raises(StoreError, match=words) as caught:
        run.append(record(1))
    assert str(caught.value).count("\n") <= 2
    assert isinstance(caught.value, UserError)


def test_a_store_says_whether_it_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    store.probe()
    assert list(tmp_path.iterdir()) == []
    full(monkeypatch, after=1000)
    with pytest.raises(StoreError, match="the disk is full"):
        store.probe()
    assert list(tmp_path.iterdir()) == []


def test_a_real_limit_of_the_kernel_is_met_like_a_full_disk(run: RunFolder) -> None:
    """RLIMIT_FSIZE: a file may grow to 300 bytes and no further."""
    script = (
        "import resource, signal, sys; from pathlib import Path; "
        "from budgetplan.calibrate.run_folder import RunFolder; "
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300)); "
        "run = RunFolder(Path(sys.argv[1]))\n"
        "for step in range(100): run.append({'step': step, 'loss': 1.0})"
    )
    assert resource.RLIMIT_FSIZE is not None
    done = subprocess.run(
        [sys.executable, "-c", script, str(run.path)], capture_output=True, text=True, check=False
    )
    assert "StoreError" in done.stderr
    assert "the file may grow no further" in done.stderr
    steps = [each["step"] for each in run.metrics()]
    assert steps == list(range(len(steps)))
    assert len(steps) > 5
    assert run.remarks == []  # no half line was left


def test_a_drive_that_vanishes_is_told(run: RunFolder, tmp_path: Path) -> None:
    home = tmp_path / "runs"
    with pytest.raises(StoreError, match="the folder is gone"), run.lock():
        home.rename(tmp_path / "unmounted")
        run.append(record(1))
    with pytest.raises(StoreError, match="the folder is gone"):
        run.metrics()
    with pytest.raises(StoreError, match="the folder is gone"):
        _ = run.state
    (tmp_path / "unmounted").rename(home)
    assert run.state == "running"  # this very process may still write: it is alive
    assert list(Store(tmp_path).states()) == [run.id]


def test_no_store_and_an_empty_one_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="the folder is gone"):
        list(Store(tmp_path / "nowhere").runs())
    assert list(Store(tmp_path).runs()) == []


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StoreError, match=r"cannot create .*file"):
        Store(tmp_path / "file").add(spec())


def test_what_a_crash_leaves_beside_the_files_is_swept_up(run: RunFolder) -> None:
    (run.path / ".result.json.77.new").write_text("{")
    (run.path.parent / f".{run.id}.77.1").mkdir()
    with run.lock():
        assert not (run.path / ".result.json.77.new").exists()
    assert [each.id for each in Store(run.path.parents[1]).runs()] == [run.id]


def test_a_lost_line_is_not_lost_when_the_write_is_torn(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel may take a part of a write: the rest follows."""
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: real(handle, bytes(data)[:7]))
    run.append(record(1))
    durable.write(run.path / "note.json", json.dumps({"a": "b" * 100}))
    assert run.metrics() == [record(1)]
    assert json.loads((run.path / "note.json").read_text()) == {"a": "b" * 100}
