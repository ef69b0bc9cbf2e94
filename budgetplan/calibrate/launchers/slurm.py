"""Slurm: a job array through plain sbatch, its script a page that a user can read.

No submitit: it hands work over as pickles, and without sacct it takes a job killed by SIGKILL to
be running for ever (measured with 1.5.4). Here the store is the truth about runs, squeue and
`scontrol show job` about jobs, and sacct, where there is one, about jobs long gone.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from budgetplan.calibrate.launchers.launcher import (
    CANCELLED,
    WORK,
    Command,
    Report,
    Start,
    Ticket,
    launchers,
)
from budgetplan.calibrate.launchers.local import last_words
from budgetplan.calibrate.tasks import parse_rows, parse_sacct, parse_scontrol, report
from budgetplan.calibrate.worker import LATER, Work
from budgetplan.core.errors import BadValue, UserError

SCRIPT = "job.sh"
SETTLING = 1.0  # a task that is being requeued looks failed or completed for a moment [s]


class SlurmError(UserError):
    """Slurm refused, or cannot be reached."""


@launchers.add("slurm")
@dataclass(frozen=True, kw_only=True)
class Slurm:
    """A job array under Slurm; a task that is pre-empted or out of time is requeued and goes on."""

    tasks: int | None = None  # of the array; None: one for each run, 64 at most
    at_once: int | None = None  # tasks that may run at a time; None: as Slurm decides
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    reservation: str | None = None
    gres: str | None = None  # as gpu:h100:1; None: gpus
    gpus: int | None = None  # cards of a task; None: none is asked for
    cpus: int = 1  # cores of a task
    memory: str | None = None  # as 16G
    time: str | None = None  # limit of a task, as 2:00:00
    requeues: int = 50  # of a task, before it is given up
    poll_every: float = 10.0  # between two questions to Slurm, which all users share [s]
    warning: int = 60  # before the limit, a task is told to write its checkpoint [s]
    setup: str = ""  # a line of shell before the worker, as `module load cuda`
    python: str = sys.executable  # interpreter on the nodes

    def prepare(self, work: Work, *, folder: Path) -> Start:
        """Return the list of work, the script and the sbatch command."""
        count = max(1, min(self.tasks or 64, len(work.left)))
        text = script(checked(self), tasks=count, folder=folder)
        files = {WORK: work.to_json(), SCRIPT: text}
        words = ("sbatch", "--parsable", str(folder / SCRIPT))
        idle = (self.gpus or 1) - 1
        remarks = (f"a task uses one card: {idle} of its {self.gpus} are idle",) if idle else ()
        return Start(folder=folder, files=files, commands=(Command(words=words),), remarks=remarks)

    def submit(self, start: Start) -> Ticket:
        """Hand the script to sbatch.

        Raises:
            SlurmError: sbatch is absent or refuses; in its own words.
        """
        if shutil.which("sbatch") is None:
            raise SlurmError("sbatch is not on this machine", "Submit from a login node.")
        start.write()
        said = _said(start.commands[0].words)
        job = said.strip().partition(";")[0]  # a federation adds its cluster
        ticket = Ticket(launcher="slurm", folder=str(start.folder), jobs=(job,))
        ticket.write()
        return ticket

    def poll(self, ticket: Ticket) -> Report:
        """Return how the tasks are: from scontrol, and from sacct for those it has forgotten.

        Raises:
            SlurmError: Slurm cannot be reached.
        """
        first = self._ask(ticket)
        if not (first.over or first.deaths):
            return first
        time.sleep(SETTLING)
        return self._ask(ticket)

    def _ask(self, ticket: Ticket) -> Report:
        job, folder = ticket.jobs[0], Path(ticket.folder)
        states = parse_scontrol(_quietly(("scontrol", "show", "job", "-o", job)))
        queue = ("squeue", "--noheader", "--array", "--format=%i|%T||%r", f"--jobs={job}")
        states |= {each.task: each for each in parse_rows(_said(queue, missing=""))}
        remarks: tuple[str, ...] = ()
        if not states:
            states = parse_sacct(_quietly(_sacct(job)))
            if not states:
                remarks = (f"Slurm no longer knows job {job}: the folders of the runs tell",)
        return report(
            states.values(),
            remarks=remarks,
            last_words=lambda task: last_words(folder / f"task-{task.task}.log"),
        )

    def cancel(self, ticket: Ticket) -> None:
        """Ask the tasks to write a checkpoint and end, and take the waiting ones off the queue."""
        ticket.cancel()  # so that the script does not requeue
        for job in ticket.jobs:
            _said(("scancel", "--state=PENDING", job), missing="")
            _said(("scancel", "--signal=USR1", "--batch", job), missing="")


def script(slurm: Slurm, *, tasks: int, folder: Path) -> str:
    """Return the text of the batch script."""
    limit = f"%{slurm.at_once}" if slurm.at_once else ""
    options = {
        "job-name": "budgetplan",
        "array": f"0-{tasks - 1}{limit}",
        "output": f"{folder}/task-%a.log",
        "open-mode": "append",
        "requeue": None,
        "signal": f"B:USR1@{slurm.warning}",
        "ntasks": "1",
        "cpus-per-task": str(slurm.cpus),
        "gpus-per-task": None if slurm.gpus is None or slurm.gres else str(slurm.gpus),
        "gres": slurm.gres,
        "mem": slurm.memory,
        "time": slurm.time,
        "partition": slurm.partition,
        "account": slurm.account,
        "qos": slurm.qos,
        "constraint": slurm.constraint,
        "reservation": slurm.reservation,
    }
    head = [
        f"#SBATCH --{name}" if name == "requeue" else f"#SBATCH --{name}={value}"
        for name, value in options.items()
        if value is not None or name == "requeue"
    ]
    worker = [slurm.python, "-m", "budgetplan.calibrate.worker", "--work", str(folder / WORK)]
    setup = f"{slurm.setup}\n" if slurm.setup else ""
    return BODY.format(
        head="\n".join(head),
        setup=setup,
        cpus=slurm.cpus,
        worker=shlex.join(worker),
        tasks=tasks,
        later=LATER,
        requeues=slurm.requeues,
        cancelled=shlex.quote(str(folder / CANCELLED)),
    )


BODY = """\
#!/bin/bash
{head}

