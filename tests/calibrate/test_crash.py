"""Crashes: kill -9 at random moments, then resume: the same results, and no run made twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from budgetplan.calibrate.run_folder import RunFolder
from budgetplan.calibrate.spec import Data
from budgetplan.calibrate.store import Store
from budgetplan.calibrate.trainers import trainer
from budgetplan.calibrate.work import work
from budgetplan.calibrate.worker import DONE
from tests.calibrate.worlds import SHAPE, spec, store_of

LAW = "fake:besiroglu2024,noise=0.01,flicker=0.01,save_every=3"
SEED = 20261  # of the moments


def parent_of_forks() -> str:
    """A process that imports once and forks workers, so that a crash costs no start of Python.

    It reads a line of arguments, forks a worker with them, and tells its process id.
    """
    return """
import os, sys
from budgetplan.calibrate import worker, fake, environment
from budgetplan.laws.law import law
worker.Store, fake.parse, environment.fixed(), law("besiroglu2024")
if sys.argv[1:] == ["real"]:
    import budgetplan.calibrate.train
for line in sys.stdin:
    if line.startswith("wait"):
        _, status = os.waitpid(int(line.split()[1]), 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
        continue
    child = os.fork()
    if not child:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1); os.dup2(null, 2)
        os._exit(worker.main(line.split()))
    print(child, flush=True)
