"""IsoFLOP: pilot runs that say how a budget should be split, judged on the largest of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from budgetplan.calibrate import design as designs
from budgetplan.calibrate import pilots
from budgetplan.calibrate.kinds.kind import (
    Asked,
    Design,
    Expected,
    Finding,
    Outcome,
    Score,
    Verdict,
    finding,
    kinds,
    usable,
)
from budgetplan.calibrate.prior import counting_of, prior
from budgetplan.calibrate.rivals import fitted, judged
from budgetplan.calibrate.worth import Noise, Prior
from budgetplan.core.counting import Counting
from budgetplan.core.errors import BadValue, Infeasible
from budgetplan.core.estimate import Estimate
from budgetplan.core.plan import LEVEL, Figure, figure
from budgetplan.core.units import show
from budgetplan.laws import interval
from budgetplan.laws.fit import ensemble
from budgetplan.laws.fit.measurements import SMALLEST
from budgetplan.laws.fit.study import Study
from budgetplan.plan.optimum import Optimum, optimum
from budgetplan.plan.uncertainty import likely

Floats = NDArray[np.float64]
FEWEST_RUNS = 4
TESTED = 2.0  # decades beyond the fit up to which scripts/optimum_coverage.py counts
# Ratio of likelihoods below which what was held out tells two laws not apart. The fitted law then
# stands, since it starts from what the plan's law knew.
THIN = 3.0
EVALUATION = 65536  # held-out tokens of a milestone, the same for every run
FEWEST_HELD = 2**14  # where the smallest model is tiny


@kinds.add("isoflop")
class IsoFlop:
    """Pilot runs chosen by what they say of the plan's optimum, and the law fitted to them."""

    words = "which size the budget should buy on this data, and at which loss"
    goes_on = False

    def design(self, asked: Asked) -> Design:
        """Return the runs that shrink the uncertainty of the plan's optimum most per FLOP.

        Raises:
            BadValue: the allowance is too small for any run, with the smallest that works.
        """
        known, counting = prior(asked), counting_of(asked)
        evaluation = evaluation_tokens(asked)
        tried = candidates(asked, counting=counting)
        options = [
            pilots.option(each, counting=counting, evaluation_tokens=evaluation) for each in tried
        ]
        found = designs.design(
            known, options, allowance=asked.allowance, noise=Noise(), seed=asked.seed
        )
        by_name = {each.rung.architecture.name: each for each in tried}
        specs = tuple(
            by_name[each.option.name].spec(
                asked, milestones=each.milestones, evaluation_tokens=evaluation
            )
            for each in found.chosen
        )
        return Design(
            kind="isoflop",
            specs=specs,
            flops=found.flops,
            costs=tuple(each.flops for each in found.chosen),
            expected=expected(known, found),
            seconds=Estimate(found.flops / asked.speed) if asked.speed else None,
            notes=tuple(remarks(asked, found)),
        )

    def verdict(self, asked: Asked, outcomes: Sequence[Outcome]) -> Verdict:
        """Return the law of these runs, its hold-out, and how far the plan should move.

        Raises:
            BadValue: too few runs finished to carry a law.
        """
        ended = usable(outcomes, "isoflop", least=FEWEST_RUNS)
        found = fitted(asked, ended)
        scores = judged(ended, prior(asked), counting=counting_of(asked), how=found.how)
        believed = more_likely(scores) > 1 / THIN
        notes = [*found.notes, *ill(outcomes)]
        return _verdict(asked, found, ended, scores=scores, believed=believed, notes=notes)


def evaluation_tokens(asked: Asked) -> int:
    """Return how many held-out tokens each milestone is measured on, the same for every run.

    No more than are there, nor so many that they cost tiny runs more than training does.
    """
    held, share = asked.unique_tokens, asked.data.validation
    room = EVALUATION if held is None else int(held / (1 - share) * share)
    smallest = pilots.rungs(asked.ladder, most=optimal_flops_per_token(asked))[:1]
    if smallest:
        room = min(room, max(FEWEST_HELD, int(smallest[0].params["with_head"])))
    return max(asked.ladder.seq_len, min(EVALUATION, room))


