"""The answer of `calibrate` for people, at 80 columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from budgetplan.calibrate.kinds.kind import Asked, Basin, Design, Expected, Verdict
from budgetplan.calibrate.update import contradictions, words
from budgetplan.cli.tables import bullets, table, titled
from budgetplan.core.estimate import Estimate
from budgetplan.core.plan import Figure, Plan
from budgetplan.core.units import show, show_seconds

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from budgetplan.cli.calibrated.session import Answer
    from budgetplan.cli.calibrated.standing import Standing

COSTS: dict[str, tuple[str, Callable[[float], str], float]] = {
    "mfu": ("MFU", "{:.1%}".format, 1.0),
    "gpu_hours": ("card-hours", show, 1.0),
    "time": ("time", show_seconds, 1.0),
    "usd": ("money", "${:,.4g}".format, 1.0),
    "energy": ("energy at the site", lambda kwh: f"{show(kwh)} kWh", 3.6e6),
}
NAMES = {"optimal_params": "best size, as the law counts", "loss": "loss there"}


def design(found: Design, asked: Asked) -> Iterator[RenderableType]:
    """Yield the runs of one kind, what they cost and what they should teach."""
    from rich.text import Text

    share = found.flops / float(asked.plan.budget.value)
    head = f"{len(found.specs)} runs of {show(found.flops)} FLOPs, {100 * share:.3g}% of the budget"
    if found.seconds:
        head += f", about {show_seconds(found.seconds.best)} on one device"
    yield Text.assemble((f"{found.kind}: ", "bold"), head)
    yield titled(_runs(found))
    if found.expected:
        yield ""
        yield titled(_expected(found.expected))
    yield ""
    yield bullets(found.notes)
    yield ""


def _runs(found: Design) -> Table:
    often = any(len(spec.evaluate_at) > 1 for spec in found.specs)
    betas = {spec.adam_beta2 for spec in found.specs}
    one_beta = len(betas) == 1 and often  # with all columns, lines would be longer than a screen
    made = table(
        "", "shape", "params", "tokens", "batch", "steps", "rate",
        *([] if one_beta else ["beta2"]), *(["measured"] if often else []), "FLOPs",
        caption=f"batch in sequences; rate: peak learning rate; beta2 {betas.pop():g} in all"
        if one_beta else "",
    )  # fmt: skip
    for spec, cost in zip(found.specs, found.costs, strict=True):
        made.add_row(
            spec.architecture.name,
            show(spec.architecture.params().total),
            show(spec.tokens),
            str(spec.batch_sequences),
            show(spec.steps),
            show(spec.learning_rate),
            *([] if one_beta else [show(spec.adam_beta2)]),
            *([f"{len(spec.evaluate_at)}x"] if often else []),
            show(float(f"{cost:.2g}")),
        )
    return made


def _expected(found: tuple[Expected, ...]) -> Table:
    made = table("What the runs should teach, 90% intervals", "", "now", "expected after")
    for each in found:
        made.add_row(NAMES.get(each.name, each.name), _ends(each.before), _ends(each.after))
    return made


def _ends(estimate: Estimate) -> str:
    ends = estimate.interval()
    return f"{show(ends[0])} to {show(ends[1])}" if ends else show(estimate.best)


def verdicts(answer: Answer) -> Iterator[RenderableType]:
    """Yield what every kind says, and what it does to the plan."""
    for each in answer.verdicts:
        yield from verdict(each, answer.plan)
    yield from conclusion(answer)


def verdict(found: Verdict, plan: Plan) -> Iterator[RenderableType]:
    """Yield what the runs of one kind say."""
    from rich.text import Text

    yield Text.assemble((f"{found.kind}: ", "bold"), found.headline)
    if any(name in found.figures for name in COSTS):
        yield ""
        yield titled(_costs(found, plan))
    if found.scores:
        yield ""
        yield titled(_scores(found))
    if found.basin:
        yield ""
        yield Text("\n").join(Text(line) for line in basin(found.basin))
    if found.notes:
        yield ""
        yield bullets([each for each in found.notes if each])
    yield ""


def _costs(found: Verdict, plan: Plan) -> Table:
    """Return what the plan costs as it was planned, and as it was measured."""
    made = table("What the plan comes to", "", "planned", "measured", "")
    for name, (what, shown, unit) in COSTS.items():
        if name in found.figures:
            before = plan.figures.get(name)
            cells = [_value(before, shown, unit)] if before else ["not told"]
            after = found.figures[name]
            made.add_row(what, *cells, _value(after, shown, unit), _span(after, shown, unit))
    return made


def _value(each: Figure, shown: Callable[[float], str], unit: float) -> str:
    return shown(float(each.value) / unit)


def _span(each: Figure, shown: Callable[[float], str], unit: float) -> str:
    if each.low is None or each.high is None:
        return "no uncertainty is known"
    return f"{shown(each.low / unit)} to {shown(each.high / unit)}"


def _scores(found: Verdict) -> Table:
    made = table(
        "The largest runs held out, whole", "law", "error of loss", "promised", "inside 90%",
        "log score",
        caption="Promised: half of the 90% interval. The plan's law is its best size, with"
        " usual exponents; its level of loss is fitted.",
    )  # fmt: skip
    for each in found.scores:
        made.add_row(
            each.law,
            f"{each.error:.2%}",
            f"{each.half_width:.2%}",
            f"{each.covered:.0%}",
            f"{each.log_score:+.2f}",
        )
    return made


def basin(found: Basin) -> Iterator[str]:
    """Yield the losses of a sweep as maps, above the lowest, in percent."""
    lowest = min([*found.losses.values(), *found.beta2.values()])
    yield "Loss above the lowest, by learning rate (down) and batch in sequences (across)"
    yield from _map(
        found,
        found.learning_rates,
        {at: loss / lowest - 1 for at, loss in found.losses.items()},
        marked={found.advised},
        lost=set(found.lost),
    )
    yield (
        f"* the middle; a smooth surface is lowest at {show(found.best[0])} and"
        f" {show(found.best[1])} sequences"
    )
    if len({beta2 for beta2, _ in found.beta2}) > 1:
        yield ""
        yield f"The same by beta2 (down), at learning rate {found.advised[0]:.3g}"
        yield from _map(
            found,
            sorted({beta2 for beta2, _ in found.beta2}),
            {at: loss / lowest - 1 for at, loss in found.beta2.items()},
            marked={(beta2, batch) for batch, beta2 in found.beta2_of.items()},
            lost=set(),
        )
        yield "* as the rules say for the batch"


def _map(
    found: Basin,
    rows: Sequence[float],
    excess: dict[tuple[float, int], float],
    *,
    marked: set[tuple[float, int]],
    lost: set[tuple[float, int]],
) -> Iterator[str]:
    yield " " * 10 + "".join(f"{batch:>8} " for batch in found.batches)
    for row in rows:
        cells = []
        for batch in found.batches:
            at = (row, batch)
            cell = f"{excess[at]:.2%}" if at in excess else "lost" if at in lost else "·"
            cells.append(f"{cell:>8}{'*' if at in marked and at in excess else ' '}")
        yield f"{row:>10.3g}" + "".join(cells).rstrip()


def conclusion(answer: Answer) -> Iterator[RenderableType]:
    """Yield which numbers are refuted, and what the revised plan trains."""
    from rich.text import Text

    refuted = contradictions(answer.verdicts)
    if refuted:
        yield Text("Measurement contradicts the plan:", style="bold red")
        yield bullets([words(each) for each in refuted])
    elif answer.verdicts:
        inside = [words(each) for verdict in answer.verdicts for each in verdict.findings]
        yield Text("Nothing measured contradicts the plan.", style="bold")
        if inside:
            yield bullets(inside)
    if answer.revised is None:
        return
    before, after = answer.plan.stage.run, answer.revised.stage.run
    assert before.architecture and after.architecture
    yield (
        f"Planned: {before.architecture.name}, {show(before.tokens or 0)} tokens. Revised:"
        f" {after.architecture.name}, {show(after.tokens or 0)} tokens."
    )


def standing(found: Standing) -> Iterator[RenderableType]:
    """Yield how the runs of a folder are."""
    head = f"{found.runs:,} runs in {found.folder}: {show(found.spent)} FLOPs spent"
    if found.allowance:
        head += f" of {show(found.allowance)} ({found.spent / found.allowance:.0%})"
    yield head
    names = sorted({state for each in found.states.values() for state in each})
    made = table("", "kind", *names)
    for kind, states in found.states.items():
        made.add_row(kind, *(f"{states.get(name, 0):,}" for name in names))
    yield titled(made)
    if found.workers:
        yield f"{found.workers} workers are at work or wait in a queue."
    elif found.going:
        yield f"Nobody is at work. To go on: budgetplan calibrate resume {found.folder}"
    if found.lines:
        yield ""
        rows = table("Not finished", "run", "kind", "shape", "state", "", wide=(4,))
        for each in found.lines:
            rows.add_row(each.id, each.kind, each.shape, each.state, each.words)
        yield titled(rows)
    if found.remarks:
        yield ""
        yield bullets(found.remarks)
