"""The allowance: what runs have spent, what is promised, and where workers stop."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from budgetplan.calibrate import lock
from budgetplan.calibrate import work as working
from budgetplan.calibrate.allowance import (
    Allowance,
    Ledger,
    Spent,
    TooSmall,
    evaluation_flops,
    flops_of,
    rest_of,
    seconds_of,
    spent_on,
    tokens_done,
    training_flops,
)
from budgetplan.calibrate.lock import this_host, turn
from budgetplan.calibrate.result import Interrupted, Result
from budgetplan.calibrate.run_folder import RunFolder
from budgetplan.calibrate.spec import RunSpec
from budgetplan.calibrate.work import work
from budgetplan.calibrate.worker import SPENT, main
from tests.calibrate.worlds import fake, store_of

LAW = "fake:besiroglu2024"


def ledger(runs: list[RunFolder], flops: float | None = None, **more: Any) -> Ledger:
    return Ledger(runs=tuple(runs), allowance=Allowance(flops=flops, **more))


def test_no_run_begins_that_the_allowance_does_not_reach(tmp_path: Path) -> None:
    _, runs = store_of(tmp_path, 4)
    one = flops_of(runs[0].spec)
    tally = work(runs, trainer=fake(), ledger=ledger(runs, 2.5 * one))
    assert [run.state for run in runs] == ["finished", "finished", "planned", "planned"]
    assert "left, run " + runs[2].id in tally.spent
    assert sum(spent_on(run) for run in runs) == 2 * one
    again = work(runs, trainer=fake(), ledger=ledger(runs, 4 * one))
    assert (again.spent, again.left) == ("", [])
    assert sum(spent_on(run) for run in runs) == 4 * one


def test_what_is_promised_to_others_is_not_spent_twice(tmp_path: Path) -> None:
    _, runs = store_of(tmp_path, 2)
    one = flops_of(runs[0].spec)
    book = ledger(runs, 1.5 * one)
    with runs[0].lock():
        assert book.spent() == (0, 0)
        assert book.spent(promised=True)[0] == one
        with pytest.raises(Spent, match=r"has .* left, run"):
            book.room(runs[1])
    assert book.room(runs[1]).flops == pytest.approx(1.5 * one)


def test_a_run_that_is_going_on_is_promised_its_rest_and_no_more(tmp_path: Path) -> None:
    """It has no checkpoint yet, but it lives: half of it is spent, half is promised, one in all."""
    _, (first, second) = store_of(tmp_path, 2, evaluate_at=())
    one = flops_of(first.spec)
    book = ledger([first, second], 2.01 * one)
    with first.lock():
        for step in range(1, 11):
            first.append({"step": step, "tokens": 512 * step, "loss": 1.0})
        assert book.spent(promised=True)[0] == pytest.approx(one)
        assert book.room(second).flops == pytest.approx(1.01 * one)
    assert rest_of(first) == one, "killed, it begins anew"


def test_steps_made_again_are_paid_again(tmp_path: Path) -> None:
    steps = [512, 1024, 1536, 1024, 1536, 2048]
    assert tokens_done([{"tokens": each, "loss": 1.0} for each in steps]) == 2048 + 1024
    _, (run,) = store_of(tmp_path, 1)
    for each in steps:
        run.append({"step": each // 512, "tokens": each, "loss": 1.0, "seconds": each / 512})
    run.append({"step": 4, "tokens": 2048, "validation_loss": 1.0})
    assert spent_on(run) == training_flops(run.spec) * 6 / 20 + evaluation_flops(run.spec)
    assert seconds_of(run) == 3 + 2


def test_a_run_is_stopped_in_the_middle_when_repeats_have_used_it_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a run needs is known before, but not how often it starts anew."""
    monkeypatch.setattr(working, "LOOK", 0.0)
    _, (run,) = store_of(tmp_path, 1)

    def again(spec: RunSpec, run: RunFolder, **more: Any) -> Result:
        for step in (*range(1, 16), *range(1, 21)):
            if more["should_stop"]():
                raise Interrupted
            run.append({"step": step, "tokens": 512 * step, "loss": 1.0})
        return Result(status="finished")

    tally = work([run], trainer=again, ledger=ledger([run], 1.2 * flops_of(run.spec)))
    assert "stopped: the allowance of FLOPs is used up" in tally.spent
    assert run.attempts()[-1].ending == "stopped at the allowance"
    assert 1.2 <= spent_on(run) / flops_of(run.spec) < 1.26  # one step late at most


