"""The posterior: its density by another library, its walkers on a known one, its intervals."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import multivariate_normal, norm

from budgetplan.laws import interval, predict
from budgetplan.laws.fit import ensemble, posterior
from budgetplan.laws.fit.measurements import Measurements, complete
from budgetplan.laws.fit.parametric import Runs
from budgetplan.laws.fit.study import study
from budgetplan.laws.fit.walkers import walk
from budgetplan.laws.generalized import Generalized
from scripts import optimum_coverage


def truth() -> Generalized:
    values = {"E": 1.7, "A": 400.0, "B": 2000.0, "alpha": 0.34, "beta": 0.37, "gamma": 1.0}
    return Generalized(**{name: np.array([[value]]) for name, value in values.items()})


def pilots(*, run: float, milestone: float, seed: int = 0) -> Runs:
    """Eight sizes, each measured at six milestones that share a throw of the dice."""
    random = np.random.default_rng(seed)
    sizes = np.geomspace(1e7, 3e8, 8)
    params = np.repeat(sizes, 6)
    tokens = params * np.tile(np.geomspace(5, 80, 6), 8)
    of_run = np.repeat(random.standard_normal(8), 6)
    noise = run * of_run + milestone * random.standard_normal(48)
    losses = truth().loss(params=params, tokens=tokens)[0] * np.exp(noise)
    return Runs(params=params, tokens=tokens, losses=losses, run=np.repeat(np.arange(8), 6))


def test_walkers_find_the_moments_of_a_normal() -> None:
    center, spread = np.array([1.0, -2.0, 0.5]), np.array([0.1, 1.0, 10.0])
    mixing = np.array([[1, 0.8, 0], [0.8, 1, 0.3], [0, 0.3, 1]])
    covariance = mixing * np.outer(spread, spread)
    density = multivariate_normal(center, covariance)
    start = np.random.default_rng(3).standard_normal((40, 3))
    points = walk(lambda at: np.asarray(density.logpdf(at)), start, settle=800, keep=4000)
    assert (points.mean(axis=0) - center) / spread == pytest.approx(0, abs=0.1)
    assert points.std(axis=0) == pytest.approx(spread, rel=0.1)
    assert np.corrcoef(points.T) == pytest.approx(mixing, abs=0.1)


def test_the_density_is_that_of_its_covariance_written_out() -> None:
    """Woodbury against scipy's normal of the whole covariance, at points of the prior."""
    runs = pilots(run=0.003, milestone=0.0015)
    runs = runs.chosen(np.setdiff1d(np.arange(48), [4, 5, 17]))  # runs of unequal length
    seen = posterior._Seen.of(runs, ensemble.fit(runs, resamples=0))
    random = np.random.default_rng(1)
    middle = seen.coordinates(truth())[0]
    points = np.column_stack([
        middle + 0.05 * random.standard_normal((6, 6)),
        posterior.CENTER[6:] + 0.7 * random.standard_normal((6, 4)),
    ])  # fmt: skip
    for point, found in zip(points, seen.log_density(points), strict=True):
        run, milestone, off, misfit = np.exp(point[6:])
        predicted = np.log(seen.law(point[None]).loss(params=runs.params, tokens=runs.tokens)[0])
        there = seen.there.astype(bool)
        excess, away = seen.excess[there], seen.away[there]
        assert runs.run is not None
        same = runs.run[:, None] == runs.run
        covariance = same * (run**2 + off**2 * np.outer(excess, excess))
        covariance += np.diag(milestone**2 + (misfit * away) ** 2)
        likelihood = multivariate_normal(predicted, covariance).logpdf(np.log(runs.losses))
        prior = norm.logpdf(point, posterior.CENTER, posterior.WIDTH).sum()
        prior += norm.logpdf(point[0] - point[1], 0, posterior.BALANCE)
        constants = (
            -len(runs.losses) / 2 * np.log(2 * np.pi)
            - np.log(np.sqrt(2 * np.pi) * posterior.WIDTH).sum()
            - np.log(np.sqrt(2 * np.pi) * posterior.BALANCE)
        )
        assert found == pytest.approx(likelihood + prior - constants, rel=1e-9, abs=1e-6)


def test_it_learns_the_noise_and_knows_the_law() -> None:
    found = posterior.fit(pilots(run=0.01, milestone=0.0008))
    assert found.run == pytest.approx(0.01, rel=0.6)
    assert found.milestone == pytest.approx(0.0008, rel=0.4)
    assert found.misfit < 0.1  # these runs fit the form
    budget = np.array([1e21])
    sizes = found.draws.optimal_params(flops=budget)[:, 0]
    low, high = np.quantile(sizes, [0.05, 0.95])
    assert low < truth().optimal_params(flops=budget).item() < high


