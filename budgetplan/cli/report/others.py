"""What stands beside a plan in its report: other sizes, other laws, other accountings."""

from __future__ import annotations

from collections.abc import Iterator

from budgetplan.cli.pictures import planned
from budgetplan.cli.pictures.svg import svg
from budgetplan.cli.report.page import (
    NOTHING,
    Answered,
    Html,
    element,
    figure,
    join,
    table,
)
from budgetplan.cli.report.strip import scale, span_of, strip
from budgetplan.core.plan import LEVEL
from budgetplan.core.units import show, show_seconds
from budgetplan.plan.compare import Beside
from budgetplan.plan.planner import Answer


def isoflop(answer: Answer) -> Iterator[Html]:
    """Yield the curves of loss against size at some budgets, or why there are none."""
    chart = planned.isoflop(answer)
    if chart is None:
        if answer.optimum is not None:
            name = answer.optimum.law.name
            yield element("p", f"{name} says nothing of the loss, so there are no IsoFLOP curves.")
        return
    yield figure(svg(chart, name="isoflop", width=760, height=380), chart.says, kind="wide")


def smaller(told: Answered) -> Html:
    """Return what more compute saves in size at the same loss."""
    rows = []
    for place, row in enumerate(told.at("smaller") or ()):
        key = f"smaller[{place}]"
        if row["params"] is None:
            rows.append([f"+{row['extra']:.0%}", "below the ladder", "", ""])
        else:
            rows.append(
                [f"+{row['extra']:.0%}", told.number(f"{key}.params"),
                 told.number(f"{key}.tokens"),
                 told.number(f"{key}.params_ratio", shown=lambda v: f"{v - 1:+.0%}")]
            )  # fmt: skip
    return table(
        "The same loss from a smaller model",
        ("more compute", "parameters", "training tokens", "size"),
        rows,
    )


def served(told: Answered) -> Html:
    """Return the model that is cheapest with its serving; nothing where none is served."""
    if told.at("served") is None:
        return Html("")
    return table(
        "Cheapest over its life at the compute-optimal loss",
        ("", "parameters", "tokens", "training FLOPs", "with serving", "loss"),
        [
            [
                "trained and served",
                *(
                    told.number(f"served.{key}")
                    for key in ("params", "tokens", "flops", "lifetime_flops", "loss")
                ),
            ]
        ],
    )


def sensitivity(told: Answered) -> Html:
    """Return the plan with one thing otherwise at a time."""
    rows = []
    for place, row in enumerate(told.at("sensitivity") or ()):
        key = f"sensitivity[{place}]"
        name = row["change"] or element("strong", "as planned, before it became a shape")
        if row["reason"]:
            rows.append([name, row["reason"], "", "", "", ""])
            continue
        rows.append(
            [
                name,
                told.number(f"{key}.params"),
                told.number(f"{key}.tokens"),
                told.number(f"{key}.loss"),
                told.number(f"{key}.seconds", shown=show_seconds),
                told.number(f"{key}.usd", shown=lambda v: f"${show(v)}"),
            ]
        )
    return table("One thing otherwise", ("", "N", "tokens", "loss", "time", "money"), rows)


def consensus(told: Answered) -> Html:
    """Return the laws that decided together; nothing where one did."""
    rows = []
    for place, row in enumerate(told.at("consensus") or ()):
        key = f"consensus[{place}]"
        rows.append(
            [
                row["name"],
                told.number(f"{key}.weight"),
                told.number(f"{key}.params.best"),
                told.interval(f"{key}.params"),
                told.number(f"{key}.tokens.best"),
                told.number(f"{key}.excess_permil"),
            ]
        )
    return table(
        "The laws that decide together",
        ("", "weight", "N, all", f"{LEVEL:.0%}", "tokens", "cost of the plan if it is right"),
        rows,
        below="Cost in permil of loss, against what that law would do alone.",
    )


def laws(told: Answered, answer: Answer, tables: Beside) -> Html:
    """Return what every law would train on the budget."""
    laws = told.at("laws") or []
    sizes = [row["params"] for row in laws if row["params"]]
    planned_size = float(answer.rung.params["total"])
    span = span_of(
        [planned_size, *(size[end] for size in sizes for end in ("best", "low", "high"))]
    )
    deciding = told.at("plan.law.name")
    rows, unsure = [], False
    for place, row in enumerate(laws):
        key = f"laws[{place}]"
        name: object = element("strong", row["name"]) if row["name"] == deciding else row["name"]
        if row["params"] is None:
            rows.append([name, row["reason"], "", "", "", "", ""])
            continue
        size, found = row["params"], tables.laws[place].found
        assumed = found is not None and found.per_token.draws is None  # an interval of the budget
        unsure = unsure or (assumed and size["low"] is not None)
        drawn = strip(
            size["best"], size["low"], size["high"],
            span=span, mark=planned_size, hollow=assumed,
        )  # fmt: skip
        beyond = row["outside"].get("flops")
        rows.append(
            [
                name,
                drawn,
                told.number(f"{key}.params.best"),
                join([told.interval(f"{key}.params"), " †" if assumed and size["low"] else ""], ""),
                told.number(f"{key}.tokens.best"),
                told.number(f"{key}.tokens_per_param.best"),
                told.number(f"{key}.outside.flops", shown=lambda v: f"{show(v, digits=2)}x")
                if beyond
                else NOTHING,
            ]
        )
    return table(
        "Best size on this budget, all parameters counted; dotted: this plan",
        ("law", scale(span), "N", f"{LEVEL:.0%}", "tokens", "D/N", "beyond its runs"),
        rows,
        words=(1,),
        below="A hollow point has no published uncertainty, which does not make it certain. "
        + ("† of the MFU alone. " if unsure else "")
        + "Losses of the laws are of their own data and tokenizer and do not compare.",
    )


def accountings(told: Answered) -> Html:
    """Return the same budget as each accounting of a paper sees it."""
    rows = []
    for place, row in enumerate(told.at("accountings") or ()):
        key = f"accountings[{place}]"
        if row["params"] is None:
            rows.append([row["words"], "", "off the ladder", "", "", ""])
            continue
        rows.append(
            [
                row["words"],
                told.number(f"{key}.own_params.best"),
                told.number(f"{key}.params.best"),
                told.interval(f"{key}.params"),
                told.number(f"{key}.tokens.best"),
                told.number(f"{key}.tokens_per_param.best"),
            ]
        )
    return table(
        "From Kaplan to Chinchilla: the same budget under each accounting",
        ("", "N as it counts", "N, all", f"{LEVEL:.0%}", "tokens", "D/N"),
        rows,
        below="Porian et al. 2024, arXiv:2406.19146, Figure 1, RefinedWeb. The first row counts no "
        "head; cosine and tuning both follow on the corrected warmup.",
    )
