"""Slurm for real: a cluster of two nodes on this machine, as `.ci/slurm start FOLDER` makes it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from budgetplan.calibrate.launchers.launcher import Report, Ticket
from budgetplan.calibrate.launchers.slurm import Slurm, SlurmError
from budgetplan.calibrate.pool import Pool
from budgetplan.calibrate.run_folder import RunFolder
from budgetplan.calibrate.store import Store
from budgetplan.calibrate.worker import Work
from tests.calibrate.worlds import spec, store_of

ROOT = Path(__file__).parents[2]
FAST = "fake:besiroglu2024,noise=0.01,save_every=2"
SLOW = f"{FAST},pause=0.05"  # a run of 20 steps takes a second


def why_not() -> str:
    """Why there is no cluster to test with, or '': nobody's real cluster is ever used."""
    if shutil.which("scontrol") is None:
        return "Slurm is not installed: .ci/slurm start FOLDER"
    said = subprocess.run(["scontrol", "ping"], capture_output=True, text=True, check=False)
    if "UP" not in said.stdout:
        return "no slurmctld answers: .ci/slurm start FOLDER, and export SLURM_CONF"
    config = subprocess.run(
        ["scontrol", "show", "config"], capture_output=True, text=True, check=True
    ).stdout
    names = [line.split()[-1] for line in config.splitlines() if line.startswith("ClusterName")]
    return (
        "" if names and names[0].startswith("budgetplan") else f"the cluster is {names}, not ours"
    )


REASON = why_not()
pytestmark = [pytest.mark.slurm, pytest.mark.skipif(bool(REASON), reason=REASON)]


