"""Posterior: the laws that runs leave likely, given that milestones share the noise of their run.

A run that is measured along its way gives many losses and one throw of the dice: seed, order of
data and tuning move all of its milestones together. A bootstrap over losses takes them for
independent and promises too much. Here the log loss of milestone k of run j is

    log L(N, D) + run z_j + off e_jk y_j + milestone x_jk + misfit (e_jk + 0.03 d_jk) w_jk

with L the generalized surface, z, y, x and w standard normal, e the excess of the log loss over
the best of the same compute, and d the decades of compute below the largest run. The four scales
are unknown and learned along with the law: where the runs fit the form, small and lopsided ones
teach as much as they can; where they do not, they are trusted less. The misfit that was seen also
says how far the best size may move where the form is extrapolated, see `interval.size_scale`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from budgetplan.laws import interval
from budgetplan.laws.fit import ensemble
from budgetplan.laws.fit.parametric import Runs
from budgetplan.laws.fit.walkers import walk
from budgetplan.laws.generalized import Generalized

Floats = NDArray[np.float64]
MOST = 2000  # losses: beyond, walking takes minutes
WALKERS, SETTLE, KEEP = 64, 500, 500
AWAY = 0.03  # excess that counts like a decade of compute below the largest run
BALANCE = 2.0  # standard deviation of log A - log B at the mean run: neither term vanishes
# Median and standard deviation of the log of each unknown. Levels are free, exponents as in
# `ensemble`, and the scales are those of public runs give or take a factor of two.
PRIOR = {
    "log_size_term": (1.0, 5.0),
    "log_data_term": (1.0, 5.0),
    "log_floor": (1.0, 5.0),
    "log_alpha": (ensemble.EXPONENT, 0.4),
    "log_beta": (ensemble.EXPONENT, 0.4),
    "log_gamma": (1.0, 0.3),
    "log_run": (0.003, 0.7),
    "log_milestone": (0.0015, 0.7),
    "log_off": (interval.CALIBRATED.off, 0.8),
    "log_misfit": (0.3, 0.8),
}
CENTER = np.log([median for median, _ in PRIOR.values()])
WIDTH = np.array([width for _, width in PRIOR.values()])
FAR = 60.0  # log of what no walker should try: its powers leave the range of numbers


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known of the best size of a budget without the runs, as a normal of its log."""

    flops: float  # 6 N D, N as the runs count it
    size: float  # N*
    spread: float  # of log N*

    def misfit(self, law: Generalized) -> Floats:
        """Return minus twice the log of its density, up to a constant, shape (laws,)."""
        sizes = law.optimal_params(flops=np.array([self.flops]))[:, 0]
        return np.asarray((np.log(sizes / self.size) / self.spread) ** 2)


@dataclass(frozen=True, kw_only=True)
class Posterior:
    """Equally likely laws, and the scales that were learned with them, medians."""

    draws: Generalized  # coefficients of shape (draws, 1)
    run: float  # of log loss, shared by the milestones of a run
    milestone: float  # of log loss, of each by itself
    misfit: float  # per unit of excess log loss


