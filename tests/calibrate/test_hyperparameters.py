"""Hyperparameters: a sweep around the rules' point, judged by a bowl that a test can work out."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from budgetplan.calibrate.allowance import flops_of
from budgetplan.calibrate.bowl import Tried, bowl
from budgetplan.calibrate.fake import Fake
from budgetplan.calibrate.kinds.hyperparameters import Hyperparameters
from budgetplan.calibrate.kinds.kind import Asked, Outcome
from budgetplan.calibrate.spec import RunSpec
from budgetplan.calibrate.sweep import Point, point_of, sweep
from budgetplan.cli.calibrated import people
from budgetplan.core.errors import BadValue
from budgetplan.plan.shapes import rung
from tests.calibrate.plans import asked_in, outcome, outcomes

Truth = Callable[[RunSpec, float], float]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    """A plan large enough that its proxy lies where the rules' learning rate can be used."""
    own = asked_in(tmp_path_factory.mktemp("plans"), flops="1e18")
    return replace(own, allowance=1e18, unique_tokens=1e11)


@pytest.fixture(scope="module")
def specs(asked: Asked) -> tuple[RunSpec, ...]:
    return Hyperparameters().design(asked).specs


def middle(specs: Sequence[RunSpec]) -> Point:
    """The only point with several seeds."""
    points = [point_of(each) for each in specs]
    return max(points, key=points.count)


def octaves(
    at: Point, *, rate: float = 1.0, batch: float = 1.0, steep: float = 0.01,
    worse: Callable[[RunSpec], float] = lambda spec: 0.0,
) -> Truth:  # fmt: skip
    """Log loss rises by `steep` per squared octave from the best, which is so many times `at`."""

    def loss(spec: RunSpec, tokens: float) -> float:
        off = math.log2(spec.learning_rate / at.learning_rate / rate) ** 2
        off += math.log2(spec.batch_sequences / at.batch / batch) ** 2
        return 2.0 * math.exp(steep * off + worse(spec))

    return loss


def lose(runs: list[Outcome], lost: Callable[[Point], bool], trainer: Fake) -> list[Outcome]:
    return [
        outcome(each.spec, trainer, status="diverged", reason="the loss is nan at step 9")
        if lost(point_of(each.spec)) else each
        for each in runs
    ]  # fmt: skip


# --- design ---------------------------------------------------------------------------------------


def test_the_rules_point_is_in_the_middle_and_is_made_with_three_seeds(
    asked: Asked, specs: tuple[RunSpec, ...]
) -> None:
    at = middle(specs)
    assert [point_of(each) for each in specs].count(at) == 3
    made = sweep(rung(specs[0].architecture), asked)
    assert at == made.rules == made.middle
    own = {point_of(each) for each in specs if each.adam_beta2 == at.beta2}
    rates = sorted({each.learning_rate / at.learning_rate for each in own})
    assert rates == pytest.approx([0.25, 0.5, 1, 2, 4], rel=1e-5)
    assert len(own) == 15
    assert len({spec.architecture.name for spec in specs}) == 1


def test_beta2_is_swept_at_every_batch(specs: tuple[RunSpec, ...]) -> None:
    """At the middle's learning rate, so that a rule from the batch is judged at three of them."""
    at = middle(specs)
    tried = {
        (each.adam_beta2, each.batch_sequences)
        for each in specs if each.learning_rate == at.learning_rate
    }  # fmt: skip
    batches = {batch for _, batch in tried}
    assert len(batches) == 3
    assert tried == {(beta2, batch) for beta2 in (0.95, 0.99, 0.999) for batch in batches}


def test_the_design_costs_what_its_runs_do(asked: Asked) -> None:
    found = Hyperparameters().design(asked)
    assert found.flops == sum(flops_of(spec) for spec in found.specs) <= asked.allowance


def test_no_number_of_the_design_is_cut_off_at_80_columns(asked: Asked) -> None:
    screen = Console(width=80, file=io.StringIO())
    screen.print(*people.design(Hyperparameters().design(asked), asked))
    assert isinstance(screen.file, io.StringIO)
    said = screen.file.getvalue()
    assert "0.999" in said
    assert "…" not in said


def test_the_schedule_is_the_plans_in_proportion(asked: Asked, specs: tuple[RunSpec, ...]) -> None:
    run = asked.plan.stage.run
    assert run.learning_rate and run.min_learning_rate
    for spec in specs:
        assert spec.schedule == run.schedule
        assert spec.min_learning_rate / spec.learning_rate == pytest.approx(
            run.min_learning_rate / run.learning_rate
        )


# --- verdict --------------------------------------------------------------------------------------


