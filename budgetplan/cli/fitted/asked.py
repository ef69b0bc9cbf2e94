"""The options of `fit` and its kin, read: which runs, under which convention."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from budgetplan.core.counting import COUNTINGS, Counting
from budgetplan.core.errors import BadValue, UnknownName

if TYPE_CHECKING:
    from budgetplan.laws.fit.isoflop import Noise
    from budgetplan.laws.fit.measurements import Measurements


def counting_of(name: str | None) -> Counting | None:
    """Return the convention of this name.

    Raises:
        UnknownName: there is no such convention.
    """
    if name is None:
        return None
    if name not in get_args(Counting):
        raise UnknownName("counting convention", name, COUNTINGS)
    return name  # type: ignore[return-value]


def pairs(texts: Sequence[str] | None, *, option: str) -> dict[str, str]:
    """Return NAME=VALUE options as a mapping.

    Raises:
        BadValue: one has no equals sign, or a name stands twice.
    """
    found: dict[str, str] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise BadValue(f"{option}: cannot read {text!r}", f"Write it like {option} NAME=VALUE.")
        if name.strip() in found:
            raise BadValue(f"{option}: {name.strip()} is given twice")
        found[name.strip()] = value.strip()
    return found


def origins(files: Sequence[Path]) -> list[str]:
    """Return where the runs come from, in words."""
    return ["standard input" if str(file) == "-" else file.name for file in files]


def runs(
    files: Sequence[Path],
    *,
    counting: str | None,
    where: Sequence[str] | None,
    column: Sequence[str] | None,
    runs_table: Path | None = None,
    curves: bool = False,
    sweep: bool = False,
) -> Measurements:
    """Return the runs in the files."""
    from budgetplan.laws.fit.reading import read

    named = {header: field for field, header in pairs(column, option="--column").items()}
    return read(
        list(files),
        counting=counting_of(counting),
        where=pairs(where, option="--where"),
        rename=named,
        runs_table=runs_table,
        curves=curves,
        sweep=sweep,
    )


def noise_of(text: str | None) -> Noise | None:
    """Return the noise of a loss that `--noise` states; None: to be taken from the runs.

    Raises:
        BadValue: it cannot be read.
    """
    from budgetplan.laws.fit import isoflop

    if text in (None, "from-runs"):
        return None
    number = r"(\d*\.?\d+(?:e[-+]?\d+)?)"
    constant = re.fullmatch(rf"constant:{number}", str(text))
    rising = re.fullmatch(rf"rising:{number}-{number}@{number}-{number}", str(text))
    match = constant or rising
    found = [float(each) for each in match.groups()] if match else []
    if constant and found[0] > 0:
        return isoflop.constant_noise(found[0])
    if rising and 0 < found[0] <= found[1] and 0 < found[2] < found[3]:
        low, high, loss_low, loss_high = found
        return isoflop.rising_noise(low, high, loss_low=loss_low, loss_high=loss_high)
    raise BadValue(
        f"--noise: cannot read {text!r}",
        "Write constant:0.002, rising:0.002-0.05@3-7 (noise-noise@loss-loss), or from-runs.",
    )


def without_effect(options: Mapping[str, object], *, method: str) -> None:
    """Refuse options that a method does nothing with.

    Raises:
        BadValue: one of them was given.
    """
    for name, value in options.items():
        if value:
            raise BadValue(f"{name} has no effect on --method {method}", "Leave it out.")
