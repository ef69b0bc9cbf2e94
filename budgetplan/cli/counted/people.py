"""What `budgetplan count` shows to people: sections of at most 80 columns, made from an Answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from budgetplan.cli.counted.programs import conventions_of
from budgetplan.cli.tables import bullets, in_unit, percent, prefixed, scale_of, table, titled
from budgetplan.core.units import show
from budgetplan.flops import modules
from budgetplan.flops.count import COMPONENTS, Component, Count
from budgetplan.flops.load import Answer

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from budgetplan.cli.counted.memory import MemoryAnswer
    from budgetplan.cli.counted.whole_run import WholeRun
    from budgetplan.flops.conventions import Convention

NAMES: dict[Component, str] = {
    "embedding": "embedding",
    "body": "body",
    "attention": "attention scores",
    "head": "last layer",
}
SMALL = 0.005
"""A module without FLOPs is shown where it has at least this share of the parameters."""


def render(
    answer: Answer,
    memory: MemoryAnswer | None,
    run: WholeRun | None,
    *,
    sections: tuple[str, ...],
    depth: int,
) -> Iterator[RenderableType]:
    """Yield the blocks of the screen, in order."""
    yield header(answer)
    if run is not None:
        from budgetplan.cli.counted import whole_run

        yield ""
        yield titled(whole_run.as_table(run))
    count = answer.count
    makers: dict[str, Any] = {
        "parts": lambda: (parts(count), rates(answer)),
        "params": lambda: (params(count),),
        "families": lambda: (families(count),),
        "modules": lambda: (module_tree(count, depth=depth),),
        "conventions": lambda: conventions_table(answer),
        "formulas": lambda: formulas(answer),
        "memory": lambda: _memory(memory, detailed=sections == ("memory",)),
    }
    for section in sections:
        for block in makers[section]():
            yield ""
            yield titled(block)
    if notes := (*answer.notes, *count.notes):
        yield ""
        yield bullets(notes, style="dim")
    if count.uncounted:
        yield ""
        yield bullets(
            [f"counted as zero, by --allow-uncounted: {name}" for name in count.uncounted],
            mark="!",
            style="yellow",
        )


def _memory(memory: MemoryAnswer | None, *, detailed: bool) -> Iterator[RenderableType]:
    if memory is None:
        return
    from budgetplan.cli.counted.memory import memory_tables

    yield from memory_tables(memory, detailed=detailed)


def step_of(answer: Answer) -> str:
    """Return the size of the step in words."""
    count = answer.count
    if not answer.tokens:
        return f"{count.batch:,} example{'s' * (count.batch != 1)}"
    sequences = f"{count.batch:,} sequence{'s' * (count.batch != 1)}"
    return f"{sequences} of {count.seq_len:,} tokens"


def header(answer: Answer) -> Text:
    """Return what was counted, how, and the total: dense, and with the mask."""
    from rich.text import Text

    count = answer.count
    how = "traced on the meta device" if count.method == "trace" else "by formula"
    trained = any(entry.phase == "backward" for entry in count.entries)
    passes = "forward and backward" if trained else "forward only"
    dense, useful = count.total(), count.total(useful=True)
    lines = Text()
    lines.append(answer.title, style="bold")
    lines.append(f"\n{how}, {passes}, {step_of(answer)}\n")
    for shown in answer.inputs:
        lines.append(f"input {shown}\n", style="dim")
    lines.append(f"{dense:,} FLOPs", style="bold")
    lines.append(" dense: every query-key pair, 2 per multiply-add")
    if useful != dense:
        lines.append(
            f"\n{useful:>{len(f'{dense:,}')},} FLOPs causal: pairs that the mask lets through"
        )
    return lines


def parts(count: Count) -> RenderableType:
    """Return FLOPs by part of the model and phase."""
    total, useful = count.total(), count.total(useful=True)
    scale, unit = scale_of(total, least=10)
    made = table(f"One step [{unit}]", "", "forward", "backward", "total", "share", "causal")
    for component in COMPONENTS:
        whole = count.total(component=component)
        made.add_row(
            NAMES[component],
            in_unit(count.total(component=component, phase="forward"), scale),
            in_unit(count.total(component=component, phase="backward"), scale),
            in_unit(whole, scale),
            percent(whole, total),
            in_unit(count.total(component=component, useful=True), scale),
        )
    made.add_section()
    made.add_row(
        "model FLOPs",
        in_unit(count.total(phase="forward"), scale),
        in_unit(count.total(phase="backward"), scale),
        in_unit(total, scale),
        percent(total, total),
        in_unit(useful, scale),
        style="bold",
    )
    if recomputed := count.total(phase="recompute"):
        hardware = count.total(recompute=True)
        again = count.total(phase="recompute", useful=True)
        made.add_row(
            "recomputed", "", in_unit(recomputed, scale), in_unit(recomputed, scale),
            percent(recomputed, total), in_unit(again, scale),
        )  # fmt: skip
        made.add_row(
            "hardware FLOPs", "", "", in_unit(hardware, scale), percent(hardware, total),
            in_unit(useful + again, scale),
        )  # fmt: skip
    return made


def rates(answer: Answer) -> RenderableType:
    """Return FLOPs per token, sequence and step."""
    count = answer.count
    per = [("per token", count.tokens), ("per sequence", count.batch), ("per step", 1)]
    if not answer.tokens:
        per = [("per example", count.batch), ("per step", 1)]
    made = table("", "[FLOPs]", "forward", "total", "causal", "total / 6")
    for name, share in per:
        made.add_row(
            name,
            prefixed(count.total(phase="forward") / share),
            prefixed(count.total() / share),
            prefixed(count.total(useful=True) / share),
            show(count.total() / share / 6, digits=4) if name == "per token" else "",
        )
    return made


def params(count: Count) -> RenderableType:
    """Return the parameter counts."""
    p = count.params
    made = table("Parameters", "", "exact", "", "share")
    rows = [
        ("total, each tensor once", p.total),
        ("active for a token", p.active),
        ("embedding tables", p.embedding),
        ("last layer" + (", tied: no more" if p.tied else ""), p.head),
        ("non-embedding", p.non_embedding),
    ]
    for name, value in rows:
        if name.startswith("active") and p.active == p.total:
            continue
        made.add_row(name, f"{value:,}", show(value), percent(value, p.total))
    if p.tied and p.head_matrix:
        made.add_row("vocabulary projection, shared", f"{p.head_matrix:,}", show(p.head_matrix), "")
    return made


def families(count: Count) -> RenderableType:
    """Return FLOPs by operator family."""
    dense, useful = count.by_family(), count.by_family(useful=True)
    total = count.total()
    scale, unit = scale_of(total, least=10)
    made = table(f"Operators [{unit}]", "", "total", "share", "causal", "calls")
    for family, flops in sorted(dense.items(), key=lambda item: -item[1]):
        calls = sum(e.calls for e in count.entries if e.family == family and e.phase != "recompute")
        made.add_row(
            family,
            in_unit(flops, scale),
            percent(flops, total),
            in_unit(useful[family], scale),
            f"{calls:,}",
        )
    return made


def module_tree(count: Count, *, depth: int) -> RenderableType:
    """Return the modules to a depth, identical siblings on one line."""
    root = modules.tree(count)
    scale, unit = scale_of(root.total, least=10)
    made = table(f"Modules [{unit}]", "", "parameters", "forward", "backward", "total", "share")
    for node in root.walk(depth=depth):
        if node.total == 0 and node.params < SMALL * root.params:
            continue
        made.add_row(
            _label(node),
            show(node.params),
            in_unit(node.forward, scale),
            in_unit(node.backward, scale),
            in_unit(node.total, scale),
            percent(node.total, root.total),
            style="bold" if node.depth == 0 else None,
        )
    return made


def _label(node: modules.Node) -> str:
    if not node.path:
        return "all modules"
    names = node.path.split(".")
    name = names[-1]
    if name[0].isdigit() and len(names) > 1:  # a container and the numbers in it
        ranges = name.split(",")
        few = name if len(ranges) <= 3 else f"{ranges[0]},{ranges[1]},…,{ranges[-1]}"
        name = f"{names[-2]}.{few}"
    return f"{'  ' * (node.depth - 1)}{name}"


def conventions_table(answer: Answer) -> Iterator[RenderableType]:
    """Yield what papers would have called this model, and what puts each off."""
    from rich.text import Text

    found = conventions_of(answer)
    formed = [each for each in found if each.ratio_full is not None]
    without = [each for each in found if each.ratio_full is None]
    made = table(
        "Conventions: what others would call a token of this model",
        "", "FLOPs", "/ dense", "/ causal", "off by, of dense",
        caption="\n".join(_missing(without)), wide=(4,),
    )  # fmt: skip
    for each in formed:
        if each.name == "6nd-active" and answer.count.params.experts == 0:
            continue  # the same as 6nd
        full, useful = each.ratio_full or 0.0, each.ratio_useful or 0.0
        made.add_row(
            each.name,
            prefixed(each.flops_per_token or 0.0),
            Text(f"{full:.3f}", style=_closeness(full)),
            Text(f"{useful:.3f}", style=_closeness(useful)),
            Text(_gaps(each.gaps), style="dim"),
        )
    if made.row_count:
        yield made


def _missing(conventions: list[Convention]) -> Iterator[str]:
    """Yield which conventions cannot be formed, and why, one line a reason."""
    for reason in dict.fromkeys(each.missing for each in conventions):
        names = ", ".join(each.name for each in conventions if each.missing == reason)
        yield f"{names}: {reason}"


def _gaps(gaps: dict[str, float]) -> str:
    """Return by how much of the dense count a convention is off, part by part."""
    off = sorted(gaps.items(), key=lambda item: -abs(item[1]))
    return ", ".join(
        f"{part} {gap:+.1%}".replace("-", "\u2212") for part, gap in off if abs(gap) >= 0.0005
    )


def formulas(answer: Answer) -> Iterator[RenderableType]:
    """Yield the formula and the source of each convention."""
    made = table("Formulas of the conventions", "", "formula, remark, source", wide=(1,))
    for each in conventions_of(answer):
        made.add_row(each.name, f"{each.formula}\n{each.remark}\n{each.source}", end_section=True)
    if made.row_count:
        yield made


def _closeness(ratio: float) -> str:
    off = abs(ratio - 1)
    return "green" if off < 0.005 else "yellow" if off < 0.05 else "red"
