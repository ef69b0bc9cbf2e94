"""The solver against closed forms, the numbers of papers, and properties that must hold."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budgetplan.core.architecture import Architecture
from budgetplan.core.errors import BadValue, Infeasible
from budgetplan.core.estimate import Estimate
from budgetplan.laws.law import Law, law
from budgetplan.plan.family import family
from budgetplan.plan.optimum import Optimum, limit_flops, optimum
from budgetplan.plan.own_ladder import ladder_of_rungs
from budgetplan.plan.shapes import Ladder, ladder_of, rung

LLAMA = ladder_of(family("llama"))
PORIAN = ladder_of(family("porian"))


def six_n_d() -> Ladder:
    """A ladder on which 6 N D is exact: one token of context, and N is nearly all body and head.

    With seq_len 1 a layer's scores cost 12 width FLOPs per token against 6 * 12 width^2 of its
    matrices: 1 / (6 width) of them, 0.02% at width 1,024.
    """
    rungs = [
        rung(
            Architecture(
                name=f"w{width}", width=width, layers=layers, heads=8, vocab=1, seq_len=1, tied=True
            )
        )
        for width, layers in ((2**k, 2 ** (k - 6)) for k in range(10, 17))
    ]
    return ladder_of_rungs(rungs, name="plain")


def solve(name: str, flops: float, ladder: Ladder = LLAMA) -> Optimum:
    return optimum(law(name), ladder, flops=Estimate(flops))


@pytest.mark.parametrize("name", ["hoffmann2022_a3", "besiroglu2024", "muennighoff2023_c4"])
@pytest.mark.parametrize("flops", [1e21, 1e23, 1e25])
def test_chinchilla_closed_form_where_six_n_d_is_exact(name: str, flops: float) -> None:
    chosen = law(name)
    found = optimum(chosen, six_n_d(), flops=Estimate(flops))
    exact = float(chosen.best.optimal_params(flops=np.array([[flops]]))[0, 0])
    assert found.params("total").best == pytest.approx(exact, rel=0.01)
    assert found.tokens.best == pytest.approx(flops / 6 / exact, rel=0.01)


@pytest.mark.parametrize(
    ("name", "params"),
    [  # N* at 5.88e23 FLOPs, Chinchilla's budget, in each panel's own counting:
        # Porian et al. 2024, arXiv:2406.19146, Figure 1 and the authors' published fits
        ("porian2024_rw_kaplan", 3028e9),
        ("porian2024_rw_head", 787e9),
        ("porian2024_rw_warmup", 292e9),
        ("porian2024_rw_cosine", 183e9),
        ("porian2024_rw_tuned", 76.9e9),
    ],
)
def test_porian_at_chinchillas_budget_in_their_own_convention(name: str, params: float) -> None:
    found = solve(name, 5.88e23, PORIAN)
    # The exact budget amounts to less in a convention that leaves attention out.
    assert found.law_flops < 5.88e23
    exponent = found.law.preset.coefficients["exponent"]
    in_theirs = found.params().best * (5.88e23 / found.law_flops) ** exponent
    assert in_theirs == pytest.approx(params, rel=0.005)


def test_a_frontier_is_met_in_its_own_convention() -> None:
    found = solve("porian2024_rw_tuned", 1e21)
    star = found.law.best.optimal_params(flops=np.array([[found.law_flops]]))[0, 0]
    assert found.params().best == pytest.approx(star, rel=1e-3)
    assert found.law_flops == pytest.approx(6 * found.params().best * found.tokens.best, rel=1e-9)
    # and the exact FLOPs of that size on those tokens are the budget
    assert found.per_token.best * found.tokens.best == pytest.approx(1e21, rel=1e-12)


def test_chinchilla_itself() -> None:
    """Twenty tokens per parameter is 70B on 1.4T (Hoffmann et al. 2022, section 4).

    C = 120 N^2 = 5.88e23; exact FLOPs of a Chinchilla-like shape are within some percent of 6ND.
    """
    found = solve("hoffmann2022_twenty", 5.88e23, ladder_of(family("chinchilla")))
    assert found.params("total").best == pytest.approx(70e9, rel=0.05)
    assert found.tokens.best == pytest.approx(1.4e12, rel=0.05)


@pytest.mark.parametrize("name", ["porian2024_rw_tuned", "besiroglu2024", "llama3"])
def test_more_compute_buys_more_of_both(name: str) -> None:
    budgets = np.logspace(17, 26, 46)
    found = [solve(name, flops) for flops in budgets]
    assert (np.diff([each.params("total").best for each in found]) > 0).all()
    assert (np.diff([each.tokens.best for each in found]) > 0).all()
    losses = [each.loss.best for each in found if each.loss is not None]
    assert (np.diff(losses) < 0).all()


def test_the_best_size_is_the_best_size() -> None:
    """A surface's optimum is nowhere beaten along the ladder."""
    chosen, flops = law("besiroglu2024"), 1e22
    found = optimum(chosen, LLAMA, flops=Estimate(flops))
    assert found.loss is not None
    for factor in (0.5, 0.9, 1.1, 2.0):
        per_token = found.per_token.best * factor
        params = LLAMA.curve.at(per_token, "total")
        loss = chosen.best.loss(params=np.array([params]), tokens=np.array([flops / per_token]))
        assert loss[0, 0] > found.loss.best


