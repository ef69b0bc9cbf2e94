"""Hyperparameters: a small sweep at a proxy size, against what the rules say there."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from budgetplan.calibrate.allowance import TooSmall
from budgetplan.calibrate.kinds.kind import (
    Asked,
    Basin,
    Design,
    Finding,
    Outcome,
    Verdict,
    finding,
    kinds,
    usable,
)
from budgetplan.calibrate.pilots import USUAL, Pilot, pilot, rungs
from budgetplan.calibrate.spec import RunSpec
from budgetplan.core.errors import BadValue
from budgetplan.core.estimate import Estimate
from budgetplan.core.plan import Figure, figure
from budgetplan.core.units import show
from budgetplan.laws.fit.sweep import Best, optimum

RATES = (0.25, 0.5, 1.0, 2.0, 4.0)  # times the learning rate of the rules
BATCHES = (0.5, 1.0, 2.0)  # times their batch
OTHER_BETA2 = {0.95: 0.99, 0.99: 0.95}
NOISE = 0.003  # of the log loss of a run, as the design of pilots assumes
TOLERANCE = 0.005  # of log loss: a regret below it moves no plan
BASIN = 0.002  # of log loss above the best: learning rates that do as well
EVALUATION = 65536


@kinds.add("hyperparameters")
class Hyperparameters:
    """A sweep of learning rate, batch and beta2 at a size small enough to be swept."""

    words = "what the recommended learning rate, batch and beta2 cost against the best tried"

    def design(self, asked: Asked) -> Design:
        """Return the sweep at the largest size whose sweep the allowance pays for.

        Raises:
            BadValue: the tokens are too few.
            TooSmall: the allowance does not reach for the smallest size.
        """
        limit = asked.plan.stage.sequence_flops / asked.ladder.seq_len
        sizes = [
            each
            for each in rungs(asked.ladder, most=limit)
            if asked.unique_tokens is None
            or USUAL * each.params["with_head"] <= asked.unique_tokens
        ]
        if not sizes:
            raise BadValue(
                "the training tokens are too few for a sweep at the smallest size",
                "Give more --data, or a ladder with smaller models.",
            )
        designs = [_sweep(pilot(each, asked, counting="with_head", ratios=(USUAL,)), asked)
                   for each in sizes]  # fmt: skip
        paid = [each for each in designs if each.flops <= asked.allowance]
        if not paid:
            raise TooSmall(
                f"an allowance of {show(asked.allowance)} FLOPs is too small for a sweep",
                needed=min(each.flops for each in designs),
            )
        return max(paid, key=lambda each: each.flops)

    def verdict(self, asked: Asked, outcomes: Sequence[Outcome]) -> Verdict:
        """Return the regret of the advised point and the basin around the best.

        Raises:
            BadValue: too few runs, or the advised one is missing.
        """
        ended = usable(outcomes, "hyperparameters", least=9)
        center = advised(ended)
        by_beta2 = {
            beta2: [each for each in ended if each.spec.adam_beta2 == beta2]
            for beta2 in {each.spec.adam_beta2 for each in ended}
        }
        own = by_beta2[center.spec.adam_beta2]
        found = _optimum(own, center)
        regret = math.log(loss_of(center) / min(found.loss, loss_of(center)))
        beta2 = _best_beta2(ended, center)
        ratio = found.learning_rate / center.spec.learning_rate
        batch_ratio = found.batch / center.spec.batch_sequences
        figures, findings = _transferred(
            asked, own, center, ratio=ratio, batch_ratio=batch_ratio, regret=regret
        )
        notes = _notes(outcomes, found, center, beta2=beta2)
        return Verdict(
            kind="hyperparameters",
            headline=(
                f"At {center.spec.architecture.name} the advised point loses {regret:.2%} of loss"
                f" against the best; the best learning rate is x{ratio:.2f}, the best batch"
                f" x{batch_ratio:.2f} of the advised."
            ),
            figures=figures,
            findings=findings,
            basin=_basin(own, center, found),
            notes=tuple(notes),
        )


def _sweep(proxy: Pilot, asked: Asked) -> Design:
    """Return the runs of a sweep at one size: a grid, and a cross at the other beta2."""
    common = proxy.common(asked)
    beta2 = common.pop("adam_beta2", 0.95)
    rate, batch = common.pop("learning_rate"), common.pop("batch_sequences")
    length = proxy.rung.architecture.seq_len
    tokens = proxy.tokens(len(proxy.steps) - 1)
    grid = [(r, b, beta2) for r, b in itertools.product(RATES, BATCHES)]
    other = OTHER_BETA2.get(round(beta2, 3), 0.99 if beta2 < 0.97 else 0.95)
    grid += [(r, 1.0, other) for r in (0.5, 1.0, 2.0)] + [(1.0, b, other) for b in (0.5, 2.0)]
    specs: dict[str, RunSpec] = {}
    for by_rate, by_batch, second in grid:
        size = max(1, round(batch * by_batch))
        steps = max(2, round(tokens / size / length))
        decay = _decay(asked, tokens=steps * size * length, warmup=common["warmup_tokens"])
        spec = RunSpec(
            kind="hyperparameters",
            **common,
            **decay,
            adam_beta2=second,
            learning_rate=rate * by_rate,
            batch_sequences=size,
            steps=steps,
            evaluate_at=(steps,),
            evaluation_tokens=EVALUATION,
        )
        specs[spec.id] = spec
    runs = tuple(specs.values())
    per_token = proxy.rung.flops_per_token
    costs = tuple((each.tokens + EVALUATION / 3) * per_token for each in runs)
    return Design(
        kind="hyperparameters",
        specs=runs,
        flops=sum(costs),
        costs=costs,
        notes=(
            f"proxy {proxy.rung.architecture.name}, {USUAL:g} tokens per parameter; the advised"
            f" point is learning rate {rate:.3g}, batch {batch} sequences, beta2 {beta2:g}",
            "what is best at the proxy moves the plan by the same factor from its rules",
        ),
    )


def _decay(asked: Asked, *, tokens: float, warmup: float) -> dict[str, object]:
    """Return the plan's own schedule, in proportion to the run."""
    run = asked.plan.stage.run
    schedule = run.schedule or "constant"
    if schedule in ("linear", "wsd"):
        share = (run.decay_tokens or 0.0) / (run.tokens or 1.0) or 0.2
        return {"schedule": schedule, "decay_tokens": min(share * tokens, tokens - warmup)}
    return {"schedule": schedule}


