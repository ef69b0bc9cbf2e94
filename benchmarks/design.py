"""Worlds of known truth: do the intervals of the optimum hold, and what do designed pilots save?

Each world is a loss surface drawn about the published ones. The pilots are designed once, as
`budgetplan calibrate` would, and trained in every world by a fake trainer: the world's loss, noise
of each run and milestone, and an error of the form that grows with the excess over the best loss
of the same compute. The law fitted to them gives an interval for the best size of a budget fifty
times theirs; counted is how often it holds the truth. A standard IsoFLOP grid of 4 budgets by 5
sizes, each point a run of its own and fitted in the same way, is then made as dear as it must be
for intervals as narrow.

In 200 worlds the pilots, at 2% of the target's FLOPs, held 90% of truths where the losses follow a
law and scatter, 86% where the form is off as on public runs, and 88% at twice the noise assumed. A
grid as dear as the target itself, fifty times the pilots, was still wider: half width of log N*
0.22 against 0.18, and 0.34 against 0.24. At the pilots' cost its best size was off by 0.16 against
0.12, and by 0.36 against 0.20 (root mean square of log N*).

Run from the root of a checkout: python -m benchmarks.design [WORLDS]
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from budgetplan.calibrate.design import Designed, design
from budgetplan.calibrate.worth import Noise, Option, Prior
from budgetplan.laws import interval
from budgetplan.laws.fit import posterior
from budgetplan.laws.fit.parametric import Runs

Floats = NDArray[np.float64]
TARGET = 1e21  # 6 N D [FLOPs]
SHARE = 0.02
SIZES = np.geomspace(5e6, 3e9, 20)
RATIOS = np.geomspace(5, 160, 11)
PURE = Noise(off=0.0)  # the losses follow the law, and scatter
TWICE = Noise(run=0.006, milestone=0.003)
GRID = (4, 5)  # budgets, sizes
GRID_STEP = 3.0  # from one budget of the grid to the next
GRID_REACH = 4.0  # from the middle size of a budget to its smallest and largest


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Measurements to make: sizes, tokens, which run each belongs to, and what all runs cost."""

    params: Floats
    tokens: Floats
    run: NDArray[np.int64]
    flops: float


@dataclass(frozen=True, kw_only=True)
class Held:
    """How the intervals of many worlds did."""

    covered: float  # share of truths inside 90% intervals
    by_draws: float  # of those inside 90% of the draws alone
    half_width: float  # mean, in log N*
    error: float  # root mean square of log N*
    flops: float


def prior() -> Prior:
    """Return what published laws say of the target."""
    return Prior(flops=TARGET, size=float(np.sqrt(TARGET / 120)))


def pilots(share: float = SHARE) -> tuple[Designed, Plan]:
    """Return the designed runs for a share of the target's budget, and their measurements."""
    options = [
        Option(name=f"{size:.3g}", params=float(size), tokens=size * RATIOS,
               flops=6 * size * size * RATIOS)
        for size in SIZES
    ]  # fmt: skip
    found = design(prior(), options, allowance=share * TARGET)
    sizes, tokens, runs = [], [], []
    for number, each in enumerate(found.chosen):
        part = each.option.tokens[: each.milestones]
        tokens.append(part)
        sizes.append(np.full(len(part), each.option.params))
        runs.append(np.full(len(part), number))
    return found, Plan(params=np.concatenate(sizes), tokens=np.concatenate(tokens),
                       run=np.concatenate(runs), flops=found.flops)  # fmt: skip


def grid(flops: float) -> Plan:
    """Return a standard grid that costs so much in all: each point is a run to its end.

    Its budgets are a factor apart, its sizes spread evenly about twenty tokens per parameter.
    """
    budgets, sizes = GRID
    shares = GRID_STEP ** -np.arange(budgets, dtype=float)
    each = flops * shares / shares.sum() / sizes
    factors = np.geomspace(1 / GRID_REACH, GRID_REACH, sizes)
    params = (np.sqrt(each / 120)[:, None] * factors).ravel()
    return Plan(params=params, tokens=np.repeat(each, sizes) / 6 / params,
                run=np.arange(budgets * sizes), flops=flops)  # fmt: skip


