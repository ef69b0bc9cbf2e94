"""Lock: a run has one writer at a time, on any machine, and a dead writer's place is taken.

Each attempt at a run is a file `attempt-N.json`, created with O_EXCL, which local disks and NFS
keep atomic; no flock is needed, which many network drives lack. The highest N holds the run. It is
given up when the file says how it ended, when its process on this machine is gone, or, for a writer
elsewhere, when its heartbeat (the file's time) stops. Files of former attempts stay, so that two
who take over at once meet at the same next number, and tell who tried and when.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
import re
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from budgetplan.calibrate import durable
from budgetplan.calibrate.durable import StoreError, told

BEAT = 10.0  # between heartbeats [s]
SILENCE = 90.0  # after which a writer on another machine counts as dead [s]
_NAME = re.compile(r"attempt-(\d+)\.json")


class Held(StoreError):
    """Another living process writes this run."""


class Lost(StoreError):
    """Another process took this run over, because this one seemed dead."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One process's try at a run, as its file tells."""

    number: int
    holder: dict[str, Any]  # who: host, pid, birth, and since when
    age: float  # since its last heartbeat [s]

    @property
    def ending(self) -> str:
        """How it ended: '' while it is going on, or if it died without a word."""
        return str(self.holder.get("ending", ""))

    @property
    def alive(self) -> bool:
        """Whether its process may still write."""
        if self.ending:
            return False
        if self.elsewhere:
            return self.age < SILENCE
        return birth(int(self.holder.get("pid", 0))) == self.holder.get("birth")

    @property
    def elsewhere(self) -> bool:
        """Whether its process cannot be seen from here, only its heartbeat."""
        return self.holder.get("host") != this_host()

    def __str__(self) -> str:
        """Return who, for people."""
        return f"process {self.holder.get('pid', '?')} on {self.holder.get('name', '?')}"


@functools.cache
def this_host() -> str:
    """Return what tells this machine, since it booted and within its container, from others."""
    boot = space = ""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        space = str(Path("/proc/self/ns/pid").readlink())
    return f"{socket.gethostname()} {boot} {space}".strip()


