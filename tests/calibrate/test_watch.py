"""Watching: how far runs are, by their records, and what a line about them says."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import pytest

from budgetplan.calibrate.allowance import (
    evaluation_flops,
    flops_of,
    flops_per_sequence,
    training_flops,
)
from budgetplan.calibrate.launchers.launcher import WORK, Report, Ticket
from budgetplan.calibrate.launchers.local import Local
from budgetplan.calibrate.pool import Pool
from budgetplan.calibrate.result import Result
from budgetplan.calibrate.run_folder import RunFolder
from budgetplan.calibrate.watch import Card, Progress, Seen, Snapshot, Tail, Watch
from budgetplan.calibrate.work import work
from budgetplan.calibrate.worker import Work
from budgetplan.cli.calibrated import live
from budgetplan.cli.calibrated.runs import several
from tests.calibrate.worlds import fake, spec, store_of

PER_SEQUENCE = flops_per_sequence(spec())


def record(step: int, seconds: float, loss: float = 4.0) -> dict[str, Any]:
    return {"step": step, "tokens": 512 * step, "loss": loss, "seconds": seconds}


def test_a_tail_returns_each_whole_line_once(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    tail = Tail(path)
    assert tail.fresh() == []
    path.write_text('{"step":1}\n{"st')
    assert tail.fresh() == [{"step": 1}]
    assert tail.fresh() == []
    with path.open("a") as file:
        file.write('ep":2}\nrubbish\n{"step":3}\n')
    assert tail.fresh() == [{"step": 2}, {"step": 3}]


def test_speed_is_that_of_the_last_records() -> None:
    seen = Seen()
    seen.take([record(1, 100.0)])  # compiling took a while
    assert seen.tokens_per_second is None
    seen.take([record(step, 100.0 + step / 2) for step in range(2, 30)])
    assert seen.tokens_per_second == pytest.approx(1024)  # 512 tokens in half a second
    assert (seen.step, seen.tokens) == (29, 29 * 512)


def test_steps_made_again_cost_and_do_not_count_as_speed() -> None:
    seen = Seen()
    seen.take([record(1, 1.0), record(2, 2.0), record(3, 3.0)])
    seen.take([record(2, 2.5), record(3, 4.5), {"step": 3, "tokens": 1536, "validation_loss": 4.0}])
    assert seen.tokens == 5 * 512
    assert seen.evaluations == 1
    assert seen.tokens_per_second == 256
    seen.take([{"step": 4, "tokens": 2048, "loss": math.nan, "seconds": 6.5}])
    assert seen.loss is None, "no number, so nothing is shown"


def test_a_watch_follows_runs_from_planned_to_finished(tmp_path: Path) -> None:
    _, runs = store_of(tmp_path, 2)
    watch = Watch(runs, allowance=1e12)
    assert [each.state for each in watch.look().runs] == ["planned", "planned"]
    with runs[0].lock():
        for step in range(1, 6):
            runs[0].append(record(step, step / 4))
        first = watch.look().runs[0]
        assert (first.state, first.step, first.share) == ("running", 5, 0.25)
        assert first.tokens_per_second == 2048
        assert first.flops_per_second == pytest.approx(2048 * PER_SEQUENCE / 64)
        assert first.mfu(first.flops_per_second * 4 if first.flops_per_second else 1) == 0.25
        assert first.spent == training_flops(runs[0].spec) / 4
        assert first.seconds_left == pytest.approx(
            0.75 * flops_of(runs[0].spec) / (2048 * PER_SEQUENCE / 64)
        )
    assert watch.look().runs[0].state == "interrupted"
    assert watch.look().runs[0].seconds_left is None
    work([runs[1]], trainer=fake())
    last = watch.look()
    assert last.ended == 1
    assert last.runs[1].loss == pytest.approx(2 + 100 / 10240**0.5)
    assert last.spent == training_flops(runs[0].spec) / 4 + flops_of(runs[1].spec)
    assert last.left == pytest.approx(0.75 * flops_of(runs[0].spec))


def test_what_was_spent_before_is_no_speed() -> None:
    half = Progress(id="a", state="running", step=5, steps=10, spent=50.0, whole=100.0)
    snapshot = Snapshot(runs=(half,), seconds=10.0, began_with=30.0)
    assert snapshot.seconds_left == 25  # 50 FLOPs left at 2 FLOP/s
    assert Snapshot(runs=(half,), seconds=10.0, began_with=50.0).seconds_left is None


def test_the_spending_seen_is_that_of_the_ledger(tmp_path: Path) -> None:
    from budgetplan.calibrate.allowance import spent_on

    _, (run,) = store_of(tmp_path, 1)
    for step in (1, 2, 3, 2, 3, 4):
        run.append(record(step, step))
    run.append({"step": 4, "tokens": 2048, "validation_loss": 4.0})
    assert Watch([run]).look().spent == pytest.approx(spent_on(run))
    assert spent_on(run) == training_flops(run.spec) * 6 / 20 + evaluation_flops(run.spec)


# --- on the screen ---


def snapshot(**changes: Any) -> Snapshot:
    fields: dict[str, Any] = {"id": "0123456789abcdef", "state": "running", "step": 5, "steps": 20}
    run = Progress(**{**fields, "loss": 3.25, "tokens_per_second": 2048.0, "whole": 4e12,
                      "flops_per_second": 3e11, "spent": 1e12, **changes})  # fmt: skip
    return Snapshot(runs=(run,), allowance=8e12, seconds=10.0)


def test_a_line_tells_all_of_a_run() -> None:
    (run,) = snapshot().runs
    assert live.line_of(run, card=Card(peak=6e11)) == (
        "0123456789abcdef running, step 5/20, loss 3.2500, 2048 tokens/s, MFU 50.0%"
    )
    assert "MFU 12.5%" in live.line_of(run, card=Card(peak=6e11, count=4)), "of all its cards"
    (failed,) = snapshot(state="failed", loss=None, tokens_per_second=None, reason="no room").runs
    assert live.line_of(failed) == "0123456789abcdef failed, step 5/20, no room"


def test_a_summary_tells_what_is_spent_of_the_allowance() -> None:
    told = live.summary(snapshot(), Report(waiting=3, remarks=("task 3 waits: Held",)))
    assert told == (
        "0 of 1 runs ended, 1 running, 3 tasks wait in the queue, 1T FLOPs spent of 8T (12%), "
        "about 30 s left, task 3 waits: Held"
    )


def test_hours_and_money_are_told_where_there_is_a_card() -> None:
    """7,200 s of training on 4 cards are 8 hours of cards, at $2.5 $20."""
    at_work = snapshot(seconds=7200.0)
    told = live.spending(at_work, Card(usd_per_hour=2.5, count=4))
    assert told == "1T FLOPs spent of 8T (12%), 8 GPU-hours ($20.00)"
    assert live.spending(at_work, Card(count=4)).endswith(", 8 GPU-hours")


def test_the_cards_of_a_run_are_those_that_its_launch_joins(tmp_path: Path) -> None:
    todo = Work(store=str(tmp_path), ids=("a",), cards_per_run=4)
    (tmp_path / WORK).write_text(todo.to_json())
    ticket = Ticket(launcher="torchrun", folder=str(tmp_path), jobs=())
    assert several(Card(peak=1e15), ticket) == Card(peak=1e15, count=4)
    assert several(None, ticket) is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.002, "1 s"), (41.9, "42 s"), (99.7, "2 min"), (3700, "62 min"), (12000, "3.3 h"),
     (400000, "4.6 days")],
)  # fmt: skip
def test_what_is_left_is_told_no_finer_than_it_is_known(seconds: float, words: str) -> None:
    assert live.lasting(seconds) == words


def test_the_line_about_all_is_seen_in_a_low_terminal() -> None:
    from rich.console import Console

    screen = Console(width=80, record=True, file=io.StringIO())
    many = Snapshot(runs=snapshot().runs * 40, allowance=8e13)
    screen.print(live.view(many, Report(), width=80, most=3))
    lines = screen.export_text().splitlines()
    assert len(lines) <= 3 + live.BESIDE
    assert "and 37 more" in lines[4]
    assert "of 40 runs ended" in lines[-2] + lines[-1]


def test_plain_lines_come_when_something_changes_and_now_and_then() -> None:
    plain = live.Plain()
    assert len(plain.lines(snapshot(), Report(), now=100.0)) == 1
    assert plain.lines(snapshot(step=6), Report(), now=101.0) == []
    assert len(plain.lines(snapshot(step=7), Report(), now=131.0)) == 1
    told = plain.lines(snapshot(state="finished", step=20), Report(), now=132.0)
    assert told[0].startswith("0123456789abcdef finished, step 20/20")
    assert told[1].startswith("1 of 1 runs ended")


@pytest.mark.parametrize("width", [40, 80, 160])
def test_the_bars_fit_the_terminal(width: int) -> None:
    from rich.console import Console

    screen = Console(width=width, record=True, file=io.StringIO())
    many = Snapshot(runs=snapshot().runs * 40, allowance=8e13)
    screen.print(live.view(many, Report(), card=Card(peak=6e11), width=width))
    text = screen.export_text()
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    assert "and 28 more" in text
    assert "3.250" in text
    assert "…" not in text
    if width >= 80:
        assert "50.0%" in text


def test_a_pool_is_followed_to_its_end_in_plain_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, runs = store_of(tmp_path, 3)
    todo = Work(store=str(tmp_path), ids=tuple(run.id for run in runs),
                trainer="fake:besiroglu2024,pause=0.01")  # fmt: skip
    making = Pool(work=todo, launcher=Local(workers=1, gpus=()))
    making.start()
    last = live.follow(making, allowance=1e12, pause=0.05)
    out, err = capsys.readouterr()
    assert out == ""
    assert last.ended == 3
    assert err.splitlines()[-1].startswith("3 of 3 runs ended, ")
    for run in runs:
        assert f"{run.id} finished, step 20/20" in err


def test_ctrl_c_lets_the_workers_write_their_checkpoints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, runs = store_of(tmp_path, 1)
    todo = Work(store=str(tmp_path), ids=(runs[0].id,), trainer="fake:besiroglu2024,pause=0.05")
    making = Pool(work=todo, launcher=Local(workers=1, gpus=()))
    making.start()
    pressed: list[bool] = []

    def look(watch: Watch, real: Any = Watch.look) -> Snapshot:
        if RunFolder(runs[0].path).records() and not pressed:
            pressed.append(True)
            raise KeyboardInterrupt
        return real(watch)  # type: ignore[no-any-return]

    monkeypatch.setattr(Watch, "look", look)
    live.follow(making, pause=0.05)
    assert "stopping: checkpoints are being written" in capsys.readouterr().err
    assert runs[0].state == "interrupted"
    assert runs[0].checkpoint_path.exists()


def test_a_result_of_a_failed_run_is_shown_with_its_reason(tmp_path: Path) -> None:
    _, (run,) = store_of(tmp_path, 1)
    run.append(record(7, 1.0))
    run.finish(Result(status="failed", reason="out of memory"))
    (seen,) = Watch([run]).look().runs
    assert (seen.step, seen.steps, seen.share) == (7, 20, 1.0)
    assert live.line_of(Watch([run]).look().runs[0]).endswith("out of memory")
