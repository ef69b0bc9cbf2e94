"""The runs of a calibration: shown before, launched, watched to their end, gone on with."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from budgetplan.cli.calibrated.asked import Wish
from budgetplan.cli.screen import emit_json, warn
from budgetplan.core.errors import BadValue, UserError

if TYPE_CHECKING:
    from budgetplan.calibrate.campaign import Campaign
    from budgetplan.calibrate.kinds.kind import Asked, Design
    from budgetplan.calibrate.launchers.launcher import Launcher, Start, Ticket
    from budgetplan.calibrate.pool import Pool
    from budgetplan.calibrate.watch import Card
    from budgetplan.calibrate.worker import Work

STOPPED = 130  # exit code after Ctrl-C


def launcher_of(wish: Wish) -> Launcher:
    """Return the launcher with the user's settings."""
    from budgetplan.calibrate.launchers.launcher import build

    return build(wish["launcher"], tuple(wish["launch"] or ()))


def refuse_unusable(wish: Wish) -> None:
    """Refuse a trainer, a sink or a limit that every run would fail with, before any is begun.

    Raises:
        UserError: it is not known, its package is not installed, or it is no amount.
    """
    from budgetplan.calibrate.sinks.sink import sinks
    from budgetplan.calibrate.trainers import REAL, trainer

    if wish["trainer"] != REAL:
        trainer(wish["trainer"])
    for name in wish["sink"] or ():
        sinks[name].needed()
    if wish["gpu_hours"] is not None and not 0 < wish["gpu_hours"] < math.inf:
        raise BadValue(f"--gpu-hours {wish['gpu_hours']:g} is no limit", "Give a number above 0.")


def card_of(asked: Asked) -> Card | None:
    """Return what is known of the card at hand, None without one."""
    from budgetplan.calibrate.watch import Card

    device = asked.device
    if device is None or device.kind != "cuda":
        return None
    figures = asked.plan.figures
    price = device.gpu.usd_per_hour if device.gpu else None
    if "usd" in figures and "gpu_hours" in figures:  # what the plan was made with
        price = float(figures["usd"].value) / float(figures["gpu_hours"].value)
    peak = device.gpu.peak.get(asked.precision) if device.gpu else None
    return Card(peak=peak, usd_per_hour=price)


def several(card: Card | None, ticket: Ticket) -> Card | None:
    """Return the card with how many of its kind make a run of the launch together."""
    from budgetplan.calibrate.launchers.launcher import WORK
    from budgetplan.calibrate.worker import Work

    if card is None:
        return None
    work = Work.read(Path(ticket.folder) / WORK)
    return dataclasses.replace(card, count=work.cards_per_run)


def work_of(wish: Wish, campaign: Campaign) -> Work:
    """Return what workers are to do."""
    from budgetplan.calibrate.worker import Work

    return Work(
        store=str(wish.folder.absolute()),
        ids=campaign.runs,
        trainer=wish["trainer"],
        allowance_flops=campaign.allowance,
        allowance_card_seconds=3600 * wish["gpu_hours"] if wish["gpu_hours"] else None,
        sinks=tuple(wish["sink"] or ()),
    )


def show(wish: Wish, campaign: Campaign, designs: Sequence[Design], launcher: Launcher) -> None:
    """Show every file and command, and write nothing."""
    from budgetplan.calibrate import campaign as campaigns
    from budgetplan.cli.calibrated import programs

    folder = wish.folder.absolute()
    start = launcher.prepare(work_of(wish, campaign), folder=folder / "launches" / "DATE-TIME")
    if wish.as_json:
        files = {str(folder / campaigns.FILE): campaigns.text(campaign)}
        files |= {
            str(folder / "runs" / spec.id / "spec.json"): spec.model_dump_json(indent=1)
            for design in designs
            for spec in design.specs
        }
        files |= {str(start.folder / name): text for name, text in start.files.items()}
        emit_json({"designs": [programs.design(each) for each in designs], "files": files,
                   "commands": [list(each.words) for each in start.commands]})  # fmt: skip
        return
    sys.stdout.write(shown(campaign, start, folder=folder))


def shown(campaign: Campaign, start: Start, *, folder: Path) -> str:
    """Return every file and command as text; of the runs' own files the names."""
    from budgetplan.calibrate import campaign as campaigns

    names = [folder / campaigns.FILE, *(folder / "runs" / run / "spec.json"
                                        for run in campaign.runs)]  # fmt: skip
    listed = "".join(f"# {name}\n" for name in names)
    return f"{listed}\n{start.shown()}"


def make(wish: Wish, campaign: Campaign, launcher: Launcher, *, card: Card | None) -> None:
    """Launch what is not finished, and watch it to its end.

    Workers of a former launch that are still there are watched first, and only what they leave is
    launched again.

    Raises:
        BadValue: workers met what others would meet again: a full disk, a lost drive.
        Exit: they were asked to stop.
    """
    from budgetplan.calibrate.pool import Pool
    from budgetplan.cli.calibrated.live import follow

    pool = Pool(work=work_of(wish, campaign), launcher=launcher)
    if not pool.left():
        return
    for ticket, own, workers in living(wish.folder):
        warn(f"{workers} workers of an earlier launch are at work here: watching them")
        pool = dataclasses.replace(pool, launcher=own, ticket=ticket, attached=True)
        follow(pool, allowance=campaign.allowance, card=several(card, ticket))
        if pool.cancelled:
            break
    else:
        pool = Pool(work=pool.work, launcher=launcher)
        for remark in launcher.prepare(pool.work, folder=wish.folder).remarks:
            warn(remark)
        if pool.start():
            assert pool.ticket
            follow(pool, allowance=campaign.allowance, card=several(card, pool.ticket))
    _ended(wish, pool)


def _ended(wish: Wish, pool: Pool) -> None:
    """Say what is left and why; go on to the verdict only where that is what was asked for."""
    left = pool.left()
    if not left:
        return
    again = f"budgetplan calibrate resume --folder {wish.folder}"
    runs = f"{len(left)} run{'s are' if len(left) > 1 else ' is'} not finished"
    if pool.report.fault:
        pool.store.probe()  # a worker cannot write on a full disk that the disk is full
        raise BadValue(
            f"{pool.deaths[-1] if pool.deaths else 'a worker could not go on'}; {runs}",
            f"When that is mended: {again}",
        )
    if pool.report.spent:
        more = "--spend ..." if wish["gpu_hours"] is None else "--spend ... --gpu-hours ..."
        warn(f"the allowance is used up, {runs}; with more: {again} {more}")
        return
    warn(f"{runs}; go on with: {again}")
    if pool.cancelled or not pool.deaths:  # stopped: a verdict now would be of too few runs
        raise typer.Exit(STOPPED)


def tickets(folder: Path) -> list[Ticket]:
    """Return all launches of a folder, the first one first."""
    from budgetplan.calibrate.launchers.launcher import TICKET, Ticket

    found = sorted((folder / "launches").glob(f"*/{TICKET}"))
    return [Ticket.read(path.parent) for path in found]


def living(folder: Path) -> list[tuple[Ticket, Any, int]]:
    """Return the launches whose workers still work or wait, with their launchers and how many."""
    from budgetplan.calibrate.launchers.launcher import build

    found = []
    for ticket in tickets(folder):
        launcher = build(ticket.launcher)
        try:
            report = launcher.poll(ticket)
        except UserError as error:  # as without Slurm on this machine
            warn(f"{ticket.folder}: {error.problem}")
            continue
        if not report.over:
            found.append((ticket, launcher, report.working + report.waiting))
    return found