def birth(pid: int) -> str:
    """Return when the process started, as the kernel counts, or '' if there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return "" if Path("/proc/self/stat").exists() else _birth_without_proc(pid)
    return "" if fields[0] in "ZX" else fields[19]  # a zombie writes no more


def _birth_without_proc(pid: int) -> str:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except OSError:
        return "alive"
    return "alive"


def attempts_of(names: Iterable[str]) -> list[int]:
    """Return the numbers of attempts among names of files, ascending."""
    return sorted(int(match[1]) for name in names if (match := _NAME.fullmatch(name)))


def read(folder: Path, number: int, *, now: float | None = None) -> Attempt:
    """Return the attempt; one whose file is not yet written counts as just begun.

    Raises:
        StoreError: its file cannot be read.
    """
    path = folder / f"attempt-{number}.json"
    with told(path, doing="read"):
        text = path.read_text(encoding="utf-8", errors="replace")
        changed = path.stat().st_mtime
    try:
        holder = json.loads(text)
    except ValueError:
        holder = {}
    age = (time.time() if now is None else now) - changed
    return Attempt(number=number, holder=holder if isinstance(holder, dict) else {}, age=age)


def history(folder: Path) -> list[Attempt]:
    """Return all attempts at the run in this folder, the first one first.

    Raises:
        StoreError: the folder cannot be read.
    """
    with told(folder, doing="read"):
        names = os.listdir(folder)  # noqa: PTH208  # names are enough, and cheaper
    return [read(folder, number) for number in attempts_of(names)]


def _drive_time(folder: Path) -> float:
    """Return the time by the drive's clock, which may not be this machine's [s]."""
    probe = folder / f".clock-{os.getpid()}-{threading.get_ident()}"
    with told(folder, doing="write into"):
        probe.touch()
        now = probe.stat().st_mtime
        probe.unlink()
    return now


class Lock:
    """The right to write a run, kept alive by a thread until it is released.

    with Lock(folder) as lock: ...

    Raises:
        Held: a living process has it.
        StoreError: the folder cannot be written.
    """

    def __init__(self, folder: Path, *, facts: dict[str, Any] | None = None) -> None:
        self.folder = folder
        self.ending = "released"  # what the file will say; the holder may say more
        self._stop = threading.Event()
        self._lost = ""
        self.holder: dict[str, Any] = {
            "host": this_host(),
            "name": socket.gethostname(),
            "pid": os.getpid(),
            "birth": birth(os.getpid()),
            "since": time.time(),
            **(facts or {}),
        }
        self.number = self._take()
        self._beat = threading.Thread(target=self._keep_alive, daemon=True, name="heartbeat")
        self._beat.start()

    @property
    def path(self) -> Path:
        """The file that holds the run."""
        return self.folder / f"attempt-{self.number}.json"

    def _take(self) -> int:
        with told(self.folder, doing="read"):
            numbers = attempts_of(os.listdir(self.folder))  # noqa: PTH208
        latest = numbers[-1] if numbers else 0
        if latest:
            last = read(self.folder, latest)
            if last.elsewhere:
                last = read(self.folder, latest, now=_drive_time(self.folder))
            if last.alive:
                raise Held(f"run {self.folder.name} is being written by {last}")
        path = self.folder / f"attempt-{latest + 1}.json"
        with told(path, doing="create"):
            try:
                handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            except FileExistsError as error:
                raise Held(f"run {self.folder.name} was just taken by another") from error
            try:
                durable.write_all(handle, json.dumps(self.holder).encode())
                os.fsync(handle)
            except OSError:
                with contextlib.suppress(OSError):
                    path.unlink()
                raise
            finally:
                os.close(handle)
            if attempts_of(os.listdir(self.folder))[-1:] != [latest + 1]:  # noqa: PTH208
                path.unlink()  # our look at the folder was older than a file that is gone by now
                raise Held(f"run {self.folder.name} was just taken by another")
        return latest + 1

    def _keep_alive(self) -> None:
        while not self._stop.wait(BEAT):
            with contextlib.suppress(OSError):  # a drive that is gone may come back
                os.utime(self.path)
                self._look()

    def _look(self) -> None:
        if (self.folder / f"attempt-{self.number + 1}.json").exists():
            self._lost = "another process took it over, because this one seemed dead"

    def check(self, *, look: bool = True) -> None:
        """Raise unless this process still holds the run.

        Args:
            look: ask the drive, not only the last heartbeat.

        Raises:
            Lost: another took it over.
        """
        if look and not self._lost:
            self._look()
        if self._lost:
            raise Lost(f"run {self.folder.name} is no longer ours: {self._lost}")

    def release(self) -> None:
        """Say how the attempt ended, and let others write."""
        self._stop.set()
        self._beat.join()
        if not self._lost:
            ended = {**self.holder, "until": time.time(), "ending": self.ending}
            with contextlib.suppress(StoreError):  # then the end of this process will tell
                durable.write(self.path, json.dumps(ended), sync=False)

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


@contextlib.contextmanager
def turn(folder: Path) -> Iterator[None]:
    """Within this, nobody else is who asks for the same folder, on any machine; waits for it.

    Raises:
        StoreError: the folder cannot be written.
    """
    with told(folder, doing="create"):
        folder.mkdir(parents=True, exist_ok=True)
    while True:
        try:
            held = Lock(folder)
        except StoreError as error:
            # Who had the turn may clear away a file between our look at the folder and at the file.
            cleared = isinstance(error.__cause__, FileNotFoundError) and folder.is_dir()
            if not (cleared or isinstance(error, Held)):
                raise
            time.sleep(random.uniform(0.01, 0.1))  # several who wait must not look in step
        else:
            break
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            for number in attempts_of(os.listdir(folder)):  # noqa: PTH208
                if number < held.number:
                    (folder / f"attempt-{number}.json").unlink(missing_ok=True)
        held.release()
