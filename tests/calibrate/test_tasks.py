"""Tasks: what Slurm prints of them, read."""

from __future__ import annotations

import pytest

from budgetplan.calibrate.launchers.launcher import Report
from budgetplan.calibrate.tasks import Task, parse_rows, parse_sacct, parse_scontrol, report

# As scontrol 22.05 prints them, shortened: one line for each task, the waiting ones in one.
SCONTROL = """\
JobId=12 ArrayJobId=12 ArrayTaskId=2-9%4 JobName=b JobState=PENDING Reason=Resources ExitCode=0:0
JobId=13 ArrayJobId=12 ArrayTaskId=0 JobName=b JobState=FAILED Reason=NonZeroExitCode ExitCode=137:0
JobId=14 ArrayJobId=12 ArrayTaskId=1 JobName=b JobState=RUNNING Reason=None ExitCode=0:0
"""


def test_scontrol_is_read() -> None:
    assert parse_scontrol(SCONTROL) == {
        "0": Task(task="0", state="FAILED", code=137, reason="NonZeroExitCode"),
        "1": Task(task="1", state="RUNNING", reason="None"),
    }


def test_rows_of_squeue_and_sacct_are_read() -> None:
    rows = "12_3|PENDING||Resources\n12_1|RUNNING||None\n"
    assert [each.state for each in parse_rows(rows)] == ["PENDING", "RUNNING"]
    sacct = "12_0|REQUEUED|0:0\n12_0|COMPLETED|0:0\n12_1|CANCELLED by 0|0:15\n12_1.batch|X|0:0\n"
    tasks = parse_sacct(sacct)
    assert tasks["0"].state == "COMPLETED", "the last word counts"
    assert tasks["1"] == Task(task="1", state="CANCELLED", signal=15)
    killed = parse_sacct("12_0|FAILED|9:0\n")["0"]  # as sacct 22.05 tells of exit code 137
    assert "killed by SIGKILL" in report([killed]).deaths[0]


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (Task(task="4", state="FAILED", code=137), "killed by SIGKILL (out of memory?) (FAILED)"),
        (Task(task="4", state="OUT_OF_MEMORY", signal=9), "SIGKILL (out of memory?) (OUT_OF_M"),
        (Task(task="4", state="TIMEOUT"), "task 4 ended as TIMEOUT"),
        (Task(task="4", state="NODE_FAIL"), "task 4 ended as NODE_FAIL"),
        (Task(task="4", state="PREEMPTED", code=75), "pre-empted, and is not queued again"),
        (Task(task="4", state="FAILED", code=75), "interrupted too often"),
        (Task(task="4", state="FAILED", code=1), "task 4 ended with exit code 1: it broke"),
        (Task(task="4", state="FAILED", code=2), "task 4 could not go on: it broke"),
    ],
)
def test_a_task_that_died_is_told(task: Task, words: str) -> None:
    assert words in report([task], last_words=lambda _: ": it broke").deaths[0]
    assert report([task]).over


def test_tasks_that_work_and_wait_are_counted() -> None:
    tasks = [
        Task(task=str(number), state=state, reason=reason, code=code)
        for number, (state, reason, code) in enumerate([
            ("RUNNING", "None", 0), ("COMPLETING", "None", 0), ("PENDING", "Resources", 0),
            ("PENDING", "QOSMaxJobsPerUserLimit", 0), ("COMPLETED", "None", 0),
            ("FAILED", "NonZeroExitCode", 3), ("CANCELLED", "None", 0),
        ])
    ]  # fmt: skip
    assert report(tasks) == Report(
        working=2,
        waiting=2,
        spent=True,
        cancelled=True,
        remarks=("task 3 waits: QOSMaxJobsPerUserLimit",),
    )
