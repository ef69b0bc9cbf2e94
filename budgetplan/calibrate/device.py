"""Device: the machine that runs are made on, as far as a plan has to know it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from budgetplan.calibrate.environment import surroundings
from budgetplan.calibrate.kinds.kind import Device
from budgetplan.core.cards import gpu
from budgetplan.core.errors import UnknownName
from budgetplan.core.plan import Plan

LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),  # of a container, version 2 of control groups
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),  # version 1
)


def here() -> Device:
    """Return the cards of this machine, or its processor."""
    return device_of(surroundings()) or Device(name="this machine", kind="cpu", memory=None)


def planned(plan: Plan) -> Device | None:
    """Return the plan's card, for runs that are made on other machines than this one."""
    run = plan.stage.run
    if run.gpu is None:
        return None
    card = gpu(run.gpu)
    return Device(name=card.title, kind="cuda", memory=card.memory, gpu=card)


def device_of(environment: Mapping[str, Any]) -> Device | None:
    """Return the device in the surroundings that a run wrote down, None where they lack it."""
    cards = environment.get("cards") or []
    if cards:
        first = cards[0]
        mebibytes = first.get("memory.total", "").partition(" ")[0]
        try:
            known = gpu(first["name"])
        except UnknownName:
            known = None
        memory = float(mebibytes) * 2**20 if mebibytes.isdigit() else None
        return Device(name=first["name"], kind="cuda", memory=memory, gpu=known, count=len(cards))
    name = environment.get("processor") or environment.get("host")
    return Device(name=str(name), kind="cpu", memory=host_memory()) if name else None


def host_memory() -> float | None:
    """Return the memory of this machine, or of the container that this process is in [bytes]."""
    try:
        whole = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):
        return None
    limits = [whole]
    for path in LIMITS:
        with contextlib.suppress(OSError, ValueError):  # absent, or the word max
            limits.append(float(path.read_text(encoding="ascii")))
    return min(limits)
