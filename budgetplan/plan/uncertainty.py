"""Uncertainty: a law's draws, widened by what hold-outs show of its extrapolation."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from budgetplan.core.estimate import Estimate
from budgetplan.laws import interval
from budgetplan.laws.law import Law
from budgetplan.plan.optimum import Optimum


def likely(found: Optimum) -> Optimum:
    """Return the optimum with intervals that have held on hold-outs, where the law has draws.

    Its size and tokens then carry, on top of the law's draws and of the budget's interval, the
    error of the law's form, which grows with every decade of compute beyond its runs. The loss
    carries what `loss_interval` says.
    """
    if found.loss is not None:
        loss = loss_interval(found, best=found.loss.best, optimal=found.loss.best)
        found = replace(found, loss=loss)
    return _likely_size(found)


def _likely_size(found: Optimum) -> Optimum:
    own, tokens = found.per_token, found.tokens
    if found.law.draws is None or own.draws is None or tokens.draws is None:
        return found
    curve, counting = found.ladder.curve, found.law.preset.counting
    params, places = interval.mixed(
        curve.at(own.draws, counting),
        decades=decades(found.law, flops=found.law_flops),
        scale=interval.size_scale(found.law.preset.misfit),
    )
    sizes = curve.at(params, known=counting)
    budgets = (own.draws * tokens.draws)[places]  # each draw of the law has its own
    return replace(
        found, per_token=Estimate(own.best, sizes), tokens=Estimate(tokens.best, budgets / sizes)
    )


def decades(law: Law, *, flops: float) -> float:
    """Return how many decades a budget, in the law's convention, lies beyond its runs.

    Zero where it is not stated what they were.
    """
    tested = law.preset.tested.flops
    return max(0.0, math.log10(flops / tested[1])) if tested else 0.0


def loss_interval(found: Optimum, *, best: float, optimal: float) -> Estimate:
    """Return the loss with an interval that has held on hold-outs, where the law has draws.

    The spread of the draws is the least of it: runs scatter, and error grows with every decade of
    compute beyond the fitted runs and off the optimum. Without draws the interval is that of the
    budget, if any.

    Args:
        found: the optimum with the law's own draws of the loss.
        best: the loss of the plan [nats/token].
        optimal: the loss of the compute-optimal plan on the same budget [nats/token].
    """
    loss = found.loss
    if loss is None:
        return Estimate(best)
    if loss.draws is None:
        if loss.bounds is None:
            return Estimate(best)
        low, high = (end * best / loss.best for end in loss.bounds)
        return Estimate(best, bounds=(low, high))
    parts = interval.Parts(
        center=np.array([math.log(best)]),
        spread=np.array([np.log(loss.draws).std()]),
        decades=np.array([decades(found.law, flops=found.law_flops)]),
        excess=np.array([max(0.0, math.log(best / optimal))]),
    )
    width = interval.CALIBRATED.of(parts, scatter=found.law.preset.scatter)
    return interval.around(best, float(width[0]))
