"""The answer of `fit` for people: what the runs say, and how far to trust it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from budgetplan.cli.tables import bullets, table, titled
from budgetplan.core.counting import COUNTINGS
from budgetplan.core.estimate import Estimate
from budgetplan.core.units import show
from budgetplan.laws import predict
from budgetplan.laws.fit import diagnostics
from budgetplan.laws.fit.measurements import Measurements
from budgetplan.laws.fit.methods import METHODS, words
from budgetplan.laws.fit.study import Study
from budgetplan.laws.law import Envelope, Surface

if TYPE_CHECKING:
    from rich.console import RenderableType

STEPS = (1.0, 10.0, 100.0)  # budgets shown, times the largest that was fitted


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A study, the table it was made of, and the budget that the user plans for."""

    study: Study
    measured: Measurements
    target: float | None

    def budgets(self) -> tuple[float, ...]:
        """Return the budgets at which the optimum is shown."""
        largest = self.study.design.flops[1]
        found = {largest * step for step in STEPS} | ({self.target} if self.target else set())
        return tuple(sorted(found))

    def optimum(self, flops: float) -> tuple[Estimate, Estimate, Estimate | None]:
        """Return size, tokens and loss of the best run of a budget, as the law counts."""
        law = self.study.law
        size = predict.optimal_params(law, flops=flops)
        tokens = size.map(lambda params: flops / 6 / params)
        if isinstance(law.best, Surface):
            return size, tokens, predict.loss(law, params=size.best, tokens=tokens.best)
        return size, tokens, self._envelope(flops)

    def _envelope(self, flops: float) -> Estimate | None:
        law, at = self.study.law, np.array([flops])
        if not isinstance(law.best, Envelope):
            return None
        best = law.best.optimal_loss(flops=at)
        if best is None:
            return None
        draws = law.draws.optimal_loss(flops=at) if law.draws is not None else None
        return Estimate(best.item(), None if draws is None else draws[:, 0])


def render(answer: Answer) -> Iterator[RenderableType]:
    """Yield the blocks of the screen from top to bottom."""
    study = answer.study
    yield from _headline(answer)
    yield ""
    if study.design.identifies_allocation:
        yield _optimum(answer)
        yield ""
    yield _holdout(study)
    yield ""
    yield _coefficients(study)
    yield ""
    yield _influence(answer)
    notes = (*study.notes, *answer.measured.dropped)
    if notes:
        yield ""
        yield bullets(notes)


def _headline(answer: Answer) -> Iterator[RenderableType]:
    from rich.text import Text

    study, design = answer.study, answer.study.design
    counting = study.law.preset.counting
    yield Text.assemble(
        (f"{design.runs} runs", "bold"),
        f" by {study.method}: {METHODS[study.method].says}",
    )
    yield (
        f"params {_span(design.params)} ({counting}: {COUNTINGS[counting]}),"
        f" tokens {_span(design.tokens)}, {_span(design.tokens_per_param)} tokens per parameter,"
        f" 6ND {_span(design.flops)} FLOPs"
    )


def _span(ends: tuple[float, float]) -> str:
    return f"{show(ends[0])} to {show(ends[1])}"


def _optimum(answer: Answer) -> RenderableType:
    made = table("Best size and data, 90% intervals", "6ND", "params", "", "tokens", "", "loss", "")
    for flops in answer.budgets():
        cells = []
        for estimate in answer.optimum(flops):
            if estimate is None:
                cells += ["·", ""]
                continue
            ends = estimate.interval()
            cells += [show(estimate.best), f"{show(ends[0])}-{show(ends[1])}" if ends else ""]
        made.add_row(f"{flops:.2g}", *cells)
    return titled(made)


def _holdout(study: Study) -> RenderableType:
    report = study.report
    if not report.refits:
        return bullets([f"No hold-out: {report.why_none}."])
    made = table(
        "Hold-out: fitted on the small runs, asked for the large",
        "factor", "fitted", "held out", "bias", "error", "inside 90%", "half width",
        caption="Fitted up to the largest budget over the factor. Errors of log loss.",
    )  # fmt: skip
    for each in report.refits:
        made.add_row(
            f"{each.factor:g}",
            str(each.fitted),
            str(each.held_out),
            f"{each.bias:+.1%}",
            f"{each.error:.1%}",
            f"{each.covered:.0%}",
            f"{each.width:.1%}",
        )
    return titled(made)


def _coefficients(study: Study) -> RenderableType:
    law = study.law
    made = table("Coefficients", "", "best", "5%", "95%")
    for name, value in law.preset.coefficients.items():
        low, high = np.quantile(getattr(law.draws, name), [0.05, 0.95])
        made.add_row(name, f"{value:.4g}", f"{low:.4g}", f"{high:.4g}")
    number = diagnostics.shown(study.design.condition)
    made.caption = f"Condition number {number} of a Chinchilla surface here."
    return titled(made)


def _influence(answer: Answer) -> RenderableType:
    study = answer.study
    flops = answer.target or 10 * study.design.flops[1]
    made = table(
        f"Single runs that move the answer at {flops:.2g} FLOPs most",
        "line", "params", "tokens", "loss", "best size without it", "its loss",
    )  # fmt: skip
    for each in study.influences:
        row = each.row
        made.add_row(
            str(study.lines[row]),
            show(study.runs.params[row]),
            show(study.runs.tokens[row]),
            f"{study.runs.losses[row]:.4f}",
            f"x{each.params:.2f}",
            f"{each.loss:+.2%}",
        )
    return titled(made)


def methods_table() -> RenderableType:
    """Return what each method finds, when to use it, and what is known to go wrong."""
    made = table("Methods of fit", "", "finds", "use it", "goes wrong", wide=(1, 2, 3))
    for name, said in words().items():
        made.add_row(name, *said)
    return titled(made)
