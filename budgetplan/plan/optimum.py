"""Optimum: where on a ladder a law wants a budget spent.

The budget is exact model FLOPs. A surface is minimised along the ladder with the tokens that the
exact FLOPs of each size leave. A frontier was fitted in its own convention, C = 6 N D: the size
is sought whose N, in that convention, is N* of the C that the exact budget amounts to in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from budgetplan.core.counting import Counting
from budgetplan.core.errors import BadValue, Infeasible
from budgetplan.core.estimate import Estimate
from budgetplan.core.units import show
from budgetplan.laws.law import Envelope, Frontier, Law, Surface
from budgetplan.plan.shapes import Curve, Ladder

Floats = NDArray[np.float64]
Edge = Literal["smallest", "largest"]
BEYOND = 0.025  # share of a law's draws that may lie past an end, where no 90% interval ends
SEED = 0  # pairs draws of the law with draws of the budget


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """The compute-optimal size and corpus on the curve of a ladder, not yet a real shape."""

    law: Law
    ladder: Ladder
    flops: Estimate  # the budget, exact model FLOPs
    per_token: Estimate  # exact FLOPs of a token: the size, from which every count follows
    tokens: Estimate
    loss: Estimate | None  # None: the law does not say
    law_flops: float  # the budget in the law's own convention, 6 N D
    outside: dict[str, float]  # quantity: factor beyond the law's tested range

    def params(self, counting: Counting | None = None) -> Estimate:
        """Return N in a convention, the law's own unless named."""
        name = counting or self.law.preset.counting
        return self.per_token.map(lambda flops: self.ladder.curve.at(flops, name))

    @property
    def tokens_per_param(self) -> Estimate:
        """Tokens per parameter, all of them counted."""
        return ratio(self.tokens, self.params("total"))


def ratio(above: Estimate, below: Estimate) -> Estimate:
    """Return the quotient of two estimates whose draws, or ends, belong together."""
    draws = None
    if above.draws is not None and below.draws is not None:
        draws = above.draws / below.draws
    bounds = None
    if above.bounds and below.bounds:
        low, high = sorted(a / b for a, b in zip(above.bounds, below.bounds, strict=True))
        bounds = (low, high)
    return Estimate(above.best / below.best, draws, bounds)


def optimum(law: Law, ladder: Ladder, *, flops: Estimate) -> Optimum:
    """Return the compute-optimal size and corpus of a budget.

    Draws of the law and the interval of the budget are carried together; a budget known by two
    ends is taken as equally likely everywhere between them.

    Raises:
        BadValue: the law does not say how to divide a budget.
        Infeasible: the optimum lies beyond the smallest or largest shape of the ladder.
    """
    if "allocation" not in law.preset.purpose:
        about = " and ".join(law.preset.purpose)
        raise BadValue(
            f"law {law.name} does not divide a budget: it is about {about}",
            "Choose another --law; budgetplan presets lists them.",
        )
    curve, counting = ladder.curve, law.preset.counting
    per_token, edges = locate(law.best, curve, counting, flops=np.array([[flops.best]]))
    if edges[0]:
        raise _edge(law, ladder, flops.best, edges[0])
    best = float(per_token[0])
    tokens = flops.best / best
    params = float(curve.at(best, counting))
    law_flops = 6 * params * tokens
    size, corpus = _spread(law, ladder, flops, best)
    outside = law.preset.tested.leaves(
        flops=law_flops, params=params, tokens=tokens, tokens_per_param=tokens / params
    )
    return Optimum(
        law=law,
        ladder=ladder,
        flops=flops,
        per_token=size,
        tokens=corpus,
        loss=_loss(law, curve, size, corpus),
        law_flops=law_flops,
        outside=outside,
    )


def locate(
    form: Any, curve: Curve, counting: Counting, *, flops: Floats
) -> tuple[Floats, list[Edge | None]]:
    """Return the FLOPs per token of the optimum, shape (draws,), and the edge that each hit.

    Args:
        form: a surface or a frontier, coefficients of shape (draws, 1) or (1, 1).
        curve: the ladder's.
        counting: what the form's N counts.
        flops: budgets, shape (draws, 1) or (1, 1).
    """
    if isinstance(form, Surface):
        return _lowest(form, curve, counting, flops=flops)
    if isinstance(form, Frontier):
        return _crossing(form, curve, counting, flops=flops)
    raise TypeError(f"{type(form).__name__} is neither a surface nor a frontier")


def _lowest(
    form: Surface, curve: Curve, counting: Counting, *, flops: Floats
) -> tuple[Floats, list[Edge | None]]:
    """Minimise the loss along the curve; a parabola through three points places it between two."""
    grid = curve.log_flops
    params = np.exp(curve.log_params[counting])[None, :]
    losses = form.loss(params=params, tokens=flops / np.exp(grid))
    lowest = np.argmin(losses, axis=1)
    edges: list[Edge | None] = [
        "smallest" if i == 0 else "largest" if i == len(grid) - 1 else None for i in lowest
    ]
    inner = np.clip(lowest, 1, len(grid) - 2)
    rows = np.arange(len(lowest))
    left, middle, right = (losses[rows, inner + step] for step in (-1, 0, 1))
    bend = left - 2 * middle + right
    shift = np.where(bend > 0, (left - right) / (2 * np.where(bend > 0, bend, 1)), 0.0)
    return np.exp(grid[inner] + np.clip(shift, -1, 1) * (grid[1] - grid[0])), edges


