"""The worker: many runs in one process; signals, failures, deadly runs and the allowance."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from budgetplan.calibrate.allowance import (
    flops_of,
    training_flops,
)
from budgetplan.calibrate.environment import surroundings
from budgetplan.calibrate.fake import parse
from budgetplan.calibrate.result import Result
from budgetplan.calibrate.run_folder import RunFolder
from budgetplan.calibrate.spec import RunSpec
from budgetplan.calibrate.trainers import trainer
from budgetplan.calibrate.work import Stop, work
from budgetplan.calibrate.worker import DONE, FAULT, LATER, Work, main
from budgetplan.core.errors import BadValue, UnknownName
from budgetplan.flops import closed_form
from tests.calibrate.worlds import SHAPE, fake, spec, store_of, truth

LAW = "fake:besiroglu2024"


# --- fake runs ---


def test_a_fake_run_measures_its_truth(tmp_path: Path) -> None:
    _, (run,) = store_of(tmp_path, 1)
    result = fake()(run.spec, run)
    # 10 and 20 steps of 8 x 64 tokens: 2 + 100 / sqrt(5120), 2 + 100 / sqrt(10240)
    assert [each.loss for each in result.evaluations] == pytest.approx(
        [3.397542, 2.988212], abs=1e-6
    )
    assert [each.tokens for each in result.evaluations] == [5120, 10240]
    per_sequence = closed_form.flops_per_step(SHAPE, seq_len=64)
    # 20 steps of 8 sequences, and 2 forward passes over 640 tokens
    assert result.flops_spent == 20 * 8 * per_sequence + 2 * 10 * per_sequence / 3
    assert result.flops_spent == flops_of(run.spec)


def test_noise_is_that_of_the_run_and_has_the_size_asked_for(tmp_path: Path) -> None:
    maker = fake(noise=0.05, flicker=0.01)
    specs = [spec(seed=seed) for seed in range(400)]
    off = [math.log(maker.loss(each, 20) / truth(each, 10240)) for each in specs]
    mean = sum(off) / 400
    spread = math.sqrt(sum((each - mean) ** 2 for each in off) / 399)
    # standard errors: 0.051 / sqrt(400) = 0.0026 of the mean, 0.051 / sqrt(800) = 0.0018
    assert abs(mean) < 4 * 0.0026
    assert abs(spread - math.hypot(0.05, 0.01)) < 4 * 0.0018
    assert maker.loss(specs[0], 20) == maker.loss(specs[0], 20)
    assert fake(noise=0.05, seed=1).loss(specs[0], 20) != fake(noise=0.05).loss(specs[0], 20)


def test_a_fake_run_diverges_where_it_is_told_to(tmp_path: Path) -> None:
    _, (run,) = store_of(tmp_path, 1, learning_rate=0.5)
    result = fake(diverge_above=0.1)(run.spec, run)
    assert result.status == "diverged"
    assert result.reason == "loss is NaN at step 11"
    assert len(result.evaluations) == 1
    assert result.flops_spent < flops_of(run.spec)


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("fake:besiroglu2023", UnknownName, "Did you mean besiroglu2024"),
        ("fake:besiroglu2024,nois=1", UnknownName, "Did you mean noise"),
        ("fake:besiroglu2024,noise=loud", BadValue, "noise=loud is no number"),
        ("fake:kaplan2020", BadValue, "gives no loss of any run"),
        ("real_one", UnknownName, "trainer"),
        ("no_such_module:train", BadValue, "No module named 'no_such_module'"),
        ("json:train", BadValue, "train"),
    ],
)
def test_a_trainer_that_is_not_there_is_named(text: str, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        trainer(text)


def test_a_law_makes_the_losses_of_fake_runs(tmp_path: Path) -> None:
    """Besiroglu et al. 2024: 1.8172 + 482.01 / N^0.3478 + 2085.43 / D^0.3658."""
    _, (run,) = store_of(tmp_path, 1)
    sizes = SHAPE.params(seq_len=64)
    loss = parse("besiroglu2024").loss(run.spec, 20)
    by_hand = 1.8172 + 482.01 / sizes.total**0.3478 + 2085.43 / 10240**0.3658
    assert loss == pytest.approx(by_hand, rel=2e-3)


# --- work ---


def test_every_run_is_made_once(tmp_path: Path) -> None:
    _, runs = store_of(tmp_path, 3)
    calls: list[str] = []

    def counting(spec: RunSpec, run: RunFolder, **more: Any) -> Result:
        calls.append(run.id)
        return fake()(spec, run, **more)

    told: list[str] = []
    first = work(runs, trainer=counting, tell=told.append)
    again = work(runs, trainer=counting)
    assert sorted(calls) == sorted(run.id for run in runs)
    assert first.made == [run.id for run in runs]
    assert again.made == []
    assert again.ended == first.ended == {run.id: "finished" for run in runs}
    assert told[0].startswith(f"[1/3] {runs[0].id} finished in ")
    assert told[0].endswith("loss 2.9882")


def test_a_run_that_fails_is_recorded_and_the_next_one_is_made(tmp_path: Path) -> None:
    _, runs = store_of(tmp_path, 4)

    def sometimes(spec: RunSpec, run: RunFolder, **more: Any) -> Result:
        if run.id == runs[0].id:
            run.append({"step": 1, "tokens": 512, "loss": 5.0, "seconds": 0.5})
            raise RuntimeError("shapes cannot be multiplied\nand much more")
        if run.id == runs[1].id:
            raise BadValue("the data is shorter than a batch", "Give more data.")
        if run.id == runs[2].id:
            raise SystemExit(3)  # as a user's own script might
        return fake()(spec, run, **more)

    tally = work(runs, trainer=sometimes)
    assert [run.state for run in runs] == ["failed", "failed", "failed", "finished"]
    reasons = [run.result.reason for run in runs[:3] if run.result]
    assert reasons[0] == "RuntimeError: shapes cannot be multiplied"
    assert reasons[1] == "the data is shorter than a batch. Give more data."
    assert reasons[2] == "SystemExit: 3"
    assert "shapes cannot be multiplied" in (runs[0].path / "traceback.txt").read_text()
    assert runs[0].result is not None
    assert runs[0].result.flops_spent == training_flops(runs[0].spec) / 20
    assert runs[0].result.seconds == 0.5
    assert list(tally.ended.values()) == ["failed", "failed", "failed", "finished"]
    assert tally.left == []


def test_the_surroundings_are_written_down(tmp_path: Path) -> None:
    _, (run,) = store_of(tmp_path, 1)
    work([run], trainer=fake())
    told = json.loads((run.path / "environment.json").read_text())
    assert told["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"budgetplan", "numpy"} <= set(told["packages"])
    assert set(told) == set(surroundings())


def test_a_stop_between_two_steps_leaves_the_rest_for_later(tmp_path: Path) -> None:
    _, runs = store_of(tmp_path, 3)
    stop = Stop()

    def stopping(spec: RunSpec, run: RunFolder, **more: Any) -> Result:
        if run.id == runs[1].id:
            stop.reason = "SIGTERM"
        return fake()(spec, run, **more)

    tally = work(runs, trainer=stopping, stop=stop)
    assert [run.state for run in runs] == ["finished", "interrupted", "planned"]
    assert tally.left == [runs[1].id, runs[2].id]
    assert runs[1].attempts()[-1].ending == "interrupted"
    assert work(runs, trainer=fake()).left == []


def test_another_workers_run_is_left_alone(tmp_path: Path) -> None:
    _, runs = store_of(tmp_path, 2)
    with RunFolder(runs[0].path).lock():
        tally = work(runs, trainer=fake())
    assert tally.elsewhere == [runs[0].id]
    assert tally.made == [runs[1].id]


def test_a_process_whose_card_is_lost_leaves_the_rest_to_another(tmp_path: Path) -> None:
    """After an error of CUDA itself every further call of the process fails: no other run may."""
    _, runs = store_of(tmp_path, 2)

    def lost(spec: RunSpec, run: RunFolder, **more: Any) -> Result:
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nmore")

    with pytest.raises(RuntimeError, match="illegal memory access"):
        work(runs, trainer=lost)
    assert [run.state for run in runs] == ["failed", "planned"]
    assert runs[0].result is not None
    assert "illegal memory access" in runs[0].result.reason
    work(runs, trainer=fake())  # another process
    assert [run.state for run in runs] == ["failed", "finished"]


def test_a_run_that_kills_its_process_again_and_again_counts_as_failed(tmp_path: Path) -> None:
    _, (run,) = store_of(tmp_path, 1)
    for number in (1, 2, 3):
        dead = {"host": "gone", "name": "n1", "pid": 1, "birth": "1", "from_step": 0}
        path = run.path / f"attempt-{number}.json"
        path.write_text(json.dumps(dead))
        os.utime(path, (1, 1))
    work([run], trainer=fake(), patience=4)
    assert run.state == "finished"
    (run.path / "result.json").unlink()
    (run.path / "metrics.jsonl").unlink()
    (run.path / "attempt-4.json").write_text(json.dumps(dead))
    os.utime(run.path / "attempt-4.json", (1, 1))
    work([run], trainer=fake(), patience=3)
    assert run.result is not None
    assert run.result.reason.startswith("its process died 3 times at the same step")


def test_a_full_disk_ends_the_work_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from budgetplan.calibrate.durable import StoreError
    from tests.calibrate.test_store import full

    _, runs = store_of(tmp_path, 2)
    with monkeypatch.context() as patched:
        full(patched, after=2500)
        with pytest.raises(StoreError, match="the disk is full"):
            work(runs, trainer=fake())
    assert runs[0].state == "running"  # by this living process
    (runs[0].path / "attempt-1.json").write_text('{"ending": "interrupted"}')
    work(runs, trainer=fake())
    alone = store_of(tmp_path / "alone", 2)[1]
    work(alone, trainer=fake())
    assert [run.result for run in runs] == [run.result for run in alone]


# --- the worker's process ---


@contextmanager
def worker(folder: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "budgetplan.calibrate.worker", str(folder), *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        yield process
        if process.poll() is None:
            process.kill()


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_writes_the_checkpoint_and_another_worker_goes_on(
    tmp_path: Path, number: signal.Signals
) -> None:
    _, runs = store_of(tmp_path, 2)
    names = [run.id for run in runs]
    with worker(tmp_path, *names, "--trainer", f"{LAW},pause=0.02,noise=0.01") as process:
        until(lambda: len(runs[0].records()) >= 3)
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
    assert process.returncode == LATER
    assert said.endswith(f"stopped by {number.name}: 2 runs are left\n")
    assert [run.state for run in runs] == ["interrupted", "planned"]
    assert main([str(tmp_path), *names, "--trainer", f"{LAW},noise=0.01"]) == DONE
    steps = [each["step"] for each in runs[0].records() if "loss" in each]
    assert steps == list(range(1, 21)), "no step was made twice"
    alone = store_of(tmp_path / "alone", 2)[1]
    for run, other in zip(runs, alone, strict=True):
        assert run.result == trainer(f"{LAW},noise=0.01")(other.spec, other)


def test_wrong_words_are_answered_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, (run,) = store_of(tmp_path, 1)
    for arguments, words in [
        ([str(tmp_path), "ffff"], "unknown run 'ffff'"),
        ([str(tmp_path)], "no runs given"),
        ([str(tmp_path / "no"), run.id], "the folder is gone"),
        ([str(tmp_path), run.id, "--trainer", "fake:x"], "unknown law preset 'x'"),
        (["--work", str(tmp_path / "work.json")], "no list of work"),
        ([str(tmp_path), run.id, "--trainer", LAW, "--allowance", "-1"], "an allowance of -1"),
    ]:
        assert main(arguments) == FAULT
        said = capsys.readouterr().err
        assert words in said
        assert "Traceback" not in said
    assert run.state == "planned"


def test_work_is_dealt_like_cards_and_survives_the_way_to_disk(tmp_path: Path) -> None:
    todo = Work(store="s", ids=tuple("abcdefg"), sinks=("tensorboard",), allowance_flops=1e15)
    path = tmp_path / "work.json"
    path.write_text(todo.to_json())
    assert Work.read(path) == todo
    parts = [todo.part(task, of=3) for task in range(3)]
    assert parts == [("a", "d", "g"), ("b", "e"), ("c", "f")]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_worker_whose_log_cannot_be_written_still_says_by_its_code_what_is_wrong(
    tmp_path: Path,
) -> None:
    """The log of a worker may lie on the disk that is full; /dev/full takes no byte."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "budgetplan.calibrate.worker", str(tmp_path), "no-such-run"],
            stderr=full, check=False,
        )  # fmt: skip
    assert done.returncode == FAULT