def held(plan: Plan, *, worlds: int, noise: Noise | None = None, seed: int = 1) -> Held:
    """Return how the intervals from these measurements did in so many worlds."""
    noise, known = noise or Noise(), prior()
    random = np.random.default_rng(seed)
    points = known.draws(worlds, seed=seed + 1000)
    budget = np.array([TARGET])
    errors, widths, inside, by_draws = [], [], [], []
    for world in range(worlds):
        law = known.law(points[world : world + 1])
        losses = law.loss(params=plan.params, tokens=plan.tokens)[0]
        best = interval.best_loss(law, flops=6 * plan.params * plan.tokens)[0]
        of_run = random.standard_normal((2, plan.run.max() + 1))[:, plan.run]
        off = noise.run * of_run[0] + noise.off * np.log(losses / best) * of_run[1]
        off += noise.milestone * random.standard_normal(len(losses))
        runs = Runs(params=plan.params, tokens=plan.tokens, losses=losses * np.exp(off),
                    run=plan.run)  # fmt: skip
        found = posterior.fit(runs)
        draws = found.draws.optimal_params(flops=budget)[:, 0]
        decades = float(np.log10(TARGET / (6 * plan.params * plan.tokens).max()))
        sizes, _ = interval.mixed(draws, decades=decades, scale=interval.size_scale(found.misfit))
        low, high = np.log(np.quantile(sizes, [0.05, 0.95]))
        near, far = np.log(np.quantile(draws, [0.05, 0.95]))
        truth = points[world, 0]
        errors.append(np.log(np.median(draws)) - truth)
        widths.append((high - low) / 2)
        inside.append(low <= truth <= high)
        by_draws.append(near <= truth <= far)
    return Held(
        covered=float(np.mean(inside)),
        by_draws=float(np.mean(by_draws)),
        half_width=float(np.mean(widths)),
        error=float(np.sqrt(np.mean(np.square(errors)))),
        flops=plan.flops,
    )


def grid_as_narrow(width: float, *, worlds: int, noise: Noise) -> Held:
    """Return the cheapest grid whose intervals are as narrow on average, or one at the target."""
    share = SHARE / 2
    while True:
        found = held(grid(share * TARGET), worlds=worlds, noise=noise)
        if found.half_width <= width or share >= 1.0:
            return found
        share = min(1.0, share * 1.5)


def main(worlds: int) -> None:
    """Print coverage, widths and costs."""
    found, plan = pilots()
    print(
        f"{len(found.chosen)} runs, {len(plan.params)} milestones, {plan.flops / TARGET:.2%} of"
        f" {TARGET:g} FLOPs; expected spread of log N* {found.before:.2f} -> {found.after:.2f}"
    )
    kinds = {"pure law": PURE, "form off": Noise(), "twice the noise": TWICE}
    rows = {f"designed, {name}": held(plan, worlds=worlds, noise=of) for name, of in kinds.items()}
    for name in ("pure law", "form off"):
        few, of = max(20, worlds // 4), kinds[name]
        width = rows[f"designed, {name}"].half_width
        rows[f"grid, {name}, same FLOPs"] = held(grid(plan.flops), worlds=worlds, noise=of)
        rows[f"grid, {name}, same width"] = grid_as_narrow(width, worlds=few, noise=of)
    print(f"{'':<32}{'FLOPs':>8}{'covered':>9}{'draws':>7}{'half':>7}{'error':>7}")
    for name, each in rows.items():
        print(f"{name:<32}{each.flops / TARGET:>8.2%}{each.covered:>9.0%}{each.by_draws:>7.0%}"
              f"{each.half_width:>7.2f}{each.error:>7.2f}")  # fmt: skip


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
