"""Swept: what the runs of a sweep came to, point by point, and the bowl through them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from budgetplan.calibrate.bowl import Bowl, Tried, bowl
from budgetplan.calibrate.kinds.kind import Asked, Outcome, usable
from budgetplan.calibrate.sweep import Point, Sweep, point_of, sweep
from budgetplan.core.errors import BadValue
from budgetplan.plan.shapes import rung

NOISE = 0.003  # of the log loss of a run, as the design of pilots assumes
TRUST = 2  # degrees of freedom that the assumption counts for, beside the seeds of the middle
TOLERANCE = 0.005  # of log loss: a regret below it moves no plan
FEWEST = 9  # runs


@dataclass(frozen=True, kw_only=True)
class Swept:
    """A sweep with what became of its runs."""

    sweep: Sweep
    outcomes: tuple[Outcome, ...]
    losses: dict[Point, tuple[float, ...]]  # of every seed that finished [nats/token]
    lost: dict[Point, str]  # those that did not finish, and why
    noise: float  # standard deviation of log loss
    bowl: Bowl | None  # None: too few points at the middle's beta2

    @property
    def middle(self) -> Point:
        """The point around which the sweep was made."""
        return self.sweep.middle

    def loss(self, at: Point) -> float | None:
        """Return the mean loss of a point; None where none of its runs finished."""
        found = self.losses.get(at)
        return float(np.mean(found)) if found else None

    @property
    def edges(self) -> tuple[str, ...]:
        """Where the lowest point lies at the edge of all that was tried, runs that diverged too.

        None where the differences are noise: any point may be lowest then.
        """
        if self.bowl is None or not significant(self.bowl):
            return ()
        tried = [each for each in [*self.losses, *self.lost] if each.beta2 == self.middle.beta2]
        ended = [each for each in self.losses if each.beta2 == self.middle.beta2]
        found = []
        for edge in self.bowl.edges:
            end = max if "highest" in edge else min
            place = 0 if "rate" in edge else 1
            if end(each[place] for each in tried) == end(each[place] for each in ended):
                found.append(edge)
        return tuple(found)

    @property
    def diverged(self) -> bool:
        """Whether every run at the middle diverged."""
        return self.middle not in self.losses and "diverged" in self.lost.get(self.middle, "")

    @property
    def best(self) -> Point:
        """The point with the lowest loss of all that were tried."""
        return min(self.losses, key=lambda each: self.loss(each) or math.inf)


def swept(asked: Asked, outcomes: Sequence[Outcome]) -> Swept:
    """Return what the runs of a sweep came to.

    Raises:
        BadValue: too few runs, of several sweeps, or no run at the middle has ended.
    """
    every = [each for each in outcomes if each.spec.kind == "hyperparameters"]
    diverged = sum(each.result.status == "diverged" for each in every)
    ended = usable(outcomes, "hyperparameters", least=max(1, FEWEST - diverged))
    shapes = {each.spec.architecture.name: each.spec.architecture for each in every}
    if len(shapes) > 1:
        raise BadValue(f"runs of several sweeps: {', '.join(sorted(shapes))}", "One folder each.")
    made = sweep(rung(next(iter(shapes.values()))), asked)
    losses: dict[Point, tuple[float, ...]] = {}
    for each in ended:
        at = point_of(each.spec)
        losses[at] = (*losses.get(at, ()), loss_of(each))
    lost = {
        point_of(each.spec): f"{each.result.status}, {each.result.reason}"
        for each in every
        if not each.finished
    }
    if made.middle not in losses and made.middle not in lost:
        raise BadValue(
            "the run at the middle of the sweep has not ended",
            "Resume it; a sweep that was made with other options needs those.",
        )
    noise = noise_of(losses.get(made.middle, ()))
    points = [
        Tried(learning_rate=at.learning_rate, batch=at.batch, loss=float(np.mean(each)),
              repeats=len(each))
        for at, each in losses.items()
        if at.beta2 == made.middle.beta2
    ]  # fmt: skip
    try:
        surface = bowl(points, middle=made.middle[:2], noise=noise)
    except BadValue:
        surface = None
    return Swept(sweep=made.with_tried([*losses, *lost]), outcomes=tuple(every), losses=losses,
                 lost=lost, noise=noise, bowl=surface)  # fmt: skip


def loss_of(outcome: Outcome) -> float:
    """Return the held-out loss at the end of a run."""
    if not outcome.result.evaluations:
        raise BadValue(f"run {outcome.id} has no held-out loss", "Run it again.")
    return outcome.result.evaluations[-1].loss


def noise_of(losses: Sequence[float]) -> float:
    """Return the standard deviation of log loss: that of the seeds, drawn to the assumption."""
    logs = np.log(losses)
    squares = float(((logs - logs.mean()) ** 2).sum()) if len(logs) > 1 else 0.0
    free = max(0, len(logs) - 1)
    return math.sqrt((TRUST * NOISE**2 + squares) / (TRUST + free))


def significant(surface: Bowl) -> bool:
    """Whether the middle loses enough, and surely enough, that it matters."""
    low, _ = surface.regret.interval() or (0.0, 0.0)
    return surface.regret.best > TOLERANCE and low > 0
