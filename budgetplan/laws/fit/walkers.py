"""Walkers: draws from a density that is known up to a factor, by walkers that follow one another.

Half of the walkers move along lines through the other half, and then the other way round, which
needs no scale and no slope: the stretch move of Goodman and Weare 2010 (Communications in Applied
Mathematics and Computational Science 5(1)), mixed with the difference move of ter Braak 2006
(Statistics and Computing 16(3)).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
STRETCH = 2.0  # a step is at most this many times as long, or as short, as the way to the other
LONG = 0.1  # share of difference moves that step as far as two walkers lie apart
JITTER = 1e-5  # keeps walkers off a common plane


def walk(
    log_density: Callable[[Floats], Floats],
    start: Floats,
    *,
    settle: int,
    keep: int,
    thin: int = 10,
    seed: int = 0,
) -> Floats:
    """Return points that are distributed as the density, shape (walkers x keep / thin, dimensions).

    Args:
        log_density: of points of shape (walkers, dimensions), shape (walkers,); minus infinity
            where a point is impossible.
        start: where the walkers begin, an even number of them, shape (walkers, dimensions).
        settle: rounds that are walked first and forgotten.
        keep: rounds that are walked after.
        thin: of how many rounds one is kept.
        seed: of the moves.
    """
    random = np.random.default_rng(seed)
    points, density = start.copy(), log_density(start)
    half = len(start) // 2
    kept = []
    for step in range(settle + keep):
        order = random.permutation(2 * half)
        for mine, others in ((order[:half], order[half:]), (order[half:], order[:half])):
            propose = _stretched if random.random() < 0.5 else _differed
            new, bonus = propose(points[mine], points[others], random)
            found = log_density(new)
            taken = np.log(random.random(half)) < found - density[mine] + bonus
            points[mine[taken]], density[mine[taken]] = new[taken], found[taken]
        if step >= settle and step % thin == 0:
            kept.append(points.copy())
    return np.concatenate(kept)


def _stretched(
    mine: Floats, others: Floats, random: np.random.Generator
) -> tuple[Floats, Floats | float]:
    """Return each walker moved on the line to another one, and what that adds to its chance."""
    low, high = STRETCH**-0.5, STRETCH**0.5
    stretch = (low + (high - low) * random.random(len(mine))) ** 2
    toward = others[random.integers(len(others), size=len(mine))]
    bonus = (mine.shape[1] - 1) * np.log(stretch)
    return toward + stretch[:, None] * (mine - toward), bonus


def _differed(
    mine: Floats, others: Floats, random: np.random.Generator
) -> tuple[Floats, Floats | float]:
    """Return each walker moved by the difference of two others, as likely as the way back."""
    first, second = random.integers(len(others), size=(2, len(mine)))
    dimensions = mine.shape[1]
    step = 1.0 if random.random() < LONG else 2.38 / np.sqrt(2 * dimensions)
    jitter = JITTER * random.standard_normal(mine.shape)
    return mine + step * (others[first] - others[second]) + jitter, 0.0
