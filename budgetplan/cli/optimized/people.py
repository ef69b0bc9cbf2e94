"""The answer of `optimize` for people: a plan that reads well at 80 columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from budgetplan.cli.optimized import compared
from budgetplan.cli.tables import bullets, table, titled
from budgetplan.core.plan import LEVEL, Figure, Plan
from budgetplan.core.units import show, show_bytes, show_seconds
from budgetplan.plan import remarks
from budgetplan.plan.compare import Beside
from budgetplan.plan.consensus import NAME as CONSENSUS
from budgetplan.plan.planner import Answer

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

NONE = "no published uncertainty"
NAMES = {
    "batch_tokens": "batch",
    "learning_rate": "learning rate",
    "warmup_tokens": "warmup",
    "schedule": "schedule",
    "decay_tokens": "decay",
    "min_learning_rate": "final rate",
    "adam_beta1": "beta1",
    "adam_beta2": "beta2",
    "adam_eps": "epsilon",
    "weight_decay": "weight decay",
    "grad_clip": "gradient clip",
    "z_loss": "z-loss",
}


def render(
    answer: Answer, plan: Plan, tables: Beside, *, iso_loss: bool = False
) -> Iterator[RenderableType]:
    """Yield the blocks of the screen from top to bottom."""
    yield _headline(answer, plan)
    yield _facts(answer, plan)
    yield _hyperparameters(answer)
    if plan.law is not None:
        yield ""
        yield _optimum(answer, plan)
        if answer.likely is not None and answer.likely.per_token.draws is not None:
            yield ""
            yield _certainty(answer, plan)
    if answer.members:
        yield ""
        yield compared.members(answer)
    if tables.smaller:
        yield ""
        yield compared.smaller(tables.smaller)
    if iso_loss and tables.iso_loss:
        yield ""
        yield compared.iso_loss(answer, tables)
    if answer.question.inference_tokens is not None:
        yield ""
        yield compared.served(answer)
    if tables.laws:
        yield ""
        yield compared.laws(tables.laws, answer, plan)
    if tables.accountings:
        yield ""
        yield compared.accountings(tables.accountings)
    if tables.variants:
        yield ""
        yield compared.variants(tables.variants)
    yield ""
    yield bullets(plan.notes)
    yield from _sources(plan)


def _headline(answer: Answer, plan: Plan) -> RenderableType:
    from rich import box
    from rich.panel import Panel
    from rich.text import Text

    size, tokens = answer.rung.params["total"], answer.tokens
    text = Text()
    stored = f"{show(answer.rung.stored)} parameters, " if answer.question.moe else ""
    active = "active" if stored else "parameters"
    text.append(f"Train {stored}{show(size)} {active} on {show(tokens)} tokens", style="bold")
    text.append(f", {show(tokens / size)} tokens per {'active one' if stored else 'parameter'}.")
    text.append(_best(answer, plan))
    loss = plan.figures.get("loss")
    if loss is not None:
        before = ", before the decay" if remarks.undecayed(answer) else ""
        text.append(f"\nExpected loss {_spread(loss, digits=3)} nats per token{before}.")
    parts = []
    if "time" in plan.figures:
        gpus = answer.question.budget.gpus
        when = _durations(plan.figures["time"])
        parts.append(f"{when} on {gpus:,} x {_card(answer)}")
    elif "gpu_hours" in plan.figures:
        parts.append(f"{_spread(plan.figures['gpu_hours'])} hours of {_card(answer)}")
    if "usd" in plan.figures:
        parts.append(f"${_spread(plan.figures['usd'])}")
    if parts:
        text.append(f"\n{', '.join(parts)}.")
    title = f"{show(answer.flops.best, digits=4)} FLOPs"
    if answer.flops.bounds:
        low, high = answer.flops.bounds
        title += f" ({show(low)} to {show(high)})"
    return Panel(text, title=f"Plan for {title}", title_align="left", box=box.ROUNDED)


def _best(answer: Answer, plan: Plan) -> str:
    """Return how sure the best size is, and how little it matters."""
    best, within = plan.figures.get("optimal_params"), plan.figures.get("params_within_1_permil")
    excess = plan.figures.get("excess")
    if best is not None and excess is not None and answer.best is not None:
        assert not isinstance(excess.value, str)
        size = _spread(best) if best.level else show(float(best.value))
        return (
            f"\nCompute-optimal, every token fresh: {size} on {show(answer.best.tokens)}, "
            f"{-excess.value / 10:+.2f}% of loss."
        )
    sure = f"\nBest size {_spread(best)}" if best is not None and best.level else ""
    if within is None or within.low is None or within.high is None:
        return f"{sure}." if sure else ""
    ends = f"{show(within.low)} to {show(within.high)}"
    if sure:
        return f"{sure}; {ends} cost at most 0.1% of loss."
    return f"\nSizes from {ends} cost at most 0.1% of loss."


def _card(answer: Answer) -> str:
    gpu = answer.question.budget.gpu
    return gpu.title if gpu else ""


def _spread(value: Figure, *, digits: int = 3) -> str:
    """Return a figure with its interval, both ends named."""
    assert not isinstance(value.value, str)
    best = show(value.value, digits=digits)
    if value.low is None or value.high is None:
        return best
    return f"{best} ({show(value.low, digits=digits)} to {show(value.high, digits=digits)})"


def _durations(value: Figure) -> str:
    assert not isinstance(value.value, str)
    best = show_seconds(value.value)
    if value.low is None or value.high is None:
        return best
    return f"{best} ({show_seconds(value.low)} to {show_seconds(value.high)})"


def _grid() -> Table:
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True, min_width=13)
    grid.add_column(overflow="fold")
    return grid


def _facts(answer: Answer, plan: Plan) -> RenderableType:
    """Return shape, steps, FLOPs and cost as words beside their names."""
    grid, shape, steps = _grid(), answer.rung.architecture, answer.steps
    heads = f"{shape.heads} head{'s' if shape.heads > 1 else ''} of {shape.head_dim}"
    if shape.kv_heads != shape.heads:
        heads += f" ({shape.kv_heads} kv)"
    ffn, mixture = f"feed-forward {shape.ffn:,}", answer.question.moe
    if mixture is not None and shape.moe is not None:
        ffn = f"{mixture.words}, {shape.moe.ffn:,} wide"
    grid.add_row(
        "shape",
        f"{shape.name}: {shape.layers} layers, width {shape.width:,}, {heads}, "
        f"{ffn}{' gated' if shape.gated else ''}, vocabulary {shape.vocab:,}"
        f"{' tied' if shape.tied else ''}, sequences of {shape.seq_len:,}",
    )
    grid.add_row(
        "steps",
        f"{steps.steps:,} steps of {steps.batch:,} sequences "
        f"({show(steps.batch * shape.seq_len)} tokens){_ramp(answer)}",
    )
    off = answer.spent / answer.flops.best - 1
    useful = plan.figures["flops_causal"].value
    assert not isinstance(useful, str)
    side = f"{abs(off):.3%} {'below' if off < 0 else 'above'} the budget"
    grid.add_row(
        "exact FLOPs",
        f"{show(answer.spent, digits=5)}, {side}; forward and backward, attention over all pairs "
        f"({show(useful, digits=4)} causal)",
    )
    for name, words in _money(answer, plan):
        grid.add_row(name, words)
    return grid


def _ramp(answer: Answer) -> str:
    run = answer.run
    if run.warmup_tokens is None or run.batch_tokens is None:
        return ""
    warmup = round(run.warmup_tokens / run.batch_tokens)
    return f": {warmup:,} of warmup, then {run.schedule or 'no schedule known'}"


def _money(answer: Answer, plan: Plan) -> Iterator[tuple[str, str]]:
    cost, figures = answer.cost, plan.figures
    if cost is None:
        return
    gpu = cost.gpu
    peak = gpu.peak_for(answer.question.budget.precision)
    yield (
        "MFU",
        f"{_spread(figures['mfu'])} {cost.mfu_origin}, of {peak / 1e12:,.4g} TFLOP/s "
        f"{cost.precision} ({gpu.title})",
    )
    hours = f"{_spread(figures['gpu_hours'])} card-hours"
    if "usd" in figures:
        kind = "your price" if cost.price_origin == "stated" else "list price"
        hours += f", ${_spread(figures['usd'])} at ${cost.price:g} an hour ({kind})"
    yield "cost", hours
    if "energy" in figures:
        value = figures["energy"]
        assert not isinstance(value.value, str)
        scaled = value.model_copy(
            update={
                "value": value.value / 3.6e6,
                "low": value.low and value.low / 3.6e6,
                "high": value.high and value.high / 3.6e6,
            }
        )
        yield "energy", f"{_spread(scaled)} kWh: full board power, PUE 1.58"
    yield "memory", _memory(answer)


def _memory(answer: Answer) -> str:
    cost = answer.cost
    assert cost is not None
    room = cost.room
    if room is None:
        return f"does not fit with data parallelism (FSDP) alone: {cost.problem}"
    fit = room.fit
    kind = fit.training.checkpointing
    recompute = {"none": "no recomputation", "selective": "selective checkpointing",
                 "full": "full checkpointing"}[kind]  # fmt: skip
    cards = f"{room.ranks:,} card{'s' if room.ranks > 1 else ''}"
    text = (
        f"{show_bytes(fit.memory.total)} of {show_bytes(cost.gpu.memory)} on {cards} "
        f"({'FSDP, ' if room.ranks > 1 else ''}micro-batch {fit.micro_batch}, {recompute})"
    )
    if room.smallest > 1:
        text += f"; {room.smallest} cards at least"
    return text


def _hyperparameters(answer: Answer) -> RenderableType:
    made = table("", "hyperparameter", "value", "interval", "rule")
    made.columns[-1].justify = "left"
    length = answer.rung.architecture.seq_len
    batch = answer.steps.batch * length
    for name, value in answer.recipe.figures().items():
        ends = ""
        if value.low is not None and value.high is not None:
            ends = f"{show(value.low)} to {show(value.high)}"
        best = value.value if isinstance(value.value, str) else show(value.value)
        rule = value.by + (" *" if value.outside else "")
        if name == "batch_tokens":
            best = show(batch)
        made.add_row(NAMES.get(name, name), best, ends, rule)
    if any(value.outside for value in answer.recipe.figures().values()):
        made.caption = "* beyond the range in which the rule was tested"
    return titled(made)


def _optimum(answer: Answer, plan: Plan) -> RenderableType:
    """Return what the law says, in its own counting and in full, with intervals that hold."""
    law, wide = plan.law, answer.likely
    assert law is not None and wide is not None
    made = table(f"Compute-optimal under {law.name}", "", "best", "interval", "")
    made.columns[-1].justify = "left"
    level = f"{LEVEL:.0%}, error of extrapolation too"
    if answer.members:
        level = f"{LEVEL:.0%} of the laws' pool"
    if wide.per_token.draws is None:
        level = "of the MFU alone" if wide.per_token.bounds else NONE
        if wide.law.draws is not None:
            level = "some draws leave the ladder"
    own = wide.params()
    if law.counting != "total":
        made.add_row(f"N, {law.counting}", show(own.best), compared.ends(own), level)
        level = "by way of the ladder"
    total = wide.params("total")
    made.add_row(f"N, {answer.counted}", show(total.best), compared.ends(total), level)
    made.add_row("tokens", show(wide.tokens.best), compared.ends(wide.tokens), "")
    each = wide.tokens_per_param
    made.add_row("tokens per N", show(each.best), compared.ends(each), answer.counted)
    if "loss" in plan.figures:
        loss = plan.figures["loss"]
        assert not isinstance(loss.value, str)
        ends = f"{show(loss.low)} to {show(loss.high)}" if loss.low and loss.high else ""
        words = f"{LEVEL:.0%}, runs scatter too" if loss.level else ""
        made.add_row("loss of the plan", show(loss.value), ends, words)
    made.caption = " ".join(_losses(plan))
    return titled(made)


def _certainty(answer: Answer, plan: Plan) -> RenderableType:
    """Return the intervals of N, all parameters, by what each of them means."""
    made = table(f"How sure is N? Three intervals, {answer.counted} counted", "", "N", "")
    made.columns[-1].justify = "left"
    pooled = plan.law is not None and plan.law.name == CONSENSUS
    budget = " and MFU" if plan.budget.low is not None else ""
    wide = "the laws' sizes in one pool" if pooled else "form and extrapolation too"
    rows = (
        ("optimal_params_draws", "draws alone", f"noise of runs{budget} alone; too narrow"),
        ("optimal_params", "best size", f"{wide}; to be acted on"),
        ("params_within_1_permil", "0.1% of loss", "any of these sizes is as good as the best"),
    )
    for key, name, words in rows:
        value = plan.figures.get(key)
        if value is None or value.low is None or value.high is None:
            continue
        made.add_row(name, f"{show(value.low)} to {show(value.high)}", words)
    return titled(made)


def _sources(plan: Plan) -> Iterator[RenderableType]:
    from rich.text import Text

    for law in plan.laws or (plan.law,):
        if law is not None and law.source is not None:
            yield Text(f"Law: {law.source}", style="dim")


def _losses(plan: Plan) -> Iterator[str]:
    """Yield what the shape, and what the user's wishes, cost in loss."""
    rounding, excess = plan.figures.get("rounding"), plan.figures.get("excess")
    if rounding and not isinstance(rounding.value, str):
        costs = "costs" if rounding.value > 0 else "costs nothing:"
        yield f"Taking a real shape {costs} {rounding.value / 10:+.3f}% of loss."
    if excess and not isinstance(excess.value, str):
        yield f"Against the compute-optimal plan this one has {excess.value / 10:+.3f}% of loss."
