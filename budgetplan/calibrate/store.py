"""Store: one folder per run, named by its spec; what ended is kept, what was cut off goes on.

    STORE/runs/ID/spec.json          what is computed; ID is its hash
                  attempt-N.json     who tried, since when, and how it ended: the lock
                  environment.json   versions, card, clocks and code of the last attempt
                  metrics.jsonl      one line a step, only ever appended to
                  checkpoint.pt      where an interrupted run goes on
                  result.json        there when the run has ended, never half
                  traceback.txt      of a failed run

Every file has one writer: the process that holds the run's lock. There is no index to fall out of
step with the folders: reading 10,000 of them takes a second or two.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from budgetplan.calibrate import durable
from budgetplan.calibrate.durable import StoreError, told
from budgetplan.calibrate.result import State
from budgetplan.calibrate.run_folder import OtherSpec, RunFolder
from budgetplan.calibrate.spec import RunSpec
from budgetplan.core.errors import UnknownName

__all__ = ["OtherSpec", "RunFolder", "Store"]


class Store:
    """The folder of all runs of one or many calibrations."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).absolute()

    def __repr__(self) -> str:
        return f"Store({str(self.folder)!r})"

    @property
    def _home(self) -> Path:
        return self.folder / "runs"

    def add(self, spec: RunSpec) -> RunFolder:
        """Return the folder of the run with this spec, made if there was none.

        A run that has not ended finds its files where this spec says they lie.

        Raises:
            StoreError: the folder cannot be written.
        """
        path = self._home / spec.id
        if (path / "spec.json").is_file():
            with contextlib.suppress(OtherSpec):  # told when the run is read
                run = RunFolder(path)
                if run.spec != spec and run.state in ("planned", "interrupted"):
                    durable.write(path / "spec.json", spec.model_dump_json(indent=1))
            return RunFolder(path)
        with told(self._home, doing="create"):
            self._home.mkdir(parents=True, exist_ok=True)
        fresh = self._home / f".{spec.id}.{os.getpid()}.{time.monotonic_ns()}"
        try:
            with told(fresh, doing="create"):
                fresh.mkdir()
            durable.write(fresh / "spec.json", spec.model_dump_json(indent=1))
            with contextlib.suppress(FileExistsError), told_unless_there(path):
                fresh.rename(path)  # at once with its spec, so no folder is ever without
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        durable.sync_folder(self._home)
        return RunFolder(path)

    def get(self, name: str) -> RunFolder:
        """Return the run of this name, or of the one name that begins so.

        Raises:
            UnknownName: there is none, or more than one.
        """
        exact = self._home / name
        if name and not name.startswith(".") and (exact / "spec.json").is_file():
            return RunFolder(exact)
        names = [run.id for run in self.runs()]
        matching = [each for each in names if each.startswith(name)] if name else []
        if len(matching) != 1:
            raise UnknownName("run", name, matching or names)
        return RunFolder(self._home / matching[0])

    def runs(self) -> Iterator[RunFolder]:
        """Return every run, by name.

        Raises:
            StoreError: there is no such folder, or it cannot be read.
        """
        with told(self.folder, doing="read"):
            if not self._home.is_dir():
                os.listdir(self.folder)  # noqa: PTH208  # a folder without runs is an empty store
                return
            with os.scandir(self._home) as entries:
                names = sorted(entry.name for entry in entries if entry.name[0] != ".")
        for name in names:
            yield RunFolder(self._home / name)

    def probe(self) -> None:
        """Raise StoreError if the folder cannot be written now, and say why."""
        path = self.folder / f".probe-{os.getpid()}"
        try:
            durable.write(path, " " * 65536)
        finally:
            path.unlink(missing_ok=True)

    def states(self) -> dict[str, State]:
        """Return how far each run is, by name; the time taken is linear in their number."""
        return {run.id: run.state for run in self.runs()}


@contextlib.contextmanager
def told_unless_there(path: Path) -> Iterator[None]:
    """Turn errors into words, except that someone else has just made the same folder."""
    try:
        with told(path, doing="create"):
            yield
    except StoreError as error:
        if not (path / "spec.json").is_file():
            raise
        raise FileExistsError(path) from error