def fit(runs: Runs, *, seed: int = 0, known: Known | None = None) -> Posterior:
    """Return the laws that the runs leave likely.

    Args:
        runs: losses of runs that saw no token twice; `run` says which belong to one run.
        seed: of the walkers.
        known: of the best size of a larger budget, from other runs than these.
    """
    random = np.random.default_rng(seed)
    first = ensemble.fit(runs, resamples=0)
    seen = _Seen.of(runs, first)
    near = seen.coordinates(first)[random.integers(len(first.alpha), size=WALKERS)]
    start = np.concatenate([near, np.broadcast_to(CENTER[6:], (WALKERS, 4))], axis=1)
    start += np.where(np.arange(len(PRIOR)) < 6, 0.03, 0.3) * random.standard_normal(start.shape)

    def log_density(at: Floats) -> Floats:
        found = seen.log_density(at)
        if known is None:
            return found
        return found - known.misfit(seen.law(np.clip(at, -FAR, FAR))) / 2

    points = walk(log_density, start, settle=SETTLE, keep=KEEP, seed=seed)
    run, milestone, _, misfit = np.exp(np.median(points[:, 6:], axis=0))
    return Posterior(
        draws=seen.law(points), run=float(run), milestone=float(milestone), misfit=float(misfit)
    )


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """Runs in rows and their milestones in columns, shape (runs, most milestones)."""

    there: Floats  # one where there is a milestone, else zero
    log_n: Floats  # less the mean
    log_d: Floats
    log_loss: Floats
    excess: Floats
    away: Floats  # excess, and what the distance from the largest run counts for
    mean_n: float
    mean_d: float

    @classmethod
    def of(cls, runs: Runs, law: Generalized) -> _Seen:
        """Return the runs, their excess judged by the middle of some laws."""
        compute = runs.params * runs.tokens
        best = interval.best_loss(law, flops=6 * compute)
        logs = np.log(law.loss(params=runs.params, tokens=runs.tokens) / best)
        excess = np.maximum(np.median(logs, axis=0), 0)
        log_n, log_d = np.log(runs.params), np.log(runs.tokens)
        mean_n, mean_d = float(log_n.mean()), float(log_d.mean())
        rows, places = _rows(runs)

        def laid(values: Floats) -> Floats:
            table = np.zeros((rows.max() + 1, places.max() + 1))
            table[rows, places] = values
            return table

        return cls(
            there=laid(np.ones(len(rows))),
            log_n=laid(log_n - mean_n),
            log_d=laid(log_d - mean_d),
            log_loss=laid(np.log(runs.losses)),
            excess=laid(excess),
            away=laid(excess + AWAY * np.log10(compute.max() / compute)),
            mean_n=mean_n,
            mean_d=mean_d,
        )

    def coordinates(self, law: Generalized) -> Floats:
        """Return laws as points, shape (laws, 6)."""
        alpha, beta = law.alpha[:, 0], law.beta[:, 0]
        log_a = np.log(law.A[:, 0]) - alpha * self.mean_n
        log_b = np.log(law.B[:, 0]) - beta * self.mean_d
        rest = (np.log(each) for each in (law.E[:, 0], alpha, beta, law.gamma[:, 0]))
        return np.column_stack([log_a, log_b, *rest])

    def law(self, points: Floats) -> Generalized:
        """Return points as laws, coefficients of shape (points, 1)."""
        log_a, log_b, floor, *logs = points[:, :6].T[:, :, None]
        alpha, beta, gamma = np.exp(logs)
        return Generalized(
            E=np.exp(floor),
            A=np.exp(log_a + alpha * self.mean_n),
            B=np.exp(log_b + beta * self.mean_d),
            alpha=alpha,
            beta=beta,
            gamma=gamma,
        )

    def log_density(self, points: Floats) -> Floats:
        """Return the log of prior times likelihood, shape (points,)."""
        balance = (points[:, 0] - points[:, 1]) / BALANCE
        prior = (((points - CENTER) / WIDTH) ** 2).sum(axis=1) + balance**2
        found = -(prior + self._misfits(np.clip(points, -FAR, FAR))) / 2
        return np.where(np.isfinite(found), found, -np.inf)

    def _misfits(self, points: Floats) -> Floats:
        """Return minus twice the log likelihood.

        The covariance of a run is diagonal but for two vectors that all milestones share, so its
        inverse and determinant follow from two by two matrices (Woodbury).
        """
        residuals = self.log_loss - self._log_losses(points)
        run, milestone, off, misfit = np.exp(2 * points[:, 6:]).T[:, :, None]
        variance = milestone[..., None] + misfit[..., None] * self.away**2
        weights = self.there / variance
        ones, tilts = weights.sum(-1), (weights * self.excess**2).sum(-1)
        cross = (weights * self.excess).sum(-1)
        together = (weights * residuals).sum(-1) * np.sqrt(run)
        tilted = (weights * self.excess * residuals).sum(-1) * np.sqrt(off)
        first, second = 1 + run * ones, 1 + off * tilts
        # first second - run off cross^2, written so that nothing cancels
        determinant = first + off * tilts + run * off * np.maximum(ones * tilts - cross**2, 0)
        shared = (
            second * together**2
            - 2 * np.sqrt(run * off) * cross * together * tilted
            + first * tilted**2
        ) / determinant
        squares = (weights * residuals**2).sum(-1) - shared
        logs = (self.there * np.log(variance)).sum(-1) + np.log(determinant)
        return np.asarray((squares + logs).sum(-1))

    def _log_losses(self, points: Floats) -> Floats:
        log_a, log_b, floor, *logs = points[:, :6].T[:, :, None, None]
        alpha, beta, gamma = np.exp(logs)
        both = np.logaddexp(log_a - alpha * self.log_n, log_b - beta * self.log_d)
        return np.asarray(np.logaddexp(gamma * both, floor))


def _rows(runs: Runs) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the row of each loss, one for every run, and its place there."""
    count = len(runs.losses)
    if runs.run is None:
        return np.arange(count), np.zeros(count, dtype=np.intp)
    rows = np.unique(runs.run, return_inverse=True)[1]
    places = np.zeros(count, dtype=np.intp)
    order = np.argsort(rows, kind="stable")
    starts = np.searchsorted(rows[order], rows[order])
    places[order] = np.arange(count) - starts
    return rows, places