# One task of a calibration. The warning before the time limit (USR1) and a termination (TERM) are
# passed on, and the worker writes its checkpoint and ends with {later}. After a warning the task is
# queued again from here; after a pre-emption Slurm does it, and after a scancel nobody must.
{setup}export OMP_NUM_THREADS={cpus} PYTHONUNBUFFERED=1
{worker} --task "$SLURM_ARRAY_TASK_ID" --tasks {tasks} &
worker=$!
asked=
trap 'told=1 asked=1; kill -USR1 "$worker" 2>/dev/null' USR1
trap 'told=1; kill -USR1 "$worker" 2>/dev/null' TERM
while told=; wait "$worker"; code=$?; [ -n "$told" ]; do :; done  # a trap ends a wait early
[ -e {cancelled} ] && exit 0
if [ -n "$asked" ] && {{ [ "$code" -eq {later} ] || [ "$code" -gt 128 ]; }}; then
    if [ "${{SLURM_RESTART_COUNT:-0}}" -lt {requeues} ]; then
        scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID" && exit 0
    fi
fi
exit "$code"
"""


def _sacct(job: str) -> tuple[str, ...]:
    return ("sacct", "--noheader", "--parsable2", "--allocations", "--duplicates",
            "--format=JobID,State,ExitCode", f"--jobs={job}")  # fmt: skip


def _said(words: Sequence[str], *, missing: str | None = None) -> str:
    """Return what a command of Slurm prints.

    Args:
        words: the command.
        missing: what to return for a job that Slurm no longer knows; None: that is an error.

    Raises:
        SlurmError: it is absent, fails, or does not answer within a minute.
    """
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    except FileNotFoundError as error:
        raise SlurmError(f"{words[0]} is not on this machine", "Use a login node.") from error
    except subprocess.TimeoutExpired as error:
        raise SlurmError(f"{words[0]} does not answer", "Is slurmctld up? Try again.") from error
    if done.returncode == 0:
        return done.stdout
    problem = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
    if missing is not None and "Invalid job id" in done.stderr:
        return missing
    raise SlurmError(f"{words[0]}: {problem[0].removeprefix(words[0] + ': ')}")


def _quietly(words: Sequence[str]) -> str:
    try:
        return _said(words, missing="")
    except SlurmError:  # a cluster without accounting, or a job that it has forgotten
        return ""


def checked(slurm: Slurm) -> Slurm:
    """Return the parameters if none of them could break out of the script or end a task at once.

    Raises:
        BadValue: one has a line break, or the time limit is hardly longer than its warning.
    """
    for name in ("partition", "account", "qos", "constraint", "reservation", "gres", "memory",
                 "time", "setup"):  # fmt: skip
        if "\n" in (getattr(slurm, name) or ""):
            raise BadValue(f"slurm: {name} has a line break", "Give one line.")
    limit = seconds_of_limit(slurm.time) if slurm.time else None
    if limit is not None and limit <= 2 * slurm.warning:
        raise BadValue(
            f"slurm: time={slurm.time} is hardly longer than the warning {slurm.warning} s before",
            "Give a longer time, or a smaller warning.",
        )
    return slurm


def seconds_of_limit(time: str) -> float | None:
    """Return Slurm's `MM`, `MM:SS`, `HH:MM:SS` or `D-HH[:MM[:SS]]` [s]; None for other words."""
    days, dash, rest = time.rpartition("-")
    parts = rest.split(":")
    if len(parts) > 3 or not all(part.isdigit() for part in [*parts, *([days] if dash else [])]):
        return None
    numbers = [int(part) for part in parts]
    if dash:
        hours, minutes, seconds = [*numbers, 0, 0][:3]
    else:
        hours, minutes, seconds = {1: [0, *numbers, 0], 2: [0, *numbers]}.get(len(parts), numbers)
    return int(days or 0) * 86400.0 + hours * 3600 + minutes * 60 + seconds
