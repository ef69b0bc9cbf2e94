"""What a sweep says, in words: the headline of its verdict, and what the reader must know."""

from __future__ import annotations

import math

from budgetplan.calibrate.swept import NOISE, Swept, significant
from budgetplan.core.estimate import Estimate

FEW = 3  # points that are named one by one


def headline(found: Swept) -> str:
    """Return what the middle loses, and where the best lies."""
    shape, at, surface = found.sweep.proxy.rung.architecture.name, found.middle, found.bowl
    point = f"learning rate {at.learning_rate:.3g}, batch {at.batch}, beta2 {at.beta2:g}"
    words = f"At {shape} {'the middle' if found.sweep.limited else 'the advised point'} ({point})"
    if found.loss(at) is None:
        best = found.best
        return (
            f"{words} {found.lost[at]}; the best of those tried is learning rate"
            f" {best.learning_rate:.3g}, batch {best.batch}, beta2 {best.beta2:g}."
        )
    if surface is None:
        return f"{words}: too few other points finished to say what it loses."
    return (
        f"{words} loses {_percent(surface.regret)} of loss against the best learning rate and"
        f" batch: x{_ratio(surface.learning_rate)} and x{_ratio(surface.batch)} of its own."
    )


def _percent(estimate: Estimate) -> str:
    low, high = estimate.interval() or (estimate.best, estimate.best)
    return f"{estimate.best:.2%} ({low:.2%} to {high:.2%})"


def _ratio(estimate: Estimate) -> str:
    low, high = estimate.interval() or (estimate.best, estimate.best)
    return f"{estimate.best:.2f} ({low:.2f} to {high:.2f})"


def notes(found: Swept) -> list[str]:
    """Return all else, the most important first."""
    surface, at = found.bowl, found.middle
    words = []
    if surface is not None:
        words += [_beyond(found, edge) for edge in found.edges]
        if significant(surface) and set(surface.edges) - set(found.edges):
            words.append("the lowest point lies next to points that did not finish")
        if not significant(surface):
            words.append(
                "the differences are no larger than noise and tolerance: nothing moves the plan"
            )
        if surface.misfit > 2:
            words.append(
                f"the losses scatter {surface.misfit:.1f} times as much about a smooth basin as"
                " noise would make them; the intervals are widened by that"
            )
    words += _beta2(found)
    if found.sweep.limited:
        words.append(_rules_words(found))
    seeds = len(found.losses.get(at, ()))
    told = f"from {seeds} seeds of the middle and an" if seeds > 1 else "an"
    words.append(f"noise of a run: {found.noise:.2%} of loss, {told} assumption of {NOISE:.1%}")
    words += _lost(found)
    return words


def _lost(found: Swept) -> list[str]:
    """Return which points did not finish: each of a few, of many how they lie."""
    if len(found.lost) > FEW:
        rates = sorted({each.learning_rate for each in found.lost})
        ends = f"{rates[0]:.3g} to {rates[-1]:.3g}" if len(rates) > 1 else f"{rates[0]:.3g}"
        return [f"{len(found.lost)} points did not finish, at learning rates {ends}: see status"]
    return [
        f"learning rate {each.learning_rate:.3g}, batch {each.batch}, beta2 {each.beta2:g}: {why}"
        for each, why in sorted(found.lost.items())
    ]


def _beyond(found: Swept, edge: str) -> str:
    """Return what to try next, where the lowest point lies at an edge of what was tried."""
    wider = found.sweep.beyond([edge])
    new: set[float] = set(wider.rates) - set(found.sweep.rates)
    new |= set(wider.batches) - set(found.sweep.batches)
    if not new:
        return f"the lowest point lies at the {edge}, and there is none beyond it"
    what = "learning rate" if "rate" in edge else "batch"
    words = (
        f"the lowest point lies at the {edge} tried: the best was not seen, and the plan keeps its"
        f" {what}; next: {what} {new.pop():.3g}, which the same command adds when run again"
    )
    return f"{words} (smaller batches take more steps)" if edge == "lowest batch" else words


def _beta2(found: Swept) -> list[str]:
    """Return whether the rules' beta2 is the better at each batch, by what margin."""
    at, words = found.middle, []
    sure = 1.645 * math.sqrt(2) * found.noise
    for batch in found.sweep.batches:
        said = found.sweep.beta2_at(batch)
        tried = {
            each.beta2: math.log(found.loss(each) or math.inf)
            for each in found.losses
            if each.learning_rate == at.learning_rate and each.batch == batch
        }
        if said not in tried or len(tried) < 2:
            continue
        best = min(tried, key=lambda each: tried[each])
        gain = tried[said] - tried[best]
        if best == said:
            second = min(value for beta2, value in tried.items() if beta2 != said)
            words.append(f"{said:g} is best at batch {batch}, by {second - tried[said]:.2%}")
        elif gain > sure:
            words.append(f"{best:g} is better than {said:g} at batch {batch}, by {gain:.2%}")
        else:
            words.append(f"{best:g} beats {said:g} at batch {batch} by {gain:.2%}, within noise")
    return ["beta2 against the rules: " + "; ".join(words)] if words else []


def _rules_words(found: Swept) -> str:
    at = found.sweep.rules
    point = f"the rules' own point (learning rate {at.learning_rate:.3g}, batch {at.batch})"
    loss, surface = found.loss(at), found.bowl
    if at in found.lost:
        return f"{point} {found.lost[at]}"
    if loss is None or surface is None:
        return f"{point} was not tried to its end"
    return (
        f"{point} loses {math.log(loss / surface.lowest):.2%} of loss against the best; the size is"
        " too far below those that the rules were found on to move the plan"
    )
