"""Sink: what a place for records must do, and how sinks are opened beside a run.

The store is complete without any of them. A sink that fails is left out for the rest of the run,
with a word about it, and never stops a run.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from budgetplan.calibrate.result import Result
from budgetplan.calibrate.run_folder import RunFolder
from budgetplan.core.errors import MissingPackage
from budgetplan.core.registry import Registry


class Sink(Protocol):
    """An open place for the records of one run."""

    def record(self, record: dict[str, Any]) -> None:
        """Take one record of metrics.jsonl."""
        ...

    def close(self, result: Result | None) -> None:
        """Take the result, None for a run that was interrupted, and let go."""
        ...


class Opens(Protocol):
    """Opens the sink of a run; one that goes on is continued under the same name."""

    def __call__(self, run: RunFolder) -> Sink:
        """Return the open sink."""
        ...

    def needed(self) -> None:
        """Raise MissingPackage unless what the sink needs is installed."""
        ...


sinks: Registry[Opens] = Registry("sink", package="budgetplan.calibrate.sinks")


class Watchers:
    """The sinks of one run that are open."""

    def __init__(self, run: RunFolder, *, tell: Callable[[str], None]) -> None:
        self.run = run
        self.result: Result | None = None  # where it is known before it lies in the folder
        self._tell = tell
        self._open: dict[str, Sink] = {}

    def open(self, name: str) -> bool:
        """Open a sink, or tell why not, and return whether it is open."""
        with self._told(f"{name} is left out from run {self.run.id} on"):
            self._open[name] = sinks[name](self.run)
        return name in self._open

    def hear(self, record: dict[str, Any]) -> None:
        """Hand a record on; a sink that fails hears no more."""
        for name, sink in list(self._open.items()):
            with self._told(f"{name} is left out of the rest of run {self.run.id}") as faults:
                sink.record(record)
            if faults:
                del self._open[name]

    def close(self) -> None:
        """Close all."""
        for name, sink in self._open.items():
            with self._told(f"{name} could not be closed"):
                sink.close(self.result or self.run.result)

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[list[str]]:
        """Turn whatever a service on a network may raise into a note."""
        faults: list[str] = []
        try:
            yield faults
        except Exception as error:
            words = str(error).strip().partition("\n")[0]
            faults.append(f"{type(error).__name__}: {words}")
            self._tell(f"note: {what}: {faults[0]}")


@contextlib.contextmanager
def watching(
    run: RunFolder,
    *,
    names: Sequence[str],
    tell: Callable[[str], None],
    lost: set[str] | None = None,
) -> Iterator[Watchers]:
    """Within this, the named sinks hear every record of the run.

    Args:
        run: that is made.
        names: of the sinks.
        tell: says in a line what fails.
        lost: sinks that did not open for a former run, and are not tried again, for a service that
            cannot be reached may take minutes to say so; those that do not open now are added.
    """
    watchers = Watchers(run, tell=tell)
    lost = set() if lost is None else lost
    for name in names:
        if name not in lost and not watchers.open(name):
            lost.add(name)
    run.listeners.append(watchers.hear)
    try:
        yield watchers
    finally:
        run.listeners.remove(watchers.hear)
        watchers.close()


def package(name: str, *, extra: str) -> Any:
    """Return the module that a sink needs.

    Raises:
        MissingPackage: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise MissingPackage(extra, needed_for=f"the sink {extra}", extra=extra) from error


def numbers(record: dict[str, Any]) -> dict[str, float]:
    """Return the numbers of a record but its place, by the name that a chart should bear."""
    place = {"step", "tokens"} if "validation_loss" in record else {"step"}  # tokens: said before
    return {
        name: float(value)
        for name, value in record.items()
        if name not in place and isinstance(value, (int, float))
    }
