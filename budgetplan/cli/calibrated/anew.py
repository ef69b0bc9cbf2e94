"""Anew: a plan made again with what was measured, and the files that it rests on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from budgetplan.cli.screen import warn
from budgetplan.core.errors import UserError

if TYPE_CHECKING:
    from budgetplan.core.plan import Figure, Plan
    from budgetplan.laws.law import Law

FILES = ("law", "ladder", "rules")
"""Options of `optimize` that may name files."""


def located(plan: Plan, *, beside: Path) -> Plan:
    """Return the plan with the whole paths of its files, looked for here and beside the plan.

    So that it can be calibrated from any folder, and what is revised can be, too.
    """
    asked = dict(plan.asked)
    for name in FILES:
        if isinstance(asked.get(name), str):
            asked[name] = ",".join(_whole(part, beside) for part in asked[name].split(","))
    return plan.model_copy(update={"asked": asked})


def _whole(name: str, beside: Path) -> str:
    for folder in (Path(), beside):
        path = folder / name.strip()
        if path.is_file():
            return str(path.absolute())
    return name


def again(
    plan: Plan, changed: Mapping[str, Any], *, mfu: Figure | None = None, force: bool = False
) -> Plan | None:
    """Return the plan made again with changed options, None where that changes nothing.

    Args:
        plan: with the options it was made from.
        changed: options that were measured.
        mfu: measured, now or before, with its interval; an option alone would have none.
        force: make it again without any change.
    """
    from budgetplan.cli.optimized.asked import question
    from budgetplan.plan.optimize import optimize

    if not changed and not force:
        return None
    own = {name.replace("-", "_"): value for name, value in plan.asked.items()}
    try:
        asked = question({**own, **changed})
        if mfu is not None and mfu.origin == "measured" and "mfu" in {**own, **changed}:
            ends = None if mfu.low is None or mfu.high is None else (mfu.low, mfu.high)
            known = {"mfu": float(mfu.value), "mfu_interval": ends, "mfu_origin": "measured"}
            asked = dataclasses.replace(asked, budget=asked.budget.model_copy(update=known))
        return optimize(asked)
    except UserError as error:
        warn(f"the plan could not be made anew: {error.problem}; its numbers are stamped only")
        return None


def named(law: Law, folder: Path) -> tuple[Law, Path]:
    """Return the law under a name of its own, and its file; one that is there stays as it is.

    A plan that was revised before rests on the law of then.
    """
    from budgetplan.laws.fit.write import as_text

    number = 1
    while True:
        name = law.name if number == 1 else f"{law.name}-{number}"
        preset = law.preset.model_copy(update={"name": name, "draws": f"{name}.csv"})
        own, path = dataclasses.replace(law, preset=preset), folder.absolute() / f"{name}.yaml"
        text, draws = as_text(own)
        there = [path, path.with_suffix(".csv")]
        if not any(file.exists() for file in there):
            return own, path
        if [file.read_text(encoding="utf-8") for file in there if file.exists()] == [text, draws]:
            return own, path
        number += 1
