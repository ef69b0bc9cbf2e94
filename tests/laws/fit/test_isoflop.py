"""The estimator gives the numbers that Porian et al. 2024 (arXiv:2406.19146) published."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from budgetplan.core.errors import BadValue
from budgetplan.laws.fit import isoflop
from budgetplan.laws.fit.envelope import fit_envelope
from tests.reference import table

SIGMA = {"rw": 0.002, "owt2": 0.01}  # the noise in effect in the authors' code
Experiment = tuple[str, str]
PUBLISHED = {(row["dataset"], row["experiment"]): row for row in table("porian_exponents")}


def points() -> dict[str, dict[Experiment, list[tuple[float, float, float]]]]:
    pickles: dict[str, dict[Experiment, list[tuple[float, float, float]]]] = defaultdict(dict)
    for row in table("porian_isoflop_points"):
        experiment = (row["dataset"], row["experiment"])
        point = (float(row["flops"]), float(row["params"]), float(row["loss"]))
        pickles[row["pickle"]].setdefault(experiment, []).append(point)
    return pickles


@pytest.fixture(scope="session")
def fits() -> dict[Experiment, isoflop.IsoFlopFit]:
    """All fifteen experiments, each pickle's in its order on one stream of noise, seed 42."""
    found = {}
    for experiments in points().values():
        stream = np.random.RandomState(42)
        for experiment, runs in experiments.items():
            noise = isoflop.constant_noise(SIGMA[experiment[0]])
            found[experiment] = isoflop.fit(runs, noise=noise, random=stream)
    return found


@pytest.mark.parametrize("experiment", PUBLISHED, ids="-".join)
def test_exponents_and_their_intervals(
    fits: dict[Experiment, isoflop.IsoFlopFit], experiment: Experiment
) -> None:
    fit, row = fits[experiment], PUBLISHED[experiment]
    assert fit.params.exponent == pytest.approx(float(row["exponent"]), abs=1e-9)
    assert fit.params.coefficient == pytest.approx(float(row["coefficient"]), rel=1e-9)
    assert fit.tokens.exponent == pytest.approx(float(row["tokens_exponent"]), abs=1e-9)
    assert fit.params.used == int(row["budgets"])
    low, high = np.quantile(fit.params.exponents, [0.025, 0.975])
    assert (low, high) == pytest.approx((float(row["low"]), float(row["high"])), abs=1e-9)


def test_optimum_of_every_budget(fits: dict[Experiment, isoflop.IsoFlopFit]) -> None:
    ours = {
        (*experiment, optimum.flops): optimum
        for experiment, fit in fits.items()
        for optimum in fit.params_optima
    }
    rows = table("porian_optima")
    assert len(ours) == len(rows) == 173
    for row in rows:
        optimum = ours[row["dataset"], row["experiment"], float(row["flops"])]
        assert optimum.best == pytest.approx(float(row["params_noiseless"]), rel=1e-9)
        assert optimum.median == pytest.approx(float(row["params_median"]), rel=1e-9)
        assert optimum.sigma == pytest.approx(float(row["sigma_log_params"]), rel=1e-9)


# Kaplan adjusted lies in a flat valley, where the authors' optimizer stopped early.
FLAT = ("rw", "kaplan_adjusted")
LOSS_LAWS = [key for key in PUBLISHED if not key[1].startswith("att") and key != FLAT]


@pytest.mark.parametrize("experiment", LOSS_LAWS, ids="-".join)
def test_loss_laws(fits: dict[Experiment, isoflop.IsoFlopFit], experiment: Experiment) -> None:
    # A is exp(a) with a near 15, so three digits of alpha are a percent of A.
    fit, row = fits[experiment], PUBLISHED[experiment]
    law = fit_envelope(fit.tokens_optima, draws=20)
    assert pytest.approx(float(row["E"]), rel=2e-3) == law.E
    assert law.alpha == pytest.approx(float(row["alpha"]), rel=2e-3)
    assert pytest.approx(float(row["A"]), rel=1e-2) == law.A


def test_a_loss_law_in_a_flat_valley_fits_no_worse_than_the_published_one(
    fits: dict[Experiment, isoflop.IsoFlopFit],
) -> None:
    optima = [each for each in fits[FLAT].tokens_optima if 1e16 < each.flops < 5e17]
    flops = np.array([each.flops for each in optima])
    losses = np.array([np.median(each.losses) for each in optima])

    def misfit(E: float, A: float, alpha: float) -> float:
        return float((np.log((E + A * flops**-alpha) / losses) ** 2).sum())

    law = fit_envelope(fits[FLAT].tokens_optima, draws=1)
    published = (float(PUBLISHED[FLAT][name]) for name in ("E", "A", "alpha"))
    assert misfit(law.E, law.A, law.alpha) <= misfit(*published)