"""


class Workers:
    """Starts workers, and kills them."""

    def __init__(self, *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", parent_of_forks(), *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def _ask(self, line: str) -> int:
        assert self.process.stdin
        assert self.process.stdout
        print(line, file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())

    def start(self, *words: str) -> int:
        return self._ask(" ".join(words))

    def wait(self, child: int) -> int:
        return self._ask(f"wait {child}")

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(timeout=30)
        assert self.process.stdout
        self.process.stdout.close()


def test_fifty_kills_change_nothing(tmp_path: Path) -> None:
    runs_count, kills, pause = 5, 50, 0.01
    shape = {"steps": 40, "evaluate_at": (7, 20, 40)}
    store, runs = store_of(tmp_path / "store", runs_count, **shape)
    names = [run.id for run in runs]
    arguments = [str(store.folder), *names, "--patience", "1000"]
    moments = random.Random(SEED)
    workers = Workers()
    ended_before: dict[str, float] = {}
    killed = 0
    while killed < kills:
        if all(run.state == "finished" for run in runs):  # go on with further runs
            extra = store.add(spec(seed=1000 + len(runs), **shape))
            runs.append(extra)
            arguments.insert(1 + len(names), extra.id)
            names.append(extra.id)
        child = workers.start(*arguments, "--trainer", f"{LAW},pause={pause}")
        if killed % 5:  # every fifth is killed wherever it is, the others at work
            until_at_work(child, runs)
        time.sleep(moments.uniform(0, 0.15))
        os.kill(child, signal.SIGKILL)
        ending = workers.wait(child)
        check_what_is_kept(runs, ended_before)
        if ending == DONE:  # it was done before the kill, which does not count
            continue
        assert ending == -signal.SIGKILL
        killed += 1
    assert workers.wait(workers.start(*arguments, "--trainer", LAW)) == DONE
    workers.close()
    check_what_is_kept(runs, ended_before)
    alone = Store(tmp_path / "alone")
    for run in runs:
        other = alone.add(run.spec)
        work([other], trainer=trainer(LAW))
        assert run.result == other.result
        assert [without_time(each) for each in run.metrics()] == [
            without_time(each) for each in other.metrics()
        ]
    assert sum(not each.ending for run in runs for each in run.attempts()) >= kills / 2


def until_at_work(child: int, runs: list[RunFolder]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for run in runs:
            if run.state == "running" and run.attempts()[-1].holder.get("pid") == child:
                return
        time.sleep(0.002)
    raise AssertionError("the worker took no run")


def check_what_is_kept(runs: list[RunFolder], ended_before: dict[str, float]) -> None:
    """No folder is unreadable, and no result that was there was written again."""
    for run in runs:
        assert run.state in ("planned", "interrupted", "finished")
        steps = [each["step"] for each in run.metrics() if "loss" in each]
        assert steps == list(range(1, len(steps) + 1)), "a step is missing"
        assert run.spec.id == run.id
        path = run.path / "result.json"
        if path.exists():
            changed = path.stat().st_mtime_ns
            assert ended_before.setdefault(run.id, changed) == changed, "made twice"
            assert sum(each.ending == "finished" for each in run.attempts()) <= 1


def without_time(record: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in record.items() if key != "seconds"}


@pytest.mark.parametrize("kills", [3])
def test_kills_of_the_real_trainer_change_nothing(tmp_path: Path, kills: int) -> None:
    pytest.importorskip("torch")
    text = tmp_path / "text.txt"
    text.write_text("".join(f"The square of {each} is {each * each}.\n" for each in range(4000)))
    real = spec(
        architecture=SHAPE, steps=40, evaluate_at=(20, 40), precision="fp32",
        evaluation_tokens=640, data=Data(paths=(str(text),)),
    )  # fmt: skip
    run = Store(tmp_path / "store").add(real)
    arguments = [str(tmp_path / "store"), run.id, "--patience", "1000"]
    arguments += ["--trainer", "tests.calibrate.worlds:saving_often"]
    moments = random.Random(SEED)
    workers = Workers("real")
    reached = 0
    for _ in range(kills):
        child = workers.start(*arguments)
        deadline = time.monotonic() + 60
        aim = min(38, reached + moments.randint(3, 9))  # so that each kill meets another step
        while len(run.metrics()) < aim and time.monotonic() < deadline:
            time.sleep(0.005)
        os.kill(child, signal.SIGKILL)
        assert workers.wait(child) == -signal.SIGKILL
        reached = len(run.metrics())
        assert run.state == "interrupted"
    assert workers.wait(workers.start(*arguments)) == DONE
    other = Store(tmp_path / "alone").add(real)
    alone = [str(tmp_path / "alone"), other.id, *arguments[2:]]
    assert workers.wait(workers.start(*alone)) == DONE
    workers.close()
    assert run.result is not None
    assert other.result is not None
    assert run.result.status == "finished"
    assert run.result.evaluations == other.result.evaluations, "bit by bit"
    assert run.result.train_loss == other.result.train_loss
    assert len(run.attempts()) == kills + 1
    assert any(each.holder["from_step"] > 0 for each in run.attempts())
    losses = [each["loss"] for each in run.metrics() if "loss" in each]
    assert losses == [each["loss"] for each in other.metrics() if "loss" in each]


@pytest.mark.slow
def test_fifty_kills_of_the_real_trainer_change_nothing(tmp_path: Path) -> None:
    """At any moment: while data are opened, a step is taken, a checkpoint written or read."""
    pytest.importorskip("torch")
    text = tmp_path / "text.txt"
    text.write_text("".join(f"The square of {each} is {each * each}.\n" for each in range(4000)))
    real = spec(
        architecture=SHAPE, steps=600, evaluate_at=(150, 300, 600), precision="fp32",
        evaluation_tokens=640, data=Data(paths=(str(text),)),
    )  # fmt: skip
    store = Store(tmp_path / "store")
    runs = [store.add(real.model_copy(update={"seed": seed})) for seed in range(3)]
    arguments = [str(store.folder), *(run.id for run in runs), "--patience", "1000"]
    arguments += ["--trainer", "tests.calibrate.worlds:saving_often"]
    moments = random.Random(SEED)
    workers = Workers("real")
    ended_before: dict[str, float] = {}
    killed = 0
    while killed < 50:
        child = workers.start(*arguments)
        until_at_work(child, runs)
        time.sleep(moments.uniform(0, 0.6))
        os.kill(child, signal.SIGKILL)
        if workers.wait(child) == DONE:
            break
        killed += 1
        check_what_is_kept(runs, ended_before)
    assert killed == 50, "the runs are too short for so many kills"
    assert workers.wait(workers.start(*arguments[:-1], "real")) == DONE
    check_what_is_kept(runs, ended_before)
    alone = Store(tmp_path / "alone")
    others = [alone.add(run.spec) for run in runs]
    words = [str(alone.folder), *(run.id for run in others), "--trainer", "real"]
    assert workers.wait(workers.start(*words)) == DONE
    workers.close()
    for run, other in zip(runs, others, strict=True):
        assert run.result is not None
        assert other.result is not None
        assert run.result.status == "finished"
        assert run.result.evaluations == other.result.evaluations, "bit by bit"
        assert run.result.train_loss == other.result.train_loss
        losses = [each["loss"] for each in run.metrics() if "loss" in each]
        assert losses == [each["loss"] for each in other.metrics() if "loss" in each]
    assert sum(not each.ending for run in runs for each in run.attempts()) == 50
