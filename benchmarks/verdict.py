"""Worlds of known truth, through the whole of an IsoFLOP calibration: design, runs, verdict.

Each world is a loss surface drawn about the plan's own law, as far from it as is assumed of other
data and recipes. The runs that `budgetplan calibrate` designs for a plan of 2e14 FLOPs on the
demo's ladder, for 3% of it, are made by the fake trainer: the world's loss, the assumed noise of a
run, and that of a milestone. Counted is how often the interval that the verdict leaves its user
with holds the best size of the plan's budget, and how far the size to act on lies from it.

In 200 worlds the 90% interval held 91% of truths. The size to act on was off by 0.35 (root mean
square of log N*), the plan's before by 0.50. The fitted law was believed in 90% of the worlds, and
2% of the plans were contradicted.

Run from the root of a checkout: python -m benchmarks.verdict [WORLDS]
"""

from __future__ import annotations

import math
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from budgetplan.calibrate.fake import Fake, Loss
from budgetplan.calibrate.kinds.isoflop import IsoFlop
from budgetplan.calibrate.kinds.kind import Asked, Outcome, Verdict
from budgetplan.calibrate.prior import counting_of, prior
from budgetplan.calibrate.result import Evaluation, Result
from budgetplan.calibrate.spec import Data, RunSpec
from budgetplan.calibrate.worth import Noise
from budgetplan.cli.calibrated import demo
from budgetplan.cli.optimized.asked import question
from budgetplan.laws.generalized import Generalized
from budgetplan.plan.optimize import optimize
from budgetplan.plan.optimum import locate
from budgetplan.plan.own_ladder import ladder_from

BUDGET, SHARE = 2e14, 0.03
TEXT = 3e7  # bytes of it at hand
GUESSING = math.log(256) - 0.1  # worlds in which a run learns nothing are left out


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What one world's calibration leaves its user with."""

    held: bool  # whether the interval to act on holds the truth
    width: float  # half of it, in log N*
    error: float  # of log N* to act on
    planned: float  # error of the plan before
    believed: bool  # the fitted law
    contradicts: bool


def asked_in(folder: Path) -> Asked:
    """Return what the kind is told."""
    ladder = folder / "ladder.yaml"
    ladder.write_text(demo.ladder(), encoding="utf-8")
    options = {"flops": f"{BUDGET:g}", "law": demo.LAW, "ladder": str(ladder)}
    return Asked(
        plan=optimize(question(options)),
        ladder=ladder_from(ladder),
        allowance=SHARE * BUDGET,
        data=Data(fingerprint="none"),
        precision="fp32",
        unique_tokens=TEXT,
    )


def truth_of(world: Generalized, asked: Asked) -> Loss:
    """Return the loss of every run in a world."""
    counting = counting_of(asked)

    def loss(spec: RunSpec, tokens: float) -> float:
        size = float(spec.architecture.params(seq_len=spec.seq_len).counted(counting))
        return float(world.loss(params=np.array([size]), tokens=np.array([tokens])).item())

    return loss


def measured(spec: RunSpec, trainer: Fake) -> Outcome:
    """Return what the fake trainer would have measured, without going through its steps."""
    evaluations = tuple(
        Evaluation(step, step * spec.batch_tokens, trainer.loss(spec, step))
        for step in spec.evaluate_at
    )
    return Outcome(spec=spec, result=Result(status="finished", evaluations=evaluations))


def judged(asked: Asked, world: Generalized, found: Verdict) -> Judged:
    """Return how a verdict did."""
    curve = asked.ladder.curve
    per_token, _ = locate(world, curve, counting_of(asked), flops=np.array([[BUDGET]]))
    truth = math.log(float(curve.at(per_token, "total")[0]))
    planned = asked.plan.figures["optimal_params"]
    figure = found.figures.get("optimal_params", planned)
    reach = 1.645 * prior(asked).size_spread
    best = math.log(float(figure.value))
    if figure.low is None or figure.high is None:
        low, high = best - reach, best + reach  # of the plan, which states none
    else:
        low, high = math.log(figure.low), math.log(figure.high)
    return Judged(
        held=low <= truth <= high,
        width=(high - low) / 2,
        error=best - truth,
        planned=math.log(float(planned.value)) - truth,
        believed=found.law is not None,
        contradicts=found.contradicts,
    )


def worlds(count: int, *, seed: int = 5) -> list[Judged]:
    """Return how the verdicts of so many worlds did."""
    with tempfile.TemporaryDirectory() as folder:
        asked = asked_in(Path(folder))
    kind, known, noise = IsoFlop(), prior(asked), Noise()
    specs = kind.design(asked).specs
    found: list[Judged] = []
    for number, point in enumerate(known.draws(4 * count, seed=seed)):
        world = known.law(point[None])
        trainer = Fake(
            truth=truth_of(world, asked), noise=noise.run, flicker=noise.milestone, seed=number
        )
        runs = [measured(spec, trainer) for spec in specs]
        if max(each.loss for run in runs for each in run.result.evaluations) < GUESSING:
            found.append(judged(asked, world, kind.verdict(asked, runs)))
        if len(found) == count:
            break
    return found


def main(count: int) -> None:
    """Print coverage, widths and errors."""
    found = worlds(count)
    error, planned = (
        float(np.sqrt(np.mean([getattr(each, name) ** 2 for each in found])))
        for name in ("error", "planned")
    )
    print(
        f"{len(found)} worlds: the 90% interval held {np.mean([each.held for each in found]):.0%},"
        f" half width {np.mean([each.width for each in found]):.2f} of log N*\n"
        f"error of log N* to act on {error:.2f}, of the plan before {planned:.2f} (rms)\n"
        f"fitted law believed in {np.mean([each.believed for each in found]):.0%}, plan"
        f" contradicted in {np.mean([each.contradicts for each in found]):.0%}"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
