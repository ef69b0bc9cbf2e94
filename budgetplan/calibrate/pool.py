"""Pool: a launch from first to last run, with workers that died replaced while that helps."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from budgetplan.calibrate.launchers.launcher import Launcher, Report, Ticket
from budgetplan.calibrate.run_folder import ENDINGS
from budgetplan.calibrate.store import Store
from budgetplan.calibrate.worker import Work


@dataclass
class Pool:
    """Submits work, watches over the workers, and submits again what is left when all are gone.

    A run that kills its worker is tried again by the next one, and by and by counts as failed
    (`work.PATIENCE`), so a pool comes to an end.
    """

    work: Work
    launcher: Launcher
    report: Report = field(default_factory=Report)
    deaths: list[str] = field(default_factory=list)  # of all launches, in words
    ticket: Ticket | None = None
    cancelled: bool = False  # here, by `cancel` elsewhere, or by the scheduler
    attached: bool = False  # to a launch that somebody else started: it is watched, and no more
    _round: int = 0

    @property
    def store(self) -> Store:
        """Where the runs are."""
        return Store(self.work.store)

    def left(self) -> tuple[str, ...]:
        """Return the names of the runs that have not ended."""
        return tuple(name for name in self.work.ids if self.store.get(name).state not in ENDINGS)

    def start(self) -> bool:
        """Submit what is left, and return whether there was anything.

        Raises:
            UserError: the launcher cannot start; nothing runs.
        """
        left = self.left()
        if not left:
            return False
        self._round += 1
        ended = tuple(name for name in self.work.ids if name not in set(left))
        work = replace(self.work, ended=ended)
        self.ticket = self.launcher.submit(self.launcher.prepare(work, folder=self._folder()))
        return True

    def _folder(self) -> Path:
        home = self.store.folder / "launches"
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"  # others may launch as we do
        taken = len(list(home.glob(f"{name}*"))) if home.is_dir() else 0
        return home / (f"{name}-{taken + 1}" if taken else name)

    def watch(self, *, pause: float = 0.5) -> Iterator[Report]:
        """Return a report at every pause until all is over; starts workers anew when all died.

        Runs that another launch makes are waited for.

        Args:
            pause: between two looks [s].

        Raises:
            UserError: a new start is not possible, or the launcher cannot be asked.
        """
        every, asked = getattr(self.launcher, "poll_every", 0.0), -math.inf
        while self.ticket:
            if time.monotonic() - asked < every:
                yield self.report
                time.sleep(pause)
                continue
            now, asked = self.launcher.poll(self.ticket), time.monotonic()
            self.deaths += [death for death in now.deaths if death not in self.report.deaths]
            self.report = now
            yield now
            self.cancelled |= self.ticket.cancelled or now.cancelled
            if now.over and (self.cancelled or not self._elsewhere()):
                if not self._again(now):
                    return
                self.report = Report()
            time.sleep(pause)

    def _elsewhere(self) -> bool:
        """Whether workers of another launch make what ours have left."""
        return any(self.store.get(name).state == "running" for name in self.left())

    def _again(self, now: Report) -> bool:
        """Start anew what is left if that helps, and say whether it was done.

        It does where workers died, ours or those of another launch, whose runs ours left to them.
        """
        most = self.work.patience * len(self.work.ids)  # then each run has failed or ended
        if self.attached or self.cancelled or now.spent or now.fault or self._round >= most:
            return False
        return bool(now.deaths or not now.stopped) and self.start()

    def cancel(self) -> None:
        """Ask the workers to write checkpoints and end; `watch` returns when they have."""
        self.cancelled = True
        if self.ticket:
            self.launcher.cancel(self.ticket)
