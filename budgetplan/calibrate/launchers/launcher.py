"""Launcher: submit work, ask how it goes, cancel it. What it would write and run is known before.

    start = launcher.prepare(work, folder=...)     pure: every file and every command
    ticket = launcher.submit(start)                writes the files, runs the commands
    report = launcher.poll(ticket)                 who works, who waits, who died and why
    launcher.cancel(ticket)                        workers write a checkpoint and end

The ticket is kept beside the work, so another process, on another day, can poll and cancel.
"""

from __future__ import annotations

import json
import shlex
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol

from budgetplan.calibrate import durable
from budgetplan.calibrate.durable import told
from budgetplan.calibrate.worker import Work
from budgetplan.core.errors import BadValue, UnknownName
from budgetplan.core.registry import Registry

WORK = "work.json"
TICKET = "ticket.json"
CANCELLED = "cancelled"


@dataclass(frozen=True, kw_only=True)
class Command:
    """One process to start, with what its environment has beside ours."""

    words: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    log: str = ""  # file in the folder of the launch, that its output goes to


@dataclass(frozen=True, kw_only=True)
class Start:
    """Everything that a launch will do: which files it writes, then which commands it runs."""

    folder: Path
    files: Mapping[str, str]  # name in the folder: text
    commands: tuple[Command, ...]
    remarks: tuple[str, ...] = ()

    def write(self) -> None:
        """Write the files.

        Raises:
            StoreError: the folder cannot be written.
        """
        with told(self.folder, doing="create"):
            self.folder.mkdir(parents=True, exist_ok=True)
        for name, text in self.files.items():
            durable.write(self.folder / name, text)

    def shown(self) -> str:
        """Return the files and commands as text that could be typed into a shell."""
        parts = [f"# {self.folder / name}\n{text.rstrip()}\n" for name, text in self.files.items()]
        for command in self.commands:
            words = [f"{key}={shlex.quote(value)}" for key, value in command.environment.items()]
            log = f" >> {shlex.quote(str(self.folder / command.log))} 2>&1" if command.log else ""
            parts.append(f"$ {' '.join([*words, shlex.join(command.words)])}{log}\n")
        parts.append(f"# {self.folder / TICKET}: what was started\n")
        return "\n".join([*parts, *(f"# {remark}\n" for remark in self.remarks)])


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """What is needed to ask about a launch later."""

    launcher: str
    folder: str
    jobs: tuple[str, ...]  # process ids with their birth, or job ids

    def write(self) -> None:
        """Keep the ticket beside the work."""
        text = json.dumps({"launcher": self.launcher, "folder": self.folder, "jobs": self.jobs})
        durable.write(Path(self.folder) / TICKET, text)

    @property
    def cancelled(self) -> bool:
        """Whether anybody asked the workers to end: then no others are started."""
        return (Path(self.folder) / CANCELLED).exists()

    def cancel(self) -> None:
        """Have all who look after the launch know that its workers were asked to end."""
        with told(Path(self.folder), doing="write into"):
            (Path(self.folder) / CANCELLED).touch()

    @classmethod
    def read(cls, folder: Path) -> Ticket:
        """Return the ticket of a launch.

        Raises:
            BadValue: there is none.
        """
        try:
            content = json.loads((folder / TICKET).read_text(encoding="utf-8"))
            return cls(**{**content, "jobs": tuple(content["jobs"])})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise BadValue(f"{folder}: no launch was made here: {error}") from error


@dataclass(frozen=True, kw_only=True)
class Report:
    """How the workers of a launch are: how many work and wait, and what became of the others."""

    working: int = 0
    waiting: int = 0
    deaths: tuple[str, ...] = ()  # workers that ended as they should not, in words
    spent: bool = False  # a worker stopped at the allowance
    stopped: bool = False  # a worker was told by a signal to end, or nobody knows how it ended
    cancelled: bool = False  # a scheduler was told from outside to end a worker
    fault: bool = False  # a worker met what another would meet again: a full disk, a wrong name
    remarks: tuple[str, ...] = ()

    @property
    def over(self) -> bool:
        """Whether no worker works or waits."""
        return not (self.working or self.waiting)


class Launcher(Protocol):
    """A way to make runs. Its fields are what the user may set, each with a default."""

    def prepare(self, work: Work, *, folder: Path) -> Start:
        """Return what would be written and run."""
        ...

    def submit(self, start: Start) -> Ticket:
        """Write the files and start the workers."""
        ...

    def poll(self, ticket: Ticket) -> Report:
        """Return how the workers are."""
        ...

    def cancel(self, ticket: Ticket) -> None:
        """Ask the workers to write a checkpoint and end; returns at once."""
        ...


launchers: Registry[type[Any]] = Registry("launcher", package="budgetplan.calibrate.launchers")
"""Each is a frozen dataclass whose fields are the parameters that a user may set."""


def build(name: str, settings: Sequence[str] = ()) -> Launcher:
    """Return the launcher with settings as a user writes them: `workers=4`, `partition=gpu`.

    Raises:
        UnknownName: no such launcher, or it has no such parameter.
        BadValue: the value cannot be read.
    """
    kind = launchers[name]
    hints = typing.get_type_hints(kind)
    known = [each.name for each in fields(kind)]
    values: dict[str, Any] = {}
    for setting in settings:
        key, sign, value = setting.partition("=")
        key = key.strip().replace("-", "_")
        if key not in known:
            raise _unknown(name, key, known)
        if not sign:
            raise BadValue(f"{name}: {setting} has no value", f"Write {key}=VALUE.")
        values[key] = _read(value.strip(), hints[key], what=f"{name}: {key}={value}")
    made: Launcher = kind(**values)
    return made


def _unknown(name: str, key: str, known: list[str]) -> UnknownName:
    error = UnknownName(f"parameter of launcher {name}", key, known)
    if not error.remedy.startswith("Did you mean"):
        error.remedy = f"It has {', '.join(sorted(known))}."
        error.args = (f"{error.problem}\n{error.remedy}",)
    return error


def _read(text: str, kind: Any, *, what: str) -> Any:
    """Return the text as a value of the field's type: int, float, str, or one of these or None."""
    options = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    wanted = next(each for each in options if each is not type(None))
    if typing.get_origin(wanted) is tuple:
        return tuple(part for part in text.split(",") if part)
    if wanted is bool:
        if text.lower() not in ("yes", "no", "true", "false"):
            raise BadValue(f"{what}: not yes or no")
        return text.lower() in ("yes", "true")
    try:
        value = wanted(text)
    except ValueError as error:
        word = "whole number" if wanted is int else "number"
        raise BadValue(f"{what}: not a {word}") from error
    if wanted is int and value < 1:
        raise BadValue(f"{what}: must be at least 1")
    return value
