"""Prior: what the plan's law says of the optimum before any run is made."""

from __future__ import annotations

import math

from budgetplan.calibrate.kinds.kind import Asked
from budgetplan.calibrate.worth import Prior
from budgetplan.core.counting import Counting
from budgetplan.core.estimate import Estimate
from budgetplan.laws.law import law as published
from budgetplan.plan.optimum import optimum
from budgetplan.plan.surface import LENDER

# Spread of log N* by data and recipe, beyond that of the plan's own interval: DeepSeek-AI 2024
# (arXiv:2401.02954) found exponents of N* of 0.450, 0.524 and 0.578 on three corpora,
# which over three and a half decades of compute is a standard deviation of 0.43.
OTHERS = 0.45
OWN = 0.25  # of the law itself, where it publishes none; porian2024_rw_tuned has 0.29 at 1e21


def counting_of(asked: Asked) -> Counting:
    """Return how the plan's law counts N."""
    law = asked.plan.law
    return law.counting if law else "with_head"  # type: ignore[return-value]


def prior(asked: Asked) -> Prior:
    """Return what is known of the optimum before any run: the plan's law, and its spread."""
    planned, ladder, counting = asked.plan.law, asked.ladder, counting_of(asked)
    budget = float(asked.plan.budget.value)
    if planned is None:
        found = optimum(published(LENDER), ladder, flops=Estimate(budget))
        size = float(found.params(counting).best)
        spread = math.hypot(OWN, OTHERS)
        return Prior(flops=6 * size * found.tokens.best, size=size, size_spread=spread)
    best, loss = asked.plan.figures.get("optimal_params"), asked.plan.figures.get("loss")
    levels = {}
    if loss is not None and not isinstance(loss.value, str):
        shares = (Prior.removable, Prior.floor)
        levels = {
            name: share / sum(shares) * float(loss.value)
            for name, share in zip(("removable", "floor"), shares, strict=True)
        }
    own = OWN
    if best is not None and best.low and best.high:
        own = math.log(best.high / best.low) / 2 / 1.645
    # A law that was fitted to calibration runs has seen these data and this recipe.
    others = 0.0 if planned.params.origin == "measured" else OTHERS
    assert not isinstance(planned.params.value, str)
    return Prior(
        flops=planned.flops,
        size=float(planned.params.value),
        size_spread=math.hypot(own, others),
        **levels,
    )
