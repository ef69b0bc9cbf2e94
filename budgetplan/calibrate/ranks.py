"""Ranks: one run on several cards of a machine, a process for each, started by torchrun.

The worker that holds the run's lock starts torchrun and waits. Rank 0 appends the records and
hands its result back through a file; the worker alone ends the run, so each file keeps one writer.
To stop, the worker lays a file beside; the trainer sees to it that all ranks stop at one step.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from budgetplan.calibrate import durable
from budgetplan.calibrate.durable import StoreError
from budgetplan.calibrate.result import Interrupted, Killed, Result
from budgetplan.calibrate.run_folder import Record, RunFolder
from budgetplan.calibrate.sinks.sink import watching
from budgetplan.calibrate.spec import RunSpec
from budgetplan.calibrate.store import Store
from budgetplan.calibrate.trainers import Trainer, trainer
from budgetplan.core.errors import UserError

HANDED = ".ranks-result.json"
LOG = "ranks.log"
ERROR = re.compile(r"\[rank\d+\]:\s+((?:\w+\.)*)(\w+): (.+)")
ASKED = ".ranks-stop"  # a file that asks all ranks to stop
LATER = 75
SLAIN = "Signal 9 (SIGKILL) received"  # as torchrun says it of a rank
PATIENCE = 120.0  # for ranks that were asked to stop [s]


class RanksFailed(Exception):
    """A rank ended with an error; the message is its last words."""


class Silent(RunFolder):
    """The run as ranks other than 0 see it: they read, and write nothing."""

    writes = False

    def append(self, record: Record, *, durable_now: bool = False) -> None:
        """Leave the writing to rank 0."""

    def environment(self, surroundings: Record) -> None:
        """Leave the writing to rank 0."""


def command(
    run: RunFolder, *, name: str, ranks: int, python: str, sinks: Sequence[str] = ()
) -> list[str]:
    """Return the command that starts a rank for each card of this machine."""
    start = [python, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    own = ["-m", "budgetplan.calibrate.ranks", str(run.path.parent.parent), run.id]
    return [*start, *own, "--trainer", name, *(f"--sink={each}" for each in sinks)]


def on_ranks(name: str, *, ranks: int, sinks: Sequence[str] = ()) -> Trainer:
    """Return a trainer that makes a run with so many processes, one card each.

    The sinks hear the run in the process that appends its records, rank 0.
    """

    def train(
        spec: RunSpec, run: RunFolder, *, should_stop: Callable[[], bool] | None = None
    ) -> Result:
        handed, asked = run.path / HANDED, run.path / ASKED
        for left in (handed, asked):
            left.unlink(missing_ok=True)
        with (run.path / LOG).open("ab") as log:
            before = log.tell()
            process = subprocess.Popen(
                command(run, name=name, ranks=ranks, python=sys.executable, sinks=sinks),
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509  # no threads hold locks it needs
            )  # fmt: skip
            try:
                _wait(process, asked, should_stop)
            finally:
                _end(process)
        if handed.exists():
            result = Result.model_validate_json(handed.read_text(encoding="utf-8"))
            handed.unlink()
            return result
        if asked.exists():
            asked.unlink()
            raise Interrupted
        raise fault(run.path / LOG, process.returncode, since=before)

    return train


def _wait(
    process: subprocess.Popen[bytes], asked: Path, should_stop: Callable[[], bool] | None
) -> None:
    deadline = None
    while process.poll() is None:
        if deadline is None and should_stop and should_stop():
            asked.touch()
            deadline = time.monotonic() + PATIENCE
        if deadline and time.monotonic() > deadline:
            return
        time.sleep(0.1)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End torchrun, which ends its ranks, if it still runs."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=35)  # torchrun gives its ranks 30 s


def _die_with_parent() -> None:
    """Have the kernel end this process when its parent is killed, so none outlives the lock.

    At once, as the parent was: who takes the run over may be there before a checkpoint is written.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def fault(log: Path, code: int | None, *, since: int = 0) -> Exception:
    """Return what the ranks died of: a signal from outside, the drive, or an error of one of them.

    Args:
        log: what they have written.
        code: with which torchrun ended.
        since: where in the log this attempt begins [bytes].
    """
    lines = log.read_bytes()[since:].decode(errors="replace").splitlines()
    if code == -signal.SIGKILL or any(SLAIN in line for line in lines):
        return Killed("a rank was killed by SIGKILL (out of memory?)")
    errors = [match for line in lines if (match := ERROR.match(line))]
    if not errors:
        return RanksFailed(f"torchrun ended with {code}; see {LOG}")
    module, name, words = errors[-1].groups()
    if name == StoreError.__name__:
        return StoreError(words)
    if module.startswith("budgetplan."):  # what a user can mend, in the words for it
        return UserError(words, f"see {LOG}")
    return RanksFailed(f"{name}: {words}; see {LOG}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Be one rank of a run: train, and let rank 0 hand the result over."""
    own = argparse.ArgumentParser(prog="python -m budgetplan.calibrate.ranks")
    own.add_argument("store")
    own.add_argument("id")
    own.add_argument("--trainer", required=True)
    own.add_argument("--sink", action="append", default=[])
    _die_with_parent()
    given = own.parse_args(arguments)
    first = os.environ.get("RANK", "0") == "0"
    run = Store(given.store).get(given.id)
    if not first:
        run = Silent(run.path)
    asked = run.path / ASKED
    try:
        with watching(run, names=given.sink if first else (), tell=_tell) as watchers:
            result = trainer(given.trainer)(run.spec, run, should_stop=asked.exists)
            watchers.result = result
    except Interrupted:
        return 0
    if first:
        durable.write(run.path / HANDED, result.model_dump_json())
    return 0


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
