"""Ensemble: several equally defensible fits of the same runs, whose spread says what is known.

A bootstrap over runs knows how noise moves one form. It does not know that the form is wrong, and
that is most of the error when a fit is extrapolated. So the ensemble crosses resampled runs with
choices that cannot be settled from the runs: whether size and data couple, how much weight small
budgets get, and how much runs far off the optimum may bend the fit. Its members are joint draws of
one form, `Generalized`; their center predicts, and `interval` turns their spread into an interval.

Two habits make the center extrapolate better than the usual fit. A run whose loss is far above the
best of its budget weighs less, because no published form holds so far from the optimum. And the
exponents have a weak prior, because runs of one decade of compute cannot tell a slowly falling
power from a high floor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from budgetplan.laws.fit.parametric import Runs
from budgetplan.laws.generalized import Generalized
from budgetplan.laws.interval import Fitted

Floats = NDArray[np.float64]

# What a fit has to choose without being told by the runs. `reach` is the power of compute by which
# runs are weighted, `excess` how far the scatter assumed of a run grows with its excess loss.
NOISE = 0.005  # scatter of log loss on the optimum
SAME = 1e-6  # relative difference up to which two budgets are one
NEAR = 0.1  # excess log loss up to which a run counts as near the optimum
# Weak prior that neither term vanishes: log A - log B at the mean size has standard deviation 2.
BALANCE = np.array([[0.5, -0.5, 0, 0, 0, 0]])
EXPONENT = 0.37  # center of the prior of alpha and beta: between those of Hoffmann and Besiroglu


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One way to fit: which runs to trust and how free the exponents are."""

    coupled: bool  # gamma free, or 1
    reach: float
    excess: float
    width: float  # standard deviation of the prior of log alpha and log beta
    coupling: float = 0.3  # standard deviation of the prior of log gamma


CHOICES = (
    Choice(coupled=False, reach=0.5, excess=1.0, width=0.3),
    Choice(coupled=False, reach=1.0, excess=1.0, width=0.4),
    Choice(coupled=True, reach=0.5, excess=1.0, width=0.4),
    Choice(coupled=True, reach=0.25, excess=1.0, width=0.4),
    Choice(coupled=True, reach=0.5, excess=0.5, width=0.4),
)


def fit(
    runs: Runs, *, resamples: int = 20, seed: int = 0, choices: tuple[Choice, ...] = CHOICES
) -> Generalized:
    """Return the ensemble: coefficients of shape (choices x (1 + resamples), 1).

    The first member of each choice is fitted to the runs as they are, the others to runs drawn
    with replacement.

    Args:
        runs: losses of runs that saw no token twice, params in one convention.
        resamples: bootstrap replicates per choice.
        seed: of the resampling.
        choices: the ways to fit.
    """
    random = np.random.default_rng(seed)
    centered = _Centered.of(runs)
    size = len(runs.losses)
    points = []
    for choice in choices:
        weights = _weights(runs, choice, excess_loss(runs))
        center = _best(runs, centered, weights=weights, choice=choice)
        points.append(center)
        for _ in range(resamples):
            counts = np.bincount(random.integers(size, size=size), minlength=size)
            point, _ = _descend(center, centered, weights=weights * counts, choice=choice)
            points.append(point)
    return _law(np.array(points), runs)