def candidates(asked: Asked, *, counting: Counting) -> list[pilots.Pilot]:
    """Return every size that could be trained, with milestones on tokens that are at hand.

    Raises:
        BadValue: the data have too few tokens for any of them.
    """
    budget = float(asked.plan.budget.value)
    largest = optimal_flops_per_token(asked)
    found = []
    rungs = pilots.rungs(asked.ladder, most=min(largest, math.sqrt(budget)))
    for rung in rungs:
        ratios = [
            ratio
            for ratio in pilots.RATIOS
            if asked.unique_tokens is None or ratio * rung.params[counting] <= asked.unique_tokens
        ]
        if ratios and rung.params[counting] >= SMALLEST:  # less could not be fitted
            found.append(pilots.pilot(rung, asked, counting=counting, ratios=ratios))
    if not found:
        sizes = [rung.params[counting] for rung in rungs if rung.params[counting] >= SMALLEST]
        if asked.unique_tokens is None or not sizes:
            problem = f"{asked.ladder.name} has no shape between {show(SMALLEST)} and the planned"
        else:
            problem = (
                f"{show(asked.unique_tokens)} training tokens are too few: the smallest size of"
                f" {asked.ladder.name} needs {show(pilots.RATIOS[0] * min(sizes))}"
            )
        raise BadValue(
            problem, "Give more --data, or another --family or --ladder with smaller models."
        )
    return found


def optimal_flops_per_token(asked: Asked) -> float:
    """Return the FLOPs of a token of the planned model: no pilot is larger."""
    return asked.plan.stage.sequence_flops / asked.ladder.seq_len


def expected(known: Prior, found: designs.Designed) -> tuple[Expected, ...]:
    """Return the intervals of the optimum now, and those to be expected after the runs."""
    steps = interval.student(interval.DRAWS)
    width = known.size_spread * 1.645 / interval.T_95  # of a t with the same 90% interval
    loss = known.removable + known.floor
    return (
        Expected(
            name="optimal_params",
            unit="parameters",
            before=Estimate(known.size, known.size * np.exp(width * steps)),
            after=Estimate(known.size, found.sizes_after(known.size)),
        ),
        Expected(
            name="loss",
            unit="nats/token",
            before=Estimate(loss, loss * np.exp(found.loss_before * steps)),
            after=Estimate(loss, loss * np.exp(loss_scale(found) * steps)),
        ),
    )


def loss_scale(found: designs.Designed) -> float:
    """Return the scale of the t of the log loss at the target that is to be expected."""
    parts = interval.Parts(
        center=np.zeros(1),
        spread=np.array([found.loss_after]),
        decades=np.array([found.decades]),
        excess=np.zeros(1),
    )
    return float(interval.CALIBRATED.of(parts, scatter=Noise().run)[0])


def remarks(asked: Asked, found: designs.Designed) -> list[str]:
    """Return what the reader must know of the design."""
    noise = Noise()
    words = [
        f"assumed noise of log loss: {noise.run:g} of a run, {noise.milestone:g} of a milestone,"
        f" and {noise.off:g} of its excess over the best of its compute",
        "runs have a constant learning rate, so that each milestone is a smaller run; a decay"
        " lowers the loss, not the best size",
        f"the largest run lies {found.decades:.1f} decades of compute below the target"
        + (f"; intervals were tested up to {TESTED:.0f}" if found.decades > TESTED else ""),
    ]
    if asked.unique_tokens is not None and found.flops < asked.allowance / 2:
        words.append(
            f"{found.flops / asked.allowance:.1%} of what may be spent is used: no run sees one of"
            f" the {show(asked.unique_tokens)} training tokens twice, and larger sizes need more"
        )
    if found.after > 0.8 * found.before:
        words.insert(0, "this allowance teaches little: the interval hardly shrinks")
    return words


def ill(outcomes: Sequence[Outcome]) -> list[str]:
    """Return words for runs that did not end well, and were left out."""
    return [
        f"run {each.id} {each.result.status}: {each.result.reason}; left out"
        for each in outcomes
        if each.spec.kind == "isoflop" and not each.finished
    ]


def _verdict(
    asked: Asked,
    found: Study,
    ended: Sequence[Outcome],
    *,
    scores: tuple[Score, ...],
    believed: bool,
    notes: list[str],
) -> Verdict:
    names = tuple(each.id for each in ended)
    budget = Estimate(float(asked.plan.budget.value))
    try:
        own = optimum(found.law, asked.ladder, flops=budget)
    except (Infeasible, BadValue) as error:
        return Verdict(
            kind="isoflop",
            headline=f"The runs carry no plan: {error.problem}.",
            holdout=found.report,
            scores=scores,
            notes=(error.remedy, *notes),
        )
    wide = likely(own)
    if wide.per_token.draws is None:
        notes.append(
            "laws that are as likely leave the ladder, so no interval can be given: add shapes"
        )
    figures = _figures(wide, found, asked, runs=names)
    findings: tuple[Finding, ...] = ()
    planned = asked.plan.figures.get("optimal_params")
    if planned is not None and believed:
        size = wide.params("total")
        planned = with_interval(planned, prior(asked))
        findings = (finding("optimal_params", planned=planned, measured=size, runs=names),)
    if not scores:
        notes.append("too few runs to hold some out: the fitted law was not judged on runs unseen")
    return Verdict(
        kind="isoflop",
        headline=headline(asked, found, wide, scores=scores, believed=believed),
        figures=figures if believed else {},
        findings=findings,
        law=found.law if believed else None,
        holdout=found.report,
        scores=scores,
        notes=tuple(notes),
    )


