"""The report of a plan: one page to decide on, to print, and to keep beside the run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from budgetplan.cli.optimized.programs import as_dict
from budgetplan.cli.pictures import planned
from budgetplan.cli.pictures.svg import svg
from budgetplan.cli.report import others, trained
from budgetplan.cli.report.page import (
    Answered,
    Html,
    Sources,
    element,
    figure,
    join,
    page,
    section,
    table,
    today,
)
from budgetplan.core.plan import LEVEL, Plan
from budgetplan.core.units import show, show_seconds
from budgetplan.plan.compare import Beside, beside
from budgetplan.plan.planner import Answer

NARROW = (460.0, 290.0)  # of a picture that shares its line with another [pixels]
FIGURES = {
    "params": "parameters, all counted",
    "tokens": "training tokens",
    "tokens_per_param": "tokens per parameter",
    "loss": "expected loss [nats per token]",
    "optimal_params": "compute-optimal parameters",
    "optimal_tokens": "compute-optimal tokens",
    "optimal_tokens_per_param": "compute-optimal tokens per parameter",
    "params_within_1_permil": "parameters within 0.1% of the best loss",
    "rounding": "cost of taking a real shape [permil of loss]",
    "excess": "over the compute-optimal plan [permil of loss]",
    "flops_causal": "FLOPs, only pairs that the mask passes",
    "epochs": "epochs",
    "token_worth": "worth of a token against a fresh one",
}


def report_of(answer: Answer, plan: Plan, *, command: str) -> str:
    """Return the page of a plan made today, with every law and accounting beside it."""
    tables = beside(answer, laws=True, explain=True, variants=True)
    return report(answer, plan, tables, command=command, date=today())


def report(answer: Answer, plan: Plan, tables: Beside, *, command: str, date: str) -> str:
    """Return the page.

    Args:
        answer: all that was found.
        plan: the same as it is written to a file.
        tables: what stands beside it, every law and accounting among it.
        command: that made it, as one would type it.
        date: of today, as 2026-11-22.
    """
    told, sources = Answered(as_dict(answer, plan, tables)), Sources()
    line = planned.frontier(answer)
    title = f"Plan for {show(answer.flops.best, digits=4)} FLOPs"
    return page(
        title,
        *_headline(told, plan, command=command, date=date),
        section("What to train", trained.shape(told), trained.hyperparameters(told, sources)),
        section("What it costs", trained.cost(told, sources), trained.memory(told), name="cost"),
        section("Where the best size lies", *_frontier(answer, line, _optimum(told, sources))),
        section(
            "What other sizes cost",
            *others.isoflop(answer),
            others.smaller(told),
            others.served(told),
            others.sensitivity(told),
        ),
        section(
            "What other laws say",
            others.consensus(told),
            others.laws(told, answer, tables),
            others.accountings(told),
        ),
        section("What to keep in mind", element("ul", *(element("li", x) for x in plan.notes))),
        section("Where every number comes from", _provenance(told, sources)),
        section("Sources", sources.listed()),
    )


def _headline(told: Answered, plan: Plan, *, command: str, date: str) -> Iterator[Html]:
    n = told.number
    yield element(
        "h1",
        "Train ", n("plan.figures.params.value"), " parameters on ",
        n("plan.figures.tokens.value"), " tokens",
    )  # fmt: skip
    words: list[object] = [
        n("plan.figures.tokens_per_param.value"), " tokens per parameter, ",
        n("plan.spent.value"), " FLOPs",
    ]  # fmt: skip
    if "loss" in plan.figures:
        words += [", expected loss ", n("plan.figures.loss.value"), " nats per token"]
        if plan.figures["loss"].low is not None:
            words += [" (", told.interval("plan.figures.loss"), ")"]
    yield element("p", *words, ".", kind="lead")
    cost: list[object] = []
    if "time" in plan.figures:
        cost += [n("plan.figures.time.value", shown=show_seconds)]
    if "gpu_hours" in plan.figures:
        cost += [", " if cost else "", n("plan.figures.gpu_hours.value"), " card-hours"]
    if "usd" in plan.figures:
        cost += [", $", n("plan.figures.usd.value")]
    if cost:
        yield element("p", *cost, ".")
    yield element(
        "p", f"Made by {plan.made_by} on {date} with ", element("code", command),
        f". Intervals hold {LEVEL:.0%} of what is likely unless they say otherwise; a dot stands "
        "for what nobody has published.",
        kind="made",
    )  # fmt: skip


def _frontier(answer: Answer, line: planned.Frontier | None, optimum: Html) -> Iterator[Html]:
    if line is None:
        if answer.no_optimum:
            yield element("p", f"{answer.no_optimum}.")
        yield optimum
        return
    width, height = NARROW
    drawn = [
        figure(svg(chart, name=name, width=width, height=height), chart.says)
        for name, chart in (
            ("sizes", planned.sizes(answer, line)),
            ("tokens", planned.tokens(answer, line)),
            ("losses", planned.losses(answer, line)),
        )
        if chart is not None
    ]
    yield element("div", *drawn, optimum, kind="figures")


def _optimum(told: Answered, sources: Sources) -> Html:
    if told.at("plan.law") is None:
        return Html("")
    law = told.at("plan.law")
    rows = [
        [f"N, {law['counting']}, as the law counts", told.number("plan.law.params.value"),
         told.interval("plan.law.params")]
    ]  # fmt: skip
    for name in ("optimal_params", "optimal_tokens", "optimal_tokens_per_param",
                 "params_within_1_permil", "loss", "rounding", "excess"):  # fmt: skip
        if told.at(f"plan.figures.{name}") is not None:
            key = f"plan.figures.{name}"
            rows.append([FIGURES[name], told.number(f"{key}.value"), told.interval(key)])
    outside = ", ".join(f"{show(factor)} times the {name}" for name, factor in
                        law["outside"].items())  # fmt: skip
    return table(
        f"Compute-optimal under {law['name']}",
        ("", "best", "interval"),
        rows,
        below=join(
            [
                f"Extrapolated: {outside} of its runs. " if outside else "",
                "Law: ",
                sources.cite(law["source"]),
            ],
            "",
        ),
    )


def _provenance(told: Answered, sources: Sources) -> Html:
    rows = []
    keys = [("budget", "plan.budget"), ("spent", "plan.spent")]
    keys += [(name, f"plan.figures.{name}") for name in told.at("plan.figures")]
    for name, key in keys:
        value = told.at(key)
        rows.append(
            [
                element("code", name),
                told.number(f"{key}.value", shown=lambda v: show(v, digits=4)),
                value["unit"],
                value["origin"],
                _by(value, sources),
            ]
        )
    return table(
        "Every figure of the plan, by its name in plan.yaml and --json",
        ("", "value", "unit", "origin", "by"),
        rows,
        words=(2, 3, 4),
    )


def _by(value: dict[str, Any], sources: Sources) -> Html:
    """Return by what a figure was made, with its note and its source."""
    parts = [part for part in (value["by"], value["note"]) if part]
    return join([*parts, sources.cite(value["source"])] if value["source"] else parts, "; ")
