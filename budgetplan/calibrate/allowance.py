"""Allowance: what all runs together may spend, counted exactly, and where to stop."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from budgetplan.calibrate import lock
from budgetplan.calibrate.durable import StoreError
from budgetplan.calibrate.run_folder import ENDINGS, RunFolder
from budgetplan.calibrate.spec import RunSpec
from budgetplan.core.errors import BadValue
from budgetplan.core.units import show
from budgetplan.flops import closed_form


def flops_of(spec: RunSpec) -> float:
    """Return the model FLOPs of the whole run, evaluations included, counted exactly."""
    return training_flops(spec) + len(evaluations_of(spec)) * evaluation_flops(spec)


def evaluations_of(spec: RunSpec) -> tuple[int, ...]:
    """Return the steps after which the held-out loss is measured, the last one always."""
    return tuple(sorted({*spec.evaluate_at, spec.steps}))


def flops_per_sequence(spec: RunSpec) -> float:
    """Return the model FLOPs of one sequence, forward and backward."""
    if spec.factory is not None:  # only a trace can count the user's own model
        from budgetplan.calibrate.user_model import exact_flops

        return exact_flops(spec.factory, spec.architecture, seq_len=spec.seq_len)
    return closed_form.flops_per_step(spec.architecture, seq_len=spec.seq_len)


def training_flops(spec: RunSpec) -> float:
    """Return the FLOPs of all optimizer steps of the run."""
    return spec.steps * spec.batch_sequences * flops_per_sequence(spec)


def evaluation_flops(spec: RunSpec) -> float:
    """Return the FLOPs of one measurement of the held-out loss: a forward pass is a third."""
    return math.ceil(spec.evaluation_tokens / spec.seq_len) * flops_per_sequence(spec) / 3


def tokens_done(records: Iterable[dict[str, Any]]) -> float:
    """Return the tokens trained on in all attempts, those that were repeated counted again.

    Args:
        records: of metrics.jsonl, in the order of writing.
    """
    done = 0.0
    seen: list[float] = []
    for record in records:
        if "validation_loss" in record or not isinstance(record.get("tokens"), (int, float)):
            continue
        tokens = float(record["tokens"])
        while seen and seen[-1] >= tokens:  # went on from a checkpoint: these are made again
            seen.pop()
        done += tokens - (seen[-1] if seen else 0.0)
        seen.append(tokens)
    return done


def spent_on(run: RunFolder) -> float:
    """Return the FLOPs that the run has spent so far, in all attempts.

    Raises:
        StoreError: the run's folder cannot be read.
    """
    result = run.result
    if result is not None and len(run.attempts()) <= 1:
        return result.flops_spent
    records = run.records()
    evaluations = sum("validation_loss" in record for record in records)
    spent = training_flops(run.spec) * tokens_done(records) / run.spec.tokens
    spent += evaluations * evaluation_flops(run.spec)
    return max(spent, result.flops_spent) if result is not None else spent


def time_on(run: RunFolder) -> float:
    """Return the seconds of training that the run has taken so far, in all attempts.

    Raises:
        StoreError: the run's folder cannot be read.
    """
    result = run.result
    if result is not None and len(run.attempts()) <= 1:
        return result.seconds
    return max(seconds_of(run), result.seconds if result else 0.0)


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """The most that all runs together may spend."""

    flops: float | None = None  # model FLOPs; None: no limit
    card_seconds: float | None = None  # of training on all cards; None: no limit

    def __post_init__(self) -> None:
        for name in ("flops", "card_seconds"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise BadValue(f"an allowance of {value:g} {name}", "Give a positive amount.")


@dataclass
class Ledger:
    """What is spent and what is promised of an allowance; runs that ended are read once."""

    runs: tuple[RunFolder, ...]
    allowance: Allowance
    cards: int = 1  # of each run
    _ended: dict[str, tuple[float, float]] = field(default_factory=dict)

    def turn(self) -> contextlib.AbstractContextManager[None]:
        """Within this, no other worker of the same store asks for room."""
        return lock.turn(self.runs[0].path.parent / ".turn")

    def spent(self, *, without: str = "", promised: bool = False) -> tuple[float, float]:
        """Return FLOPs and card-seconds spent on the runs.

        Args:
            without: name of a run to leave out.
            promised: a run that is going on counts with all that it will still spend.
        """
        flops = seconds = 0.0
        for run in self.runs:
            if run.id == without:
                continue
            one = self._ended.get(run.id) or self._of(run, promised=promised)
            flops, seconds = flops + one[0], seconds + one[1]
        return flops, seconds

    def _of(self, run: RunFolder, *, promised: bool) -> tuple[float, float]:
        state = run.state
        if state == "planned":
            return 0.0, 0.0
        flops, seconds = spent_on(run), self._seconds(run)
        if state in ENDINGS:
            self._ended[run.id] = (flops, seconds)
        elif state == "running" and promised:
            flops += rest_of(run, going=True)
        return flops, seconds

    def _seconds(self, run: RunFolder) -> float:
        return self.cards * time_on(run)

    def seconds_left(self, run: RunFolder, *, before: float) -> float:
        """Return the card-seconds that the run may use, as far as others have left them.

        Args:
            run: that is going on.
            before: seconds that it had been trained before [s].
        """
        spent = self.spent(without=run.id)[1] + self.cards * before
        return (self.allowance.card_seconds or math.inf) - spent

    def room(self, run: RunFolder) -> Allowance:
        """Return what the run may spend from now on, beside what the others need.

        Raises:
            Spent: less is left than the run needs.
        """
        flops, seconds = self.spent(without=run.id, promised=True)
        flops += spent_on(run)
        seconds += self.cards * seconds_of(run)
        left = None if self.allowance.flops is None else self.allowance.flops - flops
        if left is not None and rest_of(run) > left * (1 + 1e-9):
            raise Spent(
                f"the allowance of {show(self.allowance.flops or 0)} FLOPs has "
                f"{show(max(0.0, left))} left, run {run.id} needs {show(rest_of(run))}",
                "Raise the allowance to go on: finished runs are not made again.",
            )
        time = (
            None if self.allowance.card_seconds is None else self.allowance.card_seconds - seconds
        )
        if time is not None and time <= 0:
            raise Spent(
                f"the allowance of {show((self.allowance.card_seconds or 0) / 3600)} GPU-hours "
                "is used up",
                "Raise the allowance to go on: finished runs are not made again.",
            )
        # a rounding of the sum must not stop the last step of a run that fits
        return Allowance(flops=left * (1 + 1e-9) if left else None, card_seconds=time)


class TooSmall(BadValue):
    """The allowance does not reach for the smallest design; `needed` [FLOPs] would."""

    def __init__(self, problem: str, *, needed: float) -> None:
        more = f"{needed * 1.006:.3g}"  # three digits may round down by half a percent
        super().__init__(problem, f"The smallest that works is --spend {more}, or smaller models.")
        self.needed = needed


class Spent(StoreError):
    """The allowance does not reach for another run."""


def rest_of(run: RunFolder, *, going: bool = False) -> float:
    """Return the FLOPs that the run will still spend.

    Args:
        run: that has not ended.
        going: from its last record; otherwise it makes again what it did after its checkpoint, all
            of it without one.
    """
    records = run.metrics() if going or run.checkpoint_path.exists() else []
    done = max((record["tokens"] for record in records if "tokens" in record), default=0)
    evaluations = sum(step * run.spec.batch_tokens > done for step in evaluations_of(run.spec))
    share = max(0.0, 1 - done / run.spec.tokens)
    return training_flops(run.spec) * share + evaluations * evaluation_flops(run.spec)


def seconds_of(run: RunFolder) -> float:
    """Return the seconds of training that the run's records tell of, in all attempts."""
    seconds = [float(record["seconds"]) for record in run.records() if "seconds" in record]
    return sum(max(0.0, b - a) for a, b in zip([0.0, *seconds], seconds, strict=False))
