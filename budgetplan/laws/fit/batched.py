"""Batched: one Chinchilla surface for each of many weightings of the same runs, searched together.

Every weighting has its own quasi-Newton search (BFGS), all of them moving in one array. They begin
at the optimum of the unweighted runs with its curvature as first metric, which is what makes them
short. A search that has not arrived is left to the caller.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
STEPS = 150
TOGETHER = 64  # searches in one array, so that it stays in the cache
LEFT = 1e-12  # share of the objective that a search may still hope to gain where it has arrived
DECREASE = 1e-4  # of the linear prediction, that a step must achieve (Armijo)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """The objective of all weightings: sums of Huber losses of residuals of log loss."""

    log_n: Floats  # shape (runs,)
    log_d: Floats
    log_loss: Floats
    weights: Floats  # shape (searches, runs)
    huber: float

    def at(self, points: Floats, rows: NDArray[np.intp]) -> tuple[Floats, Floats]:
        """Return objective, shape (rows,), and gradient, shape (rows, 5), of some searches."""
        parts = self._parts(points)
        residuals, by_a, by_b, by_e = parts
        weights = self.weights[rows]
        pull = np.clip(residuals, -self.huber, self.huber)
        # r^2/2 inside, huber (|r| - huber/2) outside: both are pull (r - pull/2)
        value = (weights * pull * (residuals - pull / 2)).sum(axis=1)
        pull *= weights
        by_a *= pull
        by_b *= pull
        gradient = np.stack(
            [by_a.sum(axis=1), by_b.sum(axis=1), (by_e * pull).sum(axis=1),
             -(by_a @ self.log_n), -(by_b @ self.log_d)],
            axis=1,
        )  # fmt: skip
        return value, gradient

    def _parts(self, points: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        log_a, log_b, log_e, alpha, beta = points.T[:, :, None]
        by_a = np.exp(log_a - alpha * self.log_n)
        by_b = np.exp(log_b - beta * self.log_d)
        floor = np.exp(log_e)
        whole = by_a + by_b + floor
        return np.log(whole) - self.log_loss, by_a / whole, by_b / whole, floor / whole

    def metric(self, point: Floats) -> Floats:
        """Return the inverse curvature at a point, each run weighing as its Huber loss bends."""
        residuals, by_a, by_b, by_e = (part[0] for part in self._parts(point[None]))
        slopes = np.stack([by_a, by_b, by_e, -by_a * self.log_n, -by_b * self.log_d], axis=1)
        bend = np.minimum(1, self.huber / np.maximum(np.abs(residuals), self.huber))
        curvature = slopes.T @ (slopes * bend[:, None])
        bent = np.diag(curvature)  # zero for a coefficient that the runs do not see
        return np.linalg.inv(curvature + 1e-9 * np.diag(np.maximum(bent, 1e-6 * bent.max())))


def descend(problem: Problem, start: Floats) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Return the points, their objectives, and which searches have arrived.

    Args:
        problem: runs and their weightings.
        start: of every search, shape (5,).
    """
    parts = [
        _descend(replace(problem, weights=problem.weights[place : place + TOGETHER]), start)
        for place in range(0, len(problem.weights), TOGETHER)
    ]
    points, value, arrived = zip(*parts, strict=True)
    return np.concatenate(points), np.concatenate(value), np.concatenate(arrived)


def _descend(problem: Problem, start: Floats) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    count = len(problem.weights)
    every = np.arange(count)
    points = np.repeat(start[None], count, axis=0)
    first = problem.metric(start)
    metric = np.repeat(first[None], count, axis=0)
    value, gradient = problem.at(points, every)
    arrived = np.zeros(count, dtype=bool)
    open_ = every
    for _ in range(STEPS):
        way = -np.einsum("sij,sj->si", metric[open_], gradient[open_])
        slope = np.einsum("si,si->s", way, gradient[open_])
        there = (slope <= 0) & (-slope <= LEFT * value[open_])
        arrived[open_[there]] = True
        open_, way, slope = open_[~there], way[~there], slope[~there]
        if not len(open_):
            break
        step, new_value, new_gradient = _step(
            problem, points, value, way=way, slope=slope, gradient=gradient, rows=open_
        )
        change = new_gradient - gradient[open_]
        metric[open_] = _updated(metric[open_], step, change, first)
        moved = np.abs(step).max(axis=1) > 0
        points[open_] += step
        value[open_], gradient[open_] = new_value, new_gradient
        open_ = open_[moved]
    return points, value, arrived


def _step(
    problem: Problem,
    points: Floats,
    value: Floats,
    *,
    way: Floats,
    slope: Floats,
    gradient: Floats,
    rows: NDArray[np.intp],
) -> tuple[Floats, Floats, Floats]:
    """Return a step of each search that lowers its objective enough; zero where none does."""
    length = np.minimum(1.0, 2.0 / np.abs(way).max(axis=1))
    step = np.zeros_like(way)
    new_value, new_gradient = value[rows].copy(), gradient[rows].copy()
    trying = np.flatnonzero(slope < 0)
    for _ in range(25):
        if not len(trying):
            break
        asked = rows[trying]
        tried = length[trying, None] * way[trying]
        found, slopes = problem.at(points[asked] + tried, asked)
        target = value[asked] + DECREASE * length[trying] * slope[trying]
        good = found <= target
        kept = trying[good]
        step[kept], new_value[kept], new_gradient[kept] = tried[good], found[good], slopes[good]
        rest, missed = trying[~good], found[~good]
        bend = missed - value[rows[rest]] - length[rest] * slope[rest]
        best = -slope[rest] * length[rest] / (2 * np.maximum(bend, 1e-300))
        length[rest] *= np.clip(best, 0.1, 0.5)
        trying = rest
    return step, new_value, new_gradient


def _updated(metric: Floats, step: Floats, change: Floats, first: Floats) -> Floats:
    """Return the inverse curvatures by BFGS; anew where a search saw none or could not move."""
    along = np.einsum("si,si->s", step, change)
    sizes = np.linalg.norm(step, axis=1) * np.linalg.norm(change, axis=1)
    fine = along > np.maximum(1e-10 * sizes, 1e-100)
    safe = np.where(fine, along, 1.0)
    turned = np.einsum("sij,sj->si", metric, change)
    inner = np.einsum("si,si->s", change, turned)
    outer = np.einsum("si,sj->sij", turned, step)
    new = (
        metric
        + ((safe + inner) / safe**2)[:, None, None] * np.einsum("si,sj->sij", step, step)
        - (outer + outer.transpose(0, 2, 1)) / safe[:, None, None]
    )
    stuck = ~(np.abs(step).max(axis=1) > 0)
    new = np.where(fine[:, None, None], new, metric)
    return np.where(stuck[:, None, None], first[None], new)
