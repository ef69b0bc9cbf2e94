"""Worker: `python -m budgetplan.calibrate.worker STORE ID [ID ...]` makes these runs.

One process makes many runs, since to import torch takes longer than a tiny run. SIGTERM, SIGINT and
SIGUSR1 stop it between two steps, with a checkpoint; a run that fails is recorded, and the next one
begins. Exit codes: 0 nothing is left, 2 the drive or a name is at fault, 3 the allowance is spent,
75 (a temporary failure) interrupted with work left, 137 a process of a run was killed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from budgetplan.calibrate.allowance import Allowance, Ledger
from budgetplan.calibrate.run_folder import RunFolder
from budgetplan.calibrate.store import Store
from budgetplan.calibrate.trainers import REAL, Trainer, trainer
from budgetplan.calibrate.work import PATIENCE, Stop, Tally, work
from budgetplan.core.errors import BadValue, UserError

DONE, FAULT, SPENT, LATER, KILLED = 0, 2, 3, 75, 137  # 128 and the number of SIGKILL


@dataclass(frozen=True, kw_only=True)
class Work:
    """What workers are to do, on disk as one file of JSON that all of them read."""

    store: str
    ids: tuple[str, ...]  # in the order of making; all of them count against the allowance
    ended: tuple[str, ...] = ()  # of these, runs that are not to be made any more
    trainer: str = REAL
    allowance_flops: float | None = None
    allowance_card_seconds: float | None = None
    cards_per_run: int = 1  # GPUs; more than one are joined by torchrun
    patience: int = PATIENCE
    sinks: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return the text of the file."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def read(cls, path: Path) -> Work:
        """Return what the file says.

        Raises:
            BadValue: there is no such file, or it says something else.
        """
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            lists = {name: tuple(content.get(name, ())) for name in ("ended", "sinks")}
            return cls(**{**content, **lists, "ids": tuple(content["ids"])})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise BadValue(f"{path}: no list of work: {error}") from error

    @property
    def left(self) -> tuple[str, ...]:
        """Runs that are to be made."""
        ended = set(self.ended)
        return tuple(name for name in self.ids if name not in ended)

    def part(self, task: int, *, of: int) -> tuple[str, ...]:
        """Return the runs of one of so many tasks, dealt like cards, so that all end alike."""
        return self.left[task::of]


def ledger_of(todo: Work) -> Ledger | None:
    """Return the ledger of all runs of the work, or None where nothing limits them."""
    if todo.allowance_flops is None and todo.allowance_card_seconds is None:
        return None
    allowance = Allowance(flops=todo.allowance_flops, card_seconds=todo.allowance_card_seconds)
    store = Store(todo.store)
    runs = tuple(store.get(name) for name in todo.ids)
    return Ledger(runs=runs, allowance=allowance, cards=todo.cards_per_run)


def trainer_of(todo: Work) -> Trainer:
    """Return who makes the runs: in this process, or in one process for each of several cards."""
    if todo.cards_per_run == 1:
        return trainer(todo.trainer)
    from budgetplan.calibrate.ranks import on_ranks

    return on_ranks(todo.trainer, ranks=todo.cards_per_run, sinks=todo.sinks)


def perform(todo: Work, ids: Sequence[str], *, stop: Stop) -> Tally:
    """Make these runs of the work; all of the work counts against the allowance.

    Raises:
        UserError: the drive, a name or the trainer is at fault.
    """
    from budgetplan.calibrate.kept import telling
    from budgetplan.calibrate.sinks.sink import watching

    store = Store(todo.store)
    lost: set[str] = set()

    @contextlib.contextmanager
    def watchers(run: RunFolder) -> Iterator[None]:
        with watching(run, names=todo.sinks, tell=_tell, lost=lost):
            yield

    with telling(_tell):
        return work(
            [store.get(name) for name in ids],
            trainer=trainer_of(todo),
            stop=stop,
            ledger=ledger_of(todo),
            patience=todo.patience,
            watchers=watchers if todo.sinks and todo.cards_per_run == 1 else None,
            tell=_tell,
        )


def _tell(text: str) -> None:
    with contextlib.suppress(OSError):  # the log may lie on the very disk that is full
        print(text, file=sys.stderr, flush=True)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the worker's arguments."""
    own = argparse.ArgumentParser(
        prog="python -m budgetplan.calibrate.worker", description=(__doc__ or "").split("\n\n")[1]
    )
    own.add_argument("store", help="folder of the runs; or, with --work, not needed", nargs="?")
    own.add_argument("ids", nargs="*", help="runs to make, in this order")
    own.add_argument("--work", type=Path, help="file that lists the work instead")
    own.add_argument("--task", type=int, default=0, help="which part of the work, from 0")
    own.add_argument("--tasks", type=int, default=1, help="how many parts there are")
    own.add_argument("--trainer", default=REAL, help="real, fake:LAW,noise=0.003, module:function")
    own.add_argument("--allowance", type=float, help="FLOPs that all these runs may spend")
    own.add_argument("--patience", type=int, default=PATIENCE, help="deaths at one step of a run")
    return own


def main(arguments: Sequence[str] | None = None) -> int:
    """Do the work, and return the exit code."""
    given = parser().parse_args(arguments)
    with Stop().listening() as stop:
        try:
            if given.work:
                todo = Work.read(given.work)
            elif given.store and given.ids:
                todo = Work(store=given.store, ids=tuple(given.ids), trainer=given.trainer,
                            allowance_flops=given.allowance, patience=given.patience)  # fmt: skip
            else:
                raise BadValue("no runs given", "Write: worker STORE ID [ID ...], or --work FILE.")
            tally = perform(todo, todo.part(given.task, of=given.tasks), stop=stop)
        except UserError as error:
            _tell(f"error: {error}")
            return FAULT
        if tally.spent:
            _tell(tally.spent)
            return SPENT
        if stop:
            _tell(f"stopped by {stop.reason}: {len(tally.left)} runs are left")
            return LATER if tally.left else DONE
        return KILLED if tally.killed else DONE


if __name__ == "__main__":
    sys.exit(main())