def test_milestones_of_a_run_do_not_average_its_noise_away() -> None:
    """The same losses, once as 8 runs and once as 48, where only 8 throws were made."""
    runs = pilots(run=0.01, milestone=0.0005)
    alone = Runs(params=runs.params, tokens=runs.tokens, losses=runs.losses)
    sizes = np.array([3e9])

    def spread(of: Runs) -> float:
        losses = posterior.fit(of).draws.loss(params=sizes, tokens=20 * sizes)
        return float(np.log(losses).std())

    floor = 0.01 / np.sqrt(8)  # a mean of eight throws
    assert spread(runs) > 0.7 * floor
    assert spread(runs) > spread(alone)


def test_what_is_known_before_weighs_the_laws_that_the_runs_leave() -> None:
    """Bayes: walking with it is walking without it and weighing each law by its density."""
    runs = pilots(run=0.003, milestone=0.0015)
    budget = np.array([1e21])

    def log_sizes(known: posterior.Known | None) -> NDArray[np.float64]:
        found = posterior.fit(runs, known=known).draws.optimal_params(flops=budget)[:, 0]
        return np.asarray(np.log(found))

    alone = log_sizes(None)
    middle, width = float(alone.mean() + alone.std()), float(2 * alone.std())
    weights = norm.pdf(alone, middle, width)
    mean = np.average(alone, weights=weights)
    spread = np.sqrt(np.average((alone - mean) ** 2, weights=weights))
    found = log_sizes(posterior.Known(flops=1e21, size=float(np.exp(middle)), spread=width))
    assert found.mean() == pytest.approx(mean, abs=0.3 * spread)
    assert found.std() == pytest.approx(spread, rel=0.2)


def test_it_is_the_same_every_time() -> None:
    runs = pilots(run=0.003, milestone=0.0015)
    first, second = (posterior.fit(runs, seed=4).draws.alpha for _ in range(2))
    assert (first == second).all()


def test_ninety_percent_intervals_hold_on_public_runs() -> None:
    """Tenfold beyond the fit; all recipes but the warmup that is too long, which no pilot has."""
    held = optimum_coverage.usual(optimum_coverage.held_out_of_posterior(factors=(10,)))
    assert len(held) >= 25
    assert 0.8 <= optimum_coverage.coverage(held, interval.BY_MISFIT) <= 1.0
    assert optimum_coverage.coverage_of_draws(held) < 0.8
    error = np.sqrt(np.mean([each.error**2 for each in held]))
    assert error < 0.2


def test_a_fit_that_scatters_says_so() -> None:
    calm, rough = (
        study(measured(pilots(run=0.003, milestone=size)), method="posterior", year=2026)
        for size in (0.0015, 0.02)
    )
    assert not any("scatter" in note for note in calm.notes)
    assert any("losses scatter 2." in note or "losses scatter 1." in note for note in rough.notes)


@pytest.mark.parametrize("method", ["ensemble", "posterior"])
def test_the_order_of_a_file_changes_nothing(method: str) -> None:
    table = measured(pilots(run=0.003, milestone=0.0015))
    shuffled = table.at(np.random.default_rng(2).permutation(len(table)))
    one, other = (study(each, method=method, year=2026).law for each in (table, shuffled))
    assert one.preset.coefficients == other.preset.coefficients
    assert (one.draws.alpha == other.draws.alpha).all()


def measured(runs: Runs) -> Measurements:
    assert runs.run is not None
    count = len(runs.losses)
    return complete(
        Measurements(
            values={"params": runs.params, "tokens": runs.tokens, "loss": runs.losses},
            rows=tuple(range(2, count + 2)),
            counting="total",
            columns={"loss": "loss"},
            experiments=("pilots",) * count,
            names=tuple(f"run{number}@{place}" for place, number in enumerate(runs.run)),
        )
    )


def test_a_study_carries_the_misfit_to_who_asks_the_law() -> None:
    """The written law knows how far its form may be off, and its interval of N* says so."""
    found = study(measured(pilots(run=0.003, milestone=0.0015)), method="posterior", year=2026)
    assert found.runs.run is not None
    assert found.law.preset.misfit is not None
    flops = 100 * found.design.flops[1]
    size = predict.optimal_params(found.law, flops=flops)
    rough = found.law.preset.model_copy(update={"misfit": 0.5})
    wider = predict.optimal_params(
        type(found.law)(preset=rough, best=found.law.best, draws=found.law.draws), flops=flops
    )
    one, ten = size.interval(), wider.interval()
    assert one is not None
    assert ten is not None
    assert np.log(ten[1] / ten[0]) > 1.2 * np.log(one[1] / one[0])
