"""Influence: as leaving out each run in turn says, at a number of fits that does not grow."""

from __future__ import annotations

import numpy as np
import pytest

from budgetplan.laws.fit import ensemble, influence
from budgetplan.laws.fit.parametric import Runs
from tests.reference import table


def chinchilla() -> Runs:
    rows = sorted(table("chinchilla_points"), key=lambda row: float(row["loss"]))[:-5]
    params, flops, losses = (
        np.array([float(row[name]) for row in rows]) for name in ("params", "flops", "loss")
    )
    return Runs(params=params, tokens=flops / 6 / params, losses=losses)


def synthetic(runs: int, *, seed: int, outliers: int = 0) -> Runs:
    random = np.random.default_rng(seed)
    params = np.exp(random.uniform(np.log(1e6), np.log(1e9), runs))
    tokens = params * np.exp(random.uniform(np.log(3), np.log(200), runs))
    losses = 1.7 + 480 / params**0.35 + 2000 / tokens**0.37
    losses *= np.exp(0.003 * random.standard_normal(runs))
    losses[random.integers(runs, size=outliers)] *= 0.95  # each the mark for many after it
    return Runs(params=params, tokens=tokens, losses=losses)


@pytest.mark.parametrize(
    "runs",
    [chinchilla(), synthetic(60, seed=0), synthetic(80, seed=1, outliers=3), synthetic(14, seed=2)],
    ids=["chinchilla", "clean", "with marks", "few"],
)
def test_the_runs_that_move_most_are_those_of_leaving_out_every_one(runs: Runs) -> None:
    """Every run refitted without it, which is what the first look is to save."""
    flops = 60 * float((runs.params * runs.tokens).max())
    every = influence.influence(runs, flops=flops, refitted=len(runs.losses))
    assert influence.influence(runs, flops=flops) == every


def test_a_first_step_foresees_the_refit() -> None:
    """Of the log of the best size, to a tenth of the largest move."""
    runs = synthetic(60, seed=5, outliers=2)
    flops = 60 * float((runs.params * runs.tokens).max())
    center = ensemble.centered_fit(runs, influence.CHOICE)
    size, _ = influence._answer(runs, flops)
    foreseen = influence._logs(center, center.point + influence.one_step(center), flops)
    places = np.arange(60)
    true = np.array([
        np.log(influence._answer(runs.chosen(places[places != row]), flops)[0]) for row in places
    ])  # fmt: skip
    largest = np.abs(true - np.log(size)).max()
    assert np.abs(foreseen - true).max() < 0.1 * largest


def test_fits_do_not_grow_with_the_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    fits = []
    fit = ensemble.fit
    monkeypatch.setattr(
        ensemble, "fit", lambda *args, **named: fits.append(1) or fit(*args, **named)
    )
    for count in (100, 400):
        fits.clear()
        influence.influence(synthetic(count, seed=1), flops=1e21)
        assert len(fits) == 1 + 5 * influence.REFITTED


def test_runs_that_see_no_floor_are_left_out_without_a_word() -> None:
    """Losses of a product of powers: the floor falls to nothing and nothing hangs on it."""
    random = np.random.default_rng(7)
    params = np.exp(random.uniform(np.log(2e4), np.log(2e5), 20))
    tokens = params * np.exp(random.uniform(np.log(5), np.log(100), 20))
    losses = 600 / params**0.6 / tokens**0.6
    runs = Runs(params=params, tokens=tokens, losses=losses)
    center = ensemble.centered_fit(runs, influence.CHOICE)
    assert np.exp(center.point[2]) < 0.01 * losses.min()  # else this tests nothing
    assert np.isfinite(influence.one_step(center)).all()
    assert np.abs(influence.one_step(center)).max() < 10
    found = influence.influence(runs, flops=60 * float((params * tokens).max()))
    assert len(found) == 5
