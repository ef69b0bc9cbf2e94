"""Threads: how many of the CPU compute a run. Sums depend on it, bit by bit.

A sum that two threads share is rounded otherwise than one thread's, and training carries the
difference from the last bit up to a hundredth of the loss. So the number follows from the run and
the machine alone, never from how many runs are made beside it, and a run that goes on keeps its
own, wherever it goes on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from budgetplan.calibrate.world import World

WORTH = 2e9  # FLOPs of a pass for each thread; with less, threads wait more than they help


def threads_for(world: World, *, pass_flops: float) -> int:
    """Return how many threads pay for a pass of so many FLOPs, of those that torch was given.

    On a card, which computes itself, all that torch was given.
    """
    given = torch.get_num_threads()
    if world.device.type != "cpu":
        return given
    return max(1, min(given, int(pass_flops / WORTH)))


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Within this, torch computes with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
