"""Kinds: designs within their allowance, verdicts that find a known truth and say what refutes."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from budgetplan.calibrate.allowance import flops_of
from budgetplan.calibrate.fake import Fake, law_truth
from budgetplan.calibrate.kinds.isoflop import IsoFlop
from budgetplan.calibrate.kinds.kind import finding, kinds
from budgetplan.calibrate.prior import prior
from budgetplan.calibrate.rivals import started_from
from budgetplan.core.errors import BadValue, OutOfDomain
from budgetplan.core.estimate import Estimate
from budgetplan.core.plan import Figure
from budgetplan.laws.law import law
from budgetplan.plan.own_ladder import ladder_from
from tests.calibrate.plans import asked_in, law_file, outcome, outcomes, with_allowance


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("plans")


@pytest.fixture(scope="module")
def truth(folder: Path) -> Fake:
    return Fake(truth=law_truth(str(law_file(folder))), noise=0.002, flicker=0.001, seed=4)


def test_the_three_kinds_are_registered() -> None:
    assert set(kinds) == {"throughput", "isoflop", "hyperparameters"}
    assert all(kinds[name].words for name in kinds)


# --- isoflop --------------------------------------------------------------------------------------


def test_pilots_cost_what_the_design_says(folder: Path) -> None:
    asked = asked_in(folder)
    found = IsoFlop().design(asked)
    assert sum(flops_of(spec) for spec in found.specs) == pytest.approx(found.flops, rel=0.01)
    assert found.flops <= asked.allowance
    for spec in found.specs:
        assert spec.schedule == "constant"
        assert spec.evaluate_at[-1] == spec.steps
        assert spec.warmup_tokens < spec.evaluate_at[0] * spec.batch_tokens
        assert spec.tokens <= 3e7


def test_no_pilot_is_smaller_than_what_a_law_is_fitted_to(tmp_path: Path) -> None:
    """A ladder that begins at 4,800 parameters: such runs would be refused after they were paid."""
    sizes = ((8, 1, 1), (12, 1, 1), (16, 1, 2), (24, 2, 2), (32, 2, 2), (48, 2, 3), (72, 3, 4),
             (112, 4, 4), (192, 5, 6), (256, 6, 8))  # fmt: skip
    lines = [
        f"- {{width: {width}, layers: {layers}, heads: {heads}, ffn: {3 * width}, vocab: 256,"
        f" seq_len: 128, name: b{width}x{layers}}}"
        for width, layers, heads in sizes
    ]
    own = tmp_path / "tiny.yaml"
    own.write_text("\n".join(lines), encoding="utf-8")
    asked = replace(with_allowance(asked_in(tmp_path), 1e14), ladder=ladder_from(own))
    specs = IsoFlop().design(asked).specs
    assert min(spec.architecture.params().counted("with_head") for spec in specs) >= 1e4


def test_a_design_is_the_same_again_and_its_runs_keep_their_names(folder: Path) -> None:
    first, second = (IsoFlop().design(asked_in(folder)) for _ in range(2))
    assert [spec.id for spec in first.specs] == [spec.id for spec in second.specs]


def test_a_law_fitted_here_needs_no_doubt_about_other_data(folder: Path) -> None:
    """Its own interval and no more: exp(2 x 1.645 x 0.2) from end to end is a spread of 0.2."""
    asked = asked_in(folder)
    known = asked.plan.figures["optimal_params"]
    assert asked.plan.law is not None
    assert not isinstance(known.value, str)
    reach = math.exp(1.645 * 0.2)
    size = known.model_copy(update={"low": known.value / reach, "high": known.value * reach})
    published = asked.plan.law
    ours = published.model_copy(
        update={"params": published.params.model_copy(update={"origin": "measured"})}
    )
    spreads = {}
    for law_of_plan in (published, ours):
        figures = {**asked.plan.figures, "optimal_params": size}
        plan = asked.plan.model_copy(update={"law": law_of_plan, "figures": figures})
        spreads[law_of_plan.params.origin] = prior(replace(asked, plan=plan)).size_spread
    assert spreads["measured"] == pytest.approx(0.2)
    assert spreads["law"] == pytest.approx(math.hypot(0.2, 0.45))


def test_the_expected_interval_is_narrower_than_what_is_known(folder: Path) -> None:
    for each in IsoFlop().design(with_allowance(asked_in(folder), 2e13)).expected:
        before, after = each.before.interval(), each.after.interval()
        assert before and after
        assert math.log(after[1] / after[0]) < math.log(before[1] / before[0])


def test_the_verdict_finds_the_truth_and_moves_the_plan(folder: Path, truth: Fake) -> None:
    asked = with_allowance(asked_in(folder), 2e13)
    runs = outcomes(IsoFlop().design(asked).specs, truth)
    found = IsoFlop().verdict(asked, runs)
    known = law(str(law_file(folder)))
    # The optimum of the truth in its own counting, 6 N D of the fitted optimum's budget.
    size, tokens = found.figures["optimal_params"], found.figures["optimal_tokens"]
    assert size.low is not None and size.high is not None
    best = known.best.optimal_params(
        flops=np.array([6 * float(size.value) * float(tokens.value)])
    ).item()
    assert size.low < best * 1.1 and best < size.high  # total counts a tenth more than with_head
    assert size.origin == "measured"
    assert runs[0].id in size.by
    assert found.law is not None
    assert found.law.preset.evidence == "measured"
    assert found.holdout is not None and found.holdout.refits


def test_runs_that_the_plan_rests_on_are_counted_once(folder: Path, truth: Fake) -> None:
    """A law fitted to some runs is no second witness beside the same runs."""
    asked = asked_in(folder)
    runs = outcomes(IsoFlop().design(asked).specs, truth)
    known = started_from(asked, runs)
    assert known is not None
    assert known.spread == pytest.approx(prior(asked).size_spread)
    assert asked.plan.law is not None
    params = asked.plan.law.params.model_copy(
        update={"origin": "measured", "by": f"law fitted to 2 runs: {runs[0].id}, other"}
    )
    plan_of_runs = asked.plan.model_copy(
        update={"law": asked.plan.law.model_copy(update={"params": params})}
    )
    assert started_from(replace(asked, plan=plan_of_runs), runs) is None
    assert started_from(replace(asked, plan=plan_of_runs), runs[1:]) is not None


def test_whom_to_believe_is_decided_on_whole_runs_held_out(folder: Path, truth: Fake) -> None:
    asked = with_allowance(asked_in(folder), 2e13)
    found = IsoFlop().verdict(asked, outcomes(IsoFlop().design(asked).specs, truth))
    fitted, preset = found.scores
    assert fitted.law == "fitted"
    assert fitted.error < 0.02
    # Evidence of less than three to one leaves the law standing that knows the plan's and the runs.
    assert (found.law is not None) == (3 * math.exp(fitted.log_score - preset.log_score) > 1)
    assert "Believe the fitted law" in found.headline


def test_too_few_finished_runs_are_named(folder: Path, truth: Fake) -> None:
    asked = asked_in(folder)
    runs = outcomes(IsoFlop().design(asked).specs, truth)
    lost = [outcome(each.spec, truth, status="diverged", reason="loss is NaN") for each in runs[2:]]
    with pytest.raises(BadValue, match=r"2 isoflop runs finished.*diverged, loss is NaN"):
        IsoFlop().verdict(asked, [*runs[:2], *lost])


def test_a_diverged_run_is_left_out_and_said(folder: Path, truth: Fake) -> None:
    asked = with_allowance(asked_in(folder), 2e13)
    runs = outcomes(IsoFlop().design(asked).specs, truth)
    runs[0] = outcome(runs[0].spec, truth, status="diverged", reason="loss is NaN at step 3")
    found = IsoFlop().verdict(asked, runs)
    assert any(runs[0].id in note and "NaN at step 3" in note for note in found.notes)


def test_an_allowance_too_small_names_one_that_works(folder: Path) -> None:
    asked = asked_in(folder)
    with pytest.raises(BadValue, match="too small") as error:
        IsoFlop().design(with_allowance(asked, 1e10))
    number = float(error.value.remedy.split("--spend ")[1].split(",")[0])
    assert IsoFlop().design(with_allowance(asked, number)).specs


def test_data_too_short_for_the_smallest_model(folder: Path) -> None:
    with pytest.raises((BadValue, OutOfDomain), match=r"too few|sizes can be trained"):
        IsoFlop().design(replace(asked_in(folder), unique_tokens=5e4))


# --- findings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("measured", "bounds", "beyond"),
    [
        (5.0, (4.0, 6.0), None),  # inside the plan's 2 to 8
        (10.0, (3.0, 30.0), None),  # outside, but unsure enough to allow the planned 4
        (16.0, (12.0, 20.0), 2.0),  # 16 over the upper end 8
        (0.5, (0.4, 0.6), 4.0),  # the lower end 2 over 0.5
    ],
)
def test_contradiction_by_hand(
    measured: float, bounds: tuple[float, float], beyond: float | None
) -> None:
    planned = Figure(value=4.0, low=2.0, high=8.0, origin="law")
    found = finding("x", planned=planned, measured=Estimate(measured, bounds=bounds), runs=())
    assert found.beyond == beyond
    assert found.contradicts == (beyond is not None)