@pytest.fixture(autouse=True)
def one_at_a_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Every test has the cluster to itself, and leaves no job behind."""
    import fcntl

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with (tmp_path.parents[1] / "slurm.lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        yield
        for job in said("squeue", "--noheader", "--format=%A").split():
            subprocess.run(["scancel", job], check=False)
        until(lambda: not said("squeue", "--noheader"))


def said(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def until(true: Callable[[], object], *, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def started(
    tmp_path: Path, *, runs: int, trainer: str, tasks: int, **changes: object
) -> tuple[Pool, list[RunFolder]]:
    _, folders = store_of(tmp_path / "store", runs, **changes)
    work = Work(store=str(tmp_path / "store"), ids=tuple(run.id for run in folders),
                trainer=trainer)  # fmt: skip
    pool = Pool(work=work, launcher=Slurm(tasks=tasks, python=sys.executable, poll_every=0.2))
    assert pool.start()
    return pool, folders


def job(pool: Pool) -> str:
    assert pool.ticket is not None
    return pool.ticket.jobs[0]


def finished_alone(run: RunFolder, tmp_path: Path) -> None:
    """The result is the one of a run that nobody interrupted."""
    from budgetplan.calibrate.trainers import trainer

    other = Store(tmp_path / "alone").add(run.spec)
    assert run.result == trainer(FAST)(run.spec, other)
    assert [each["step"] for each in run.metrics() if "loss" in each] == list(
        range(1, run.spec.steps + 1)
    )


def logs(pool: Pool) -> str:
    return "".join(path.read_text() for path in pool.store.folder.glob("launches/*/*.log"))


def to_the_end(pool: Pool) -> list[Report]:
    """All reports of the pool; a task that was requeued waits two seconds, not two minutes.

    Slurm lets it rest so that its old process is gone from the node; a task that is started at once
    fails with exit code 1, in three of six tries.
    """
    reports = []
    resting: dict[str, float] = {}
    for each in pool.watch(pause=0.2):
        reports.append(each)
        for task in said("squeue", "--noheader", "--array", "--format=%i %r").splitlines():
            name, reason = task.split()[:2]
            since = resting.setdefault(name, time.monotonic())
            if reason == "BeginTime" and time.monotonic() - since > 2:
                subprocess.run(
                    ["scontrol", "update", f"JobId={name}", "StartTime=now"], check=False
                )
            elif reason != "BeginTime":
                del resting[name]
    return reports


def test_an_array_makes_all_runs(tmp_path: Path) -> None:
    pool, runs = started(tmp_path, runs=6, trainer=FAST, tasks=3)
    reports = to_the_end(pool)
    assert [run.state for run in runs] == ["finished"] * 6
    assert all(len(run.attempts()) == 1 for run in runs)
    assert pool.deaths == [], logs(pool)
    assert max(each.working + each.waiting for each in reports) == 3
    finished_alone(runs[0], tmp_path)
    assert pool.ticket is not None
    again = Ticket.read(Path(pool.ticket.folder))
    assert again == pool.ticket
    assert pool.launcher.poll(again).over


def test_a_worker_killed_by_sigkill_is_noticed_and_replaced(tmp_path: Path) -> None:
    pool, runs = started(tmp_path, runs=2, trainer=SLOW, tasks=2)
    first = runs[0]
    until(lambda: len(first.records()) > 4)
    os.kill(int(first.attempts()[-1].holder["pid"]), signal.SIGKILL)
    to_the_end(pool)
    assert any("killed by SIGKILL" in death for death in pool.deaths)
    assert [run.state for run in runs] == ["finished", "finished"]
    tries = first.attempts()
    assert [each.ending for each in tries] == ["", "finished"]
    assert tries[1].holder["from_step"] > 0
    finished_alone(first, tmp_path)


def test_a_task_that_is_requeued_goes_on_where_it_was(tmp_path: Path) -> None:
    pool, (run,) = started(tmp_path, runs=1, trainer=SLOW, tasks=1, steps=40, evaluate_at=())
    until(lambda: len(run.records()) > 10)
    said("scontrol", "requeue", f"{job(pool)}_0")
    to_the_end(pool)
    assert run.state == "finished"
    assert pool.deaths == [], logs(pool)
    assert pool._round == 1, "Slurm brought it back, not the pool"
    tries = run.attempts()
    assert len(tries) == 2
    assert tries[1].holder["from_step"] >= 10
    finished_alone(run, tmp_path)


def test_a_job_of_more_right_pushes_it_aside_and_it_comes_back(tmp_path: Path) -> None:
    pool, (run,) = started(tmp_path, runs=1, trainer=SLOW, tasks=1, steps=40, evaluate_at=())
    until(lambda: len(run.records()) > 5)
    said("sbatch", "--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null",
         "--wrap=sleep 1")  # fmt: skip
    until(lambda: run.state == "interrupted")
    to_the_end(pool)
    assert run.state == "finished"
    assert run.attempts()[1].holder["from_step"] >= 5
    finished_alone(run, tmp_path)


def test_a_warning_before_the_time_limit_saves_and_requeues(tmp_path: Path) -> None:
    pool, (run,) = started(tmp_path, runs=1, trainer=SLOW, tasks=1, steps=40, evaluate_at=())
    until(lambda: len(run.records()) > 10)
    said("scancel", "--signal=USR1", "--batch", f"{job(pool)}_0")
    to_the_end(pool)
    assert run.state == "finished"
    assert pool.deaths == [], logs(pool)
    tries = run.attempts()
    assert [each.ending for each in tries] == ["interrupted", "finished"]
    records = [each["step"] for each in run.records() if "loss" in each]
    assert records == list(range(1, 41)), "not one step was made twice"
    finished_alone(run, tmp_path)


def test_cancelling_writes_a_checkpoint_and_leaves_the_queue(tmp_path: Path) -> None:
    pool, runs = started(tmp_path, runs=8, trainer=SLOW, tasks=8, steps=200, evaluate_at=())
    until(lambda: len(runs[0].records()) > 4)
    pool.cancel()
    to_the_end(pool)
    assert runs[0].state == "interrupted"
    assert runs[0].checkpoint_path.exists()
    assert runs[0].attempts()[-1].ending == "interrupted"
    assert not said("squeue", "--noheader")
    assert "finished" not in {run.state for run in runs}


def test_who_cancels_the_job_by_slurm_is_obeyed(tmp_path: Path) -> None:
    pool, (run,) = started(tmp_path, runs=1, trainer=SLOW, tasks=1, steps=200, evaluate_at=())
    until(lambda: len(run.records()) > 4)
    said("scancel", job(pool))
    to_the_end(pool)
    assert pool.cancelled
    assert pool.deaths == [], logs(pool)
    assert pool._round == 1
    assert run.attempts()[-1].ending == "interrupted"
    assert run.checkpoint_path.exists()
    assert not said("squeue", "--noheader")


def test_what_slurm_refuses_is_told_in_its_words(tmp_path: Path) -> None:
    store_of(tmp_path, 1)
    work = Work(store=str(tmp_path), ids=(spec(seed=0).id,))
    launcher = Slurm(partition="nowhere")
    start = launcher.prepare(work, folder=tmp_path / "launch")
    with pytest.raises(SlurmError, match=r"sbatch: .*[Ii]nvalid partition"):
        launcher.submit(start)


def test_a_fault_that_stays_is_not_tried_again(tmp_path: Path) -> None:
    pool, (run,) = started(tmp_path, runs=1, trainer="fake:no_such_law", tasks=1)
    to_the_end(pool)
    assert pool._round == 1
    assert pool.report.fault
    assert "could not go on: unknown law preset" in pool.deaths[0]
    assert run.state == "planned"
