"""Methods: the estimators that `fit` offers, and the words that help to choose one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from budgetplan.core.errors import BadValue
from budgetplan.laws.chinchilla import Chinchilla
from budgetplan.laws.fit import approaches, ensemble, isoflop, parametric, posterior, repeated
from budgetplan.laws.fit.envelope import fit_envelope
from budgetplan.laws.fit.parametric import Runs
from budgetplan.laws.frontier import PowerFrontier
from budgetplan.laws.generalized import Generalized

Law = TypeVar("Law")
TENFOLD = 10.0  # times the largest budget: where the middle of many laws is sought
ROUGH = 3.0  # times the usual scatter of a milestone, beyond which a form does not fit
DRAWS = 100  # resamples of the methods whose refits cost


@dataclass(frozen=True, kw_only=True)
class Found:
    """Coefficients: the ones to act on, shape (1, 1), and equally likely ones, shape (draws, 1)."""

    form: str
    best: Any
    draws: Any
    remarks: tuple[str, ...] = ()
    misfit: float | None = None  # as `posterior` learns it


@dataclass(frozen=True, kw_only=True)
class Method:
    """An estimator: what it finds, when to use it, and what is known to go wrong."""

    says: str
    when: str
    wrong: str
    fit: Callable[[Runs, int], Found]
    surface: bool  # whether it gives the loss of any run, or only the best size of a budget
    repeats: bool = False  # whether it takes runs that saw tokens more than once


def _ensemble(runs: Runs, seed: int) -> Found:
    draws = ensemble.fit(runs, seed=seed)
    return Found(form="generalized", best=_central(draws, runs), draws=draws)


def _central(draws: Generalized, runs: Runs) -> Generalized:
    """Return the member whose loss at ten times the largest budget is the median of all."""
    budget = np.array([TENFOLD * 6 * (runs.params * runs.tokens).max()])
    sizes = draws.optimal_params(flops=budget)
    losses = draws.loss(params=sizes, tokens=budget / 6 / sizes)[:, 0]
    return member(draws, int(np.argsort(losses)[len(losses) // 2]))


def member(draws: Law, row: int | NDArray[np.intp]) -> Law:
    """Return one or some of equally likely laws, coefficients of shape (rows, 1)."""
    return type(draws)(
        **{
            field.name: getattr(draws, field.name)[np.atleast_1d(row)]
            for field in fields(draws)  # type: ignore[arg-type]
            if getattr(draws, field.name) is not None
        }
    )


def knowing(known: posterior.Known) -> Method:
    """Return the posterior that starts from what is known of a best size."""
    return replace(METHODS["posterior"], fit=functools.partial(_posterior, known=known))


def _posterior(runs: Runs, seed: int, known: posterior.Known | None = None) -> Found:
    if len(runs.losses) > posterior.MOST:
        raise BadValue(
            f"{len(runs.losses):,} losses are more than the {posterior.MOST:,} that the posterior"
            " walks over in reasonable time",
            "Choose --method ensemble.",
        )
    found = posterior.fit(runs, seed=seed, known=known)
    budget = known.flops if known else TENFOLD * 6 * float((runs.params * runs.tokens).max())
    return Found(
        form="generalized",
        best=_middle(found.draws, flops=budget),
        draws=found.draws,
        remarks=tuple(_rough(found)),
        misfit=found.misfit,
    )


def _middle(draws: Generalized, *, flops: float) -> Generalized:
    """Return the member nearest to the medians of the best size of a budget and of its loss."""
    budget = np.array([flops])
    sizes = draws.optimal_params(flops=budget)
    losses = draws.loss(params=sizes, tokens=budget / 6 / sizes)
    logs = np.log(np.concatenate([sizes, losses], axis=1))
    away = (logs - np.median(logs, axis=0)) / logs.std(axis=0)
    return member(draws, int(np.argmin((away**2).sum(axis=1))))


def _rough(found: posterior.Posterior) -> list[str]:
    usual = posterior.PRIOR["log_milestone"][0]
    if found.milestone < ROUGH * usual:
        return []
    return [
        f"losses scatter {found.milestone:.2%} about the law where {usual:.2%} is usual: the form"
        " does not fit these runs, and their best size may lie beyond its interval"
    ]


def _chinchilla(runs: Runs, seed: int) -> Found:
    best = parametric.fit(runs)
    if not _bends(best.law()).all():
        law = best.law()
        raise BadValue(
            "no Chinchilla surface fits these runs: its exponents came out as"
            f" {law.alpha.item():.3g} and {law.beta.item():.3g}",
            "Runs at more sizes and corpora are needed; --method ensemble says what these know.",
        )
    draws: Chinchilla = parametric.bootstrap(runs, best, draws=DRAWS, seed=seed)
    bends = _bends(draws)
    lost = int((~bends).sum())
    told = (
        f"{lost} of {DRAWS} resamplings fit no surface and were left out: intervals are too narrow"
    )
    return Found(
        form="chinchilla",
        best=best.law(),
        draws=member(draws, np.flatnonzero(bends)),
        remarks=(told,) if lost else (),
    )


def _bends(law: Chinchilla) -> NDArray[np.bool_]:
    """Return whether both terms of each law fall, and not like a wall, shape (draws,)."""
    exponents = np.concatenate([law.alpha, law.beta], axis=1)
    return np.asarray(((exponents > 0) & (exponents < parametric.WALL)).all(axis=1))


def _repeated(runs: Runs, seed: int) -> Found:
    often = repeated.repeating(runs)
    base = parametric.fit(runs.chosen(np.flatnonzero(~often))).law()
    best = repeated.fit(runs, base=base)
    draws = repeated.bootstrap(runs, best=best, base=base, draws=DRAWS // 2, seed=seed)
    return Found(
        form="data_constrained",
        best=repeated.law([base], [best]),
        draws=draws,
        remarks=tuple(repeated.remarks(runs, best, base=base)),
    )


def with_noise(noise: isoflop.Noise) -> Method:
    """Return Porian's estimator with a noise of the loss that is stated, not estimated."""
    return replace(METHODS["isoflop"], fit=functools.partial(_isoflop, noise=noise))


