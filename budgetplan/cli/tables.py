"""Pieces of a screen that several commands share: tables without rules, numbers that align."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

_PREFIXES = (
    (1e24, "Y"),
    (1e21, "Z"),
    (1e18, "E"),
    (1e15, "P"),
    (1e12, "T"),
    (1e9, "G"),
    (1e6, "M"),
)


def scale_of(flops: float, *, least: float = 1) -> tuple[float, str]:
    """Return the unit in which FLOPs are a number of `least` or more: (1e12, 'TFLOPs')."""
    for scale, letter in _PREFIXES:
        if flops >= least * scale:
            return scale, f"{letter}FLOPs"
    return 1.0, "FLOPs"


def in_unit(flops: float, scale: float) -> str:
    """Return a number in a table's unit, with three digits after the point; a dot for nothing."""
    if flops == 0:
        return "·"
    value = flops / scale
    if scale == 1:
        return f"{flops:,.0f}"
    return f"{value:,.3f}" if value >= 0.0005 else f"{value:.0e}"


def prefixed(flops: float) -> str:
    """Return FLOPs with four digits and the prefix of the unit: prefixed(5.791e10) is '57.91 G'."""
    scale, unit = scale_of(flops)
    if scale == 1:
        return f"{flops:,.0f}" if flops >= 100 else f"{flops:.4g}"
    value = flops / scale
    places = 3 if value < 10 else 2 if value < 100 else 1
    return f"{value:,.{places}f} {unit[0]}"


def percent(part: float, whole: float) -> str:
    """Return the share as a percentage; a dot for nothing, and nothing is rounded away."""
    if whole == 0 or part == 0:
        return "·"
    share = 100 * part / whole
    return f"{share:.1f}%" if share >= 0.05 else "<0.1%"


def table(title: str, *columns: str, caption: str = "", wide: Sequence[int] = ()) -> Table:
    """Return an empty table, to be shown by `titled`: words to the left, numbers to the right.

    Args:
        title: what the rows are, with the unit; empty for none.
        columns: the headings; the first one is usually empty.
        caption: a remark below.
        wide: places of columns that hold words: to the left, and broken over lines.
    """
    from rich import box
    from rich.table import Table

    made = Table(
        title=title or None,  # shown by `titled`
        caption=caption or None,
        box=box.SIMPLE_HEAD,
        header_style="dim",
        pad_edge=False,
        padding=(0, 1),
        show_edge=False,
    )
    for place, name in enumerate(columns):
        words = place == 0 or place in wide
        made.add_column(
            name,
            justify="left" if words else "right",
            no_wrap=place not in wide,
            overflow="fold" if place in wide else "ellipsis",
        )
    return made


def titled(made: Table) -> RenderableType:
    """Return the table with its title above and its caption below, neither broken to its width."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [made]
    if made.title:
        parts.insert(0, Text(str(made.title), style="bold"))
    if made.caption:
        parts.append(Text(str(made.caption), style="dim"))
    made.title = made.caption = None
    return Group(*parts)


def bullets(lines: Sequence[str], *, mark: str = "•", style: str = "") -> RenderableType:
    """Return the lines as a list, what does not fit on a line indented below it."""
    from rich.table import Table
    from rich.text import Text

    made = Table.grid(padding=(0, 1, 0, 0))
    made.add_column(width=1)
    made.add_column(overflow="fold")
    for line in lines:
        made.add_row(Text(mark, style=style), Text(line, style=style))
    return made
