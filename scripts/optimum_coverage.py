"""Fit the error of an optimal size to hold-outs, and count how often its interval holds.

Each experiment of Porian et al. 2024 (arXiv:2406.19146) is fitted on its budgets up to its largest
divided by 3, 10, 30 and 100, by two estimators, and asked for N* of every larger budget. Truth is
the authors' own optimum of that budget, as if it had no noise of its own: the noise that they state
is an upper bound (it explains the errors worse than none), and what is blamed on the prediction
makes the interval wider. Recounts of the same runs belong to one group; the parts are fitted on all
groups but one, and counted on that one.

The posterior, which calibration runs are fitted by, is counted by itself: what its form adds is in
units of the misfit that it learned, and runs of a warmup that is too long, which no calibration
makes, have no part in it. They stand below, and show what it does not know.

Run from the root of a checkout: python -m scripts.optimum_coverage
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import t as student_t

from budgetplan.core.errors import BadValue
from budgetplan.laws import interval
from budgetplan.laws.fit import ensemble, isoflop, posterior
from budgetplan.laws.fit.parametric import Runs
from tests.reference import table

Floats = NDArray[np.float64]
Point = tuple[float, float, float]  # flops, params, loss
FACTORS = (3, 10, 30, 100)
LEVEL, WORST = 0.9, 0.8  # of all optima, and at least of any group
NOISE = {"rw": 0.002, "owt2": 0.01}  # nats/token, as in effect in the authors' code
ENOUGH = 3  # budgets that a fit needs
# What was trained, by how the authors call their counts of it.
TRAINED = {
    "a_reproduce_kaplan": "long warmup",
    "b_count_last_layer": "long warmup",
    "att_b_count_last_layer": "long warmup",
    "c_correct_warmup": "short warmup",
    "att_c_correct_warmup": "short warmup",
    "d_cosine_decay": "cosine",
    "att_d_cosine_decay": "cosine",
    "e_optimizer_tuning_no_decay": "tuned",
    "att_e_optimizer_tuning": "tuned",
    "kaplan_adjusted": "tuned",
}


@dataclass(frozen=True)
class Held:
    """One held-out optimum: its error in log N* and what the scale is made of."""

    estimator: str
    dataset: str
    group: str  # the runs behind it, however they were counted
    experiment: str
    factor: int
    error: float  # log of the optimum that was found over the one predicted
    noise: float  # of the log of the optimum that was found, as its authors state it
    draws: Floats  # of log N*, less that of the one predicted, shape (draws,)
    decades: float
    misfit: float = 1.0  # that a posterior learned; else one

    @property
    def spread(self) -> float:
        """Standard deviation of the draws."""
        return float(self.draws.std())


Estimate = tuple[float, Floats, float]  # N*, its draws, and the misfit behind it
Estimator = tuple[str, Callable[[float], Estimate]]


def held_out(*, resamples: int = 10, replicates: int = 200) -> list[Held]:
    """Return every held-out optimum of every experiment and factor, by ensemble and by isoflop."""

    def both(points: list[Point], noise: float) -> Iterator[Estimator]:
        yield from _estimators(points, noise=noise, resamples=resamples, replicates=replicates)

    return _held_out(both, FACTORS)


def held_out_of_posterior(*, factors: tuple[int, ...] = FACTORS) -> list[Held]:
    """Return every held-out optimum of every experiment and factor, by the posterior."""
    return _held_out(_posterior, factors)


def _held_out(
    estimators: Callable[[list[Point], float], Iterator[Estimator]], factors: tuple[int, ...]
) -> list[Held]:
    found = []
    for (dataset, experiment), runs in _experiments().items():
        truth = [
            row
            for row in table("porian_optima")
            if (row["dataset"], row["experiment"]) == (dataset, experiment)
        ]
        budgets = sorted({flops for flops, _, _ in runs})
        for factor in factors:
            limit = budgets[-1] / factor * 1.001  # budgets double: let none fall out by a hair
            small = [point for point in runs if point[0] <= limit]
            if len({flops for flops, _, _ in small}) < ENOUGH:
                continue
            largest = max(flops for flops, _, _ in small)
            for estimator, at in estimators(small, NOISE[dataset]):
                for row in truth:
                    flops = float(row["flops"])
                    if flops <= limit:
                        continue
                    center, draws, misfit = at(flops)
                    found.append(
                        Held(
                            estimator=estimator,
                            dataset=dataset,
                            group=f"{dataset} {TRAINED[experiment]}",
                            experiment=experiment,
                            factor=factor,
                            error=float(np.log(float(row["params_median"]) / center)),
                            noise=float(row["sigma_log_params"]),
                            draws=np.log(draws / center),
                            decades=float(np.log10(flops / largest)),
                            misfit=misfit,
                        )
                    )
    return found


def _experiments() -> dict[tuple[str, str], list[Point]]:
    by_name: dict[tuple[str, str], list[Point]] = {}
    for row in table("porian_isoflop_points"):
        point = (float(row["flops"]), float(row["params"]), float(row["loss"]))
        by_name.setdefault((row["dataset"], row["experiment"]), []).append(point)
    return by_name


def _estimators(
    points: list[Point], *, noise: float, resamples: int, replicates: int
) -> Iterator[Estimator]:
    """Yield each estimator that can fit the points: N* of a budget, and its draws."""
    flops, params, losses = np.array(points).T
    runs = Runs(params=params, tokens=flops / 6 / params, losses=losses)
    law = ensemble.fit(runs, resamples=resamples)

    def by_ensemble(budget: float) -> Estimate:
        draws = law.optimal_params(flops=np.array([budget]))[:, 0]
        return float(np.median(draws)), draws, 1.0

    yield "ensemble", by_ensemble
    try:
        fit = isoflop.fit(points, noise=isoflop.constant_noise(noise), replicates=replicates)
    except BadValue:
        return
    if fit.params.used < ENOUGH:
        return

    def by_isoflop(budget: float) -> Estimate:
        size = fit.params.at(budget)
        assert size.draws is not None
        return size.best, size.draws, 1.0

    yield "isoflop", by_isoflop


def _posterior(points: list[Point], noise: float) -> Iterator[Estimator]:
    """Yield the posterior, for which the losses of one size are milestones of one run."""
    del noise  # it learns its own
    flops, params, losses = np.array(points).T
    run = np.unique(params, return_inverse=True)[1]
    runs = Runs(params=params, tokens=flops / 6 / params, losses=losses, run=run)
    found = posterior.fit(runs)

    def by_posterior(budget: float) -> Estimate:
        draws = found.draws.optimal_params(flops=np.array([budget]))[:, 0]
        return float(np.median(draws)), draws, found.misfit

    yield "posterior", by_posterior


def usual(held: list[Held]) -> list[Held]:
    """Return those whose runs had no warmup that is too long."""
    return [each for each in held if not each.group.endswith("long warmup")]


def ends(each: Held, scale: interval.SizeScale) -> tuple[float, float]:
    """Return the interval of the log of N* over the one predicted."""
    per_unit = interval.SizeScale(floor=scale.floor * each.misfit, reach=scale.reach * each.misfit)
    sizes, _ = interval.mixed(np.exp(each.draws), decades=each.decades, scale=per_unit)
    low, high = np.log(np.quantile(sizes, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    return float(low), float(high)


NAMES = ("floor", "reach")
START = np.log([0.05, 0.1])


def calibrated(held: list[Held]) -> interval.SizeScale:
    """Return the most likely parts, wide enough together that their intervals hold.

    Groups count alike, and in them experiments and factors. The parts are widened by one factor
    until 90% intervals hold 90% in all and no group less than 80%.
    """
    error, weights = np.array([each.error for each in held]), _weights(held)
    spread, decades, misfit = (
        np.array([getattr(each, name) for each in held]) for name in ("spread", "decades", "misfit")
    )

    def unlikely(log_parts: Floats) -> float:
        parts = dict(zip(NAMES, np.exp(log_parts), strict=True))
        added = misfit * interval.SizeScale(**parts).of(decades=decades)
        scale = np.hypot(spread, added)  # the draws are taken as a t like what is added
        likelihood = student_t.logpdf(error / scale, interval.FREEDOM) - np.log(scale)
        return float(-(weights * likelihood).sum() + 0.01 * ((log_parts - START) ** 2).sum())

    found = minimize(unlikely, START, method="Nelder-Mead", options={"maxiter": 4000})
    for factor in np.arange(1, 3, 0.02):
        parts = dict(zip(NAMES, (factor * np.exp(found.x)).tolist(), strict=True))
        scale = interval.SizeScale(**parts)
        if coverage(held, scale) >= LEVEL and _worst(held, scale) >= WORST:
            break
    return scale


def _weights(held: list[Held]) -> Floats:
    cells = [(each.group, each.estimator, each.experiment, each.factor) for each in held]
    sizes = {cell: cells.count(cell) for cell in set(cells)}
    per_group: dict[str, int] = {}
    for group, *_ in sizes:
        per_group[group] = per_group.get(group, 0) + 1
    return np.array([1 / sizes[cell] / per_group[cell[0]] for cell in cells])


def coverage(held: list[Held], scale: interval.SizeScale) -> float:
    """Return the share of optima inside their interval, each experiment and factor alike."""
    spans = [ends(each, scale) for each in held]
    inside = [low <= each.error <= high for each, (low, high) in zip(held, spans, strict=True)]
    return float(np.average(inside, weights=_weights(held)))


def _worst(held: list[Held], scale: interval.SizeScale) -> float:
    return min(
        coverage([each for each in held if each.group == group], scale)
        for group in {each.group for each in held}
    )


def coverage_of_draws(held: list[Held]) -> float:
    """Return the share of optima inside 90% of the draws alone."""
    spans = [np.quantile(each.draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) for each in held]
    inside = [low <= each.error <= high for each, (low, high) in zip(held, spans, strict=True)]
    return float(np.average(inside, weights=_weights(held)))


def _line(
    name: str, held: list[Held], rest: list[Held], *, shipped: interval.SizeScale = interval.SIZES
) -> str:
    weights = _weights(held)
    error = np.sqrt(np.average([each.error**2 for each in held], weights=weights))
    means = (
        np.average(values, weights=weights)
        for values in (
            [each.spread for each in held],
            [each.noise for each in held],
            [np.diff(ends(each, shipped)).item() / 2 for each in held],
        )
    )
    spread, noise, half = means
    others = f"{coverage(held, calibrated(rest)):.0%}" if rest else ""
    return (
        f"{name:<18}{len(held):>5}{error:>7.2f}{spread:>8.2f}{noise:>7.2f}{half:>7.2f}"
        f"{coverage_of_draws(held):>7.0%}{others:>8}{coverage(held, shipped):>9.0%}"
    )


def main() -> None:
    """Print the parts fitted to all, and how often the intervals held.

    Columns: optima held out, rms error of log N*, mean spread of the draws, noise that the authors
    state, half width of the shipped 90% interval; then coverage: of 90% of the draws alone, of the
    interval with parts from all others, and of the shipped interval.
    """
    held = held_out()
    print("all:", calibrated(held))
    print(
        f"{'':<18}{'held':>5}{'error':>7}{'spread':>8}{'noise':>7}{'half':>7}{'draws':>7}"
        f"{'others':>8}{'shipped':>9}"
    )
    for field in ("group", "dataset"):
        for name in sorted({getattr(each, field) for each in held}):
            inside = [each for each in held if getattr(each, field) == name]
            print(_line(name, inside, [each for each in held if getattr(each, field) != name]))
    for estimator in ("ensemble", "isoflop"):
        print(_line(estimator, [each for each in held if each.estimator == estimator], []))
    for factor in FACTORS:
        print(_line(f"factor {factor}", [each for each in held if each.factor == factor], []))
    _main_of_posterior()


def _main_of_posterior() -> None:
    held = held_out_of_posterior()
    kept = usual(held)
    misfits = sorted({each.misfit for each in kept})
    print("posterior:", calibrated(kept), f"median misfit {np.median(misfits):.2f}")
    for name in sorted({each.group for each in held}):
        inside = [each for each in held if each.group == name]
        rest = [each for each in kept if each.group != name]
        print(_line(name, inside, rest, shipped=interval.BY_MISFIT))
    for factor in FACTORS:
        inside = [each for each in kept if each.factor == factor]
        print(_line(f"factor {factor}", inside, [], shipped=interval.BY_MISFIT))


if __name__ == "__main__":
    main()
