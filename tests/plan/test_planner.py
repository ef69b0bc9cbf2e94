"""The plan: the budget met by whole steps, trade-offs that behave, questions that contradict."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from budgetplan.core.budget import Budget
from budgetplan.core.cards import gpu
from budgetplan.core.errors import BadValue, Infeasible
from budgetplan.core.estimate import Estimate
from budgetplan.laws.law import law
from budgetplan.plan.compare import accountings, beside, every_law, smaller
from budgetplan.plan.optimum import optimum
from budgetplan.plan.planner import Answer, answer
from budgetplan.plan.question import Question
from budgetplan.plan.remarks import times
from budgetplan.plan.report import plan
from budgetplan.plan.schedule import TOLERANCE, whole_steps
from budgetplan.plan.surface import repeated, trade_surface
from budgetplan.plan.tradeoffs import best_point, iso_loss, served, served_at_loss


def plan_for(flops: float | None = None, **fields: Any) -> Answer:
    budget = fields.pop("budget", None) or Budget(flops=flops)
    return answer(Question(budget=budget, **fields))


# --- the budget -------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(exponent=st.floats(17, 26), family=st.sampled_from(["llama", "porian", "gpt2", "qwen3"]))
def test_whole_steps_meet_the_budget_and_never_exceed_it(exponent: float, family: str) -> None:
    flops = 10**exponent
    try:
        found = plan_for(flops, family=family)
    except Infeasible:
        assume(False)
        raise
    assert (1 - TOLERANCE) * flops <= found.spent <= flops
    steps = found.steps
    assert found.spent == steps.steps * steps.batch * found.rung.sequence_flops
    assert found.tokens == steps.steps * steps.batch * found.rung.architecture.seq_len
    run = found.run
    assert (run.steps, run.batch_sequences, run.tokens) == (steps.steps, steps.batch, found.tokens)


@pytest.mark.parametrize("flops", [1e17, 1e19, 1e21, 1e23, 1e25])
def test_taking_a_real_shape_costs_little(flops: float) -> None:
    found = plan_for(flops)
    assert found.rounding_permil is not None
    assert abs(found.rounding_permil) < 1.0
    assert found.within_permil is not None
    low, high = found.within_permil
    assert low < found.rung.params["total"] < high


@pytest.mark.parametrize(
    ("sequences", "batch", "cards", "steps", "chosen"),
    [
        (1000.0, 10.0, None, 100, 10),
        (100000.9, 100.0, None, 1000, 100),  # the last sequence is not bought
        (1e6, 100.0, 64, 10000, 100),  # 128 is 28% off: no multiple of the cards
        (1e6, 120.0, 64, 7812, 128),  # 7% off: a multiple of the cards
        (205.0, 10.0, None, 17, 12),  # 20 x 10 leaves 2.4%; 17 x 12 = 204 leaves 0.5%
    ],
)
def test_whole_steps_by_hand(
    sequences: float, batch: float, cards: int | None, steps: int, chosen: int
) -> None:
    found = whole_steps(sequences, best_batch=batch, cards=cards)
    assert (found.steps, found.batch) == (steps, chosen)


def test_a_batch_of_ones_own_stays() -> None:
    found = plan_for(1e20, batch_sequences=500)
    assert found.steps.batch == 500
    with pytest.raises(Infeasible, match="no whole number of steps"):
        whole_steps(150.0, best_batch=100, fixed=True)


def test_hardware_and_flops_of_the_same_worth_make_the_same_plan() -> None:
    """64 H100 for a day at 40% of 989.4e12 are 2.1883e21 FLOPs."""
    card = gpu("H100")
    by_time = plan_for(budget=Budget(gpus=64, gpu=card, time=86400.0))
    flops = 64 * 86400 * 0.4 * card.peak["bf16"]
    by_hours = plan_for(budget=Budget(gpus=64, gpu=card, gpu_hours=64 * 24.0))
    by_flops = plan_for(budget=Budget(flops=flops, gpu=card, gpus=64))
    assert by_time.steps == by_hours.steps == by_flops.steps
    assert by_time.rung == by_flops.rung
    cost = by_time.cost
    assert cost is not None and cost.seconds is not None
    assert cost.seconds.best == pytest.approx(86400, rel=TOLERANCE)
    # at an MFU of 0.5 instead of 0.4 the same plan takes 4/5 of the time, at 0.3 it takes 4/3
    low, high = cost.seconds.interval() or (0.0, 0.0)
    assert (low, high) == pytest.approx((0.8 * cost.seconds.best, cost.seconds.best / 0.75))


def test_money_buys_hours() -> None:
    card = gpu("H100")
    found = plan_for(budget=Budget(usd=50000.0, usd_per_hour=2.5, gpu=card))
    assert found.cost is not None and found.cost.usd is not None
    assert found.cost.usd.best == pytest.approx(50000, rel=TOLERANCE)
    assert found.cost.card_hours.best == pytest.approx(20000, rel=TOLERANCE)
    assert found.cost.energy is not None and card.power is not None
    assert found.cost.energy.best == pytest.approx(
        found.cost.card_hours.best * 3600 * card.power * 1.58
    )


def test_a_measured_utilization_leaves_no_interval() -> None:
    budget = Budget(
        gpus=8, gpu=gpu("A100"), time=1e5, mfu=0.55, mfu_interval=None, mfu_origin="stated"
    )
    found = plan_for(budget=budget, law="hoffmann2022_a3")
    assert found.flops.interval() is None
    assert found.optimum is not None and found.optimum.params().interval() is None


# --- fixed size or corpus ---------------------------------------------------------------------


def test_a_fixed_size_is_trained_for_the_whole_budget() -> None:
    found = plan_for(1e21, params=1.5e9)
    assert found.rung.params["total"] == pytest.approx(1.5e9, rel=0.05)
    assert found.spent == pytest.approx(1e21, rel=TOLERANCE)
    free = plan_for(1e21)
    assert found.loss is not None and free.loss is not None
    assert found.loss > free.loss


def test_a_fixed_corpus_decides_the_size() -> None:
    found = plan_for(1e21, tokens=100e9)
    assert found.tokens == pytest.approx(100e9, rel=0.06)
    assert found.spent == pytest.approx(1e21, rel=TOLERANCE)


def test_size_and_corpus_are_a_budget() -> None:
    found = plan_for(budget=Budget(), params=7e9, tokens=2e12)
    assert found.tokens == pytest.approx(2e12, rel=TOLERANCE)
    # 6 N D with 6.9B parameters beside the embedding, and some percent of attention
    assert found.flops.best == pytest.approx(6 * 7e9 * 2e12, rel=0.1)


def test_size_corpus_and_budget_may_agree_but_not_contradict() -> None:
    alone = plan_for(budget=Budget(), params=7e9, tokens=2e12)
    same = plan_for(alone.flops.best, params=7e9, tokens=2e12)
    assert same.steps == alone.steps
    with pytest.raises(BadValue, match="costs"):
        plan_for(1e21, params=7e9, tokens=2e12)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"params": 1e9, "inference_tokens": 1e12}, "--params"),
        ({"tokens": 1e11, "inference_tokens": 1e12}, "--tokens"),
        ({"vocab": 256}, "vocabulary"),
        ({"vocab": 10**9}, "--vocab"),
        ({"params": 1.0}, "outside"),
        ({"tokens": 10.0}, "larger than any"),
        ({"tokens": 1e19}, "smaller than any"),
        ({"law": "chinchilla"}, "hoffmann2022_a3"),
        ({"law": "kaplan2020"}, "unverified"),
    ],
)
def test_questions_without_an_answer(fields: dict[str, Any], words: str) -> None:
    with pytest.raises((BadValue, Infeasible), match=words):
        plan_for(1e21, **fields)


# --- trade-offs -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["porian2024_rw_tuned", "besiroglu2024"])
def test_serving_more_makes_the_model_smaller_and_trains_it_longer(name: str) -> None:
    """Sardana et al. 2023, arXiv:2401.00448: with demand, N falls and tokens per N rise."""
    answers = [plan_for(1e22, law=name)] + [
        plan_for(1e22, law=name, inference_tokens=demand) for demand in (1e10, 1e11, 1e12, 1e13)
    ]
    sizes = [each.rung.params["total"] for each in answers]
    ratios = [each.tokens / each.rung.params["total"] for each in answers]
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] < sizes[0] / 3
    assert ratios == sorted(ratios)
    for each in answers:
        assert each.spent == pytest.approx(1e22, rel=TOLERANCE)


def test_serving_nothing_changes_nothing_and_no_other_plan_is_cheaper_over_its_life() -> None:
    base = plan_for(1e22)
    surface, best = base.plain, base.best
    assert surface is not None and best is not None
    little = served(surface, flops=1e22, inference_tokens=1.0)
    assert little.per_token == pytest.approx(best.per_token, rel=1e-6)
    demand = 1e12
    point = served(surface, flops=1e22, inference_tokens=demand)
    # Its loss, reached with a model 20% smaller or larger, costs more in all.
    for factor in (0.8, 1.25):
        size = point.per_token * factor
        low, high = math.log(point.tokens / 10), math.log(point.tokens * 10)
        for _ in range(80):
            middle = (low + high) / 2
            loss = surface.loss(per_token=size, tokens=math.exp(middle))
            low, high = (low, middle) if loss <= point.loss else (middle, high)
        other = dataclasses.replace(point, per_token=size, tokens=math.exp(high))
        assert other.lifetime(demand) > point.lifetime(demand)
    same_loss = served_at_loss(surface, best=best, inference_tokens=demand)
    assert same_loss is not None
    assert same_loss.loss == best.loss
    assert same_loss.flops > best.flops
    assert same_loss.lifetime(demand) < best.lifetime(demand)


def test_a_loss_out_of_reach_of_scarce_tokens_is_not_promised() -> None:
    found = plan_for(1e22, inference_tokens=1e12, unique_tokens=5e9)
    assert found.at_loss is None
    assert found.spent == pytest.approx(1e22, rel=TOLERANCE)


def test_tokens_enough_for_one_epoch_change_nothing() -> None:
    free, enough = plan_for(1e21), plan_for(1e21, unique_tokens=1e12)
    assert enough.rung == free.rung and enough.steps == free.steps
    assert enough.loss == pytest.approx(free.loss, rel=1e-9)


def test_scarce_tokens_cost_loss_and_are_repeated() -> None:
    losses, epochs = [], []
    for unique in (1e12, 4e10, 2e10, 1e10, 5e9):
        found = plan_for(1e21, unique_tokens=unique)
        losses.append(found.loss)
        epochs.append(found.tokens / unique)
        assert found.spent == pytest.approx(1e21, rel=TOLERANCE)
    assert losses == sorted(losses) and losses[-1] > losses[0] * 1.01
    assert epochs == sorted(epochs)


def test_four_epochs_are_nearly_as_good_as_fresh_tokens() -> None:
    """Muennighoff et al. 2023, arXiv:2305.16264, abstract: up to 4 epochs negligible change.

    With R* = 15.39, 4 epochs are worth U (1 + 15.39 (1 - exp(-3 / 15.39))) = 3.73 U: 93%.
    """
    base = plan_for(1e21)
    assert base.plain is not None
    surface = repeated(base.plain, unique=1e10, law=law("muennighoff2023_c4"))
    assert surface.repetition is not None
    expected = 1 + 15.387756 * (1 - math.exp(-3 / 15.387756))
    assert float(surface.repetition.tokens(4e10)) == pytest.approx(expected * 1e10)


def test_a_smaller_model_of_the_same_loss() -> None:
    base = plan_for(1e21, law="besiroglu2024")
    assert base.plain is not None and base.best is not None
    rows = smaller(base.plain, best=base.best)
    assert [row.extra for row in rows] == [0.1, 0.3, 1.0]
    sizes = [row.size for row in rows]
    assert sizes == sorted(sizes, key=lambda size: -(size or 0)) and sizes[0] < 0.75
    chosen = law("besiroglu2024").best
    for row in rows:
        assert row.point is not None
        assert row.tokens is not None
        params = np.array([base.ladder.curve.at(row.point.per_token, "total")])
        loss = chosen.loss(params=params, tokens=np.array([base.best.tokens * row.tokens]))
        assert float(loss[0, 0]) == pytest.approx(base.best.loss, rel=1e-4)
        assert row.point.flops == pytest.approx((1 + row.extra) * 1e21, rel=1e-6)


@pytest.mark.parametrize("flops", [1e18, 1e21, 1e24])
def test_a_lent_surface_has_its_optimum_and_its_loss_where_the_law_does(flops: float) -> None:
    base = plan_for(flops)
    assert base.optimum is not None and base.optimum.loss is not None
    surface = trade_surface(base.optimum, lender=law("besiroglu2024"))
    assert surface.lent
    point = best_point(surface, flops=flops)
    assert point.per_token == pytest.approx(base.optimum.per_token.best, rel=2e-3)
    assert point.loss == pytest.approx(base.optimum.loss.best, rel=1e-6)


# --- other laws -------------------------------------------------------------------------------


def test_each_accounting_buys_a_smaller_model_than_the_one_before() -> None:
    """Porian et al. 2024, Figure 1: 0.835 > 0.706 > 0.602 > 0.571 > 0.497."""
    ladder = plan_for(1e22).ladder
    rows = accountings(ladder, flops=Estimate(1e22))
    sizes = [row.found.params("total").best for row in rows if row.found]
    assert len(sizes) == 5
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 5 * sizes[-1]


def test_every_law_answers_in_the_same_counting() -> None:
    ladder = plan_for(1e21).ladder
    rows = every_law(ladder, flops=Estimate(1e21))
    names = {row.name for row in rows}
    assert {"porian2024_rw_tuned", "besiroglu2024", "hoffmann2022_a3", "llama3"} <= names
    for row in rows:
        alone = optimum(row.law, ladder, flops=Estimate(1e21))
        assert row.found is not None
        assert row.found.params("total").best == alone.params("total").best
        assert row.found.per_token.best * row.found.tokens.best == pytest.approx(1e21)
        assert 5 < row.found.tokens_per_param.best < 60


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (3.4, "3.4 times"),
        (999.4, "999 times"),
        (999.6, "1,000 times"),
        (3161.0, "3,160 times"),
        (3.89e10, "3.9e10 times"),
    ],
)
def test_factors_for_people(factor: float, words: str) -> None:
    assert times(factor) == words


# --- sizes of equal loss ------------------------------------------------------------------------


def test_every_size_of_equal_loss_reaches_it_and_the_best_is_the_cheapest() -> None:
    found = plan_for(1e21, law="besiroglu2024")
    assert found.plain is not None and found.best is not None
    points = iso_loss(found.plain, best=found.best)
    assert len(points) >= 15
    chosen = law("besiroglu2024").best
    for point in points:
        params = found.ladder.curve.at(point.per_token, "total")
        loss = chosen.loss(params=np.array([[params]]), tokens=np.array([[point.tokens]])).item()
        assert loss == pytest.approx(found.best.loss, rel=1e-6)
    cheapest = min(points, key=lambda point: point.flops)
    assert cheapest.per_token == pytest.approx(found.best.per_token, rel=0.05)
    tokens = [point.tokens for point in points]
    assert tokens == sorted(tokens, reverse=True)  # the larger the model, the fewer it needs


def test_where_tokens_repeat_more_of_them_are_needed() -> None:
    plain, repeating = plan_for(1e22), plan_for(1e22, unique_tokens=30e9)
    fresh, again = beside(plain), beside(repeating)
    assert fresh.reference is not None and again.reference is not None
    assert again.reference.loss > fresh.reference.loss
    # a smaller model of equal loss cannot be as much smaller
    for one, other in zip(fresh.smaller, again.smaller, strict=True):
        assert one.size is not None and other.size is not None and other.size > one.size


def test_the_worth_of_repeated_tokens_says_how_weakly_it_is_known() -> None:
    """By hand: 30B tokens seen R + 1 times are worth 30B (1 + R* (1 - e^(-R / R*)))."""
    found = plan_for(1e22, unique_tokens=30e9)
    figure = plan(found).figures["token_worth"]
    repeats = found.tokens / 30e9 - 1

    def share(decay: float) -> float:
        return (1 + decay * (1 - math.exp(-repeats / decay))) / (repeats + 1)

    assert figure.value == pytest.approx(share(15.387756))
    assert (figure.low, figure.high) == pytest.approx((share(10), share(100)))


@pytest.mark.parametrize("laws", ["porian2024_rw_tuned", "besiroglu2024,llama3"])
def test_serving_and_repeating_together_lie_between(laws: str) -> None:
    """Serving makes the model smaller; with few distinct tokens it cannot shrink as far."""
    served_alone = plan_for(1e22, law=laws, inference_tokens=2e12)
    both = plan_for(1e22, law=laws, inference_tokens=2e12, unique_tokens=30e9)
    repeated_alone = plan_for(1e22, law=laws, unique_tokens=30e9)
    sizes = [each.rung.params["total"] for each in (served_alone, both, repeated_alone)]
    assert sizes[0] <= sizes[1] < sizes[2]


def test_a_lent_surface_gives_the_plan_no_loss() -> None:
    """nanochat2026 knows only the best size: a loss of another law's level would look like one."""
    for name, known in (("nanochat2026", False), ("besiroglu2024", True)):
        found = plan(answer(Question(budget=Budget(flops=1e20), law=name)))
        assert (found.stage.run.loss is not None) == known == ("loss" in found.figures)
