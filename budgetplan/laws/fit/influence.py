"""Influence: what leaving a single run out does to the answer, at a cost linear in the runs.

Every run is left out to first order, all at once: one step of Newton's method from the fit of all
runs, in which the weights of other runs move too, since a run that was the best of its compute sets
the mark for those after it. The runs that stand out are then left out in earnest, each by a refit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from budgetplan.laws.fit import ensemble
from budgetplan.laws.fit.ensemble import CHOICES, Center
from budgetplan.laws.fit.parametric import Runs

Floats = NDArray[np.float64]
Places = NDArray[np.intp]
REFITTED = 5  # runs that are refitted for each that is returned
CHOICE = CHOICES[0]

# A floor that the runs do not see has no slope; it stays where it is, give or take 5 of its log.
FLAT = np.diag([0, 0, 0.04, 0, 0, 0])


@dataclass(frozen=True, kw_only=True)
class Influence:
    """What leaving one run out does to the answer at a target budget."""

    row: int  # place among the runs
    params: float  # factor on the best size
    loss: float  # change of log loss at the best size


def influence(
    runs: Runs, *, flops: float, most: int = 5, refitted: int = REFITTED
) -> tuple[Influence, ...]:
    """Return the runs that move the answer most, largest change of the best size first.

    Args:
        runs: the runs.
        flops: the target budget, 6 N D [FLOPs].
        most: how many to return.
        refitted: how many times as many are refitted, those that stand out to first order.
    """
    center = ensemble.centered_fit(runs, CHOICE)
    size, loss = _answer(runs, flops)
    foreseen = np.abs(_logs(center, center.point + one_step(center), flops) - np.log(size))
    places = np.arange(len(runs.losses))
    found = []
    for row in np.argsort(-foreseen, kind="stable")[: refitted * most]:
        other_size, other_loss = _answer(runs.chosen(places[places != row]), flops)
        found.append(
            Influence(row=int(row), params=other_size / size, loss=float(np.log(other_loss / loss)))
        )
    return tuple(sorted(found, key=lambda each: (-abs(np.log(each.params)), each.row))[:most])


def _answer(runs: Runs, flops: float) -> tuple[float, float]:
    law = ensemble.fit(runs, resamples=0, choices=(CHOICE,))
    size = law.optimal_params(flops=np.array([flops]))
    loss = law.loss(params=size[0], tokens=flops / 6 / size[0])
    return float(size.item()), float(loss.item())


def _logs(center: Center, points: Floats, flops: float) -> Floats:
    """Return the log of the best size at a budget for each point, shape (points,)."""
    return np.log(center.law(points).optimal_params(flops=np.array([flops]))[:, 0])


def one_step(center: Center) -> Floats:
    """Return how far the fit moves without each run, to first order, shape (runs, 6).

    With slopes J, residuals r, weights w and curvature H = J'WJ + priors, leaving a run out moves
    the fit by (H - w J'J)^-1 J' w r; runs whose weights change add their own part to both.
    """
    residuals, slopes, weights = center.residuals, center.slopes, center.weights
    curvature = slopes.T @ (slopes * weights[:, None]) + center.precision + FLAT
    pull = slopes * (weights * residuals)[:, None]
    plain = np.linalg.solve(curvature, pull.T).T
    lever = weights * np.einsum("ij,ij->i", slopes, np.linalg.solve(curvature, slopes.T).T)
    steps = plain / np.maximum(1 - lever, 1e-3)[:, None]
    for row, rest, more in _reweighted(center):
        own, off = slopes[rest], residuals[rest]
        bent = (
            curvature
            + own.T @ (own * more[:, None])
            - weights[row] * np.outer(slopes[row], slopes[row])
        )
        steps[row] = np.linalg.solve(bent, pull[row] - own.T @ (more * off))
    return np.asarray(steps)


def _reweighted(center: Center) -> Iterator[tuple[int, Places, Floats]]:
    """Yield each run that others are measured against, those runs, and how their weights change.

    Each run is measured against one other, so that all of this takes one look at each.
    """
    order = center.order
    losses = center.runs.losses[order]
    best = np.minimum.accumulate(losses)
    marks = np.flatnonzero(np.diff(best, prepend=np.inf) < 0)
    ends = np.append(marks[1:], len(losses))
    without = np.empty_like(losses)
    for place, end in zip(marks, ends, strict=True):
        before = best[place - 1] if place else np.inf
        without[place + 1 : end] = np.minimum(
            np.minimum.accumulate(losses[place + 1 : end]), before
        )
        without[place] = losses[place]
    excess = np.empty_like(losses)
    excess[order] = np.log(losses / without)
    more = center.reweighted(excess) - center.weights
    for place, end in zip(marks, ends, strict=True):
        if end - place > 1:
            rows = order[place + 1 : end]
            yield int(order[place]), rows, more[rows]
