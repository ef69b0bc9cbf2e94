"""Parametric: the Chinchilla surface fitted to runs, with a bootstrap over the runs.

Approach 3 of Hoffmann et al. 2022 (arXiv:2203.15556): the least sum of Huber losses of residuals
of log loss. The search starts from a grid of exponents, for each of which A and B are solved by
least squares, and follows exact gradients; the replication by Besiroglu et al. 2024
(arXiv:2404.10102) took 4,500 starts with numerical ones.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from budgetplan.core.errors import BadValue
from budgetplan.laws.chinchilla import Chinchilla
from budgetplan.laws.fit import batched

Floats = NDArray[np.float64]
HUBER = 1e-3  # where the loss of a residual of log loss turns from square to linear
WALL = 15.0  # exponents beyond which the powers of sizes leave the range of numbers
EXPONENTS = (0.15, 0.25, 0.35, 0.5, 0.7)  # starting points for alpha and beta
IRREDUCIBLE = (0.5, 0.8, 0.95)  # starting points for E, as a share of the lowest loss seen


@dataclass(frozen=True, kw_only=True)
class Runs:
    """Losses of runs; arrays of shape (runs,)."""

    params: Floats  # [parameters], all in one convention
    tokens: Floats  # [tokens]
    losses: Floats  # [nats/token]
    unique: Floats | None = None  # [tokens]; None: no run saw a token twice
    run: NDArray[np.int64] | None = None  # number of the run; None: each loss is of its own

    def chosen(self, rows: NDArray[np.int64]) -> Runs:
        """Return these rows, repeated as given."""
        return Runs(
            params=self.params[rows],
            tokens=self.tokens[rows],
            losses=self.losses[rows],
            unique=None if self.unique is None else self.unique[rows],
            run=None if self.run is None else self.run[rows],
        )


@dataclass(frozen=True, kw_only=True)
class SurfaceFit:
    """The best surface, and the lowest value of the objective that it reached."""

    point: Floats  # log A, log B, log E, alpha, beta
    objective: float

    def law(self) -> Chinchilla:
        """Return the fitted law, coefficients of shape (1, 1)."""
        return _law(self.point[None])


def fit(runs: Runs) -> SurfaceFit:
    """Return the Chinchilla surface with the least sum of Huber losses of log residuals.

    Raises:
        BadValue: fewer than six runs for five coefficients, or a number that is not positive.
    """
    _check(runs)
    starts = (
        _start(runs, alpha=alpha, beta=beta, share=share)
        for alpha, beta, share in itertools.product(EXPONENTS, EXPONENTS, IRREDUCIBLE)
    )
    ranked = sorted(starts, key=lambda point: _objective(point, runs)[0])
    return min((_descend(start, runs) for start in ranked[:12]), key=lambda found: found.objective)


def refit(runs: Runs, best: SurfaceFit) -> SurfaceFit:
    """Return the surface of other runs, searched for from the best of all."""
    return _descend(best.point, runs)


def bootstrap(runs: Runs, best: SurfaceFit, *, draws: int, seed: int = 0) -> Chinchilla:
    """Return one law per resampling of the runs with replacement, coefficients of shape (draws, 1).

    Each starts from the best fit. What this measures is the scatter of the runs alone; it knows
    nothing of the law being wrong, so that intervals from it are too narrow for extrapolation.
    """
    random = np.random.default_rng(seed)
    found = [
        _resampled(runs, best, random=random, draws=min(batched.TOGETHER, draws - place))
        for place in range(0, draws, batched.TOGETHER)
    ]
    return _law(np.concatenate(found))


def _resampled(runs: Runs, best: SurfaceFit, *, random: np.random.Generator, draws: int) -> Floats:
    """Return the points of some resamplings; all at once would take memory of draws x runs."""
    size = len(runs.losses)
    rows = random.integers(size, size=(draws, size))
    problem = batched.Problem(
        log_n=np.log(runs.params),
        log_d=np.log(runs.tokens),
        log_loss=np.log(runs.losses),
        weights=np.array([np.bincount(row, minlength=size) for row in rows], dtype=float),
        huber=HUBER,
    )
    points, _, arrived = batched.descend(problem, best.point)
    for place in np.flatnonzero(~arrived):
        points[place] = _descend(best.point, runs.chosen(rows[place])).point
    return points


def _law(points: Floats) -> Chinchilla:
    """Return the laws, coefficients of shape (draws, 1).

    A fit to too few runs may end in a wall: an exponent without bound. It is made as steep as can
    be computed with, about a usual size.
    """
    log_a, log_b, log_e, alpha, beta = points.T[:, :, None]
    log_a = np.clip(log_a - (alpha - np.clip(alpha, -WALL, WALL)) * 18, -600, 600)
    log_b = np.clip(log_b - (beta - np.clip(beta, -WALL, WALL)) * 22, -600, 600)
    log_e = np.clip(log_e, -600, 600)
    alpha, beta = np.clip(alpha, -WALL, WALL), np.clip(beta, -WALL, WALL)
    return Chinchilla(E=np.exp(log_e), A=np.exp(log_a), B=np.exp(log_b), alpha=alpha, beta=beta)


def _check(runs: Runs) -> None:
    if len(runs.losses) < 6:
        raise BadValue(f"{len(runs.losses)} runs cannot fix five coefficients", "Give six or more.")
    for name in ("params", "tokens", "losses"):
        values = getattr(runs, name)
        bad = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
        if bad.size:
            raise BadValue(f"run {bad[0]}: {name} is {values[bad[0]]}, which is not positive")


def _start(runs: Runs, *, alpha: float, beta: float, share: float) -> Floats:
    """Return the point whose A and B solve least squares for these exponents and this E."""
    from scipy.optimize import nnls

    irreducible = share * runs.losses.min()
    design = np.column_stack([runs.params**-alpha, runs.tokens**-beta])
    weights = 1 / runs.losses
    found, _ = nnls(design * weights[:, None], (runs.losses - irreducible) * weights)
    a, b = np.maximum(found, 1e-3)
    return np.array([np.log(a), np.log(b), np.log(irreducible), alpha, beta])


def _objective(point: Floats, runs: Runs) -> tuple[float, Floats]:
    """Return the sum of Huber losses and its gradient, shape (5,)."""
    log_a, log_b, log_e, alpha, beta = point
    log_n, log_d = np.log(runs.params), np.log(runs.tokens)
    terms = np.stack([log_a - alpha * log_n, log_b - beta * log_d, np.full_like(log_n, log_e)])
    top = terms.max(axis=0)
    parts = np.exp(terms - top)
    whole = parts.sum(axis=0)
    residuals = top + np.log(whole) - np.log(runs.losses)
    size = np.abs(residuals)
    value = np.where(size <= HUBER, size**2 / 2, HUBER * (size - HUBER / 2)).sum()
    pull = np.clip(residuals, -HUBER, HUBER)
    by_a, by_b, by_e = parts / whole * pull
    gradient = np.array(
        [by_a.sum(), by_b.sum(), by_e.sum(), -(by_a * log_n).sum(), -(by_b * log_d).sum()]
    )
    return float(value), gradient


def _descend(start: Floats, runs: Runs) -> SurfaceFit:
    from scipy.optimize import minimize

    # Scaled so that the stopping rule, made for objectives near one, sees a small objective.
    def scaled(point: Floats) -> tuple[float, Floats]:
        value, gradient = _objective(point, runs)
        return value * 1e4, gradient * 1e4

    found = minimize(
        scaled, start, jac=True, method="BFGS", options={"gtol": 1e-6, "maxiter": 2000}
    )
    return SurfaceFit(point=np.asarray(found.x), objective=float(found.fun) / 1e4)
