"""Onward: runs are designed and made, and those that they ask for, until no more are asked for."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from budgetplan.cli.calibrated import runs
from budgetplan.cli.calibrated.asked import SHARES, Wish

if TYPE_CHECKING:
    from budgetplan.calibrate.campaign import Campaign
    from budgetplan.calibrate.kinds.kind import Asked, Design, Outcome
    from budgetplan.calibrate.launchers.launcher import Launcher

DESIGNED = 0.98  # of the allowance; the rest pays for steps that a crash makes necessary again
ROUNDS = 12  # of runs that ask for more


def designed(wish: Wish, asked: Asked) -> tuple[Design, ...]:
    """Return the runs of every kind, the allowance divided among them.

    Raises:
        TooSmall: the allowance does not reach for one of the kinds; names what reaches for all.
    """
    from budgetplan.calibrate.allowance import TooSmall
    from budgetplan.calibrate.kinds.kind import kinds

    total = sum(SHARES[name] for name in wish.kinds)
    whole = left = DESIGNED * asked.allowance
    found: list[Design] = []
    short: list[TooSmall] = []
    for place, name in enumerate(wish.kinds):
        last = place == len(wish.kinds) - 1
        share = SHARES[name] / total
        own = left if last else whole * share
        try:
            made = kinds[name]().design(dataclasses.replace(asked, allowance=own))  # type: ignore[operator]
        except TooSmall as error:
            problem = f"--kind {name}: {error.problem}"
            short.append(TooSmall(problem, needed=error.needed / share / DESIGNED))
        else:
            found.append(made)
            left -= made.flops
    if short:
        raise max(short, key=lambda each: each.needed)
    return tuple(found)


def made(wish: Wish, campaign: Campaign, asked: Asked, launcher: Launcher) -> Campaign:
    """Make the runs of the campaign and those that they ask for; return it with them."""
    from budgetplan.calibrate import campaign as campaigns

    runs.make(wish, campaign, launcher, card=runs.card_of(asked))
    for _ in range(ROUNDS):
        wider = _wider(wish, campaign, asked)
        if wider is None:
            break
        campaign = wider
        campaigns.write(campaign, wish.folder)
        runs.make(wish, campaign, launcher, card=runs.card_of(asked))
    return campaign


def _wider(wish: Wish, campaign: Campaign, asked: Asked) -> Campaign | None:
    """Return the campaign with the runs that those made so far ask for; None where none do.

    Of kinds that go on by themselves, and with what the kind was given: a search for the largest
    batch that fits cannot be written down before its first answer.
    """
    from budgetplan.calibrate.kinds.kind import kinds
    from budgetplan.calibrate.store import Store

    going = tuple(part.kind for part in campaign.parts if kinds[part.kind].goes_on)
    before = ended(wish.folder)
    names = {each.id for each in before}
    if not going or not all(name in names for name in campaign.runs):
        return None  # stopped, or out of allowance
    mine = dataclasses.replace(wish, kinds=tuple(part.kind for part in campaign.parts))
    designs = designed(mine, dataclasses.replace(asked, made=before))
    wanted = {each.kind: each for each in designs if each.kind in going}
    new = [spec for each in wanted.values() for spec in each.specs if spec.id not in campaign.runs]
    if not new:
        return None
    for spec in new:
        Store(wish.folder).add(spec)
    parts = tuple(
        part.model_copy(update={"runs": _joined(part.runs, wanted[part.kind])})
        if part.kind in wanted else part
        for part in campaign.parts
    )  # fmt: skip
    return campaign.model_copy(update={"parts": parts})


def _joined(names: tuple[str, ...], design: Design) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*names, *(spec.id for spec in design.specs)]))


def ended(folder: Path) -> tuple[Outcome, ...]:
    """Return the runs in this folder that have ended."""
    from budgetplan.calibrate.collect import outcomes
    from budgetplan.calibrate.store import Store

    if not (folder / "runs").is_dir():
        return ()
    return tuple(outcomes(Store(folder), tell=lambda text: None))  # told when all are judged
