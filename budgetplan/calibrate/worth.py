"""Worth: what a run would say of the best size of a budget, before it is made.

What is not known before the first run is a surface L(N, D), told by six numbers: the best size of
the target budget, two exponents and their coupling, the loss that more compute can still remove,
and the loss that it cannot. Published laws give each a center and a spread. For many draws of
these numbers the surface is linearised, and a run is worth what it takes off the variance of the
log of the best size, by Gaussian conditioning, on average over the draws.

Conditioning of a linear model: Chaloner and Verdinelli 1995, Statistical Science 10(3), section 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from budgetplan.laws import interval
from budgetplan.laws.generalized import Generalized

Floats = NDArray[np.float64]

DRAWS = 64  # surfaces over which the worth of a run is averaged
STEP = 1e-4  # of central differences, in each coordinate
USUAL_MISFIT = 0.25  # of the form, median over public runs: scripts/optimum_coverage.py
NAMES = ("log_size", "log_alpha", "log_beta", "log_gamma", "log_removable", "log_floor")


@dataclass(frozen=True, kw_only=True)
class Prior:
    """What published laws say of data and recipes that nobody has tried yet.

    The spreads are standard deviations of logarithms. That of the size is the spread of N* at 1e21
    FLOPs over the dense laws among the presets. Those of the exponents give the exponent of N*
    against C a standard deviation of 0.09, which spans Hoffmann's and Porian's experiments but
    the untuned ones. The others are wide on purpose: nobody knows the loss on another's text.
    """

    flops: float  # the target budget, 6 N D in the law's counting
    size: float  # N* there, in the same counting
    size_spread: float = 0.5
    alpha: float = 0.35
    beta: float = 0.36
    exponent_spread: float = 0.25
    coupling_spread: float = 0.2  # of gamma about one
    removable: float = 0.5  # reducible loss of the best run of the target budget [nats/token]
    removable_spread: float = 0.6
    floor: float = 1.8  # [nats/token]
    floor_spread: float = 0.4

    @property
    def center(self) -> Floats:
        """The middle of every coordinate, by the names above."""
        values = (self.size, self.alpha, self.beta, 1.0, self.removable, self.floor)
        return np.asarray(np.log(values))

    @property
    def spread(self) -> Floats:
        """The standard deviation of every coordinate."""
        return np.array(
            (
                self.size_spread,
                self.exponent_spread,
                self.exponent_spread,
                self.coupling_spread,
                self.removable_spread,
                self.floor_spread,
            )
        )

    def draws(self, count: int, *, seed: int = 0) -> Floats:
        """Return equally likely coordinates, shape (count, 6)."""
        random = np.random.default_rng(seed)
        return self.center + self.spread * random.standard_normal((count, len(NAMES)))

    def law(self, points: Floats) -> Generalized:
        """Return the surfaces at coordinates of shape (draws, 6).

        At the best split of a budget alpha A / N^alpha = beta B / D^beta, from which A and B follow
        once N*, the exponents and the reducible loss are known.
        """
        size, alpha, beta, gamma, removable, floor = np.exp(points.T[:, :, None])
        tokens = self.flops / 6 / size
        both = removable ** (1 / gamma)
        return Generalized(
            E=floor,
            A=both * beta / (alpha + beta) * size**alpha,
            B=both * alpha / (alpha + beta) * tokens**beta,
            alpha=alpha,
            beta=beta,
            gamma=gamma,
        )


@dataclass(frozen=True, kw_only=True)
class Noise:
    """How far a measured log loss lies from the surface.

    `run` is shared by all milestones of a run: seed, order of data, and how well it was tuned.
    `off` grows with the excess over the best loss of the same compute, where no form is right; it
    is the part that hold-outs on public runs gave the interval of a loss.
    """

    run: float = 0.003
    milestone: float = 0.0015  # of one evaluation
    off: float = interval.CALIBRATED.off

    def covariance(self, excess: Floats) -> Floats:
        """Return the covariance of the milestones of one run, shape (..., points, points)."""
        count = excess.shape[-1]
        off = self.off * excess
        shared = self.run**2 + off[..., :, None] * off[..., None, :]
        return shared + self.milestone**2 * np.eye(count)


@dataclass(frozen=True, kw_only=True)
class Option:
    """A size that could be trained, with the milestones at which its loss would be known."""

    name: str
    params: float  # in the counting of the prior
    tokens: Floats = field(repr=False)  # of each milestone, ascending
    flops: Floats = field(repr=False)  # exact cost of a run that ends there

    def counted_flops(self) -> Floats:
        """Return 6 N D of each milestone in the counting of the prior."""
        return np.asarray(6 * self.params * self.tokens)


class Worth:
    """The information that each run holds about each draw of the surface, computed once."""

    def __init__(self, prior: Prior, options: Sequence[Option], *, noise: Noise, seed: int) -> None:
        self.options, self.prior = options, prior
        self.points = prior.draws(DRAWS, seed=seed)
        self.precision = np.diag(1 / prior.spread**2)
        self.blocks = [self._information(option, noise) for option in options]
        self.slopes = self._loss_slopes()
        self.nothing = np.zeros((DRAWS, len(NAMES), len(NAMES)))

    def _losses(self, points: Floats, *, params: Floats, tokens: Floats) -> Floats:
        return np.log(self.prior.law(points).loss(params=params, tokens=tokens))

    def _slopes(self, *, params: Floats, tokens: Floats) -> Floats:
        """Return slopes of log loss, shape (draws, points, coordinates)."""
        out = []
        for place in range(len(NAMES)):
            step = np.zeros(len(NAMES))
            step[place] = STEP
            up = self._losses(self.points + step, params=params, tokens=tokens)
            down = self._losses(self.points - step, params=params, tokens=tokens)
            out.append((up - down) / (2 * STEP))
        return np.stack(out, axis=-1)

    def _information(self, option: Option, noise: Noise) -> Floats:
        """Return the information of its first 1, 2, ... milestones, (milestones, draws, 6, 6)."""
        params = np.full_like(option.tokens, option.params)
        slopes = self._slopes(params=params, tokens=option.tokens)
        law = self.prior.law(self.points)
        best = interval.best_loss(law, flops=6 * params * option.tokens)
        excess = np.log(law.loss(params=params, tokens=option.tokens) / best)
        covariance = noise.covariance(excess)
        blocks = []
        for last in range(1, len(option.tokens) + 1):
            part = slopes[:, :last]
            solved = np.linalg.solve(covariance[:, :last, :last], part)
            blocks.append(np.swapaxes(part, 1, 2) @ solved)
        return np.array(blocks)

    def _loss_slopes(self) -> Floats:
        """Return slopes of the log of the target's best loss, shape (draws, coordinates)."""
        removable, floor = np.exp(self.points[:, 4]), np.exp(self.points[:, 5])
        out = np.zeros_like(self.points)
        out[:, 4] = removable / (removable + floor)
        out[:, 5] = floor / (removable + floor)
        return out

    def scaled(self, variance: Floats | float, *, largest: Floats | float) -> Floats:
        """Return what is minimised: variance of the fit, and of extrapolating the largest run."""
        decades = np.maximum(0.0, np.log10(self.prior.flops / np.asarray(largest)))
        # The 95% quantile of the t is 1.3 times that of a normal of this scale.
        reach = 1.3 * interval.size_scale(USUAL_MISFIT).of(decades=decades)
        return np.asarray(variance + reach**2)

    def variances(self, information: Floats) -> Floats:
        """Return the variance of log N* at the target, averaged over draws, shape (...)."""
        inverse = np.linalg.inv(self.precision + information)
        return np.asarray(inverse[..., 0, 0].mean(axis=-1))

    def loss_variance(self, information: Floats) -> float:
        """Return the variance of the log of the best loss at the target."""
        inverse = np.linalg.inv(self.precision + information)
        return float(np.einsum("ki,kij,kj->k", self.slopes, inverse, self.slopes).mean())
