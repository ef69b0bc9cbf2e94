"""Run folder: one run on disk, read by anyone, written by the process that holds its lock."""

from __future__ import annotations

import contextlib
import functools
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from budgetplan.calibrate import durable, lock
from budgetplan.calibrate.durable import StoreError, told
from budgetplan.calibrate.result import Ending, Result, State
from budgetplan.calibrate.spec import VERSION, RunSpec

ENDINGS = frozenset(get_args(Ending))
SAID = "environment.json beside it says which"
Record = dict[str, Any]


class OtherSpec(StoreError):
    """The spec in a run's folder is not one that this version would have written there."""


class RunFolder:
    """One run on disk. Reading needs no lock; writing is for the process that holds it."""

    writes = True  # False: another process of the same run writes

    def __init__(self, path: Path) -> None:
        self.path = path
        self.listeners: list[Callable[[Record], None]] = []  # told of every record appended
        self.remarks: list[str] = []  # what could not be read, in words
        self._lock: lock.Lock | None = None

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    @property
    def id(self) -> str:
        """Name of the run: the hash of its spec."""
        return self.path.name

    @functools.cached_property
    def spec(self) -> RunSpec:
        """What the run computes.

        Raises:
            StoreError: there is no spec, or it cannot be read.
            OtherSpec: it is of another version, or was changed after planning.
        """
        path = self.path / "spec.json"
        with told(path, doing="read"):
            text = path.read_text(encoding="utf-8", errors="replace")
        return parse_spec(text, path=path, name=self.id)

    @property
    def checkpoint_path(self) -> Path:
        """Where an interrupted run goes on."""
        return self.path / "checkpoint.pt"

    # --- how far it is ------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """How far the run is.

        Raises:
            StoreError: the folder cannot be read.
        """
        with told(self.path, doing="read"):
            names = os.listdir(self.path)  # noqa: PTH208  # names are enough, and cheaper
        if "result.json" in names and (ending := self._ending()):
            return ending
        numbers = lock.attempts_of(names)
        if not numbers:
            return "planned"
        return "running" if lock.read(self.path, numbers[-1]).alive else "interrupted"

    def _ending(self) -> Ending | None:
        content = self._result_content()
        status = content.get("status") if content else None
        return status if status in ENDINGS else None

    def _result_content(self) -> Record | None:
        path = self.path / "result.json"
        with told(path, doing="read"):
            try:
                content = json.loads(path.read_bytes())
            except FileNotFoundError:
                return None
            except ValueError:
                content = None
        if not isinstance(content, dict):
            self._remark("result.json cannot be read: the run counts as interrupted")
            return None
        return content

    @property
    def result(self) -> Result | None:
        """What the run measured, or None if it has not ended.

        Raises:
            StoreError: the file cannot be read.
        """
        content = self._result_content()
        try:
            return None if content is None else Result.model_validate(content)
        except ValidationError:
            self._remark("result.json lacks what a result has: the run counts as interrupted")
            return None

    def attempts(self) -> list[lock.Attempt]:
        """Return who tried this run, the first one first."""
        return lock.history(self.path)

    def records(self) -> list[Record]:
        """Return all records in the order of writing; what cannot be read is remarked."""
        records, faults = durable.lines(self.path / "metrics.jsonl")
        for fault in faults:
            self._remark(fault)
        return records

    def metrics(self) -> list[Record]:
        """Return the records of the run by step, each once.

        A run that went on from a checkpoint repeats the steps since; the last record of a step
        counts.
        """
        return by_step(self.records())

    @property
    def last_step(self) -> int:
        """The last step that has a record; 0 without any."""
        return max((record["step"] for record in self.records() if "step" in record), default=0)

    def _remark(self, words: str) -> None:
        if words not in self.remarks:
            self.remarks.append(words)

    # --- writing ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def lock(self, **facts: Any) -> Iterator[lock.Lock]:
        """Hold the run for writing; what a crash left half is cut off first.

        Args:
            facts: what the attempt's file says beside who and when.

        Raises:
            Held: a living process has it.
            StoreError: the folder cannot be written.
        """
        with lock.Lock(self.path, facts=facts) as held:
            for pattern in (".*.new", ".clock-*"):
                for left in self.path.glob(pattern):
                    left.unlink(missing_ok=True)
            cut = durable.mend(self.path / "metrics.jsonl")
            if cut:
                self._remark(f"metrics.jsonl: {cut} bytes of a half line were cut off")
            self._lock = held
            try:
                yield held
            finally:
                self._lock = None

    def append(self, record: Record, *, durable_now: bool = False) -> None:
        """Add a record to metrics.jsonl, whole or not at all, and tell the listeners.

        Raises:
            Lost: another process took the run over.
            StoreError: it cannot be written.
        """
        if self._lock:
            self._lock.check(look=False)
        durable.append(self.path / "metrics.jsonl", record, durable=durable_now)
        for listener in self.listeners:
            listener(record)

    def finish(self, result: Result) -> None:
        """Write the result, which ends the run for good.

        Raises:
            StoreError: it has ended before, another process holds it, or it cannot be written.
        """
        if self._lock:
            self._lock.check()
        elif self.state == "running":
            raise lock.Held(f"run {self.id} is being written by {self.attempts()[-1]}")
        if self.result is not None:
            raise StoreError(f"run {self.id} has ended before", "A finished run is kept as it is.")
        durable.write(self.path / "result.json", result.model_dump_json(indent=1))

    def environment(self, surroundings: Record) -> None:
        """Write down in what surroundings the run is made."""
        durable.write(
            self.path / "environment.json", json.dumps(surroundings, indent=1), sync=False
        )

    def retry(self) -> None:
        """Let a failed run be made again; what it said of its failure is kept beside.

        Raises:
            StoreError: the run did not fail, or the folder cannot be written.
        """
        if self.state != "failed":
            raise StoreError(
                f"run {self.id} is {self.state}, not failed", "Only those are retried."
            )
        number = 1 + sum(1 for _ in self.path.glob("failure-*.json"))
        with told(self.path, doing="write into"):
            (self.path / "result.json").rename(self.path / f"failure-{number}.json")


def by_step(records: list[Record]) -> list[Record]:
    """Return the last record of each step, by step; what has no step stays at its place."""
    last: dict[tuple[Any, bool], Record] = {}
    for place, record in enumerate(records):
        step = record.get("step")
        key = (place, False) if step is None else (step, "validation_loss" in record)
        last.pop(key, None)
        last[key] = record
    stepped = list(last.values())
    if all(isinstance(record.get("step"), int) for record in stepped):
        stepped.sort(key=lambda record: (record["step"], "validation_loss" in record))
    return stepped


def parse_spec(text: str, *, path: Path, name: str) -> RunSpec:
    """Return the spec in the text of a file.

    Raises:
        OtherSpec: it is damaged, of another version, or not the one whose name the folder bears.
    """
    try:
        content = json.loads(text)
        version = content["version"]
    except (ValueError, TypeError, KeyError) as error:
        raise OtherSpec(f"{path}: no spec of a run", "Remove the folder and plan again.") from error
    if version != VERSION:
        older = isinstance(version, int) and version < VERSION
        raise OtherSpec(
            f"{path}: a spec of version {version}, {'older' if older else 'newer'} than {VERSION}",
            f"Use the budgetplan that wrote it ({SAID}), or plan again in a new folder.",
        )
    try:
        spec = RunSpec.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise OtherSpec(
                f"{path}: version {version}, but with {where}, which is not known here",
                f"A newer budgetplan may have written it ({SAID}); use that, or a new folder.",
            ) from error
        raise OtherSpec(
            f"{path}: {where}: {first['msg']}", "Plan again in a new folder."
        ) from error
    if spec.id != name:
        raise OtherSpec(
            f"{path}: the spec is not the one that was planned here",
            f"It was edited, or made by another budgetplan; as it stands it is run {spec.id}.",
        )
    return spec
