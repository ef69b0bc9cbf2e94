"""Live: runs as they go, with bars on a terminal and in plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from budgetplan.calibrate.launchers.launcher import Report
from budgetplan.calibrate.pool import Pool
from budgetplan.calibrate.result import State
from budgetplan.calibrate.watch import Card, Progress, Snapshot, Watch
from budgetplan.cli.screen import console
from budgetplan.core.units import show

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.table import Table

MOST = 12  # rows of runs on a screen
BESIDE = 7  # lines on it that are not rows of runs, in a narrow terminal
PLAIN_PAUSE = 30.0  # between two lines about everything [s]
ORDER: tuple[State, ...] = (
    "running", "interrupted", "failed", "diverged", "finished", "planned",
)  # fmt: skip
STYLES: dict[State, str] = {
    "running": "cyan", "interrupted": "yellow", "failed": "red", "diverged": "magenta",
    "finished": "green", "planned": "dim",
}  # fmt: skip

Show = Callable[[Snapshot, Report], None]


def follow(
    pool: Pool, *, allowance: float | None = None, card: Card | None = None, pause: float = 0.5
) -> Snapshot:
    """Show the runs of a started pool until all is over, and return how they are then.

    Ctrl-C asks the workers to write checkpoints; a second one leaves them to it.

    Args:
        pool: started.
        allowance: what all runs may spend [FLOPs].
        card: that runs are made on, for MFU, hours and money.
        pause: between two looks [s].

    Raises:
        KeyboardInterrupt: asked for twice.
        UserError: the store or the launcher fails.
    """
    screen = console(stderr=True)
    runs = [pool.store.get(name) for name in pool.work.ids]
    watch = Watch(runs, allowance=allowance)
    shown = _bars(screen, card) if screen.is_terminal else _lines(screen, card)
    asked = over = False
    with shown as show_it:
        while not over:
            try:
                for report in pool.watch(pause=pause):
                    show_it(watch.look(), report)
                over = True
            except KeyboardInterrupt:
                if asked:
                    raise
                asked = True
                screen.print("stopping: checkpoints are being written (Ctrl-C again: leave now)")
                pool.cancel()
        last = watch.look()
        show_it(last, Report())
    if screen.is_terminal:  # the bars are gone, what came of them stays
        screen.print(summary(last, Report(), card=card))
    for death in pool.deaths:
        screen.print(death, style="yellow", markup=False)
    return last


@contextmanager
def _bars(screen: Console, card: Card | None) -> Iterator[Show]:
    from rich.live import Live

    with Live(console=screen, refresh_per_second=4, transient=True) as live:

        def show_it(snapshot: Snapshot, report: Report) -> None:
            most = max(1, min(MOST, screen.height - BESIDE))
            live.update(view(snapshot, report, card=card, width=screen.width, most=most))

        yield show_it


@contextmanager
def _lines(screen: Console, card: Card | None) -> Iterator[Show]:
    plain = Plain(card=card)

    def show_it(snapshot: Snapshot, report: Report) -> None:
        for line in plain.lines(snapshot, report, now=time.monotonic()):
            screen.print(line, markup=False)

    yield show_it


class Plain:
    """Lines for a log: one when a run changes its state, one about everything now and then."""

    def __init__(self, *, card: Card | None = None) -> None:
        self._card = card
        self._states: dict[str, State] = {}
        self._next = 0.0

    def lines(self, snapshot: Snapshot, report: Report, *, now: float) -> list[str]:
        """Return what is new since the last call.

        Args:
            snapshot: how the runs are.
            report: how the workers are.
            now: on a clock that does not jump [s].
        """
        out = []
        for run in snapshot.runs:
            before, self._states[run.id] = self._states.get(run.id, "planned"), run.state
            if run.state != before and self._next:  # not what was so at the first look
                out.append(line_of(run, card=self._card))
        over = self._next and snapshot.ended == len(snapshot.runs) and out
        if now >= self._next or over:
            self._next = now + PLAIN_PAUSE
            out.append(summary(snapshot, report, card=self._card))
        return out


def line_of(run: Progress, *, card: Card | None = None) -> str:
    """Return one run in one line."""
    peak = card.peak_of_run if card else None
    parts = [f"{run.id} {run.state}"]
    if run.state != "planned":
        parts.append(f"step {run.step}/{run.steps}")
    if run.loss is not None:
        parts.append(f"loss {run.loss:.4f}")
    if run.tokens_per_second:
        parts.append(f"{show(run.tokens_per_second)} tokens/s")
    if mfu := run.mfu(peak):
        parts.append(f"MFU {mfu:.1%}")
    if run.reason:
        parts.append(run.reason)
    return ", ".join(parts)


def summary(snapshot: Snapshot, report: Report, *, card: Card | None = None) -> str:
    """Return everything in one line."""
    parts = [f"{snapshot.ended} of {len(snapshot.runs)} runs ended"]
    for state in ("running", "failed", "diverged", "interrupted"):
        if number := snapshot.count(state):
            parts.append(f"{number} {state}")
    if report.waiting:
        parts.append(f"{report.waiting} tasks wait in the queue")
    parts.append(spending(snapshot, card))
    if left := snapshot.seconds_left:
        parts.append(f"about {lasting(left)} left")
    return ", ".join([*parts, *report.remarks])


def spending(snapshot: Snapshot, card: Card | None = None) -> str:
    """Return what is spent, and of which allowance."""
    spent = f"{show(snapshot.spent)} FLOPs spent"
    if snapshot.allowance:
        share = snapshot.spent / snapshot.allowance
        spent += f" of {show(snapshot.allowance)} ({share:.0%})"
    if card is None:
        return spent
    hours = snapshot.training * card.count / 3600
    money = f" (${hours * card.usd_per_hour:.2f})" if card.usd_per_hour else ""
    return f"{spent}, {show(round(hours, 2))} GPU-hours{money}"


def lasting(seconds: float) -> str:
    """Return how long something still takes, no finer than is known: '40 s', '12 min', '3.2 h'."""
    if seconds < 99.5:
        return f"{max(1, round(seconds))} s"
    if seconds < 5970:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def view(
    snapshot: Snapshot,
    report: Report,
    *,
    card: Card | None = None,
    width: int = 80,
    most: int = MOST,
) -> Group:
    """Return the runs for a terminal: a bar each, the busy ones first, and a line about all."""
    from rich.console import Group, RenderableType
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    total = snapshot.spent + snapshot.left
    share = Table.grid()
    done = snapshot.spent / total if total else 0.0
    share.add_row(ProgressBar(total=1.0, completed=done, width=width))
    peak = card.peak_of_run if card else None
    blocks: list[RenderableType] = [runs_table(snapshot, peak=peak, width=width, most=most), share]
    more = len(snapshot.runs) - most
    if more > 0:
        blocks.insert(1, Text(f" and {more} more", style="dim"))
    return Group(*blocks, Text(summary(snapshot, report, card=card), overflow="fold"))


def runs_table(snapshot: Snapshot, *, peak: float | None, width: int, most: int = MOST) -> Table:
    """Return a row for each run, the busy ones first, at most so many."""
    from rich.console import RenderableType
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    wide = width >= 66
    titles = ("run", "", "step", "loss", "tokens/s", "MFU", "left") if wide else ("run", "", "loss")
    table = Table(box=None, padding=(0, 1), show_edge=False, expand=False)
    shown = [title for title in titles if peak or title != "MFU"]
    for title in shown:
        table.add_column(title, justify="left" if title in ("run", "") else "right", no_wrap=True)
    for run in sorted(snapshot.runs, key=lambda run: ORDER.index(run.state))[:most]:
        mfu = run.mfu(peak)
        bar = ProgressBar(
            total=float(run.steps),
            completed=float(run.step),
            width=max(6, min(40, width - 66)),
            finished_style=STYLES["finished"],
        )
        cells: dict[str, RenderableType] = {
            "run": Text(run.id[:8], style=STYLES[run.state]),
            "": bar,
            "step": f"{run.step}/{run.steps}",
            "loss": "" if run.loss is None else f"{run.loss:.3f}",
            "tokens/s": show(run.tokens_per_second) if run.tokens_per_second else "",
            "MFU": f"{mfu:.1%}" if mfu else "",
            "left": lasting(run.seconds_left) if run.seconds_left else run.state,
        }
        table.add_row(*(cells[title] for title in shown))
    return table
