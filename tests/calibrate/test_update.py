"""Update: what was measured stands in the plan with its runs; what refutes it is named."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from budgetplan.calibrate import campaign as campaigns
from budgetplan.calibrate import update
from budgetplan.calibrate.campaign import Campaign, Part
from budgetplan.calibrate.fake import Fake
from budgetplan.calibrate.kinds.hyperparameters import Hyperparameters
from budgetplan.calibrate.kinds.kind import Finding, Verdict, finding
from budgetplan.calibrate.spec import RunSpec
from budgetplan.calibrate.sweep import point_of
from budgetplan.cli.calibrated.anew import located, named
from budgetplan.core import plan as plans
from budgetplan.core.errors import BadValue
from budgetplan.core.estimate import Estimate
from budgetplan.core.plan import Figure
from budgetplan.laws.fit.write import write
from budgetplan.laws.law import law as published
from tests.calibrate.plans import asked_in, outcomes


@pytest.fixture
def plan(tmp_path: Path) -> plans.Plan:
    return asked_in(tmp_path, gpus="8xH100").plan


def measured(name: str, value: float, *, low: float, high: float, unit: str = "") -> Figure:
    return Figure(value=value, low=low, high=high, unit=unit, origin="measured", by="run abc")


def verdict(plan: plans.Plan, **figures: Figure) -> Verdict:
    findings: list[Finding] = [
        finding(
            name,
            planned=plan.figures[name],
            measured=Estimate(float(each.value), bounds=(each.low or 0.0, each.high or 0.0)),
            runs=("abc",),
        )
        for name, each in figures.items()
        if name in plan.figures
    ]
    return Verdict(kind="throughput", headline="Fast.", figures=figures, findings=tuple(findings))


def test_a_measured_number_replaces_the_assumed_one_with_its_run(plan: plans.Plan) -> None:
    assert plan.figures["mfu"].origin == "assumed"
    found = update.revise(plan, [verdict(plan, mfu=measured("mfu", 0.1, low=0.09, high=0.11))])
    assert found.figures["mfu"].origin == "measured"
    assert found.figures["mfu"].by == "run abc"
    assert found.figures["params"] == plan.figures["params"]


def test_what_refutes_the_plan_is_named_with_how_far(plan: plans.Plan) -> None:
    """Assumed 0.3 to 0.5, measured a tenth: a factor three below."""
    one = verdict(plan, mfu=measured("mfu", 0.1, low=0.09, high=0.11))
    [refuted] = update.contradictions([one])
    assert refuted.beyond == pytest.approx(3.0)
    words = update.words(refuted)
    assert "planned 0.4 (0.3 to 0.5), measured 0.1 (0.09 to 0.11)" in words
    assert "a factor 3.00 beyond" in words
    assert words in update.revise(plan, [one]).notes[0]


def test_a_measurement_inside_the_interval_refutes_nothing(plan: plans.Plan) -> None:
    one = verdict(plan, mfu=measured("mfu", 0.45, low=0.44, high=0.46))
    assert update.contradictions([one]) == []


def test_time_carries_the_interval_of_the_measured_mfu(plan: plans.Plan) -> None:
    """Time goes as 1 / MFU: 0.2 with 0.16 to 0.25 is a factor 0.8 to 1.25."""
    one = verdict(plan, mfu=measured("mfu", 0.2, low=0.16, high=0.25))
    found = update.revise(plan, [one], anew=plan)
    hours = found.figures["gpu_hours"]
    value = float(hours.value)
    assert hours.low == pytest.approx(value * 0.8)
    assert hours.high == pytest.approx(value * 1.25)
    assert hours.origin == "measured"


def test_the_options_that_change_are_those_that_were_measured(plan: plans.Plan) -> None:
    batch = measured("batch_tokens", 128 * 128, low=1, high=2)
    one = verdict(plan, mfu=measured("mfu", 0.1, low=0.09, high=0.11), batch_tokens=batch)
    changed = update.changes(plan, [one], law=Path("law.yaml"))
    assert changed == {"law": "law.yaml", "mfu": "0.1", "batch": "128"}


def test_a_swept_learning_rate_moves_the_new_plans_own(plan: plans.Plan) -> None:
    """The sweep said twice the advised; the plan made anew advises 0.004, so 0.008 is right."""
    old = plan.stage.run.learning_rate
    assert old is not None
    one = verdict(plan, learning_rate=measured("learning_rate", 2 * old, low=old, high=4 * old))
    run = plan.stage.run.model_copy(update={"learning_rate": 0.004})
    anew = plan.model_copy(update={"stages": (plan.stage.model_copy(update={"run": run}),)})
    found = update.revise(plan, [one], anew=anew)
    assert found.stage.run.learning_rate == pytest.approx(0.008)
    stated = found.stage.figures["learning_rate"]
    assert stated.origin == "measured"
    assert stated.low == pytest.approx(0.004)
    assert stated.high == pytest.approx(0.016)


def test_a_revised_plan_can_be_written_and_read(plan: plans.Plan, tmp_path: Path) -> None:
    one = verdict(plan, mfu=measured("mfu", 0.1, low=0.09, high=0.11))
    found = update.revise(plan, [one], made_by="budgetplan calibrate")
    plans.write(found, tmp_path / "revised.yaml")
    assert plans.read(tmp_path / "revised.yaml") == found


def test_a_campaign_is_kept_and_found_again(plan: plans.Plan, tmp_path: Path) -> None:
    kept = Campaign(
        plan=plan,
        options={"kind": "isoflop", "data": ["a.bin"]},
        allowance=1e18,
        parts=(Part(kind="isoflop", runs=("a", "b"), flops=9e17),),
    )
    campaigns.write(kept, tmp_path / "runs")
    assert campaigns.read(tmp_path / "runs") == kept
    assert kept.runs == ("a", "b")


def test_a_folder_without_a_campaign_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match="holds no calibration"):
        campaigns.read(tmp_path)
    (tmp_path / campaigns.FILE).write_text('{"version": 7}', encoding="utf-8")
    with pytest.raises(BadValue, match="version"):
        campaigns.read(tmp_path)


def test_law_figures_become_measured_when_the_law_was_fitted_here(plan: plans.Plan) -> None:
    by = plan.law.name if plan.law else ""
    own = plan.figures["optimal_params"].model_copy(update={"by": by, "origin": "law"})
    stamped = update._stamped(own, law=by, by="law fitted to 2 runs: a, b")
    assert (stamped.origin, stamped.by) == ("measured", "law fitted to 2 runs: a, b")
    other = own.model_copy(update={"by": "another"})
    assert update._stamped(other, law=by, by="2 runs: a, b") == other


def test_findings_are_ordered_by_how_far_they_are_off(plan: plans.Plan) -> None:
    figure = plan.figures["mfu"]
    near = finding("a", planned=figure, measured=Estimate(0.25), runs=())
    far = finding("b", planned=figure, measured=Estimate(0.05), runs=())
    one = replace(verdict(plan), findings=(near, far))
    assert [each.name for each in update.contradictions([one])] == ["b", "a"]


# --- what was measured before ---------------------------------------------------------------------


def tuned_plan(plan: plans.Plan, factor: float) -> plans.Plan:
    """As a sweep left it whose best learning rate was so many times the advised."""
    value = factor * (plan.stage.run.learning_rate or 0)
    rate = measured("learning_rate", value, low=value / 2, high=value * 2)
    one = Verdict(kind="hyperparameters", headline="Swept.", figures={"learning_rate": rate})
    return update.revise(plan, [one])


def test_the_final_rate_moves_with_the_peak(plan: plans.Plan) -> None:
    found, before = tuned_plan(plan, 2.0).stage, plan.stage
    assert found.run.learning_rate == pytest.approx(2 * (before.run.learning_rate or 0))
    assert found.run.min_learning_rate == pytest.approx(2 * (before.run.min_learning_rate or 0))
    assert found.figures["min_learning_rate"].value == found.run.min_learning_rate


def test_a_second_calibration_keeps_what_the_first_one_tuned(plan: plans.Plan) -> None:
    """The rate was doubled; the plan made anew advises 0.004, of which the double is 0.008."""
    first = tuned_plan(plan, 2.0)
    assert update.tuned(first) and not update.tuned(plan)
    run = plan.stage.run.model_copy(update={"learning_rate": 0.004})
    anew = plan.model_copy(update={"stages": (plan.stage.model_copy(update={"run": run}),)})
    one = verdict(plan, mfu=measured("mfu", 0.1, low=0.09, high=0.11))
    second = update.revise(first, [one], anew=anew, plain=plan)
    assert second.stage.run.learning_rate == pytest.approx(0.008)
    assert second.stage.figures["learning_rate"].origin == "measured"
    assert second.figures["mfu"].origin == "measured"
    # Not made anew, nothing that was tuned changes.
    same = update.revise(first, [one], plain=plan)
    assert same.stage == first.stage


def test_the_same_sweep_judged_twice_moves_the_plan_once(tmp_path: Path) -> None:
    """Twice the advised is found again: of what the rules say, not of what was doubled already."""
    asked = replace(asked_in(tmp_path, flops="1e18"), allowance=1e18, unique_tokens=1e11)
    specs = Hyperparameters().design(asked).specs
    points = [point_of(each) for each in specs]
    at = max(points, key=points.count)

    def loss(spec: RunSpec, tokens: float) -> float:
        off = math.log2(spec.learning_rate / at.learning_rate / 2) ** 2
        return 2.0 * math.exp(0.02 * (off + math.log2(spec.batch_sequences / at.batch) ** 2))

    runs = outcomes(specs, Fake(truth=loss))
    first = update.revise(asked.plan, [Hyperparameters().verdict(asked, runs)])
    rate, planned = first.stage.run.learning_rate, asked.plan.stage.run.learning_rate
    assert planned is not None
    assert rate == pytest.approx(2 * planned, rel=0.05)
    again = Hyperparameters().verdict(replace(asked, plan=first), runs)
    assert not again.contradicts
    assert update.revise(first, [again], plain=asked.plan).stage.run.learning_rate == rate


def test_an_mfu_measured_before_keeps_its_runs_and_its_interval(plan: plans.Plan) -> None:
    figure = measured("mfu", 0.2, low=0.16, high=0.25)
    first = update.revise(plan, [verdict(plan, mfu=figure)], anew=plan)
    assert update.measured_mfu(first, []) == figure
    swept = Verdict(kind="hyperparameters", headline="Swept.", figures={})
    second = update.revise(first, [swept], anew=plan)  # made anew for another reason
    assert second.figures["mfu"] == figure
    assert second.figures["gpu_hours"].origin == "measured"
    assert "run abc" in second.figures["gpu_hours"].by


def test_a_plan_made_by_the_fitted_law_keeps_the_loss_of_its_own_shape(plan: plans.Plan) -> None:
    """The verdict's loss is that of the best split; the plan trains a shape and whole steps."""
    law = published("besiroglu2024")
    own = Figure(value=2.5, origin="law", by=law.name)
    anew = plan.model_copy(update={"figures": {**plan.figures, "loss": own}})
    one = Verdict(
        kind="isoflop", headline="Fitted.", law=law,
        figures={"loss": measured("loss", 2.4, low=2.3, high=2.5)},
    )  # fmt: skip
    found = update.revise(plan, [one], anew=anew).figures["loss"]
    assert (found.value, found.origin) == (2.5, "measured")
    assert "run abc" in found.by and "constant learning rate" in found.note


# --- files ----------------------------------------------------------------------------------------


def test_the_files_of_a_plan_are_found_beside_it(
    plan: plans.Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "own.yaml").write_text("", encoding="utf-8")
    bare = plan.model_copy(update={"asked": {"ladder": "own.yaml", "law": "nanochat2026"}})
    monkeypatch.chdir(tmp_path)
    assert located(bare, beside=home).asked == {
        "ladder": str(home / "own.yaml"), "law": "nanochat2026",
    }  # fmt: skip


def test_a_law_that_a_plan_rests_on_is_not_replaced(tmp_path: Path) -> None:
    first = published("besiroglu2024")
    own, path = named(first, tmp_path)
    assert path == tmp_path / "besiroglu2024.yaml"
    write(own, path)
    assert named(first, tmp_path)[1] == path  # the same law is the same file
    preset = first.preset.model_copy(update={"scatter": 0.5})
    other, beside = named(replace(first, preset=preset), tmp_path)
    assert (other.name, beside.name) == ("besiroglu2024-2", "besiroglu2024-2.yaml")
