"""Tasks: how the tasks of a Slurm array are, read from what its commands print."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from signal import SIGABRT, SIGBUS, SIGFPE, SIGKILL, SIGSEGV, SIGTERM

from budgetplan.calibrate.launchers.launcher import Report
from budgetplan.calibrate.launchers.local import ending
from budgetplan.calibrate.worker import DONE, FAULT, LATER, SPENT

WAITING = {"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD"}
WORKING = {"RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING",
           "STAGE_OUT", "RESIZING"}  # fmt: skip
CRASHES = {int(number) for number in (SIGABRT, SIGBUS, SIGFPE, SIGKILL, SIGSEGV, SIGTERM)}


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task of an array, as Slurm tells of it."""

    task: str
    state: str
    code: int = 0  # its exit code
    signal: int = 0  # that killed it
    reason: str = ""


def parse_scontrol(text: str) -> dict[str, Task]:
    """Return the tasks in what `scontrol show job -o` prints, by number in the array."""
    found: dict[str, Task] = {}
    for line in text.splitlines():
        words: dict[str, str] = dict(re.findall(r"(\w+)=(\S*)", line))
        if not words.get("ArrayTaskId", "").isdigit():  # those that wait stand in one line, as 3-9
            continue
        code, _, number = words.get("ExitCode", "0:0").partition(":")
        name = words["ArrayTaskId"]
        found[name] = Task(task=name, state=words.get("JobState", ""), code=int(code or 0),
                           signal=int(number or 0), reason=words.get("Reason", ""))  # fmt: skip
    return found


def parse_rows(text: str) -> Iterable[Task]:
    """Return the tasks in rows `JOB_TASK|STATE|CODE:SIGNAL|REASON` of squeue or sacct."""
    for line in text.splitlines():
        job, state, code, reason = [*line.strip().split("|"), "", "", ""][:4]
        if not state or "." in job:  # a step of a task
            continue
        first, _, second = code.partition(":")
        yield Task(task=job.partition("_")[2] or job, state=state.split()[0],
                   code=int(first or 0), signal=int(second or 0), reason=reason)  # fmt: skip


def parse_sacct(text: str) -> dict[str, Task]:
    """Return the tasks in what sacct prints, by number in the array; the last word counts.

    sacct keeps seven bits of an exit code: the 137 of a worker killed by SIGKILL comes back as 9
    (seen with 22.05). A worker never ends with the number of such a signal by itself.
    """
    return {
        task.task: replace(task, code=task.code + 128) if task.code in CRASHES else task
        for task in parse_rows(text)
    }


def report(
    tasks: Iterable[Task],
    *,
    remarks: Sequence[str] = (),
    last_words: Callable[[Task], str] = lambda task: "",
) -> Report:
    """Return how the tasks are, in words.

    Args:
        tasks: of the array.
        remarks: what to say besides.
        last_words: of a task that ended with an error, from its log.
    """
    working = waiting = 0
    deaths, spent, fault, cancelled = [], False, False, False
    said = list(remarks)
    for task in tasks:
        if task.state in WORKING:
            working += 1
        elif task.state in WAITING:
            waiting += 1
            if re.search("Dependency|Invalid|Held|Unavail|NotAvail|Limit", task.reason):
                said.append(f"task {task.task} waits: {task.reason}")
        elif task.state == "CANCELLED":
            cancelled = True
        elif task.state != "COMPLETED":
            spent = spent or task.code == SPENT
            fault = fault or task.code == FAULT
            if task.code != SPENT:
                deaths.append(_death(task, last_words))
    return Report(working=working, waiting=waiting, deaths=tuple(deaths), spent=spent,
                  cancelled=cancelled, fault=fault, remarks=tuple(said))  # fmt: skip


def _death(task: Task, last_words: Callable[[Task], str]) -> str:
    if task.state == "PREEMPTED":
        return f"task {task.task} was pre-empted, and is not queued again by Slurm"
    if task.code == LATER:
        return f"task {task.task} was interrupted too often to be queued again"
    number = task.signal or (task.code - 128 if task.code > 128 else 0)
    if number:
        return f"task {task.task} {ending(-number)} ({task.state})"
    if task.code == DONE:
        return f"task {task.task} ended as {task.state}"
    return f"task {task.task} {ending(task.code)}{last_words(task)}"