def loss_of(outcome: Outcome) -> float:
    """Return the held-out loss at the end of a run."""
    if not outcome.result.evaluations:
        raise BadValue(f"run {outcome.id} has no held-out loss", "Run it again.")
    return outcome.result.evaluations[-1].loss


def advised(ended: Sequence[Outcome]) -> Outcome:
    """Return the run at the rules' own point: the middle of the grid.

    Raises:
        BadValue: it did not finish.
    """
    rates = sorted({each.spec.learning_rate for each in ended})
    sizes = {each.spec.architecture.name for each in ended}
    if len(sizes) > 1:
        raise BadValue(f"runs of several sweeps: {', '.join(sorted(sizes))}", "One folder each.")
    batches = sorted({each.spec.batch_sequences for each in ended})
    betas = [each.spec.adam_beta2 for each in ended]
    beta2 = max(set(betas), key=betas.count)
    at = (rates[len(rates) // 2], batches[len(batches) // 2], beta2)
    for each in ended:
        spec = each.spec
        if (spec.learning_rate, spec.batch_sequences, spec.adam_beta2) == at:
            return each
    raise BadValue("the run at the advised point did not finish", "Resume it.")


def _optimum(own: Sequence[Outcome], center: Outcome) -> Best:
    return optimum(
        (
            (each.spec.learning_rate, float(each.spec.batch_sequences), loss_of(each))
            for each in own
        ),
        params=float(center.spec.architecture.params().counted("with_head")),
    )


def _best_beta2(ended: Sequence[Outcome], center: Outcome) -> tuple[float, float]:
    """Return the better beta2 on the points that both have, and by how much of log loss."""
    by_beta2: dict[float, dict[tuple[float, int], float]] = {}
    for each in ended:
        point = (each.spec.learning_rate, each.spec.batch_sequences)
        by_beta2.setdefault(each.spec.adam_beta2, {})[point] = loss_of(each)
    own = by_beta2.pop(center.spec.adam_beta2)
    best, gain = center.spec.adam_beta2, 0.0
    for beta2, losses in by_beta2.items():
        both = sorted(set(losses) & set(own))
        if both:
            mean = float(np.mean([math.log(own[at] / losses[at]) for at in both]))
            best, gain = (beta2, mean) if mean > gain else (best, gain)
    return best, gain


def _transferred(
    asked: Asked,
    own: Sequence[Outcome],
    center: Outcome,
    *,
    ratio: float,
    batch_ratio: float,
    regret: float,
) -> tuple[dict[str, Figure], tuple[Finding, ...]]:
    """Return the plan's learning rate and batch, moved as the proxy's optimum is from its rules.

    Nothing moves where the regret is within the tolerance: then the rules did well enough.
    """
    planned = asked.plan.stage.figures
    names = tuple(each.id for each in own)
    figures: dict[str, Figure] = {}
    findings = []
    low, high = _rates_within(own, center)
    for name, factor, ends in (
        ("learning_rate", ratio, (low, high)),
        ("batch_tokens", batch_ratio, None),
    ):
        figure_of = planned.get(name)
        if figure_of is None or isinstance(figure_of.value, str):
            continue
        value = float(figure_of.value)
        bounds = (value * ends[0], value * ends[1]) if ends else None
        measured = Estimate(value * factor, bounds=bounds)
        if regret <= max(TOLERANCE, 2 * NOISE):
            measured = Estimate(value, bounds=bounds)
        else:
            figures[name] = figure(
                measured, origin="measured", unit=figure_of.unit,
                by=f"{len(names)} runs: {', '.join(names)}",
                note="the plan's value times best over advised at the proxy")  # fmt: skip
        findings.append(finding(name, planned=figure_of, measured=measured, runs=names))
    return figures, tuple(findings)


def _rates_within(own: Sequence[Outcome], center: Outcome) -> tuple[float, float]:
    """Return the learning rates, over the advised one, whose loss is within the basin."""
    best: dict[float, float] = {}
    for each in own:
        rate = each.spec.learning_rate / center.spec.learning_rate
        best[rate] = min(loss_of(each), best.get(rate, math.inf))
    lowest = min(best.values())
    inside = [rate for rate, loss in best.items() if math.log(loss / lowest) <= BASIN + NOISE]
    step = max(RATES[1] / RATES[0], 1.0) ** 0.5  # a basin ends between two rates
    return min(inside) / step, max(inside) * step


def _basin(own: Sequence[Outcome], center: Outcome, found: Best) -> Basin:
    losses = {(each.spec.learning_rate, each.spec.batch_sequences): loss_of(each) for each in own}
    return Basin(
        learning_rates=tuple(sorted({rate for rate, _ in losses})),
        batches=tuple(sorted({batch for _, batch in losses})),
        losses=losses,
        best=(found.learning_rate, found.batch),
        advised=(center.spec.learning_rate, center.spec.batch_sequences),
    )


def _notes(
    outcomes: Sequence[Outcome], found: Best, center: Outcome, *, beta2: tuple[float, float]
) -> list[str]:
    words = []
    if found.on_edge:
        words.append("the best point lies on the edge of the sweep: beyond it may be better still")
    if beta2[0] != center.spec.adam_beta2:
        sure = "" if beta2[1] > 2 * NOISE else ", within noise"
        words.append(f"beta2 {beta2[0]:g} is better by {beta2[1]:.2%} of loss{sure}")
    else:
        words.append(f"beta2 {beta2[0]:g}, as advised, is the better of those tried")
    for each in outcomes:
        if each.spec.kind == "hyperparameters" and not each.finished:
            words.append(
                f"learning rate {each.spec.learning_rate:.3g}, batch"
                f" {each.spec.batch_sequences}: {each.result.status}, {each.result.reason}"
            )
    return words
