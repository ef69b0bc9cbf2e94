"""Hyperparameters: a small sweep at a proxy size, against what the rules say there."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from functools import partial

from budgetplan.calibrate.allowance import TooSmall, flops_of
from budgetplan.calibrate.kinds.kind import (
    Asked,
    Basin,
    Design,
    Finding,
    Outcome,
    Verdict,
    finding,
    kinds,
)
from budgetplan.calibrate.pilots import USUAL, rungs
from budgetplan.calibrate.sweep import Sweep, point_of, sweep
from budgetplan.calibrate.sweep_words import headline, notes
from budgetplan.calibrate.swept import Swept, significant, swept
from budgetplan.core.errors import BadValue
from budgetplan.core.estimate import Estimate
from budgetplan.core.plan import Figure, figure
from budgetplan.core.run import Run
from budgetplan.core.units import show
from budgetplan.rules import derive


@kinds.add("hyperparameters")
class Hyperparameters:
    """A sweep of learning rate, batch and beta2 at a size small enough to be swept."""

    words = "what the recommended learning rate, batch and beta2 cost against the best tried"
    goes_on = False

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
        designs = [_designed(*_wider(sweep(each, asked), asked)) for each in sizes]
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
            BadValue: too few runs, or none at the middle has ended.
        """
        return _verdict(asked, swept(asked, outcomes))


def _wider(made: Sweep, asked: Asked) -> tuple[Sweep, tuple[str, ...]]:
    """Return the sweep with the points beyond an edge at which its best was found before."""
    shape = made.proxy.rung.architecture
    own = [
        each for each in asked.made_alike("hyperparameters", shape) if each.spec.data == asked.data
    ]
    try:
        before = swept(asked, own)
    except BadValue:  # it was not made yet, or not to its end
        return made, ()
    return before.sweep.beyond(before.edges), before.edges


def _designed(made: Sweep, edges: Sequence[str]) -> Design:
    specs = made.specs()
    costs = tuple(flops_of(each) for each in specs)
    rate, batch, beta2 = made.middle
    words = [
        f"proxy {made.proxy.rung.architecture.name}, {specs[0].tokens / _size(made):.3g} tokens per"
        f" parameter; the middle is learning rate {rate:.3g}, batch {batch} sequences, beta2"
        f" {beta2:g}, made with {sum(point_of(each) == made.middle for each in specs)} seeds"
    ]
    words += [f"the {each} was best so far: values beyond it are added" for each in edges]
    if made.limited:
        words.append(_limited(made))
    else:
        words.append("what is best at the proxy moves the plan by the same factor from its rules")
    return Design(
        kind="hyperparameters", specs=specs, flops=sum(costs), costs=costs, notes=tuple(words)
    )


def _size(made: Sweep) -> float:
    return made.proxy.rung.params["with_head"]


def _limited(made: Sweep) -> str:
    return (
        f"the rules say learning rate {made.rules.learning_rate:.3g} and batch"
        f" {made.rules.batch} at this size, far below those that they were found on: their point is"
        " tried too, but nothing that is found here moves the plan"
    )


# --- what follows ---------------------------------------------------------------------------------


def _verdict(asked: Asked, found: Swept) -> Verdict:
    figures, findings = _transferred(asked, found)
    return Verdict(
        kind="hyperparameters",
        headline=headline(found),
        figures=figures,
        findings=findings,
        basin=_basin(found),
        notes=tuple(notes(found)),
    )


def _transferred(asked: Asked, found: Swept) -> tuple[dict[str, Figure], tuple[Finding, ...]]:
    """Return the plan's learning rate and batch, moved as the proxy's optimum is from its rules.

    Nothing moves where the middle is not what the rules say, where it loses little, or towards an
    edge: then the optimum was not seen.
    """
    surface, planned = found.bowl, asked.plan.stage.figures
    if found.diverged and not found.sweep.limited:
        return _lowered(asked, found)
    if surface is None or found.sweep.limited or not significant(surface):
        return {}, ()
    runs = tuple(each.id for each in found.outcomes if each.finished)
    figures: dict[str, Figure] = {}
    findings = []
    for name, ratio, word in (
        ("learning_rate", surface.learning_rate, "learning rate"),
        ("batch_tokens", surface.batch, "batch"),
    ):
        own = planned.get(name)
        if own is None or isinstance(own.value, str):
            continue
        value = float(own.value) if own.origin != "measured" else ruled(asked, name)
        measured = ratio.map(partial(operator.mul, value))
        findings.append(finding(name, planned=own, measured=measured, runs=runs))
        if not any(word in edge for edge in found.edges):
            figures[name] = figure(
                measured, origin="measured", unit=own.unit,
                by=f"{len(runs)} runs: {', '.join(runs)}",
                note="the plan's value times best over advised at the proxy")  # fmt: skip
    return figures, tuple(findings)


def _lowered(asked: Asked, found: Swept) -> tuple[dict[str, Figure], tuple[Finding, ...]]:
    """Return the plan's learning rate lowered, where the rules' own diverges at the proxy.

    However wide the rules' interval: their best value was tried, and trains nothing.
    """
    own = asked.plan.stage.figures.get("learning_rate")
    rates = [each.learning_rate / found.middle.learning_rate for each in found.losses]
    if own is None or isinstance(own.value, str) or max(rates) >= 1:
        return {}, ()
    value = float(own.value) if own.origin != "measured" else ruled(asked, "learning_rate")
    runs = tuple(each.id for each in found.outcomes)
    best = found.best.learning_rate / found.middle.learning_rate
    measured = Estimate(value * best, bounds=(value * min(rates), value * max(rates)))
    refuted = Finding(name="learning_rate", unit=own.unit, planned=own, measured=measured,
                      beyond=1 / max(rates), runs=runs)  # fmt: skip
    moved = figure(measured, origin="measured", unit=own.unit, by=f"{len(runs)} runs:"
                   f" {', '.join(runs)}", note="the advised one diverges at the proxy; interval:"
                   " learning rates that did not")  # fmt: skip
    return {"learning_rate": moved}, (refuted,)


def ruled(asked: Asked, name: str) -> float:
    """Return what the rules say of the plan, which an earlier sweep may have moved it from."""
    known = asked.plan.stage.run.facts()
    kept = ("architecture", "seq_len", "tokens", "flops_per_token", "precision", "batch_tokens")
    run = Run(**{each: known[each] for each in kept if each in known and each != name})
    return float(getattr(derive(run, families=asked.rules).run, name))


def _basin(found: Swept) -> Basin:
    at, surface = found.middle, found.bowl
    best = found.best
    lowest = (best.learning_rate, float(best.batch))
    if surface is not None:
        lowest = (
            at.learning_rate * surface.learning_rate.best, at.batch * surface.batch.best
        )  # fmt: skip
    own = [each for each in found.losses if each.beta2 == at.beta2]
    across = {
        (each.beta2, each.batch): float(found.loss(each) or math.nan)
        for each in found.losses
        if each.learning_rate == at.learning_rate
    }
    return Basin(
        learning_rates=found.sweep.rates,
        batches=found.sweep.batches,
        losses={(each.learning_rate, each.batch): float(found.loss(each) or 0) for each in own},
        best=lowest,
        advised=(at.learning_rate, at.batch),
        lost=tuple(
            (each.learning_rate, each.batch) for each in found.lost if each.beta2 == at.beta2
        ),
        beta2=across,
        beta2_of={batch: found.sweep.beta2_at(batch) for batch in found.sweep.batches},
    )