def test_the_exponent_falls_with_each_correction(
    fits: dict[Experiment, isoflop.IsoFlopFit],
) -> None:
    for dataset in ("rw", "owt2"):
        by_panel = {
            name[0]: fit.params.exponent
            for (data, name), fit in fits.items()
            if data == dataset and name[1] == "_"
        }
        exponents = [by_panel[panel] for panel in "abcde"]
        assert exponents == sorted(exponents, reverse=True)


def test_other_seeds_stay_within_the_authors_own_scatter() -> None:
    experiment = ("rw", "e_optimizer_tuning_no_decay")
    runs = points()["summary_df"][experiment]
    for seed in (0, 1, 2):
        fit = isoflop.fit(runs, noise=isoflop.constant_noise(0.002), seed=seed)
        assert fit.params.exponent == pytest.approx(0.497, abs=0.003)
        assert fit.params.at(5.88e23).best == pytest.approx(76.9e9, rel=0.04)


def test_noise_as_described_widens_the_interval() -> None:
    # With noise that rises with the loss, the tuned exponent's interval is (0.482, 0.511).
    runs = points()["summary_df"]["rw", "e_optimizer_tuning_no_decay"]
    noise = isoflop.rising_noise(0.002, 0.05, loss_low=3, loss_high=7)
    fit = isoflop.fit(runs, noise=noise)
    low, high = np.quantile(fit.params.exponents, [0.025, 0.975])
    assert (low, high) == pytest.approx((0.482, 0.511), abs=0.006)


def test_a_parabola_in_logs_is_found_exactly() -> None:
    # log L is lowest at N = 1e7 * (C / 1e17)^0.6 by construction.
    runs = [
        (flops, size, float(np.exp(0.02 * np.log(size / (1e7 * (flops / 1e17) ** 0.6)) ** 2 + 1)))
        for flops in (1e17, 1e18, 1e19)
        for size in 1e7 * (flops / 1e17) ** 0.6 * 2.0 ** np.arange(-5, 6)
    ]
    fit = isoflop.fit(runs, noise=isoflop.constant_noise(1e-6), replicates=50)
    assert fit.params.exponent == pytest.approx(0.6, abs=0.003)
    assert fit.params.coefficient * 1e17**fit.params.exponent == pytest.approx(1e7, rel=0.02)


def test_one_size_measured_many_times_tells_no_noise_about_a_curve() -> None:
    one = (np.full(8, 1e8), np.linspace(3.0, 3.02, 8))
    assert isoflop.noise_of([one]) is None


def test_a_budget_whose_optimum_lies_on_the_edge_is_left_out() -> None:
    # The third budget's losses fall with every size tried, so its optimum was not seen.
    inside = [
        (flops, size, 2 + (np.log(size / 1e7)) ** 2)
        for flops in (1e17, 1e18)
        for size in (2e6, 5e6, 1e7, 2e7, 5e7)
    ]
    falling = [(1e19, size, 3 - 1e-9 * size) for size in (1e7, 2e7, 4e7, 8e7)]
    fit = isoflop.fit(inside + falling, noise=isoflop.constant_noise(1e-4), replicates=50)
    assert list(fit.left_out) == [1e19]
    with pytest.raises(BadValue, match="no budget has an optimum"):
        isoflop.fit(falling, noise=isoflop.constant_noise(1e-4), replicates=50)


def test_noise_is_told_from_the_runs_about_the_curve_of_their_budget() -> None:
    # Valleys that are cubics, and a scatter of 0.4% of the loss: 12 budgets of 9 runs leave 60 free
    random = np.random.default_rng(0)
    budgets = []
    for flops in np.geomspace(1e17, 1e20, 12):
        x = np.linspace(-1.2, 1.2, 9)
        losses = 30 * flops**-0.05 * np.exp(0.05 * x**2 - 0.01 * x**3)
        sizes = flops**0.5 * np.exp(x)
        budgets.append((sizes, losses * np.exp(0.004 * random.standard_normal(9))))
    noise = isoflop.noise_of(budgets)
    assert noise is not None
    assert noise(np.array([3.0])) == pytest.approx(3 * 0.004, rel=0.2)
    assert isoflop.noise_of([(sizes[:5], losses[:5]) for sizes, losses in budgets]) is None