def _isoflop(runs: Runs, seed: int, noise: isoflop.Noise | None = None) -> Found:
    budgets = approaches.same_budget(6 * runs.params * runs.tokens)
    noise = noise or isoflop.noise_of((runs.params[rows], runs.losses[rows]) for rows in budgets)
    if noise is None:  # too few runs at each budget to tell: as about a surface, which is too much
        plain = ensemble.fit(runs, resamples=0, choices=ensemble.CHOICES[:1])
        noise = functools.partial(np.multiply, ensemble.fitted(plain, runs).scatter)
    points = [
        (float(np.exp(np.log(6 * runs.params[rows] * runs.tokens[rows]).mean())), size, loss)
        for rows in budgets
        for size, loss in zip(runs.params[rows], runs.losses[rows], strict=True)
    ]
    fit = isoflop.fit(points, noise=noise, seed=seed)
    law = fit.params
    best = {"coefficient": np.array([[law.coefficient]]), "exponent": np.array([[law.exponent]])}
    draws = {"coefficient": law.coefficients[:, None], "exponent": law.exponents[:, None]}
    if len(fit.tokens_optima) >= 4:
        loss = fit_envelope(fit.tokens_optima, draws=len(law.exponents), window=(0, np.inf))
        for place, name in enumerate(("E", "A", "alpha")):
            best[name] = np.array([[getattr(loss, name)]])
            draws[name] = loss.draws[:, [place]]
    return Found(
        form="frontier",
        best=PowerFrontier(**best),
        draws=PowerFrontier(**draws),
        remarks=tuple(f"{flops:.3g} FLOP: {why}" for flops, why in fit.left_out.items()),
    )


def _frontier(find: Callable[..., approaches.Frontier]) -> Callable[[Runs, int], Found]:
    def fit(runs: Runs, seed: int) -> Found:
        law = find(runs, seed=seed)
        return Found(
            form="frontier",
            best=PowerFrontier(
                coefficient=np.array([[law.coefficient]]), exponent=np.array([[law.exponent]])
            ),
            draws=PowerFrontier(
                coefficient=law.coefficients[:, None], exponent=law.exponents[:, None]
            ),
            remarks=tuple(f"{flops:.3g} FLOP: {why}" for flops, why in law.left_out.items()),
        )

    return fit


METHODS: dict[str, Method] = {
    "ensemble": Method(
        says="a loss surface with calibrated intervals",
        when="by default: any runs that vary in size, data and compute",
        wrong="far from the best split of a budget its intervals are too narrow",
        fit=_ensemble,
        surface=True,
    ),
    "posterior": Method(
        says="a loss surface by its posterior, with the noise that a run's milestones share",
        when="for runs measured at several milestones, as calibrate makes them; up to 2,000 losses",
        wrong="told from runs that fit no law, such as those of a warmup that is too long, it is"
        " farther off than the ensemble",
        fit=_posterior,
        surface=True,
    ),
    "chinchilla": Method(
        says="Hoffmann's approach 3: E, A, B, alpha, beta",
        when="to compare with published coefficients",
        wrong="runs far off the optimum bend it, and losses extrapolated tenfold come out percents"
        " off; a bootstrap of it covers a third of what it promises",
        fit=_chinchilla,
        surface=True,
    ),
    "isoflop": Method(
        says="best size against compute, and the loss there, by Porian's estimator",
        when="for IsoFLOP grids: several budgets, each with five or more sizes",
        wrong="needs the optimum inside the sizes tried; knows no loss off the frontier",
        fit=_isoflop,
        surface=False,
    ),
    "parabola": Method(
        says="best size against compute, Hoffmann's approach 2",
        when="to compare with papers that use it",
        wrong="biased where the valley is lopsided or the sizes lie far from its bottom",
        fit=_frontier(approaches.parabolas),
        surface=False,
    ),
    "envelope": Method(
        says="best size against compute, Hoffmann's approach 1",
        when="for many runs that do not share budgets",
        wrong="picks lucky runs, so that its exponent scatters most",
        fit=_frontier(approaches.lower_envelope),
        surface=False,
    ),
    "data-constrained": Method(
        says="R*_D and R*_N, over which repeated tokens and excess parameters lose their worth",
        when="for runs of several epochs (unique_tokens or epochs) beside ten that repeat nothing",
        wrong="the two trade off in a flat valley; no form that saturates knows overfitting, so it"
        " is far too low beyond some 16 epochs",
        fit=_repeated,
        surface=True,
        repeats=True,
    ),
}

OF_SWEEPS = {
    "hyperparameters": (
        "best learning rate and batch against size, by Porian's estimator",
        "for sweeps of both at several sizes, three batches or more at each",
        "holds at the tokens per parameter of the sweep, for its optimizer and schedule; optima on"
        " the edge of what was tried are none",
    ),
}
"""What is fitted to other runs than a law of the loss: it finds, use it, goes wrong."""


def words() -> dict[str, tuple[str, str, str]]:
    """Return by method what it finds, when to use it, and what is known to go wrong."""
    own = {name: (method.says, method.when, method.wrong) for name, method in METHODS.items()}
    return own | OF_SWEEPS
