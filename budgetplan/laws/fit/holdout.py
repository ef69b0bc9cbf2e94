"""Hold-out: fit the small runs, predict the large ones, and say how it went.

The only question that matters of a fit is what it says of runs that it has not seen. So every fit
is judged before it may be used: it is refitted on the runs up to a fraction of the largest budget,
and its predictions for the rest are compared with what came out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from budgetplan.core.errors import BadValue
from budgetplan.core.estimate import Estimate
from budgetplan.laws.fit.parametric import Runs

Floats = NDArray[np.float64]
Predictor = Callable[[Runs], Callable[[Runs], list[Estimate]]]
"""Fits runs, and returns what predicts others."""

FACTORS = (2.0, 3.0, 5.0, 10.0, 30.0, 100.0)
FEWEST = 8  # runs that a refit needs
LEVEL = 0.9


@dataclass(frozen=True, kw_only=True)
class Refit:
    """How a fit to the runs below 1/factor of the largest budget predicted the others."""

    factor: float  # largest budget over the largest that was fitted
    fitted: int  # runs
    held_out: int  # runs
    bias: float  # mean of log observed over predicted
    error: float  # root mean square of the same
    covered: float  # share of held-out runs inside their 90% interval
    width: float  # mean half width of these intervals, in log loss


@dataclass(frozen=True, kw_only=True)
class Report:
    """All refits, or why there are none."""

    refits: tuple[Refit, ...]
    why_none: str = ""


def report(runs: Runs, predictor: Predictor, *, factors: tuple[float, ...] = FACTORS) -> Report:
    """Return how well fits to smaller runs predict the larger ones."""
    flops = 6 * runs.params * runs.tokens
    found = []
    for factor in factors:
        small = flops <= flops.max() / factor
        if small.sum() < FEWEST or (~small).sum() < 1:
            continue
        try:
            predict = predictor(runs.chosen(np.flatnonzero(small)))
        except BadValue:  # the small runs alone carry no such law
            continue
        large = runs.chosen(np.flatnonzero(~small))
        found.append(_compare(predict(large), large, fitted=int(small.sum()), factor=factor))
    why = "" if found else (
        f"{len(runs.losses)} runs over a factor {flops.max() / flops.min():.3g} of compute leave no"
        f" split with {FEWEST} runs below half of the largest budget"
    )  # fmt: skip
    return Report(refits=tuple(found), why_none=why)


def _compare(predicted: list[Estimate], large: Runs, *, fitted: int, factor: float) -> Refit:
    centers = np.array([each.best for each in predicted])
    ends = np.array([each.interval(LEVEL) for each in predicted], dtype=float)
    errors = np.log(large.losses / centers)
    return Refit(
        factor=factor,
        fitted=fitted,
        held_out=len(errors),
        bias=float(errors.mean()),
        error=float(np.sqrt((errors**2).mean())),
        covered=float(np.mean((large.losses >= ends[:, 0]) & (large.losses <= ends[:, 1]))),
        width=float(np.mean(np.log(ends[:, 1] / ends[:, 0]) / 2)),
    )
