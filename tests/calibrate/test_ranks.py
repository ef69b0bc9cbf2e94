"""Ranks: one run on several processes, and what became of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from budgetplan.calibrate import ranks
from budgetplan.calibrate.durable import StoreError
from budgetplan.calibrate.result import Interrupted, Killed
from budgetplan.calibrate.run_folder import RunFolder
from budgetplan.core.errors import UserError
from tests.calibrate.worlds import store_of

LAW = "fake:besiroglu2024,noise=0.01"


def test_the_command_of_a_run_on_several_cards(tmp_path: Path) -> None:
    _, (run,) = store_of(tmp_path, 1)
    words = ranks.command(run, name="real", ranks=4, python="python")
    assert words[:5] == ["python", "-m", "torch.distributed.run", "--standalone",
                         "--nproc-per-node=4"]  # fmt: skip
    assert words[5:] == ["-m", "budgetplan.calibrate.ranks", str(tmp_path), run.id,
                         "--trainer", "real"]  # fmt: skip
    with_sinks = ranks.command(run, name="real", ranks=4, python="python", sinks=["wandb"])
    assert with_sinks == [*words, "--sink=wandb"]


def test_only_rank_0_writes(tmp_path: Path) -> None:
    _, (run,) = store_of(tmp_path, 1)
    other = ranks.Silent(run.path)
    other.append({"step": 1})
    other.environment({"rank": 1})
    assert sorted(path.name for path in run.path.iterdir()) == ["spec.json"]


@pytest.mark.parametrize(
    ("lines", "kind", "said"),
    [
        (["[rank1]: Traceback", "[rank1]: RuntimeError: it broke",
          "torch.distributed.elastic.multiprocessing.errors.ChildFailedError:"],
         ranks.RanksFailed, "RuntimeError: it broke; see ranks.log"),
        (["[rank0]: torch.OutOfMemoryError: CUDA out of memory."],
         ranks.RanksFailed, "OutOfMemoryError: CUDA out of memory.; see ranks.log"),
        (["[rank0]: budgetplan.core.errors.BadValue: 1 sequences, 2 processes"],
         UserError, "1 sequences, 2 processes"),
        (["[rank0]: budgetplan.calibrate.durable.StoreError: cannot write x: the disk is full"],
         StoreError, "cannot write x: the disk is full"),
        (["[rank1]: RuntimeError: Connection closed by peer",
          "  traceback : Signal 9 (SIGKILL) received by PID 77"], Killed, "killed by SIGKILL"),
        ([], ranks.RanksFailed, "torchrun ended with 1; see ranks.log"),
    ],
)  # fmt: skip
def test_what_ranks_died_of(
    tmp_path: Path, lines: list[str], kind: type[Exception], said: str
) -> None:
    log = tmp_path / "ranks.log"
    former = "[rank0]: ValueError: of a former attempt\n"
    log.write_text(former + "\n".join([*lines, "bye"]))
    found = ranks.fault(log, 1, since=len(former))
    assert type(found) is kind
    assert said in str(found)


def test_a_run_is_made_by_two_ranks_and_stops_when_asked(tmp_path: Path) -> None:
    """The ranks of a fake run do not talk, so any start of two processes shows the handing over."""
    _, (run,) = store_of(tmp_path, 1)
    on_two = ranks.on_ranks(f"{LAW},pause=0.5", ranks=2)
    answers = itertools.chain([False] * 2, itertools.repeat(True))
    with run.lock():
        with pytest.raises(Interrupted):
            stopped(on_two, run, lambda: bool(run.records()) and next(answers))
        assert 0 < len(run.metrics()) < 20
        result = ranks.on_ranks(LAW, ranks=2)(run.spec, run)
        run.finish(result)
    steps = [each["step"] for each in run.records() if "loss" in each]
    assert steps == list(range(1, 21))
    assert not list(run.path.glob(".ranks*"))


def stopped(train: Any, run: RunFolder, should_stop: Callable[[], bool]) -> None:
    train(run.spec, run, should_stop=should_stop)