def with_interval(planned: Figure, known: Prior) -> Figure:
    """Return the planned size with the spread that is assumed, where its law publishes none."""
    if planned.low is not None or isinstance(planned.value, str):
        return planned
    reach = math.exp(1.645 * known.size_spread)
    return planned.model_copy(
        update={
            "low": planned.value / reach,
            "high": planned.value * reach,
            "note": "the law publishes no uncertainty: that of others is assumed",
        }
    )


def _figures(
    wide: Optimum, found: Study, asked: Asked, *, runs: Sequence[str]
) -> dict[str, Figure]:
    by = f"{len(runs)} runs: {', '.join(runs)}"
    held = "interval: draws of the fit and error of extrapolation, calibrated on hold-outs"
    out = {
        "optimal_params": figure(
            wide.params("total"), origin="measured", unit="parameters", by=by, note=held),
        "optimal_tokens": figure(
            wide.tokens, origin="measured", unit="tokens", by=by, note=held),
    }  # fmt: skip
    size, tokens = wide.params().best, wide.tokens.best
    draws = found.law.draws
    assert draws is not None
    [loss] = interval.predict(
        draws, ensemble.fitted(draws, found.runs),
        params=np.array([size]), tokens=np.array([tokens]),
    )  # fmt: skip
    out["loss"] = figure(
        loss, origin="measured", unit="nats/token", by=by,
        note="at the best split, at a constant learning rate, on the data of the runs")  # fmt: skip
    return out


def headline(
    asked: Asked, found: Study, wide: Optimum, *, scores: tuple[Score, ...], believed: bool
) -> str:
    """Return whom to believe and how far the plan moves, in two sentences."""
    size = wide.params("total")
    ends = size.interval(LEVEL)
    best = show(size.best) + (f" ({show(ends[0])} to {show(ends[1])})" if ends else "")
    words = f"{len(found.runs.losses)} losses put the best size at {best} parameters"
    planned = asked.plan.figures.get("optimal_params")
    if planned is not None and not isinstance(planned.value, str):
        words += f", x{size.best / float(planned.value):.2f} of the plan's"
    if scores:
        words += f". {believe(scores, believed=believed)}"
    regret = regret_permil(asked, found, wide)
    return words + f". Under the fitted law the planned split costs {regret:.2f} permil of loss."


def more_likely(scores: tuple[Score, ...]) -> float:
    """Return how many times as likely as the plan's law the fitted one made what was held out.

    By run, since what a form is wrong by is shared by the runs. One where none was held out.
    """
    if not scores:
        return 1.0
    fitted, preset = scores
    return math.exp(fitted.log_score - preset.log_score)


def believe(scores: tuple[Score, ...], *, believed: bool) -> str:
    """Return which law to believe, and how likely each made what was held out."""
    fitted, preset = scores
    factor = more_likely(scores)
    who = "the fitted law" if believed else "the plan's law"
    if 1 / THIN < factor < THIN:
        why = "which the runs held out do not tell from the plan's"
    elif believed:
        why = f"which made the runs held out {factor:.2g} times as likely as the plan's"
    else:
        why = f"which made the runs held out {1 / factor:.2g} times as likely as the fitted one"
    return (
        f"Believe {who}, {why}: the fitted law is {fitted.error:.2%} of loss off there where it"
        f" promised {fitted.half_width:.2%}, the plan's {preset.error:.2%} where"
        f" {preset.half_width:.2%}"
    )


def regret_permil(asked: Asked, found: Study, wide: Optimum) -> float:
    """Return how far the planned size and tokens lie above the best loss, under the fitted law."""
    run, counting = asked.plan.stage.run, found.law.preset.counting
    assert run.architecture is not None and run.tokens is not None
    size = float(run.architecture.params().counted(counting))
    surface = found.law.best
    at = surface.loss(params=np.array([size]), tokens=np.array([float(run.tokens)])).item()
    spent = asked.plan.stage.sequence_flops / asked.ladder.seq_len * float(run.tokens)
    share = spent / float(asked.plan.budget.value)  # steps are whole, so that some is left
    best = surface.loss(
        params=np.array([wide.params().best]), tokens=np.array([wide.tokens.best * share])
    ).item()
    return float((at / best - 1) * 1e3)
