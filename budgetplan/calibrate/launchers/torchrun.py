"""Torchrun: each run on several cards of this machine, one process for each card."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from budgetplan.calibrate.launchers.launcher import Report, Start, Ticket, launchers
from budgetplan.calibrate.launchers.local import Local, cores, pool, visible_cards
from budgetplan.calibrate.trainers import REAL, SHARDINGS
from budgetplan.calibrate.worker import Work
from budgetplan.core.errors import BadValue, UnknownName


@launchers.add("torchrun")
@dataclass(frozen=True, kw_only=True)
class Torchrun:
    """A pool on this machine whose runs use several cards each, joined by torchrun."""

    nproc_per_node: int | None = None  # processes of a run, one a card; None: every card
    gpus: tuple[str, ...] | None = None  # by number or uuid; None: CUDA_VISIBLE_DEVICES, or all
    threads: int | None = None  # of each process; None: the cores, divided
    sharding: str | None = None  # ddp: each card has the whole model, fsdp: a share; None: by size

    def prepare(self, work: Work, *, folder: Path) -> Start:
        """Return the list of work, and a command for each group of cards.

        Raises:
            BadValue: neither cards nor a number of processes, or fewer cards than a run needs; or
                the sharding of a trainer that has none.
            UnknownName: there is no such sharding.
        """
        import sys

        if self.sharding is not None:
            work = replace(work, trainer=sharded(work.trainer, self.sharding))

        found = visible_cards() if self.gpus is None else self.gpus
        ranks = self.nproc_per_node or len(found)
        if ranks < 1:
            raise BadValue("torchrun: no card is here", "Set nproc_per_node=2 to use the cores.")
        here = found or tuple(str(number) for number in range(ranks))
        threads = self.threads or max(1, cores() // (ranks * max(1, len(here) // ranks)))
        start = pool(
            replace(work, cards_per_run=ranks), folder=folder, cards=here, cores=cores(),
            workers=None, threads=threads, python=sys.executable,
        )  # fmt: skip
        if found:
            return start
        bare = tuple(
            replace(each, environment={**each.environment, "CUDA_VISIBLE_DEVICES": ""})
            for each in start.commands
        )
        return replace(start, commands=bare, remarks=("no card is here: ranks share the cores",))

    def submit(self, start: Start) -> Ticket:
        """Start the workers, which start torchrun for each run."""
        ticket = replace(Local().submit(start), launcher="torchrun")
        ticket.write()
        return ticket

    def poll(self, ticket: Ticket) -> Report:
        """Return how the workers are."""
        return Local().poll(ticket)

    def cancel(self, ticket: Ticket) -> None:
        """Ask the workers to have their ranks write a checkpoint and end."""
        Local().cancel(ticket)


def sharded(trainer: str, sharding: str) -> str:
    """Return the name of the trainer that shares a model so.

    Raises:
        BadValue: only the real one does.
        UnknownName: there is no such sharding.
    """
    if trainer != REAL:
        raise BadValue(f"torchrun: sharding={sharding} with --trainer {trainer}", "Leave it out.")
    known = [each for each in SHARDINGS if each]
    if sharding not in known:
        raise UnknownName("sharding", sharding, known)
    return f"{REAL}:{sharding}"