def test_regret_and_the_plans_learning_rate_by_hand(
    asked: Asked, specs: tuple[RunSpec, ...]
) -> None:
    """The best rate is twice the advised: one octave, 2% of loss, and twice the plan's rate."""
    trainer = Fake(truth=octaves(middle(specs), rate=2.0, steep=0.02), noise=0.001)
    found = Hyperparameters().verdict(asked, outcomes(specs, trainer))
    words = found.headline.split("loses ")[1]
    best, low, high = (float(each.strip("(%)")) for each in words.replace("to", "").split()[:3])
    assert best == pytest.approx(2.0, abs=0.3)
    assert low < 2.0 < high
    assert found.basin is not None
    assert found.basin.best[0] == pytest.approx(2 * middle(specs).learning_rate, rel=0.1)
    moved, planned = found.figures["learning_rate"], asked.plan.stage.run.learning_rate
    assert planned is not None
    assert moved.value == pytest.approx(2 * planned, rel=0.1)
    assert moved.low is not None and moved.high is not None
    assert moved.low < 2 * planned < moved.high


def test_a_good_point_moves_nothing(asked: Asked, specs: tuple[RunSpec, ...]) -> None:
    found = Hyperparameters().verdict(
        asked, outcomes(specs, Fake(truth=octaves(middle(specs)), noise=0.002))
    )
    assert not found.figures
    assert not found.contradicts


def test_noise_larger_than_the_differences_moves_nothing_and_is_said(
    asked: Asked, specs: tuple[RunSpec, ...]
) -> None:
    """Two percent of noise over differences of a few permil; one world in ten may deceive."""
    deceived = 0
    for seed in range(10):
        trainer = Fake(truth=octaves(middle(specs), rate=1.4, steep=5e-4), noise=0.02, seed=seed)
        found = Hyperparameters().verdict(asked, outcomes(specs, trainer))
        deceived += bool(found.figures)
        said = any("noise" in note and "nothing moves" in note for note in found.notes)
        assert said == (not found.figures)
    assert deceived <= 1


def test_an_edge_is_said_and_the_next_point_is_added(
    asked: Asked, specs: tuple[RunSpec, ...]
) -> None:
    """The best is eight times the advised; four was the most that was tried."""
    at = middle(specs)
    trainer = Fake(truth=octaves(at, rate=8.0, steep=0.02))
    runs = outcomes(specs, trainer)
    found = Hyperparameters().verdict(asked, runs)
    following = 8 * at.learning_rate
    [edge] = [note for note in found.notes if "highest learning rate" in note]
    assert f"next: learning rate {following:.3g}" in edge
    assert "learning_rate" not in found.figures
    assert [each.name for each in found.findings if each.contradicts] == ["learning_rate"]
    wider = Hyperparameters().design(replace(asked, made=tuple(runs)))
    new = [spec for spec in wider.specs if spec not in specs]
    assert [spec.learning_rate for spec in new] == pytest.approx(3 * [following], rel=1e-5)
    # On other data the same losses say nothing.
    elsewhere = replace(asked, made=tuple(runs), data=asked.data.model_copy(update={"vocab": 99}))
    assert len(Hyperparameters().design(elsewhere).specs) == len(specs)
    # Made as well, the optimum lies at the edge of nothing but the next value.
    again = Hyperparameters().design(replace(asked, made=tuple(outcomes(wider.specs, trainer))))
    assert max(spec.learning_rate for spec in again.specs) == pytest.approx(2 * following, rel=1e-4)
    last = Hyperparameters().verdict(asked, outcomes(again.specs, trainer))
    assert not any("edge" in note or "the best was not seen" in note for note in last.notes)
    planned = asked.plan.stage.run.learning_rate
    assert planned is not None
    assert last.figures["learning_rate"].value == pytest.approx(8 * planned, rel=0.1)


def test_runs_that_diverge_leave_the_advised_point_where_it_is(
    asked: Asked, specs: tuple[RunSpec, ...]
) -> None:
    """Both higher rates diverge: the middle of those that are left is another point."""
    at = middle(specs)
    trainer = Fake(truth=octaves(at, steep=0.02))
    runs = lose(outcomes(specs, trainer), lambda p: p.learning_rate > 1.5 * at.learning_rate,
                trainer)  # fmt: skip
    found = Hyperparameters().verdict(asked, runs)
    assert found.basin is not None
    assert found.basin.advised == (at.learning_rate, at.batch)
    assert any("6 points did not finish" in note for note in found.notes)
    # What diverged is no edge: nothing lies beyond it to be tried.
    assert not any("next: learning rate" in note for note in found.notes)
    assert "lost" in "\n".join(people.basin(found.basin))


