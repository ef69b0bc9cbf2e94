"""Local: a pool of workers on this machine, one card each, or a share of the cores."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from budgetplan.calibrate import lock
from budgetplan.calibrate.environment import cards
from budgetplan.calibrate.launchers.launcher import (
    WORK,
    Command,
    Report,
    Start,
    Ticket,
    launchers,
)
from budgetplan.calibrate.worker import DONE, FAULT, KILLED, LATER, SPENT, Work
from budgetplan.core.errors import BadValue

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
MOST_THREADS = 8  # of one run on the CPU: others are made beside it
_started: dict[int, subprocess.Popen[bytes]] = {}  # by this process, which must reap them


@launchers.add("local")
@dataclass(frozen=True, kw_only=True)
class Local:
    """A pool of worker processes on this machine, that go on when the terminal is closed."""

    workers: int | None = None  # None: one for each (group of) cards, or one for every two cores
    gpus: tuple[str, ...] | None = None  # by number or uuid; None: CUDA_VISIBLE_DEVICES, or all
    threads: int | None = None  # of each worker at most; None: as many as cores, up to 8

    def prepare(self, work: Work, *, folder: Path) -> Start:
        """Return the list of work, and a command for each worker.

        Raises:
            BadValue: fewer cards than one run needs.
        """
        found = visible_cards() if self.gpus is None else self.gpus
        return pool(
            work, folder=folder, cards=found, cores=cores(), workers=self.workers,
            threads=self.threads, python=sys.executable,
        )  # fmt: skip

    def submit(self, start: Start) -> Ticket:
        """Start the workers.

        Raises:
            StoreError: the folder cannot be written.
        """
        start.write()
        jobs = []
        for command in start.commands:
            with (start.folder / command.log).open("ab") as log:
                process = subprocess.Popen(
                    command.words, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                    env={**os.environ, **command.environment},
                    start_new_session=True,  # Ctrl-C is for us; we tell the workers
                )  # fmt: skip
            _started[process.pid] = process
            jobs.append(f"{process.pid}:{lock.birth(process.pid)}")
        ticket = Ticket(launcher="local", folder=str(start.folder), jobs=tuple(jobs))
        ticket.write()
        return ticket

    def poll(self, ticket: Ticket) -> Report:
        """Return how the workers are; only their parent sees how one ended."""
        working, deaths, codes = 0, [], set()
        for number, job in enumerate(ticket.jobs):
            pid, _, born = job.partition(":")
            if _alive(int(pid), born):
                working += 1
                continue
            process = _started.get(int(pid))
            code = process.returncode if process else None
            codes.add(code)
            if code not in (None, DONE, SPENT, LATER):
                deaths.append(f"worker {number + 1} {ending(code)}{_words(ticket, number, code)}")
        return Report(
            working=working, deaths=tuple(deaths), spent=SPENT in codes, fault=FAULT in codes,
            stopped=bool({LATER, None} & codes),
        )  # fmt: skip

    def cancel(self, ticket: Ticket) -> None:
        """Ask the workers to write a checkpoint and end."""
        ticket.cancel()
        for job in ticket.jobs:
            pid, _, born = job.partition(":")
            if _alive(int(pid), born):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGTERM)


def pool(
    work: Work,
    *,
    folder: Path,
    cards: tuple[str, ...],
    cores: int,
    workers: int | None,
    threads: int | None,
    python: str,
) -> Start:
    """Return the start of a pool: every worker has the whole list, and takes what is free.

    Args:
        work: what to make.
        folder: of this launch.
        cards: of this machine; none: on its cores.
        cores: of this machine.
        workers: how many, or None for as many as there is room for.
        threads: of each worker at most, or None for what the machine has. How many compute a run
            follows from the run: workers beside it must not change its sums.
        python: the interpreter.

    Raises:
        BadValue: fewer cards than one run needs, or more workers than cards.
    """
    each = work.cards_per_run
    groups = [cards[at : at + each] for at in range(0, len(cards) - each + 1, each)]
    if not groups and (cards or each > 1):
        raise BadValue(f"a run on {each} cards, and {len(cards)} are here", "Ask for fewer.")
    if groups and workers and workers > len(groups):
        raise BadValue(
            f"{workers} workers of {each} cards, and {len(cards)} cards are here",
            f"At most {len(groups)} fit.",
        )
    count = workers or len(groups) or max(1, cores // 2)
    count = max(1, min(count, len(work.left)))
    share = threads or (max(1, cores // count) if groups else min(cores, MOST_THREADS))
    idle = {} if groups else {"OMP_WAIT_POLICY": "PASSIVE"}  # waiting threads leave their core
    words = (python, "-m", "budgetplan.calibrate.worker", "--work", str(folder / WORK))
    commands = tuple(
        Command(
            words=words,
            environment={
                "CUDA_VISIBLE_DEVICES": ",".join(groups[number]) if groups else "",
                **dict.fromkeys(THREADS, str(share)),
                **idle,
            },
            log=f"worker-{number + 1}.log",
        )
        for number in range(count)
    )
    return Start(folder=folder, files={WORK: work.to_json()}, commands=commands)


def visible_cards() -> tuple[str, ...]:
    """Return the cards that this process may use: by CUDA_VISIBLE_DEVICES, or all of them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return tuple(part for part in visible.split(",") if part.strip() and part != "-1")
    return tuple(str(number) for number in range(len(cards())))


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def ending(code: int | None) -> str:
    """Return in words how a process ended."""
    if code is None:
        return "ended"
    if code == KILLED:
        code = -signal.SIGKILL
    if code >= 0:
        return "could not go on" if code == FAULT else f"ended with exit code {code}"
    name = signal.Signals(-code).name
    return f"was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


def _words(ticket: Ticket, number: int, code: int | None) -> str:
    """Return the last line of a worker that ended with an error."""
    if code is None or code < 0:
        return ""
    return last_words(Path(ticket.folder) / f"worker-{number + 1}.log")


def last_words(log: Path) -> str:
    """Return the last line that a worker wrote, its error if it told one, after a colon."""
    with contextlib.suppress(OSError):
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        errors = [line for line in lines if line.startswith("error: ")][-1:] or lines[-1:]
        return f": {errors[0].removeprefix('error: ')}" if errors else ""
    return ""


def _alive(pid: int, born: str) -> bool:
    process = _started.get(pid)
    if process is not None:
        return process.poll() is None
    return bool(born) and lock.birth(pid) == born
