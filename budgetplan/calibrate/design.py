"""Design: the pilot runs that shrink the uncertainty of an optimum most per FLOP.

What is not known before the first run is a surface L(N, D), told by six numbers: the best size of
the target budget, two exponents and their coupling, the loss that more compute can still remove,
and the loss that it cannot. Published laws give each a center and a spread. For many draws of
these numbers the surface is linearised, and a run is worth what it takes off the variance of the
log of the best size, by Gaussian conditioning, on average over the draws. Runs are chosen greedily,
the best per FLOP first. A run at a constant learning rate is measured at several milestones, and
each of them is a run of a smaller budget that costs nothing: so a choice is a size and how far to
train it, and training it further costs only the difference.

Conditioning of a linear model: Chaloner and Verdinelli 1995, Statistical Science 10(3), section 2.
Milestones of one run: Porian et al. 2024, arXiv:2406.19146, whose tuned runs had a constant rate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfinv

from budgetplan.calibrate.allowance import TooSmall
from budgetplan.core.errors import OutOfDomain
from budgetplan.core.units import show
from budgetplan.laws import interval
from budgetplan.laws.generalized import Generalized

Floats = NDArray[np.float64]

DRAWS = 64  # surfaces over which the worth of a run is averaged
STEP = 1e-4  # of central differences, in each coordinate
USUAL_MISFIT = 0.25  # of the form, median over public runs: scripts/optimum_coverage.py
SIZES, MILESTONES = 5, 3  # the fewest that carry a law and a hold-out of the largest run
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


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A size, and how many of its milestones are trained."""

    option: Option
    milestones: int

    @property
    def tokens(self) -> float:
        """Tokens of the run."""
        return float(self.option.tokens[self.milestones - 1])

    @property
    def flops(self) -> float:
        """Exact FLOPs of the run."""
        return float(self.option.flops[self.milestones - 1])


@dataclass(frozen=True, kw_only=True)
class Designed:
    """The chosen runs, and what they should teach."""

    chosen: tuple[Chosen, ...]  # smallest first
    before: float  # standard deviation of log N* of the target
    after: float  # expected of the draws of a fit to these runs
    loss_before: float  # of the log loss there
    loss_after: float
    decades: float  # of compute from the largest run to the target, 6 N D
    steps: tuple[tuple[float, float], ...] = ()  # FLOPs spent and `after`, choice by choice

    @property
    def flops(self) -> float:
        """Exact FLOPs of all runs."""
        return sum(each.flops for each in self.chosen)

    def sizes_after(self, size: float) -> Floats:
        """Return equally likely best sizes as they are to be expected after the runs.

        The spread of a fit to these runs, and what its form is wrong by where it extrapolates if it
        fits them as it fits public runs.
        """
        spread = math.sqrt(2) * erfinv(2 * (np.arange(401) + 0.5) / 401 - 1)
        sizes, _ = interval.mixed(
            size * np.exp(self.after * spread),
            decades=self.decades,
            scale=interval.size_scale(USUAL_MISFIT),
        )
        return sizes


class _Worth:
    """The information that each run holds about each draw of the surface, computed once."""

    def __init__(self, prior: Prior, options: Sequence[Option], *, noise: Noise, seed: int) -> None:
        self.options, self.prior = options, prior
        self.points = prior.draws(DRAWS, seed=seed)
        self.precision = np.diag(1 / prior.spread**2)
        self.blocks = [self._information(option, noise) for option in options]
        self.slopes = self._loss_slopes()

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

    def variances(self, information: Floats) -> Floats:
        """Return the variance of log N* at the target, averaged over draws, shape (...)."""
        inverse = np.linalg.inv(self.precision + information)
        return np.asarray(inverse[..., 0, 0].mean(axis=-1))

    def loss_variance(self, information: Floats) -> float:
        """Return the variance of the log of the best loss at the target."""
        inverse = np.linalg.inv(self.precision + information)
        return float(np.einsum("ki,kij,kj->k", self.slopes, inverse, self.slopes).mean())


