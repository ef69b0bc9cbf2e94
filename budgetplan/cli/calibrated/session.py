"""One calibration from design to revised plan, with the user asked in between."""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from budgetplan.cli.calibrated import anew, onward, runs
from budgetplan.cli.calibrated.asked import Wish, kept, told
from budgetplan.cli.screen import console, emit_json, warn
from budgetplan.core.errors import BadValue, UserError
from budgetplan.core.units import show

if TYPE_CHECKING:
    from budgetplan.calibrate.campaign import Campaign
    from budgetplan.calibrate.kinds.kind import Asked, Design, Outcome, Verdict
    from budgetplan.calibrate.launchers.launcher import Launcher
    from budgetplan.calibrate.store import Store
    from budgetplan.core.plan import Plan


@dataclass(frozen=True, kw_only=True)
class Answer:
    """All that came of a calibration."""

    designs: tuple[Design, ...]
    verdicts: tuple[Verdict, ...]
    plan: Plan
    revised: Plan | None
    files: tuple[Path, ...]

    @property
    def contradicts(self) -> bool:
        """Whether a measurement refutes a number of the plan."""
        return any(each.contradicts for each in self.verdicts)


def calibrate(wish: Wish) -> int:
    """Design, ask, run, judge and revise; return the exit code."""
    from budgetplan.core import plan as plans

    with tempfile.TemporaryDirectory() as passing:
        if wish["demo"]:
            from budgetplan.cli.calibrated import demo

            wish, plan = demo.prepared(wish, home=Path(passing) if wish["dry_run"] else None)
        else:
            path = Path(str(wish.target))
            plan = anew.located(plans.read(path), beside=path.parent)
        refuse_output(wish)
        runs.refuse_unusable(wish)
        launcher = runs.launcher_of(wish)
        made = onward.ended(wish.folder)
        asked = dataclasses.replace(told(wish.options, plan, speed=_speed(made)), made=made)
        designs = onward.designed(wish, asked)
        if not wish.as_json:
            _show_designs(designs, asked)
        campaign = _campaign(wish, plan, designs, allowance=asked.allowance)
        if wish["dry_run"]:
            runs.show(wish, campaign, designs, launcher)
            return 0
    _confirm(wish, designs)
    return finish(wish, campaign, designs, asked=asked, launcher=launcher)


def finish(
    wish: Wish,
    campaign: Campaign,
    designs: Sequence[Design],
    *,
    asked: Asked,
    launcher: Launcher,
) -> int:
    """Make the runs that are not made yet, judge them all, revise the plan; return the code."""
    from budgetplan.calibrate import campaign as campaigns
    from budgetplan.calibrate.store import Store

    store = Store(wish.folder)
    for each in designs:
        for spec in each.specs:
            store.add(spec)
    campaigns.write(campaign, wish.folder)
    campaign = onward.made(wish, campaign, asked, launcher)
    verdicts = judged(campaign, store, asked)
    revised, files = _revised(wish, campaign.plan, verdicts)
    answer = Answer(designs=tuple(designs), verdicts=verdicts, plan=campaign.plan,
                    revised=revised, files=files)  # fmt: skip
    if wish.as_json:
        from budgetplan.cli.calibrated import programs

        emit_json(programs.answer(answer))
    else:
        from budgetplan.cli.calibrated import people

        screen = console()
        for block in people.verdicts(answer):
            screen.print(block)
        for file in files:
            console(stderr=True).print(f"Wrote {file}")
    return int(answer.contradicts)


# --- before any run -------------------------------------------------------------------------------


def refuse_output(wish: Wish) -> None:
    """Refuse an output that cannot be written, before anything is spent."""
    path = wish.output
    if path is None:
        return
    if path.is_dir():
        raise BadValue(f"--output {path} is a folder", f"Name a file: {path / 'plan.yaml'}.")
    if path.exists() and not wish["force"]:
        raise BadValue(f"--output {path} exists", "Add --force to replace it.")
    if not path.absolute().parent.is_dir():
        raise BadValue(f"--output {path}: its folder does not exist", "Make it first.")


def _campaign(wish: Wish, plan: Plan, designs: Sequence[Design], *, allowance: float) -> Campaign:
    from budgetplan.calibrate.campaign import Campaign, parts_of

    return Campaign(
        plan=plan, options=kept(wish), allowance=allowance, parts=parts_of(list(designs))
    )


def _show_designs(designs: Sequence[Design], asked: Asked) -> None:
    from budgetplan.cli.calibrated import people

    screen = console()
    for each in designs:
        for block in people.design(each, asked):
            screen.print(block)


def _confirm(wish: Wish, designs: Sequence[Design]) -> None:
    if wish["yes"] or wish["demo"]:
        return
    flops = sum(each.flops for each in designs)
    count = sum(len(each.specs) for each in designs)
    if not sys.stdin.isatty():
        raise BadValue(
            f"{count} runs of {show(flops)} FLOPs would start, and nobody is here to agree",
            "Add --yes, or look first: --dry-run.",
        )
    if not typer.confirm(f"Start {count} runs of {show(flops)} FLOPs?", err=True):
        raise typer.Exit(0)


def _speed(made: Sequence[Outcome]) -> float | None:
    """Return the FLOP/s that runs have reached, None without any."""
    reached = [each.result.flops_per_second for each in made]
    return max((speed for speed in reached if speed), default=None)


# --- after the runs -------------------------------------------------------------------------------


def judged(campaign: Campaign, store: Store, asked: Asked) -> tuple[Verdict, ...]:
    """Return what the runs of each kind say.

    Raises:
        UserError: none of the kinds can be judged.
    """
    from budgetplan.calibrate.collect import outcomes
    from budgetplan.calibrate.kinds.kind import kinds

    own = set(campaign.runs)
    ended = [each for each in outcomes(store, tell=warn) if each.id in own]
    found: list[Verdict] = []
    problems: list[UserError] = []
    for part in campaign.parts:
        try:
            found.append(kinds[part.kind]().verdict(asked, ended))  # type: ignore[operator]
        except UserError as error:
            problems.append(error)
    if problems and not found:
        raise problems[0]
    for each in problems:
        warn(each.problem)
    return tuple(found)


def _revised(
    wish: Wish, plan: Plan, verdicts: Sequence[Verdict]
) -> tuple[Plan | None, tuple[Path, ...]]:
    """Return the revised plan and the files written; the law lies beside the runs."""
    from budgetplan.calibrate import update
    from budgetplan.core import plan as plans
    from budgetplan.laws.fit.write import write as write_law
    from budgetplan.plan.report import version

    files: list[Path] = []
    path = None
    verdicts = [*verdicts]
    for place, each in enumerate(verdicts):
        if each.law is not None:
            law, path = anew.named(each.law, wish.folder)
            verdicts[place] = dataclasses.replace(each, law=law)
            files += write_law(law, path, force=True)
    if not any(each.figures for each in verdicts):
        if wish.output is not None:
            warn(f"{wish.output} is not written: nothing that was measured changes the plan")
        return None, tuple(files)
    mfu = update.measured_mfu(plan, verdicts)
    made = anew.again(plan, update.changes(plan, verdicts, law=path), mfu=mfu)
    plain = anew.again(plan, {}, mfu=mfu, force=True) if update.tuned(plan) else None
    by = f"budgetplan {version()} calibrate"
    revised = update.revise(plan, verdicts, anew=made, plain=plain, made_by=by)
    if wish.output is not None:
        plans.write(revised, wish.output, force=wish["force"])
        files.append(wish.output)
    return revised, tuple(files)
