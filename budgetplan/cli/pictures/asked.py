"""What commands with pictures share: the options read, the screen drawn on."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from budgetplan.core.errors import BadValue

if TYPE_CHECKING:
    from rich.console import Console

    from budgetplan.cli.pictures.chart import Chart

WIDEST = 100  # characters; wider plots say no more


def free(path: Path | None, *, force: bool) -> None:
    """Refuse a report that would replace a file, before any work is done.

    Raises:
        BadValue: the file exists and `force` was not given, or it is a folder, or is in none.
    """
    if path is None:
        return
    if path.is_dir():
        raise BadValue(f"--report {path} is a folder", f"Name a file: {path / 'report.html'}.")
    if path.exists() and not force:
        raise BadValue(f"--report {path} exists", "Add --force to replace it.")
    if not path.parent.is_dir():
        raise BadValue(f"--report {path}: there is no folder {path.parent}", "Make it first.")


def apart(output: Path | None, report: Path | None) -> None:
    """Refuse two outputs of which the second would replace the first.

    Raises:
        BadValue: both are the same file.
    """
    if output is not None and report is not None and output.resolve() == report.resolve():
        raise BadValue(f"--output and --report are both {report}", "Name two files.")


def drawn(plot: bool, *, as_json: bool) -> None:
    """Refuse pictures for programs.

    Raises:
        BadValue: both were asked for.
    """
    if plot and as_json:
        raise BadValue("--plot draws for people and --json is for programs", "Keep one of them.")


def show(charts: Iterable[Chart], screen: Console) -> None:
    """Draw the charts on the screen, as finely as its encoding allows."""
    from rich.text import Text

    from budgetplan.cli.pictures.terminal import draw, drawable

    fine = drawable(getattr(sys.stdout, "encoding", None))
    for chart in charts:
        screen.print("")
        for line in draw(chart, width=min(screen.width, WIDEST), fine=fine):
            screen.print(Text(line), soft_wrap=True)
