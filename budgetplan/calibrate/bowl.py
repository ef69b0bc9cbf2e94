"""Bowl: the log loss of a sweep as a quadratic in log learning rate and log batch, a little skew.

A response surface (Box and Wilson 1951, doi:10.1111/j.2517-6161.1951.tb00067.x) in place of the
lowest loss seen: of fifteen noisy losses the lowest is lucky, so that it makes the advised point
look worse than it is. Points far above the best weigh less, since no basin is a parabola far up its
walls. What the surface leaves unexplained beyond the noise of runs widens every interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from budgetplan.core.errors import BadValue
from budgetplan.core.estimate import Estimate

Floats = NDArray[np.float64]
FEWEST = 8  # points, for seven coefficients
# Scatter of log loss about the surface for each unit of excess over the best: an assumption. Four
# percent up the wall a point counts as if it had a noise of one percent.
OFF = 0.25
# Weak prior of slopes [log loss/octave] and curvatures [/octave^2]: real ones are a tenth of it.
PRIOR = 0.1
SKEW = 0.01  # the same of its skewness [/octave^3]: one wall is steeper than the other
DRAWS = 801
STEPS = 65  # of the grid on which the lowest point is looked for, either way
# Standard deviations, in place of 1.645 for a point that was not chosen. Of 400 sweeps of a flat
# bowl, their noise told by three seeds, 0.5% seemed to have a regret at a noise of 0.3% of loss and
# 7.5% at one of 2%.
CHOSEN = 2.5
WITHIN = 0.002  # of log loss above the best: values that do as well


@dataclass(frozen=True, kw_only=True)
class Tried:
    """The held-out loss at one point of a sweep."""

    learning_rate: float
    batch: int  # [sequences]
    loss: float  # mean of the repetitions [nats/token]
    repeats: int = 1


@dataclass(frozen=True, kw_only=True)
class Bowl:
    """Where the loss of a sweep is lowest, and what the point it was built around loses."""

    learning_rate: Estimate  # the best over that of the middle
    batch: Estimate
    regret: Estimate  # log loss of the middle over the lowest
    lowest: float  # [nats/token]
    edges: tuple[str, ...]  # lowest learning rate, highest batch ...: where the lowest point lies
    misfit: float  # scatter about the surface over that expected of noise


def bowl(
    points: Sequence[Tried], *, middle: tuple[float, int], noise: float, seed: int = 0
) -> Bowl:
    """Return the lowest point of the surface through a sweep, with 90% intervals by draws.

    The lowest point is looked for among the values tried, not beyond them.

    Args:
        points: of one beta2, each once.
        middle: learning rate and batch that regret and ratios refer to.
        noise: standard deviation of the log loss of a run.
        seed: of the draws.

    Raises:
        BadValue: too few points for the surface.
    """
    if len(points) < FEWEST:
        raise BadValue(
            f"{len(points)} points of the sweep have a loss, {FEWEST} are needed",
            "See budgetplan calibrate status.",
        )
    x = np.log2([each.learning_rate / middle[0] for each in points])
    y = np.log2([each.batch / middle[1] for each in points])
    log_loss = np.log([each.loss for each in points])
    level = float(log_loss.min())
    variance = noise**2 / np.array([each.repeats for each in points])
    variance += (OFF * (log_loss - level)) ** 2
    best, spread, misfit = _fitted(_terms(x, y), log_loss - level, variance)
    draws = np.random.default_rng(seed).multivariate_normal(best, spread, size=DRAWS)
    grid_x, grid_y = (np.linspace(each.min(), each.max(), STEPS) for each in (x, y))
    every = _terms(*(each.ravel() for each in np.meshgrid(grid_x, grid_y, indexing="ij")))
    row, column, low = _lowest(best[None], every)
    rows, columns, lows = _lowest(draws, every)
    found_x, found_y = grid_x[row[0]], grid_y[column[0]]
    # The middle is the origin, where the surface is its first coefficient.
    return Bowl(
        learning_rate=_around(found_x, grid_x[rows], _within(best, every, low[0])[0], grid_x),
        batch=_around(found_y, grid_y[columns], _within(best, every, low[0])[1], grid_y),
        regret=_regret(
            float(best[0] - low[0]),
            draws[:, 0] - lows,
            error=_error(spread, every[row[0] * STEPS + column[0]]),
        ),
        lowest=math.exp(level + low[0]),
        edges=tuple(_edges(row[0], column[0])),
        misfit=misfit,
    )


def _terms(x: Floats, y: Floats) -> Floats:
    return np.column_stack([np.ones_like(x), x, y, x**2, x * y, y**2, x**3])


def _fitted(terms: Floats, values: Floats, variance: Floats) -> tuple[Floats, Floats, float]:
    """Return coefficients by weighted least squares, their covariance, and how ill they fit."""
    precision = np.diag([0.0] + 5 * [PRIOR**-2] + [SKEW**-2])
    curvature = terms.T @ (terms / variance[:, None]) + precision
    spread = np.linalg.inv(curvature)
    best = spread @ terms.T @ (values / variance)
    free = len(values) - 7
    misfit = math.sqrt(float(((values - terms @ best) ** 2 / variance).sum()) / free)
    return best, np.asarray(spread * max(1.0, misfit) ** 2), misfit


def _lowest(points: Floats, every: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    """Return where each surface is lowest on the grid, and how low."""
    heights = points @ every.T
    places = np.argmin(heights, axis=1)
    return places // STEPS, places % STEPS, heights[np.arange(len(points)), places]


def _error(spread: Floats, lowest: Floats) -> float:
    """Return the standard deviation of the height of the middle over a point of the surface."""
    contrast = np.eye(len(lowest))[0] - lowest
    return math.sqrt(float(contrast @ spread @ contrast))


def _regret(best: float, draws: Floats, *, error: float) -> Estimate:
    """Return the regret with its interval.

    Args:
        best: of the surface itself.
        draws: of surfaces; noise moves each of them up, since no regret is negative.
        error: standard deviation of the height of the middle over the lowest point, which was
            chosen for being low: so that it takes more of it to be sure of any regret at all.
    """
    high = float(np.quantile(draws, 0.95))
    return Estimate(best, bounds=(max(0.0, best - CHOSEN * error), high))


def _within(best: Floats, every: Floats, low: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the places of either axis at which some point does as well as the best."""
    fine = (every @ best <= low + WITHIN).reshape(STEPS, STEPS)
    return np.flatnonzero(fine.any(axis=1)), np.flatnonzero(fine.any(axis=0))


def _around(best: float, draws: Floats, fine: NDArray[np.intp], grid: Floats) -> Estimate:
    """Return a ratio whose interval holds the draws and all that does as well."""
    low, high = np.quantile(draws, [0.05, 0.95])
    ends = (min(low, grid[fine[0]]), max(high, grid[fine[-1]]))
    return Estimate(2.0**best, bounds=(float(2.0 ** ends[0]), float(2.0 ** ends[1])))


def _edges(row: int, column: int) -> list[str]:
    found = []
    for place, name in ((row, "learning rate"), (column, "batch")):
        if place in (0, STEPS - 1):
            found.append(f"{'lowest' if place == 0 else 'highest'} {name}")
    return found
