"""Study: what a table of runs says by a chosen method, judged before it is believed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from budgetplan.core.errors import BadValue, UnknownName
from budgetplan.core.estimate import Estimate
from budgetplan.core.source import Source
from budgetplan.laws import interval
from budgetplan.laws.fit import ensemble, holdout, parametric
from budgetplan.laws.fit.diagnostics import Design, design
from budgetplan.laws.fit.influence import Influence, influence
from budgetplan.laws.fit.isoflop import Noise
from budgetplan.laws.fit.measurements import Measurements
from budgetplan.laws.fit.methods import METHODS, Found, Method, knowing, with_noise, words
from budgetplan.laws.fit.parametric import Runs
from budgetplan.laws.fit.posterior import Known
from budgetplan.laws.fit.repeated import REPEATS
from budgetplan.laws.law import Law, LawPreset, Tested

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Study:
    """A fitted law, and what a reader needs to know before using it."""

    law: Law
    method: str
    how: Method  # the method with what it was told
    runs: Runs
    lines: tuple[int, ...]  # where each run stands in its file
    design: Design
    report: holdout.Report
    influences: tuple[Influence, ...]
    residuals: Floats | None  # log observed over fitted, shape (runs,); None for a frontier
    notes: tuple[str, ...]


def fresh(measured: Measurements) -> Measurements:
    """Return the runs that saw no token twice; repetition belongs to another law.

    Raises:
        BadValue: none is left.
    """
    if "unique_tokens" not in measured:
        return measured
    once = ~(measured["tokens"] > REPEATS * measured["unique_tokens"])
    if not once.any():
        raise BadValue("every run repeats its data", "This fit needs runs of one epoch.")
    return measured.chosen(once)


def ordered(measured: Measurements) -> Measurements:
    """Return the runs by compute, size and loss: the order of a file says nothing about a law.

    Resampling goes by place, and two orders of one table would otherwise give two answers.
    """
    keys = (measured["loss"], measured["params"], measured["params"] * measured["tokens"])
    return measured.at(np.lexsort(keys))


def runs_of(measured: Measurements) -> Runs:
    """Return the three columns that a loss law is fitted to."""
    return Runs(
        params=measured["params"],
        tokens=measured["tokens"],
        losses=measured["loss"],
        run=milestones(measured),
    )


def milestones(measured: Measurements) -> NDArray[np.int64] | None:
    """Return the number of the run that each loss belongs to, None where each is of its own.

    Milestones of one run are named RUN@STEP, as `calibrate collect` writes them.
    """
    runs = [name.rpartition("@")[0] for name in measured.names]
    if not runs or not all(runs) or len(set(runs)) == len(measured):
        return None
    return np.asarray(np.unique(runs, return_inverse=True)[1], dtype=np.int64)


def repeating(measured: Measurements) -> tuple[Measurements, Runs]:
    """Return all runs, those first that repeat nothing, and their unique tokens with them.

    Raises:
        BadValue: no column says how many tokens are unique.
    """
    if "unique_tokens" not in measured:
        raise BadValue("no column says how many tokens are unique", "Add unique_tokens, or epochs.")
    often = measured["tokens"] > REPEATS * measured["unique_tokens"]
    unique = np.where(np.isnan(measured["unique_tokens"]), np.inf, measured["unique_tokens"])
    order = np.argsort(often, kind="stable")
    every = replace(runs_of(measured), unique=np.minimum(unique, measured["tokens"]))
    return measured.at(order), every.chosen(order)


def study(
    measured: Measurements,
    *,
    method: str = "ensemble",
    name: str = "fitted",
    origin: str = "the user's runs",
    year: int,
    target: float | None = None,
    seed: int = 0,
    noise: Noise | None = None,
    known: Known | None = None,
) -> Study:
    """Return what the runs say by one method.

    Args:
        measured: the runs; those that repeat data are left out.
        method: one of METHODS.
        name: of the law.
        origin: where the runs come from, for the law's source.
        year: of the fit.
        target: budget at which the influence of single runs is measured, 6 N D [FLOPs]; by
            default ten times the largest.
        seed: of every resampling.
        noise: standard deviation of a loss, for isoflop; None: estimated from the runs.
        known: of the best size of a larger budget, for posterior; None: nothing.

    Raises:
        UnknownName: no such method.
        BadValue: the runs cannot carry the fit, or their N has no stated convention.
    """
    if method not in METHODS:
        raise UnknownName("method", method, words())
    if measured.counting is None:
        raise BadValue(
            "the convention of params is not known, so the law could not be used",
            "Say --counting total, non_embedding, kaplan, with_head or with_attention.",
        )
    if noise is not None and method != "isoflop":
        raise BadValue(f"method {method} draws no noise", "Leave --noise out, or fit by isoflop.")
    if known is not None and method != "posterior":
        raise BadValue(f"method {method} starts from nothing known", "Fit by posterior.")
    measured = ordered(measured)
    how, kept = METHODS[method], fresh(measured)
    if noise is not None:
        how = with_noise(noise)
    if known is not None:
        how = knowing(known)
    runs = once = runs_of(kept)
    lay = design(once, parametric.fit(once).law())
    if how.repeats:
        kept, runs = repeating(measured)
    found = how.fit(runs, seed)
    law = _law(found, once, kept, lay=lay, name=name, origin=origin, method=method, year=year)
    notes = [*lay.warnings, *measured.warnings, *found.remarks]
    if how.repeats:
        notes.append(
            f"the hold-out is of the surface alone, on {len(once.losses)} runs of an epoch"
        )
    if len(kept) < len(measured):
        notes.append(f"{len(measured) - len(kept)} runs repeat their data and were left out")
    return Study(
        law=law,
        method=method,
        how=how,
        runs=runs,
        lines=kept.rows,
        design=lay,
        report=_report(once, METHODS["chinchilla"] if how.repeats else how),
        influences=influence(once, flops=target or 10 * lay.flops[1]),
        residuals=_residuals(law, runs) if how.surface else None,
        notes=tuple(notes),
    )


def _law(
    found: Found,
    runs: Runs,
    measured: Measurements,
    *,
    lay: Design,
    name: str,
    origin: str,
    method: str,
    year: int,
) -> Law:
    surface = METHODS[method].surface
    preset = LawPreset(
        name=name,
        title=f"{name}: {METHODS[method].says}",
        form=found.form,
        coefficients={
            field.name: getattr(found.best, field.name).item()
            for field in fields(found.best)
            if getattr(found.best, field.name) is not None
        },
        draws=f"{name}.csv",
        draws_origin=f"budgetplan fit --method {method}",
        counting=measured.counting or "total",
        purpose=("allocation", "loss") if lay.identifies_allocation else ("loss",),
        loss_of=f"column {measured.columns.get('loss', 'loss')} of {origin}",
        vocab=_common(measured, "vocab"),
        seq_len=_common(measured, "seq_len"),
        tested=Tested(
            params=lay.params,
            tokens=lay.tokens,
            flops=lay.flops,
            tokens_per_param=lay.tokens_per_param,
        ),
        scatter=ensemble.fitted(found.draws, runs).scatter if surface else 0.0,
        misfit=found.misfit,
        evidence="measured",
        source=Source(title=origin, year=year, identifier=_extent(runs)),
    )
    return Law(preset=preset, best=found.best, draws=found.draws)


def _extent(runs: Runs) -> str:
    losses = len(runs.losses)
    if runs.run is None:
        return f"{losses} runs"
    return f"{len(np.unique(runs.run))} runs, {losses} losses"


def _common(measured: Measurements, name: str) -> int | None:
    """Return the value that all runs share, or None."""
    if name not in measured or np.ptp(measured[name]) != 0:
        return None
    return int(measured[name][0])


def held_out(found: Study, *, factor: float) -> tuple[Runs, list[Estimate]]:
    """Return the runs above 1/factor of the largest budget, and what a fit to the others says."""
    runs = found.runs
    flops = 6 * runs.params * runs.tokens
    small = flops <= flops.max() / factor
    predict = _predictor(found.how)(runs.chosen(np.flatnonzero(small)))
    large = runs.chosen(np.flatnonzero(~small))
    return large, predict(large)


def _report(runs: Runs, how: Method) -> holdout.Report:
    if not how.surface:
        return holdout.Report(refits=(), why_none="a frontier predicts no single run")
    return holdout.report(runs, _predictor(how))


def _predictor(how: Method) -> holdout.Predictor:
    def predictor(small: Runs) -> Callable[[Runs], list[Estimate]]:
        draws = how.fit(small, 0).draws
        fitted = ensemble.fitted(draws, small)

        def predict(large: Runs) -> list[Estimate]:
            return interval.predict(draws, fitted, params=large.params, tokens=large.tokens)

        return predict

    return predictor


def _residuals(law: Law, runs: Runs) -> Floats:
    repeats = {} if runs.unique is None else {"unique_tokens": runs.unique}
    fitted = law.best.loss(params=runs.params, tokens=runs.tokens, **repeats)[0]
    return np.asarray(np.log(runs.losses / fitted))


def renamed(found: Study, name: str) -> Study:
    """Return the study with its law, and the file of its draws, under another name."""
    preset = found.law.preset.model_copy(update={"name": name, "draws": f"{name}.csv"})
    return replace(found, law=replace(found.law, preset=preset))
