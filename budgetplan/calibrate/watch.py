"""Watch: how far the runs of a calibration are, as values; how it looks is the screen's affair."""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from budgetplan.calibrate.allowance import (
    evaluation_flops,
    flops_of,
    flops_per_sequence,
    spent_on,
    time_on,
)
from budgetplan.calibrate.durable import StoreError
from budgetplan.calibrate.result import Result, State
from budgetplan.calibrate.run_folder import ENDINGS, Record, RunFolder
from budgetplan.calibrate.spec import RunSpec

WINDOW = 20  # records over which the speed is taken


@dataclass(frozen=True, kw_only=True)
class Card:
    """The card that runs are made on, as far as it is known."""

    peak: float | None = None  # [FLOP/s]
    usd_per_hour: float | None = None
    count: int = 1  # cards of each run

    @property
    def peak_of_run(self) -> float | None:
        """Peak of all cards of a run together [FLOP/s]."""
        return self.peak * self.count if self.peak else None


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far one run is. What is not known yet is None."""

    id: str
    state: State
    step: int
    steps: int
    loss: float | None = None  # of the last step, else the last held-out one [nats/token]
    tokens_per_second: float | None = None
    flops_per_second: float | None = None
    spent: float = 0.0  # [FLOPs]
    whole: float = 0.0  # of the run from first to last step [FLOPs]
    seconds: float = 0.0  # of training, in all attempts [s]
    reason: str = ""

    @property
    def share(self) -> float:
        """How much of the run is done, from 0 to 1."""
        return 1.0 if self.state in ENDINGS else self.step / self.steps

    def mfu(self, peak: float | None) -> float | None:
        """Return the achieved share of the peak of its cards [FLOP/s], where both are known."""
        return self.flops_per_second / peak if peak and self.flops_per_second else None

    @property
    def seconds_left(self) -> float | None:
        """How long the run will still take at its present speed [s]."""
        if self.state != "running" or not self.flops_per_second:
            return None
        return self.whole * (1 - self.share) / self.flops_per_second


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """How far all runs are at one moment."""

    runs: tuple[Progress, ...]
    allowance: float | None = None  # [FLOPs]
    seconds: float = 0.0  # since the first look [s]
    began_with: float = 0.0  # FLOPs spent before the first look

    def count(self, *states: State) -> int:
        """Return how many runs are in one of these states."""
        return sum(run.state in states for run in self.runs)

    @property
    def spent(self) -> float:
        """What all runs have spent, in all attempts [FLOPs]."""
        return sum(run.spent for run in self.runs)

    @property
    def training(self) -> float:
        """Seconds of training of all runs together, in all attempts [s]."""
        return sum(run.seconds for run in self.runs)

    @property
    def left(self) -> float:
        """What the runs that have not ended still need [FLOPs]."""
        return sum(run.whole * (1 - run.share) for run in self.runs)

    @property
    def ended(self) -> int:
        """How many runs have ended."""
        return self.count("finished", "diverged", "failed")

    @property
    def seconds_left(self) -> float | None:
        """How long the rest will take, as fast as it went since the first look [s]."""
        gone = self.spent - self.began_with
        if not self.left:
            return 0.0
        return self.left * self.seconds / gone if gone > 0 and self.seconds > 0 else None


class Tail:
    """The lines that a file has grown by since the last look."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._position = 0

    def fresh(self) -> list[Record]:
        """Return the new whole records; a half line waits until it is whole.

        Raises:
            StoreError: the file cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self._position)
                data = file.read()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(f"cannot read {self.path}: {error.strerror}") from error
        whole = data[: data.rfind(b"\n") + 1]
        self._position += len(whole)
        return [record for line in whole.splitlines() if (record := _parsed(line))]


def _parsed(line: bytes) -> Record | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


@dataclass
class Seen:
    """What is kept of the records of a run that is going on."""

    last: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=WINDOW))
    step: int = 0
    loss: float | None = None
    tokens: float = 0.0  # trained on in all attempts, repeated ones counted again
    evaluations: int = 0
    seconds: float = 0.0  # of training, in all attempts [s]
    _second: float = 0.0
    _place: float = 0.0
    _stride: float = 0.0  # tokens between two records

    def take(self, records: Iterable[Record]) -> None:
        """Take further records, in the order of writing."""
        for record in records:
            if "validation_loss" in record:
                self.evaluations += 1
                continue
            tokens = record.get("tokens")
            if not isinstance(tokens, (int, float)):
                continue
            self.step = int(record.get("step", self.step))
            self.loss = _number(record.get("loss"))
            seconds = _number(record.get("seconds"))
            if tokens <= self._place:  # went on from a checkpoint: a step is made again
                self.last.clear()
                self.tokens += self._stride
            else:
                self._stride = tokens - self._place
                self.tokens += self._stride
            self._place = float(tokens)
            if seconds is not None:
                self.last.append((float(tokens), seconds))
                self.seconds += max(0.0, seconds - self._second)
                self._second = seconds

    @property
    def tokens_per_second(self) -> float | None:
        """The speed over the last records."""
        if len(self.last) < 2:
            return None
        (first, began), (last, ended) = self.last[0], self.last[-1]
        return (last - first) / (ended - began) if ended > began else None


def _number(value: object) -> float | None:
    if isinstance(value, (int, float)) and math.isfinite(value):
        return float(value)
    return None


def going(
    spec: RunSpec, state: State, seen: Seen, *, per_sequence: float, whole: float
) -> Progress:
    """Return how far a run is that has not ended."""
    speed = seen.tokens_per_second if state == "running" else None
    per_token = per_sequence / spec.seq_len
    spent = seen.tokens * per_token + seen.evaluations * evaluation_flops(spec)
    return Progress(
        id=spec.id, state=state, step=min(seen.step, spec.steps), steps=spec.steps, loss=seen.loss,
        tokens_per_second=speed, flops_per_second=speed * per_token if speed else None,
        spent=spent, whole=whole, seconds=seen.seconds,
    )  # fmt: skip


def ended(run: RunFolder, result: Result, *, whole: float) -> Progress:
    """Return how a run ended, and after which step."""
    spec = run.spec
    step = spec.steps if result.status == "finished" else run.last_step
    loss = result.evaluations[-1].loss if result.evaluations else result.train_loss
    return Progress(
        id=spec.id, state=result.status, step=step, steps=spec.steps, loss=loss,
        tokens_per_second=result.tokens_per_second, flops_per_second=result.flops_per_second,
        spent=spent_on(run), whole=whole, seconds=time_on(run), reason=result.reason,
    )  # fmt: skip


class Watch:
    """Looks at the runs again and again; what has ended is read once, files that grow by tails."""

    def __init__(self, runs: Sequence[RunFolder], *, allowance: float | None = None) -> None:
        self._runs = tuple(runs)
        self._allowance = allowance
        self._ended: dict[str, Progress] = {}
        self._tails = {run.id: Tail(run.path / "metrics.jsonl") for run in runs}
        self._seen = {run.id: Seen() for run in runs}
        self._sizes: dict[str, tuple[float, float]] = {}
        self._began = time.monotonic()
        self._began_with: float | None = None

    def look(self) -> Snapshot:
        """Return how far all runs are now.

        Raises:
            StoreError: a folder cannot be read.
        """
        runs = tuple(self._ended.get(run.id) or self._one(run) for run in self._runs)
        spent = sum(run.spent for run in runs)
        if self._began_with is None:
            self._began_with = spent
        return Snapshot(
            runs=runs, allowance=self._allowance, seconds=time.monotonic() - self._began,
            began_with=self._began_with,
        )  # fmt: skip

    def _one(self, run: RunFolder) -> Progress:
        if run.id not in self._sizes:
            self._sizes[run.id] = (flops_per_sequence(run.spec), flops_of(run.spec))
        per_sequence, whole = self._sizes[run.id]
        state = run.state
        if state in ENDINGS and (result := run.result):
            done = ended(run, result, whole=whole)
            self._ended[run.id] = done
            return done
        seen = self._seen[run.id]
        seen.take(self._tails[run.id].fresh())
        return going(run.spec, state, seen, per_sequence=per_sequence, whole=whole)