def test_draws_of_the_law_become_draws_of_size_and_tokens() -> None:
    found = solve("porian2024_rw_tuned", 5.88e23, PORIAN)
    low, high = found.params().interval(0.95) or (0.0, 0.0)
    # The authors' 95% interval of N* is 70.0 to 86.4 billion, on a budget that counts no attention.
    assert low == pytest.approx(70.0e9, rel=0.05)
    assert high == pytest.approx(86.4e9, rel=0.05)
    assert found.per_token.draws is not None and found.tokens.draws is not None
    assert found.per_token.draws * found.tokens.draws == pytest.approx(
        np.full_like(found.tokens.draws, 5.88e23)
    )


@pytest.mark.parametrize(("share", "known"), [(0.01, True), (0.04, False)])
def test_a_few_draws_past_the_ladder_take_no_interval_away(share: float, known: bool) -> None:
    """Up to a fortieth on a side, the ends of a 90% interval lie among the others."""
    chosen = law("porian2024_rw_tuned")
    coefficients = chosen.draws.coefficient.copy()
    beyond = np.argsort(coefficients[:, 0])[len(coefficients) - int(share * len(coefficients)) :]
    coefficients[beyond] *= 1e6
    far = replace(chosen, draws=replace(chosen.draws, coefficient=coefficients))
    found = optimum(far, PORIAN, flops=Estimate(5.88e23)).params().interval()
    assert (found is not None) == known
    if found:
        assert found == pytest.approx(
            solve("porian2024_rw_tuned", 5.88e23, PORIAN).params().interval(), rel=0.02
        )


def test_a_law_without_draws_has_no_interval() -> None:
    found = solve("hoffmann2022_a3", 1e21)
    assert found.params().interval() is None
    assert found.tokens.interval() is None
    assert found.loss is not None and found.loss.interval() is None


def test_the_interval_of_the_budget_is_carried_along() -> None:
    budget = Estimate(1e21, bounds=(0.75e21, 1.25e21))
    without = optimum(law("hoffmann2022_a3"), LLAMA, flops=budget)
    low, high = without.params().interval() or (0.0, 0.0)
    ends = [solve("hoffmann2022_a3", end).params().best for end in (0.75e21, 1.25e21)]
    assert [low, high] == pytest.approx(ends)
    narrow = optimum(law("porian2024_rw_tuned"), LLAMA, flops=Estimate(1e21))
    wide = optimum(law("porian2024_rw_tuned"), LLAMA, flops=budget)

    def width(found: Optimum) -> float:
        low, high = found.params().interval() or (0.0, 0.0)
        return math.log(high / low)

    assert width(wide) > 1.5 * width(narrow)


def test_an_optimum_off_the_ladder_is_an_error_that_names_the_budget_that_is_on_it() -> None:
    with pytest.raises(Infeasible, match="below the smallest shape"):
        solve("porian2024_rw_tuned", 1e13)
    least = limit_flops(law("porian2024_rw_tuned"), LLAMA, edge="smallest")
    assert least is not None
    solve("porian2024_rw_tuned", least)
    with pytest.raises(Infeasible):
        solve("porian2024_rw_tuned", least / 1.2)
    with pytest.raises(Infeasible, match="above the largest shape"):
        solve("porian2024_rw_kaplan", 1e31)


def test_a_law_of_loss_alone_does_not_divide_a_budget() -> None:
    with pytest.raises(BadValue, match="does not divide"):
        solve("gadre2024_c4", 1e20)


def test_extrapolation_is_the_factor_beyond_the_tested_range() -> None:
    found = solve("porian2024_rw_tuned", 1e21)
    assert found.outside["flops"] == pytest.approx(found.law_flops / 2.56e19)
    assert solve("porian2024_rw_tuned", 1e18).outside == {}


@settings(max_examples=25, deadline=None)
@given(exponent=st.floats(17, 25), scale=st.floats(0.2, 5))
def test_a_surface_does_not_care_about_units_of_its_coefficients(
    exponent: float, scale: float
) -> None:
    """Counting parameters in units of `scale` changes A and nothing else."""
    chosen = law("besiroglu2024")
    values = dict(chosen.preset.coefficients)
    other = type(chosen.best)(
        **{
            name: np.array([[value * scale ** values["alpha"] if name == "A" else value]])
            for name, value in values.items()
        }
    )

    class InUnits:
        def loss(self, *, params: np.ndarray, tokens: np.ndarray) -> np.ndarray:
            return other.loss(params=params * scale, tokens=tokens)

    flops = Estimate(10**exponent)
    same = optimum(Law(preset=chosen.preset, best=InUnits(), draws=None), LLAMA, flops=flops)
    plain = optimum(Law(preset=chosen.preset, best=chosen.best, draws=None), LLAMA, flops=flops)
    assert same.per_token.best == pytest.approx(plain.per_token.best, rel=1e-9)