def _crossing(
    form: Frontier, curve: Curve, counting: Counting, *, flops: Floats
) -> tuple[Floats, list[Edge | None]]:
    """Find where N of the curve overtakes N* of the budget, both in the law's convention."""
    grid, log_params = curve.log_flops, curve.log_params[counting][None, :]
    in_law = 6 * np.exp(log_params - grid) * flops  # C = 6 N D with D = flops / FLOPs per token
    gap = log_params - np.log(form.optimal_params(flops=in_law))
    after = np.argmax(gap >= 0, axis=1)
    edges: list[Edge | None] = [
        "largest" if not above.any() else "smallest" if above[0] else None for above in gap >= 0
    ]
    after = np.clip(after, 1, None)
    rows = np.arange(len(after))
    low, high = gap[rows, after - 1], gap[rows, after]
    share = np.clip(-low / np.where(high > low, high - low, 1), 0, 1)
    return np.exp(grid[after - 1] + share * (grid[1] - grid[0])), edges


def _spread(law: Law, ladder: Ladder, flops: Estimate, best: float) -> tuple[Estimate, Estimate]:
    """Return size and tokens with draws of the law, else with the ends of the budget, if any."""
    curve, counting = ladder.curve, law.preset.counting
    bare = Estimate(best), Estimate(flops.best / best)
    if law.draws is not None:
        budgets = budgets_of(flops, draws=_draws_of(law))
        found, edges = locate(law.draws, curve, counting, flops=budgets)
        if max(edges.count("smallest"), edges.count("largest")) > BEYOND * len(edges):
            return bare  # laws that are as likely leave the ladder: no honest interval
        return Estimate(best, found), Estimate(flops.best / best, budgets[:, 0] / found)
    if flops.bounds is None:
        return bare
    found, edges = locate(law.best, curve, counting, flops=np.array([[c] for c in flops.bounds]))
    if any(edges):
        return bare
    low, high = (float(each) for each in found)
    ends = flops.bounds[0] / low, flops.bounds[1] / high
    return Estimate(best, bounds=(low, high)), Estimate(flops.best / best, bounds=ends)


def _draws_of(law: Law) -> int:
    return int(max(np.shape(value)[0] for value in vars(law.draws).values() if value is not None))


def budgets_of(flops: Estimate, *, draws: int) -> Floats:
    """Return one budget per draw of the law, shape (draws, 1)."""
    if flops.bounds is None:
        return np.full((draws, 1), flops.best)
    low, high = flops.bounds
    even = low + (high - low) * (np.arange(draws) + 0.5) / draws
    return np.random.default_rng(SEED).permutation(even)[:, None]


def _loss(law: Law, curve: Curve, size: Estimate, corpus: Estimate) -> Estimate | None:
    if "loss" not in law.preset.purpose:
        return None

    def at(form: Any, per_token: Any, tokens: Any) -> Floats | None:
        params = np.atleast_1d(curve.at(per_token, law.preset.counting))[:, None]
        trained = np.atleast_1d(tokens)[:, None]
        if isinstance(form, Surface):
            return form.loss(params=params, tokens=trained)[:, 0]
        if isinstance(form, Envelope):
            losses = form.optimal_loss(flops=6 * params * trained)
            return None if losses is None else losses[:, 0]
        return None

    best = at(law.best, size.best, corpus.best)
    if best is None:
        return None
    draws = None
    if law.draws is not None and size.draws is not None:
        draws = at(law.draws, size.draws, corpus.draws)
    bounds = None
    if draws is None and size.bounds and corpus.bounds:
        ends = [at(law.best, n, d) for n, d in zip(size.bounds, corpus.bounds, strict=True)]
        low, high = sorted(float(end[0]) for end in ends if end is not None)
        bounds = (low, high)
    return Estimate(float(best[0]), draws, bounds)


def _edge(law: Law, ladder: Ladder, flops: float, edge: Edge) -> Infeasible:
    """Return the error for an optimum off the ladder, naming the budget that would just do."""
    limit = limit_flops(law, ladder, edge=edge)
    end = 0 if edge == "smallest" else -1
    size = float(np.exp(ladder.curve.log_params["total"][end]))
    compared = "below" if edge == "smallest" else "above"
    known = (
        f"{'From' if edge == 'smallest' else 'Up to'} {show(limit)} FLOPs it has one"
        if limit
        else ""
    )
    return Infeasible(
        f"{law.name} wants {show(flops)} FLOPs spent on a model {compared} the {edge} shape of "
        f"{ladder.name} ({show(size)})",
        f"{known or 'No budget fits'}; or give another --family, --ladder or --params.",
    )


def limit_flops(law: Law, ladder: Ladder, *, edge: Edge) -> float | None:
    """Return the smallest or largest budget with an optimum on the ladder, None without any."""
    budgets = np.logspace(9, 36, 541)
    fits: list[bool] = []
    for start in range(0, len(budgets), 64):  # blocks, so that the losses stay small in memory
        block = budgets[start : start + 64, None]
        _, edges = locate(law.best, ladder.curve, law.preset.counting, flops=block)
        fits.extend(each is None for each in edges)
    inside = budgets[np.array(fits)]
    if not len(inside):
        return None
    # One step of the grid (12%) inside, so that the budget which is named does succeed.
    return float(inside[0] * 1.01) if edge == "smallest" else float(inside[-1] / 1.01)