def test_an_advised_point_that_diverges_is_the_verdict(
    asked: Asked, specs: tuple[RunSpec, ...]
) -> None:
    at = middle(specs)
    trainer = Fake(truth=octaves(at, rate=0.5))
    runs = lose(outcomes(specs, trainer), lambda p: p.learning_rate > 0.9 * at.learning_rate,
                trainer)  # fmt: skip
    found = Hyperparameters().verdict(asked, runs)
    assert "diverged" in found.headline
    [refuted] = found.findings
    assert refuted.contradicts  # though half the rate is inside the rules' interval
    assert refuted.beyond == pytest.approx(2.0, rel=1e-5)
    planned = asked.plan.stage.run.learning_rate
    assert planned is not None
    assert found.figures["learning_rate"].value == pytest.approx(planned / 2, rel=1e-5)
    assert f"learning rate {0.5 * at.learning_rate:.3g}" in found.headline


def test_a_middle_that_was_not_made_is_told_apart(asked: Asked, specs: tuple[RunSpec, ...]) -> None:
    at = middle(specs)
    trainer = Fake(truth=octaves(at))
    runs = [each for each in outcomes(specs, trainer) if point_of(each.spec) != at]
    with pytest.raises(BadValue, match="middle of the sweep has not ended"):
        Hyperparameters().verdict(asked, runs)


def test_the_rule_for_beta2_is_judged_by_batch(asked: Asked, specs: tuple[RunSpec, ...]) -> None:
    """At the smallest batch what the rules say loses 5% to the next; elsewhere it wins."""
    at = middle(specs)
    made = sweep(rung(specs[0].architecture), asked)
    small = min(made.batches)

    def worse(spec: RunSpec) -> float:
        right = spec.adam_beta2 == made.beta2_at(spec.batch_sequences)
        return 0.05 * (right if spec.batch_sequences == small else not right)

    found = Hyperparameters().verdict(asked, outcomes(specs, Fake(truth=octaves(at, worse=worse))))
    [note] = [each for each in found.notes if each.startswith("beta2 against the rules")]
    first, second, third = note.split(": ", 1)[1].split("; ")
    assert f"is better than {made.beta2_at(small):g} at batch {small}, by 5.00%" in first
    assert "is best at batch" in second and "by 5.00%" in second
    assert "is best at batch" in third
    assert found.basin is not None
    maps = list(people.basin(found.basin))
    assert all(len(line) <= 80 for line in maps)
    assert maps[-1] == "* as the rules say for the batch"


def test_a_size_too_small_for_the_rules_moves_no_plan(tmp_path: Path) -> None:
    """Below five million parameters the rules' learning rate is capped: another middle."""
    asked = replace(asked_in(tmp_path), allowance=2e14)
    design = Hyperparameters().design(asked)
    at = middle(design.specs)
    made = sweep(rung(design.specs[0].architecture), asked)
    assert made.rules.learning_rate > at.learning_rate == pytest.approx(0.01)
    assert made.rules in [point_of(spec) for spec in design.specs]
    trainer = Fake(truth=octaves(at, rate=2.0, steep=0.02))
    found = Hyperparameters().verdict(asked, outcomes(design.specs, trainer))
    assert not found.figures and not found.findings
    expected = 0.02 * math.log2(made.rules.learning_rate / at.learning_rate / 2) ** 2
    [own] = [note for note in found.notes if "own point" in note]
    assert float(own.split("loses ")[1].split("%")[0]) / 100 == pytest.approx(expected, abs=0.002)


# --- the bowl -------------------------------------------------------------------------------------


@pytest.mark.parametrize("skew", [0.0, 0.6, -0.6])
def test_the_regrets_interval_holds(skew: float) -> None:
    """In at least 90% of worlds, with one wall up to four times as steep as the other."""
    random = np.random.default_rng(7)
    true = 0.01 * (1 - skew * math.tanh(1.0)) + 0.005 * 0.25
    held, worlds = 0, 100
    for _ in range(worlds):
        points = []
        for octave in (-2, -1, 0, 1, 2):
            for size in (-1, 0, 1):
                repeats = 3 if octave == size == 0 else 1
                x = octave - 1
                log_loss = 0.01 * x**2 * (1 + skew * math.tanh(x)) + 0.005 * (size - 0.5) ** 2
                log_loss += 0.003 / math.sqrt(repeats) * random.standard_normal()
                points.append(Tried(learning_rate=0.01 * 2.0**octave, batch=round(16 * 2.0**size),
                                    loss=3 * math.exp(log_loss), repeats=repeats))  # fmt: skip
        low, high = bowl(points, middle=(0.01, 16), noise=0.003).regret.interval() or (0, 0)
        held += low <= true <= high
    assert held >= 90