def design(
    prior: Prior,
    options: Sequence[Option],
    *,
    allowance: float,
    noise: Noise | None = None,
    seed: int = 0,
    least: float | None = None,
    sizes: int = SIZES,
) -> Designed:
    """Return the runs that an allowance should buy.

    The cheapest few sizes are always trained a little: a law needs several, and so does a hold-out.

    Args:
        prior: what is known before.
        options: sizes that could be trained.
        allowance: exact FLOPs of all runs together.
        noise: of a measured loss.
        seed: of the draws.
        least: stop as soon as the expected standard deviation is as low as this.
        sizes: how many at least.

    Raises:
        OutOfDomain: there are not so many sizes to choose from.
        TooSmall: the allowance does not reach for the fewest runs; names the smallest that works.
    """
    if len(options) < sizes:
        raise OutOfDomain(
            f"{len(options)} sizes can be trained, a law needs {sizes}",
            "Give a --family or --ladder with smaller models, or more data.",
        )
    worth = _Worth(prior, options, noise=noise or Noise(), seed=seed)
    level = _fewest(options, allowance=allowance, sizes=sizes)
    nothing = np.zeros((DRAWS, len(NAMES), len(NAMES)))
    start = float(worth.variances(nothing))
    known, spent, largest = nothing, 0.0, 0.0
    for place, upto in enumerate(level):
        if upto:
            known = known + worth.blocks[place][upto - 1]
            spent += float(options[place].flops[upto - 1])
            largest = max(largest, float(options[place].counted_flops()[upto - 1]))
    steps = [(spent, math.sqrt(float(worth.variances(known))))]
    current = _scaled(steps[0][1] ** 2, prior, largest=largest)
    while True:
        best = None
        for place, option in enumerate(options):
            done = level[place]
            paid = float(option.flops[done - 1]) if done else 0.0
            costs = option.flops[done:] - paid
            fits = int((spent + costs <= allowance).sum())
            if not fits:
                continue
            base = known - (worth.blocks[place][done - 1] if done else nothing)
            variances = worth.variances(base + worth.blocks[place][done : done + fits])
            tops = np.maximum(largest, option.counted_flops()[done : done + fits])
            after = np.array(
                [_scaled(v, prior, largest=t) for v, t in zip(variances, tops, strict=True)]
            )
            rates = (current - after) / costs[:fits]
            at = int(np.argmax(rates))
            if best is None or rates[at] > best[0]:
                best = (float(rates[at]), place, done + at + 1, float(after[at]))
        if best is None or best[0] <= 0:
            break
        _, place, upto, after_best = best
        done = level[place]
        option = options[place]
        spent += float(option.flops[upto - 1]) - (float(option.flops[done - 1]) if done else 0.0)
        known = known - (worth.blocks[place][done - 1] if done else nothing)
        known = known + worth.blocks[place][upto - 1]
        level[place] = upto
        largest = max(largest, float(option.counted_flops()[upto - 1]))
        current = after_best
        steps.append((spent, math.sqrt(float(worth.variances(known)))))
        if least is not None and steps[-1][1] <= least:
            break
    chosen = tuple(
        Chosen(option=option, milestones=upto)
        for option, upto in zip(options, level, strict=True)
        if upto
    )
    return Designed(
        chosen=chosen,
        before=math.sqrt(start),
        after=steps[-1][1],
        loss_before=math.sqrt(worth.loss_variance(nothing)),
        loss_after=math.sqrt(worth.loss_variance(known)),
        decades=max(0.0, math.log10(prior.flops / largest)),
        steps=tuple(steps),
    )


def _fewest(options: Sequence[Option], *, allowance: float, sizes: int) -> list[int]:
    """Return so many milestones of the cheapest sizes, none of the others.

    Raises:
        TooSmall: they cost more than the allowance.
    """
    few = [min(MILESTONES, len(option.flops)) for option in options]
    costs = np.array([option.flops[upto - 1] for option, upto in zip(options, few, strict=True)])
    cheapest = np.argsort(costs)[:sizes]
    needed = float(costs[cheapest].sum())
    if needed > allowance:
        raise TooSmall(
            f"an allowance of {show(allowance)} FLOPs is too small: {sizes} runs of the smallest"
            f" sizes, {MILESTONES} measurements each, cost {show(needed)}",
            needed=needed,
        )
    chosen = set(cheapest.tolist())
    return [upto if place in chosen else 0 for place, upto in enumerate(few)]


def _scaled(variance: float, prior: Prior, *, largest: float) -> float:
    """Return what is minimised: variance of the fit, and of extrapolating from the largest run."""
    decades = max(0.0, math.log10(prior.flops / largest))
    # The 95% quantile of the t is 1.3 times that of a normal of this scale.
    return variance + (1.3 * float(interval.size_scale(USUAL_MISFIT).of(decades=decades))) ** 2
