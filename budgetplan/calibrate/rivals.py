"""Rivals: the law fitted to the runs and the plan's law, each asked for the runs held out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from budgetplan.calibrate.collect import measurements
from budgetplan.calibrate.kinds.kind import Asked, Outcome, Score
from budgetplan.calibrate.prior import counting_of, prior
from budgetplan.calibrate.worth import Prior
from budgetplan.core.counting import Counting
from budgetplan.core.units import show
from budgetplan.laws import interval
from budgetplan.laws.fit import ensemble, posterior
from budgetplan.laws.fit.methods import Method
from budgetplan.laws.fit.parametric import Runs
from budgetplan.laws.fit.posterior import Known
from budgetplan.laws.fit.study import Study, runs_of, study
from budgetplan.laws.generalized import Generalized

Floats = NDArray[np.float64]
HELD = 0.25  # share of the runs that is held out, the largest


def fitted(asked: Asked, ended: Sequence[Outcome]) -> Study:
    """Return what the runs say together with the plan's law."""
    measured = measurements(ended, counting=counting_of(asked))
    method, known = "posterior", started_from(asked, ended)
    if len(measured) > posterior.MOST:
        method, known = "ensemble", None
        note = (
            f"more than {posterior.MOST:,} losses: fitted by an ensemble, which takes the"
            " milestones of a run for independent"
        )
    elif known is not None:
        note = (
            f"the fit starts from the plan's law: a best size of {show(known.size)} by its count,"
            f" give or take a factor of {math.exp(1.645 * known.spread):.2g} (90%) on other data"
        )
    else:
        note = "the plan rests on some of these runs: the law is fitted to them alone"
    found = study(
        measured,
        name="calibrated",
        origin=f"{len(ended)} calibration runs",
        year=datetime.now(UTC).year,
        target=asked.plan.law.flops if asked.plan.law else None,
        seed=asked.seed,
        method=method,
        known=known,
    )
    return replace(found, notes=(*found.notes, note))


def started_from(asked: Asked, ended: Sequence[Outcome]) -> Known | None:
    """Return what the plan's law says, which the fit starts from; None if these runs made it.

    What the runs say is then counted once.
    """
    law = asked.plan.law
    if law is not None and any(each.id in law.params.by for each in ended):
        return None
    known = prior(asked)
    return Known(flops=known.flops, size=known.size, spread=known.size_spread)


@dataclass(frozen=True, kw_only=True)
class _Split:
    """Runs held out whole, and the others."""

    small: Runs
    large: Runs  # the last milestone of each


def judged(
    ended: Sequence[Outcome], known: Prior, *, counting: Counting, how: Method
) -> tuple[Score, ...]:
    """Return how the law of the smaller runs predicted the larger, and how the plan's law did.

    Whole runs are held out, the largest quarter, and judged by their last milestone. Of the plan's
    law the best size is taken, with exponents in the middle of published ones; its loss is shifted
    and scaled to the smaller runs, since its own is of other data. Empty where too few runs remain
    to fit.
    """
    split = _split(ended, counting=counting)
    if split is None:
        return ()
    draws = how.fit(split.small, 0).draws
    own = ensemble.fitted(draws, split.small)
    parts = interval.parts(draws, own, params=split.large.params, tokens=split.large.tokens)
    fitted = _score(
        "fitted",
        split.large,
        center=parts.center,
        scale=interval.CALIBRATED.of(parts, scatter=own.scatter),
    )
    surface = leveled(known, split.small)
    theirs = interval.parts(surface, own, params=split.large.params, tokens=split.large.tokens)
    preset = _score(
        "plan",
        split.large,
        center=theirs.center,
        scale=interval.CALIBRATED.of(theirs, scatter=_scatter(surface, split.small)),
    )
    return fitted, preset


def _split(ended: Sequence[Outcome], *, counting: Counting) -> _Split | None:
    tables = [runs_of(measurements([each], counting=counting)) for each in ended]
    order = sorted(range(len(tables)), key=lambda i: (tables[i].params * tables[i].tokens).max())
    held = max(1, round(HELD * len(order)))
    small, large = [tables[i] for i in order[:-held]], [tables[i] for i in order[-held:]]
    if sum(len(each.losses) for each in small) < 8 or len(small) < 3:
        return None
    return _Split(small=_joined(small), large=_joined([_last(each) for each in large]))


def _joined(tables: Sequence[Runs]) -> Runs:
    return Runs(
        params=np.concatenate([each.params for each in tables]),
        tokens=np.concatenate([each.tokens for each in tables]),
        losses=np.concatenate([each.losses for each in tables]),
        run=np.repeat(np.arange(len(tables)), [len(each.losses) for each in tables]),
    )


def _last(table: Runs) -> Runs:
    return table.chosen(np.array([int(np.argmax(table.tokens))]))


def leveled(known: Prior, runs: Runs) -> Generalized:
    """Return the plan's surface with the two levels of loss that fit the runs best."""
    from scipy.optimize import nnls

    point = known.center.copy()
    point[4], point[5] = 0.0, -np.inf  # one nat to be removed, no floor
    shape = known.law(point[None]).loss(params=runs.params, tokens=runs.tokens)[0]
    columns = np.column_stack([shape, np.ones_like(shape)]) / runs.losses[:, None]
    removable, floor = nnls(columns, np.ones_like(shape))[0]
    point[4], point[5] = math.log(max(removable, 1e-9)), math.log(max(floor, 1e-9))
    return known.law(point[None])


def _scatter(surface: Generalized, runs: Runs) -> float:
    errors = np.log(runs.losses / surface.loss(params=runs.params, tokens=runs.tokens)[0])
    return float(np.sqrt(np.mean(errors**2)))


def _score(name: str, large: Runs, *, center: Floats, scale: Floats) -> Score:
    errors = np.log(large.losses) - center
    # Density of a Student t with four degrees of freedom: 3/8 (1 + x^2 / 4)^(-5/2).
    density = math.log(3 / 8) - 2.5 * np.log1p((errors / scale) ** 2 / 4) - np.log(scale)
    return Score(
        law=name,
        log_score=float(density.mean()),
        error=float(np.sqrt((errors**2).mean())),
        half_width=float((interval.T_95 * scale).mean()),
        covered=float(np.mean(np.abs(errors) <= interval.T_95 * scale)),
    )
