"""Predict: what a law says of a run, or of a budget, with all that is known of its error."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from budgetplan.core.errors import BadValue
from budgetplan.core.estimate import Estimate
from budgetplan.laws import interval
from budgetplan.laws.law import Frontier, Law, Surface

Floats = NDArray[np.float64]


def loss(law: Law, *, params: float, tokens: float) -> Estimate:
    """Return the loss of a run [nats/token].

    With draws the interval is calibrated, see `laws.interval`; without draws there is none.

    Args:
        law: a surface.
        params: in the law's own convention.
        tokens: none seen twice, unless the law knows repetition.

    Raises:
        BadValue: the law does not give the loss of any size and corpus.
    """
    if not isinstance(law.best, Surface):
        knows = "only the best size of a budget"
        if "allocation" not in law.preset.purpose:
            knows = f"about {' and '.join(law.preset.purpose)}"
        raise BadValue(
            f"law {law.name} knows {knows}, not the loss of any run",
            "Choose a --law with a surface, as besiroglu2024.",
        )
    size, corpus = np.array([float(params)]), np.array([float(tokens)])
    best = float(law.best.loss(params=size, tokens=corpus).item())
    if law.draws is None:
        return Estimate(best)
    tested = law.preset.tested.flops
    fitted = interval.Fitted(
        flops=tested[1] if tested else 6 * params * tokens, scatter=law.preset.scatter
    )
    parts = interval.parts(law.draws, fitted, params=size, tokens=corpus)
    width = interval.CALIBRATED.of(parts, scatter=fitted.scatter)
    return interval.around(best, float(width[0]))


def optimal_params(law: Law, *, flops: float) -> Estimate:
    """Return the best size of a budget, both in the law's own convention, C = 6 N D.

    With draws the interval is calibrated and grows beyond the law's runs, see `laws.interval`;
    without draws there is none.

    Raises:
        BadValue: the law does not divide a budget.
    """
    if "allocation" not in law.preset.purpose or not isinstance(law.best, Frontier):
        about = " and ".join(law.preset.purpose)
        raise BadValue(
            f"law {law.name} does not divide a budget: it is about {about}",
            "Choose another --law; budgetplan presets laws lists them.",
        )
    budget = np.array([float(flops)])
    best = float(law.best.optimal_params(flops=budget).item())
    if law.draws is None:
        return Estimate(best)
    tested = law.preset.tested.flops
    decades = float(np.log10(flops / tested[1])) if tested else 0.0
    draws, _ = interval.mixed(
        law.draws.optimal_params(flops=budget)[:, 0],
        decades=decades,
        scale=interval.size_scale(law.preset.misfit),
    )
    return Estimate(best, draws)
