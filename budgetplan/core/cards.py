"""Cards: find an accelerator by the name that people use for it."""

from __future__ import annotations

import functools
import re

from budgetplan.core import presets
from budgetplan.core.budget import Gpu
from budgetplan.core.errors import UnknownName


def plain(name: str) -> str:
    """Return the name as presets are called: lower case, dashes, no maker's name in front."""
    words = re.sub(r"[\s_/]+", "-", name.strip().lower())
    return re.sub(r"^(nvidia|amd|google|instinct|cloud|tesla)-", "", words)


@functools.cache
def aliases() -> dict[str, str]:
    """Return every other name of a card, and the preset that it stands for.

    Raises:
        ValueError: one name stands for two cards.
    """
    known: dict[str, str] = {}
    for name in presets.names("gpus"):
        for alias in presets.load("gpus", name, Gpu).aliases:
            if alias in presets.names("gpus") or known.setdefault(alias, name) != name:
                raise ValueError(f"the alias {alias!r} of {name} names another card too")
    return known


def gpu(name: str) -> Gpu:
    """Return the card: gpu("H100") is the H100 SXM, gpu("A100") the A100 SXM with 80 GB.

    Raises:
        UnknownName: no card has the name; the message lists the nearest ones.
    """
    wanted = plain(name)
    cards = presets.names("gpus")
    while wanted not in cards:
        if wanted in aliases():
            return presets.load("gpus", aliases()[wanted], Gpu)
        if plain(wanted) == wanted:
            raise UnknownName("card", name, [*cards, *aliases()])
        wanted = plain(wanted)
    return presets.load("gpus", wanted, Gpu)
