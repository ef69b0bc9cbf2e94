"""What a plan trains and what that costs: sections of its report."""

from __future__ import annotations

from typing import Any

from budgetplan.cli.optimized.people import NAMES
from budgetplan.cli.report.page import (
    NOTHING,
    Answered,
    Html,
    Sources,
    element,
    join,
    table,
)
from budgetplan.core.units import show, show_bytes, show_seconds


def shape(told: Answered) -> Html:
    """Return the shape and the whole steps."""
    at = "plan.stages[0].run"
    keys = ("layers", "width", "heads", "kv_heads", "head_dim", "ffn", "vocab", "seq_len")
    names = ("layers", "width", "heads", "kv heads", "head size", "feed-forward", "vocabulary",
             "sequence")  # fmt: skip

    def whole(value: float) -> str:
        return f"{value:,.0f}"

    first = table(
        f"Shape {told.at(f'{at}.architecture.name')}",
        names,
        [[told.number(f"{at}.architecture.{key}", shown=whole) for key in keys]],
    )
    steps = table(
        "Steps, whole, of whole sequences",
        ("steps", "sequences a step", "tokens a step", "tokens", "exact FLOPs", "of them causal"),
        [
            [
                told.number(f"{at}.steps", shown=whole),
                told.number(f"{at}.batch_sequences", shown=whole),
                told.number(f"{at}.batch_tokens"),
                told.number(f"{at}.tokens", shown=lambda v: show(v, digits=4)),
                told.number("plan.spent.value", shown=lambda v: show(v, digits=5)),
                told.number("plan.figures.flops_causal.value", shown=lambda v: show(v, digits=5)),
            ]
        ],
    )
    return join([first, steps])


def hyperparameters(told: Answered, sources: Sources) -> Html:
    """Return the hyperparameters, each with its rule and how far that is stretched."""
    figures = told.at("plan.stages[0].figures")
    rows = []
    beyond = False
    for name, value in figures.items():
        if value["origin"] not in {"rule", "stated"} or name not in NAMES:
            continue
        key = f"plan.stages[0].figures.{name}"
        outside = ", ".join(f"{show(factor)}x {fact}" for fact, factor in value["outside"].items())
        beyond = beyond or bool(outside)
        rows.append(
            [NAMES[name], told.number(f"{key}.value"), told.interval(key), value["by"],
             outside or NOTHING, sources.cite(value["source"])]
        )  # fmt: skip
    return table(
        "Hyperparameters, each by a published rule",
        ("", "value", "interval", "rule", "beyond its test", "source"),
        rows,
        words=(3, 4, 5),
        below="Beyond its test: how far a fact of this run lies outside the range in which the "
        "rule was found or tested."
        if beyond
        else "",
    )


def cost(told: Answered, sources: Sources) -> Html:
    """Return time, money and energy, each with where it comes from."""
    figures = told.at("plan.figures")
    units: dict[str, tuple[str, Any, float]] = {
        "mfu": ("model FLOPs utilization", lambda v: f"{v:.0%}", 1.0),
        "gpu_hours": ("card-hours", show, 1.0),
        "time": ("time", show_seconds, 1.0),
        "usd": ("money [US dollars]", show, 1.0),
        "energy": ("energy at the site [kWh]", show, 3.6e6),
    }
    rows = []
    for name, (words, shown, unit) in units.items():
        if name in figures:
            key, value = f"plan.figures.{name}", figures[name]
            by = "; ".join(part for part in (value["by"], value["note"]) if part)
            rows.append(
                [words, told.number(f"{key}.value", shown=shown, scale=unit),
                 told.interval(key, shown=shown, scale=unit), value["origin"], by,
                 sources.cite(value["source"])]
            )  # fmt: skip
    return table(
        "Cost; intervals are those of the utilization",
        ("", "value", "interval", "origin", "from", "source"),
        rows,
        words=(3, 4, 5),
    )


def memory(told: Answered) -> Html:
    """Return the memory of a card; nothing where the plan has no cards."""
    if told.at("memory") is None:
        return Html("")
    if told.at("memory.bytes") is None:
        return element("p", f"Memory: {told.at('memory.problem')}.")
    return table(
        "Memory, sharded over all cards (FSDP)",
        ("checkpointing", "cards", "micro-batch", "bytes a card", "cards at least"),
        [
            [
                told.at("memory.checkpointing"),
                told.number("memory.ranks"),
                told.number("memory.micro_batch"),
                told.number("memory.bytes", shown=show_bytes),
                told.number("memory.smallest_ranks"),
            ]
        ],
    )
