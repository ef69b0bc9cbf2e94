"""Design: the pilot runs that shrink the uncertainty of an optimum most per FLOP.

Runs are chosen greedily, the one first that takes most off the variance of the best size per FLOP.
A run at a constant learning rate is measured at several milestones, and each of them is a run of a
smaller budget that costs nothing: so a choice is a size and how far to train it, and training it
further costs only the difference.

Milestones of one run: Porian et al. 2024, arXiv:2406.19146, whose tuned runs had a constant rate.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfinv

from budgetplan.calibrate.allowance import TooSmall
from budgetplan.calibrate.worth import USUAL_MISFIT, Noise, Option, Prior, Worth
from budgetplan.core.errors import OutOfDomain
from budgetplan.core.units import show
from budgetplan.laws import interval

Floats = NDArray[np.float64]

SIZES, MILESTONES = 5, 3  # the fewest that carry a law and a hold-out of the largest run


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
    worth = Worth(prior, options, noise=noise or Noise(), seed=seed)
    nothing = _Chosen(worth)
    current = nothing
    for place, upto in enumerate(_fewest(options, allowance=allowance, sizes=sizes)):
        if upto:
            current = current.extended(place, upto)
    steps = [(current.flops, current.spread)]
    while least is None or len(steps) == 1 or steps[-1][1] > least:
        better = current.best_step(allowance)
        if better is None:
            break
        current = better
        steps.append((current.flops, current.spread))
    return Designed(
        chosen=tuple(
            Chosen(option=options[place], milestones=upto)
            for place, upto in enumerate(current.levels)
            if upto
        ),
        before=nothing.spread,
        after=current.spread,
        loss_before=math.sqrt(worth.loss_variance(nothing.known)),
        loss_after=math.sqrt(worth.loss_variance(current.known)),
        decades=max(0.0, math.log10(prior.flops / current.largest)),
        steps=tuple(steps),
    )


class _Chosen:
    """How many milestones of each option are trained, and what they cost and teach together."""

    def __init__(self, worth: Worth, levels: tuple[int, ...] = ()) -> None:
        self.worth = worth
        self.levels = levels or (0,) * len(worth.options)
        trained = [
            (option, place, upto)
            for place, (option, upto) in enumerate(zip(worth.options, self.levels, strict=True))
            if upto
        ]
        self.flops = sum(float(option.flops[upto - 1]) for option, _, upto in trained)
        self.largest = max(
            (float(option.counted_flops()[upto - 1]) for option, _, upto in trained), default=0.0
        )
        self.known = sum(
            (worth.blocks[place][upto - 1] for _, place, upto in trained), start=worth.nothing
        )

    @functools.cached_property
    def variance(self) -> float:
        """Variance of log N* at the target that the runs leave."""
        return float(self.worth.variances(self.known))

    @property
    def spread(self) -> float:
        """Its root."""
        return math.sqrt(self.variance)

    def extended(self, place: int, upto: int) -> _Chosen:
        """Return the choice with one option trained up to so many milestones."""
        return _Chosen(self.worth, (*self.levels[:place], upto, *self.levels[place + 1 :]))

    def best_step(self, allowance: float) -> _Chosen | None:
        """Return the choice with the step that gains most per FLOP, None where none gains."""
        rates = {
            (place, upto): rate
            for place in range(len(self.levels))
            for upto, rate in self._rates(place, allowance=allowance)
        }
        best = max(rates, key=lambda step: rates[step], default=None)
        return self.extended(*best) if best and rates[best] > 0 else None

    def _rates(self, place: int, *, allowance: float) -> list[tuple[int, float]]:
        """Return by milestone what training one option up to it would gain per FLOP."""
        option, done = self.worth.options[place], self.levels[place]
        blocks = self.worth.blocks[place]
        costs = option.flops[done:] - (float(option.flops[done - 1]) if done else 0.0)
        fits = int((self.flops + costs <= allowance).sum())
        if not fits:
            return []
        others = self.known - (blocks[done - 1] if done else self.worth.nothing)
        upto = slice(done, done + fits)
        variances = self.worth.variances(others + blocks[upto])
        largest = np.maximum(self.largest, option.counted_flops()[upto])
        now = self.worth.scaled(self.variance, largest=self.largest)
        gains = now - self.worth.scaled(variances, largest=largest)
        return [(done + 1 + at, float(gains[at] / costs[at])) for at in range(fits)]


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