@dataclass(frozen=True, kw_only=True)
class _Centered:
    """Logarithms of the runs, sizes less their mean, so that A and B are of order one."""

    log_n: Floats
    log_d: Floats
    log_loss: Floats

    @classmethod
    def of(cls, runs: Runs) -> _Centered:
        log_n, log_d = np.log(runs.params), np.log(runs.tokens)
        return cls(
            log_n=log_n - log_n.mean(), log_d=log_d - log_d.mean(), log_loss=np.log(runs.losses)
        )

    def chosen(self, keep: NDArray[np.bool_]) -> _Centered:
        """Return the runs where `keep` is true, centered as all are."""
        return _Centered(
            log_n=self.log_n[keep], log_d=self.log_d[keep], log_loss=self.log_loss[keep]
        )

    def terms(self, point: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Return the log loss at a point, and what its slopes are made of."""
        alpha, beta, gamma = np.exp(point[3:])
        by_size, by_data = point[0] - alpha * self.log_n, point[1] - beta * self.log_d
        both = np.logaddexp(by_size, by_data)
        log_loss = np.logaddexp(gamma * both, point[2])
        return log_loss, np.exp(gamma * both - log_loss), both, np.exp(by_size - both)

    def surface(self, point: Floats) -> tuple[Floats, Floats]:
        """Return the log loss at a point and its slopes, shapes (runs,) and (runs, 6)."""
        log_loss, reducible, both, sized = self.terms(point)
        alpha, beta, gamma = np.exp(point[3:])
        pull = reducible * gamma
        slopes = (
            pull * sized,
            pull * (1 - sized),
            1 - reducible,
            -pull * sized * alpha * self.log_n,
            -pull * (1 - sized) * beta * self.log_d,
            pull * both,
        )
        return log_loss, np.column_stack(slopes)


def fitted(law: Generalized, runs: Runs) -> Fitted:
    """Return what an interval must know of the runs behind the ensemble."""
    center = np.median(np.log(law.loss(params=runs.params, tokens=runs.tokens)), axis=0)
    near = excess_loss(runs) < NEAR
    errors = (np.log(runs.losses) - center)[near]
    return Fitted(
        flops=float(6 * (runs.params * runs.tokens).max()),
        scatter=float(np.sqrt(np.mean(errors**2))),
    )


def excess_loss(runs: Runs) -> Floats:
    """Return how far each log loss lies above the best run of no more compute, shape (runs,)."""
    order = _order(runs)
    best = np.minimum.accumulate(runs.losses[order])
    excess = np.empty_like(runs.losses)
    excess[order] = np.log(runs.losses[order] / best)
    return excess


def _order(runs: Runs) -> NDArray[np.intp]:
    """Return the places of the runs by rising compute.

    Of runs that share a budget the smaller models come first: an order that rounding cannot change.
    """
    compute = np.log(runs.params * runs.tokens)
    by_compute = np.argsort(compute, kind="stable")
    budget = np.empty(len(compute), dtype=np.int64)
    budget[by_compute] = np.cumsum(np.diff(compute[by_compute], prepend=compute.min()) > SAME)
    return np.lexsort((runs.params, budget))


def _weights(runs: Runs, choice: Choice, excess: Floats) -> Floats:
    compute = runs.params * runs.tokens
    scatter = NOISE**2 + (choice.excess * excess) ** 2
    return np.asarray((compute / compute.max()) ** choice.reach / scatter)


@dataclass(frozen=True, kw_only=True)
class Center:
    """One choice fitted to all runs, and how the fit hangs on each of them."""

    runs: Runs
    choice: Choice
    point: Floats  # shape (6,)
    order: NDArray[np.intp]  # of the runs, by rising compute
    weights: Floats  # shape (runs,)
    residuals: Floats  # of log loss, fitted less observed, shape (runs,)
    slopes: Floats  # of log loss, shape (runs, 6)
    precision: Floats  # of the priors, shape (6, 6)

    def law(self, points: Floats) -> Generalized:
        """Return the laws at some points, shape (points, 6)."""
        return _law(points, self.runs)

    def reweighted(self, excess: Floats) -> Floats:
        """Return the weights if the runs lay so far above the best of their compute."""
        return _weights(self.runs, self.choice, excess)


def centered_fit(runs: Runs, choice: Choice) -> Center:
    """Return the fit of one choice to all runs."""
    centered, weights = _Centered.of(runs), _weights(runs, choice, excess_loss(runs))
    point = _best(runs, centered, weights=weights, choice=choice)
    log_loss, slopes = centered.surface(point)
    priors = np.vstack([np.eye(6)[3:] / _spread(choice)[:, None], BALANCE])
    return Center(
        runs=runs,
        choice=choice,
        point=point,
        order=_order(runs),
        weights=weights,
        residuals=log_loss - centered.log_loss,
        slopes=slopes,
        precision=priors.T @ priors,
    )


def _starts(runs: Runs) -> list[Floats]:
    """Return starting points: log A and log B at the mean size, log E, log alpha, beta, gamma."""
    starts = []
    for exponent in (0.2, 0.5):
        for share in (0.5, 0.8):
            half = np.log(runs.losses.mean() * (1 - share) / 2)
            floor = np.log(runs.losses.min() * share)
            starts.append(np.array([half, half, floor, *np.log([exponent, exponent]), 0.0]))
    return starts


def _best(runs: Runs, centered: _Centered, *, weights: Floats, choice: Choice) -> Floats:
    """Return the best point that searches from all starts find."""
    found = (_descend(start, centered, weights=weights, choice=choice) for start in _starts(runs))
    return min(found, key=lambda each: each[1])[0]


def _spread(choice: Choice) -> Floats:
    """Return the standard deviations of the priors of log alpha, log beta and log gamma."""
    return np.array([choice.width, choice.width, choice.coupling if choice.coupled else 1e-6])


def _descend(
    start: Floats, centered: _Centered, *, weights: Floats, choice: Choice
) -> tuple[Floats, float]:
    """Return the point of least weighted squares, with the priors, and its cost."""
    from scipy.optimize import least_squares

    kept = weights > 0
    some, root = centered.chosen(kept), np.sqrt(weights[kept])
    spread, prior = _spread(choice), np.array([np.log(EXPONENT), np.log(EXPONENT), 0.0])

    def residuals(point: Floats) -> Floats:
        data = (some.terms(point)[0] - some.log_loss) * root
        return np.concatenate([data, (point[3:] - prior) / spread, BALANCE @ point])

    def jacobian(point: Floats) -> Floats:
        data = some.surface(point)[1] * root[:, None]
        return np.vstack([data, np.eye(6)[3:] / spread[:, None], BALANCE])

    # MINPACK: threads of BLAS, which other methods hand six columns to, wait for each other.
    found = least_squares(residuals, start, jac=jacobian, x_scale="jac", max_nfev=300, method="lm")
    return np.asarray(found.x), float(found.cost)


def _law(points: Floats, runs: Runs) -> Generalized:
    """Return the law in sizes as they are; the fit centers them for the optimizer's sake."""
    log_a, log_b, floor, alpha, beta, gamma = points.T[:, :, None]
    alpha, beta, gamma = np.exp(alpha), np.exp(beta), np.exp(gamma)
    return Generalized(
        E=np.exp(floor),
        A=np.exp(log_a + alpha * np.log(runs.params).mean()),
        B=np.exp(log_b + beta * np.log(runs.tokens).mean()),
        alpha=alpha,
        beta=beta,
        gamma=gamma,
    )
