"""What `calibrate` does with runs that are there: tell, go on, collect, cancel."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from budgetplan.cli.calibrated.asked import Wish, allowance, told
from budgetplan.cli.screen import console, emit_json, warn
from budgetplan.core.errors import BadValue

if TYPE_CHECKING:
    from budgetplan.calibrate.campaign import Campaign
    from budgetplan.calibrate.store import Store


def perform(action: str, wish: Wish) -> int:
    """Do the action and return the exit code."""
    done = {
        "status": status,
        "resume": resume,
        "retry": retry,
        "collect": collect,
        "export": collect,
        "cancel": cancel,
    }
    return done[action](wish)


def _store(wish: Wish) -> Store:
    """Return the store of the folder.

    Raises:
        BadValue: there is none.
    """
    from budgetplan.calibrate.store import Store

    if not wish.folder.is_dir():
        raise BadValue(f"{wish.folder}: no such folder", "Name the folder of a calibration.")
    if not (wish.folder / "runs").is_dir():
        raise BadValue(
            f"{wish.folder} holds no calibration: no folder of runs is in it",
            "Name another, or begin one: budgetplan calibrate PLAN.yaml.",
        )
    return Store(wish.folder)


def _campaign(wish: Wish) -> Campaign | None:
    from budgetplan.calibrate import campaign

    return campaign.read(wish.folder) if (wish.folder / campaign.FILE).exists() else None


def retry(wish: Wish) -> int:
    """Let the runs that failed be made again, and go on with all that are not finished.

    Raises:
        BadValue: none has failed.
    """
    failed = [run for run in _store(wish).runs() if run.state == "failed"]
    if not failed:
        raise BadValue(f"no run in {wish.folder} has failed", "See: budgetplan calibrate status.")
    for run in failed:
        run.retry()
    return resume(wish)


def status(wish: Wish) -> int:
    """Show how far the runs of the folder are, and what they have spent."""
    from budgetplan.cli.calibrated import people, programs, runs
    from budgetplan.cli.calibrated.standing import standing

    found = standing(_store(wish), _campaign(wish))
    if found.going:
        workers = sum(workers for *_, workers in runs.living(wish.folder))
        found = dataclasses.replace(found, workers=workers)
    if wish.as_json:
        emit_json(programs.standing(found))
        return 0
    screen = console()
    for block in people.standing(found):
        screen.print(block)
    return 0


def resume(wish: Wish) -> int:
    """Go on with the runs that are not finished, then judge as at the first time."""
    from budgetplan.calibrate import campaign as campaigns
    from budgetplan.cli.calibrated import runs, session

    _store(wish)
    campaign = campaigns.read(wish.folder)
    own = dataclasses.replace(wish, options=_options(wish, campaign))
    session.refuse_output(own)
    runs.refuse_unusable(own)
    if "spend" in wish.given:
        campaign = _allowed(campaign, own["spend"])
    launcher = runs.launcher_of(own)
    if wish["dry_run"]:
        runs.show(own, campaign, (), launcher)
        return 0
    asked = told({**own.options, "spend": f"{campaign.allowance!r}"}, campaign.plan)
    return session.finish(own, campaign, (), asked=asked, launcher=launcher)


def _options(wish: Wish, campaign: Campaign) -> dict[str, Any]:
    """Return the options of the campaign, and those that were given now in their place."""
    kept = dict(campaign.options)
    if "launcher" in wish.given:  # settings are of one launcher
        kept.pop("launch", None)
    return {**wish.options, **kept, **{name: wish[name] for name in wish.given}}


def _allowed(campaign: Campaign, spend: str) -> Campaign:
    """Return the campaign with another allowance."""
    found = allowance(spend, campaign.plan)
    return campaign.model_copy(update={"allowance": found})


def collect(wish: Wish) -> int:
    """Write the losses of all finished runs as a CSV that `fit` and `recount` read."""
    from budgetplan.calibrate.collect import as_csv, of_kind, outcomes, rows

    kinds = wish.kinds if "kind" in wish.given else ()
    found = of_kind(outcomes(_store(wish), tell=warn), kinds)
    ended = [each for each in found if any(rows([each]))]
    campaign = _campaign(wish)
    law = campaign.plan.law if campaign else None
    text = as_csv(ended, counting=law.counting if law else "with_head")
    count = text.count("\n") - 1
    if count < 1:
        raise BadValue(
            f"no run in {wish.folder} has a held-out loss", "See budgetplan calibrate status."
        )
    made = sorted({each.spec.kind for each in ended})
    if len(made) > 1:
        warn(f"runs of {' and '.join(made)} together; a law is fitted to one of them: --kind"
             f" {made[-1]} here, or --where experiment={made[-1]} of fit")  # fmt: skip
    if wish.output is None and not wish.as_json:
        sys.stdout.write(text)
        return 0
    files = [_written(wish.output, text, force=wish["force"])] if wish.output else []
    if wish.as_json:
        emit_json({"runs": len(ended), "rows": count, "files": [str(file) for file in files]})
    else:
        console(stderr=True).print(f"Wrote {files[0]}: {count} losses of {len(ended)} runs")
    return 0


def _written(path: Path, text: str, *, force: bool) -> Path:
    if path.exists() and not force:
        raise BadValue(f"--output {path} exists", "Add --force to replace it.")
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise BadValue(f"--output {path}: {error.strerror}", "Name another file.") from error
    return path


def cancel(wish: Wish) -> int:
    """Ask the workers of all launches to write checkpoints and end.

    Raises:
        BadValue: there was no launch.
    """
    from budgetplan.cli.calibrated import runs

    _store(wish)
    tickets = runs.tickets(wish.folder)
    if not tickets:
        raise BadValue(f"{wish.folder} has no launch to cancel", "See calibrate status.")
    for ticket in tickets:  # those who only wait for other workers start none in their place
        ticket.cancel()
    found = runs.living(wish.folder)
    for ticket, launcher, _ in found:
        launcher.cancel(ticket)
    asked = sum(workers for *_, workers in found)
    if wish.as_json:
        emit_json({"launches": [ticket.folder for ticket, *_ in found], "asked": asked})
    else:
        warn(f"{asked} workers were asked to write their checkpoints and end")
    return 0