def test_hours_of_cards_are_an_allowance_too(tmp_path: Path) -> None:
    _, runs = store_of(tmp_path, 2)
    result = fake(flops_per_second=1e9)(runs[0].spec, runs[0])
    runs[0].finish(result)
    book = Ledger(runs=tuple(runs), allowance=Allowance(card_seconds=2 * result.seconds), cards=2)
    assert book.spent()[1] == 2 * result.seconds
    with pytest.raises(Spent, match="GPU-hours is used up"):
        book.room(runs[1])


def test_the_worker_says_that_it_stopped_at_the_allowance(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, (run,) = store_of(tmp_path, 1)
    assert main([str(tmp_path), run.id, "--trainer", LAW, "--allowance", "1e6"]) == SPENT
    said = capsys.readouterr().err
    assert "the allowance of 1M FLOPs has 1M left" in said
    assert "Raise the allowance" in said


def test_the_hours_of_cards_are_shared_by_those_who_work_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs of 20 s each by the fake's clock; what one uses, the other has no more."""
    monkeypatch.setattr(working, "LOOK", 0.0)
    _, (first, second) = store_of(tmp_path, 2)
    book = Ledger(runs=(first, second), allowance=Allowance(card_seconds=30.0), cards=2)
    with first.lock():
        first.append({"step": 1, "tokens": 512, "loss": 1.0, "seconds": 5.0})
        asked = []

        def until_told(spec: RunSpec, run: RunFolder, **more: Any) -> Result:
            while not more["should_stop"]():
                asked.append(True)
                first.append({"step": 2, "tokens": 1024, "loss": 1.0, "seconds": 15.0})
            raise Interrupted

        tally = work([second], trainer=until_told, ledger=book)
    assert len(asked) == 1, "10 s on two cards are left at first, then none"
    assert "GPU-hours is used up" in tally.spent
    assert second.attempts()[-1].ending == "stopped at the allowance"


def test_of_two_that_would_begin_at_once_one_begins(tmp_path: Path) -> None:
    """The allowance reaches for one of them: neither both begin nor do both give way."""
    for number in range(8):
        _, runs = store_of(tmp_path / str(number), 2)
        barrier = threading.Barrier(2)
        spent: list[str] = []

        def make(run: RunFolder, book: Ledger, barrier: threading.Barrier) -> None:
            barrier.wait()
            spent.append(work([run], trainer=fake(pause=0.005), ledger=book).spent)  # noqa: B023

        each = 1.5 * flops_of(runs[0].spec)
        threads = [
            threading.Thread(target=make, args=(run, ledger(runs, each), barrier)) for run in runs
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(run.state for run in runs) == ["finished", "planned"]
        assert sorted(map(bool, spent)) == [False, True]


def test_turns_are_taken_one_after_the_other_and_leave_one_file(tmp_path: Path) -> None:
    inside, most = [0], [0]

    def take() -> None:
        for _ in range(5):
            with turn(tmp_path / "turn"):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                inside[0] -= 1

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert len(list((tmp_path / "turn").iterdir())) == 1


def test_the_turn_of_a_killed_worker_passes_on(tmp_path: Path) -> None:
    tmp_path.joinpath("attempt-3.json").write_text(
        json.dumps({"host": this_host(), "pid": 2**30, "birth": "1"})
    )
    with turn(tmp_path):
        assert sorted(path.name for path in tmp_path.glob("attempt-*")) == [
            "attempt-3.json", "attempt-4.json",
        ]  # fmt: skip
    assert [path.name for path in tmp_path.glob("attempt-*")] == ["attempt-4.json"]


def test_who_waits_for_a_turn_bears_that_an_old_file_is_cleared_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "attempt-3.json"
    old.write_text(json.dumps({"ending": "released"}))
    read, looks = lock.read, []

    def late(folder: Path, number: int, **others: Any) -> lock.Attempt:
        looks.append(number)
        if len(looks) == 1:
            old.rename(tmp_path / "attempt-4.json")  # as who had the turn leaves it
        return read(folder, number, **others)

    monkeypatch.setattr(lock, "read", late)
    with turn(tmp_path):
        assert (tmp_path / "attempt-5.json").exists()
    assert looks[:2] == [3, 4]


@pytest.mark.parametrize("needed", [1.0035e15, 9.994e17, 1.2345e18, 7e19])
def test_the_allowance_that_is_said_to_work_does(needed: float) -> None:
    said = re.search(r"--spend (\S+),", TooSmall("too small", needed=needed).remedy)
    assert said
    assert needed <= float(said[1]) < 1.02 * needed
