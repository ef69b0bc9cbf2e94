"""Shapes: from a continuous size to an architecture that one can train.

A ladder has rungs (real architectures) and, between them, a curve: how every count of parameters
and the FLOPs of a token grow with size. Laws are solved on the curve, plans end on a rung.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from budgetplan.core.architecture import Architecture
from budgetplan.core.counting import COUNTINGS, Counting
from budgetplan.core.errors import Infeasible
from budgetplan.core.units import show
from budgetplan.flops.closed_form import flops_per_step
from budgetplan.plan.family import Family

Floats = NDArray[np.float64]

MAX_WIDTH = 2**19  # widest model of a family; a budget that wants more is refused, not clipped
POINTS_PER_OCTAVE = 8  # widths of the curve; between them counts are interpolated in log-log
DEPTH_RANGE = 1.6  # depth may leave the family's own by so much, to meet a size closely


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One architecture with its counts and its exact FLOPs."""

    architecture: Architecture
    params: dict[Counting, int]  # of experts those that a token visits
    sequence_flops: int  # forward and backward of one sequence, attention over all pairs [FLOPs]
    useful_flops: int  # the same, only over the pairs that the causal mask lets through
    depth_ratio: float = 1.0  # layers / the layers of the family at this width

    @property
    def stored(self) -> int:
        """Every parameter, of experts all."""
        return self.architecture.params().total

    @property
    def flops_per_token(self) -> float:
        """Exact model FLOPs of a token [FLOPs/token], attention over all pairs."""
        return self.sequence_flops / self.architecture.seq_len


def rung(architecture: Architecture, *, depth_ratio: float = 1.0) -> Rung:
    """Return the architecture with all that a solver asks of it."""
    params = architecture.params()
    return Rung(
        architecture=architecture,
        params={counting: params.counted(counting) for counting in COUNTINGS},
        sequence_flops=flops_per_step(architecture),
        useful_flops=flops_per_step(architecture, useful=True),
        depth_ratio=depth_ratio,
    )


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Counts along the ladder as functions of size; each array has shape (grid,), logarithms.

    The grid is even in the log of FLOPs per token, which rises strictly along it.
    """

    log_flops: Floats  # FLOPs of one token
    log_params: dict[Counting, Floats]

    def at(
        self, value: Any, counting: Counting | None = None, *, known: Counting | None = None
    ) -> Any:
        """Return params of a counting (or FLOPs per token, None) where another one is `value`.

        Beyond the ends the last slope is kept, in logarithms: sizes that no shape has, for
        intervals that reach there.
        """
        source = self.log_flops if known is None else self.log_params[known]
        target = self.log_flops if counting is None else self.log_params[counting]
        log_value = np.log(value)
        found = np.interp(log_value, source, target)
        for end, next_to_it in ((0, 1), (-1, -2)):
            past = log_value - source[end]
            slope = (target[end] - target[next_to_it]) / (source[end] - source[next_to_it])
            found = found + slope * (np.minimum(past, 0) if end == 0 else np.maximum(past, 0))
        return np.exp(found)


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """A family, or the user's own shapes, ready to be solved on."""

    name: str
    title: str
    curve: Curve
    family: Family | None = None
    rungs: tuple[Rung, ...] = ()  # of a ladder without a family: all that there are
    multiple_of: int = 1  # widths are multiples of it, at least

    @property
    def seq_len(self) -> int:
        """Length of a training sequence [tokens]."""
        return self.family.seq_len if self.family else self.rungs[0].architecture.seq_len

    @property
    def vocab(self) -> int:
        """Size of the vocabulary."""
        return self.family.vocab if self.family else self.rungs[0].architecture.vocab

    def near(self, flops_per_token: float) -> list[Rung]:
        """Return the trainable shapes around a size given by its FLOPs per token.

        Raises:
            Infeasible: no width near it has a whole number of heads.
        """
        if self.family is None:
            return list(self.rungs)
        for reach in (1.3, 2.0, 4.0):  # shapes are coarse at the small end
            low, high = flops_per_token / reach, flops_per_token * reach
            found = [each for each in self._shapes(low, high) if low < each.flops_per_token < high]
            if found:
                return found
        raise Infeasible(
            f"{self.name} has no shape of about {show(flops_per_token)} FLOPs per token whose "
            "heads come out whole",
            "Give another --head-dim, --kv-heads or --multiple-of.",
        )

    def _shapes(self, low: float, high: float) -> Iterator[Rung]:
        family = self.family
        assert family is not None
        centre = float(self.curve.at(math.sqrt(low * high), "kaplan"))
        for width in _widths(math.lcm(family.multiple, self.multiple_of)):
            depth = family.depth(width)
            if not 0.2 < 12 * width**2 * depth / centre < 5:  # 12 w^2 d: a rough size will do
                continue
            heads = family.heads_of(width)
            first = max(1, math.ceil(depth / DEPTH_RANGE))
            last = max(1, math.floor(depth * DEPTH_RANGE))
            if not heads or last < first:
                continue
            for layers in range(first, last + 1):
                shape = family.shape(width=width, layers=layers, heads=heads)
                yield rung(shape, depth_ratio=layers / depth)


def _widths(multiple: int) -> Iterator[int]:
    """Yield widths from small to large, multiples of `multiple` that split well over cards.

    Eight an octave below 2,048 and four from there: 2560, 3072, 3584, 4096, 5120; depth does the
    rest.
    """
    width = multiple
    while width <= MAX_WIDTH:
        yield width
        octave = math.floor(math.log2(width))
        wide = 2 ** max(0, octave - (3 if width < 2048 else 2))
        step = multiple * 2 ** max(0, (wide // multiple).bit_length() - 1)
        width = (width // step + 1) * step


def ladder_of(family: Family, *, multiple_of: int = 1) -> Ladder:
    """Return the ladder of a family; its curve has real-valued depth and unrounded feed-forward.

    At one width every count is linear in depth, so the values at a depth that is not whole are
    exact; between widths they are interpolated in log-log.
    """
    octaves = math.log2(MAX_WIDTH / 64)
    count = round(octaves * POINTS_PER_OCTAVE) + 1
    widths = sorted({8 * round(8 * 2 ** (i / POINTS_PER_OCTAVE)) for i in range(count)})
    points = [_between(family, width) for width in widths]
    return Ladder(
        name=family.name,
        title=family.title,
        curve=curve_through(points),
        family=family,
        multiple_of=multiple_of,
    )


def _between(family: Family, width: int) -> tuple[float, dict[Counting, float]]:
    """Return FLOPs per token and counts at a width and the family's real-valued depth."""
    depth = max(1.0, family.depth(width))
    low = math.floor(depth)
    share = depth - low
    below, above = (
        rung(family.shape(width=width, layers=layers, heads=1, smooth=True))
        for layers in (low, low + 1)
    )
    if family.kv_heads:  # the share of kv heads that the rungs of this width have
        below, above = (_with_kv(family, each) for each in (below, above))
    flops = (1 - share) * below.flops_per_token + share * above.flops_per_token
    params = {
        name: (1 - share) * below.params[name] + share * above.params[name] for name in COUNTINGS
    }
    return flops, params


def _with_kv(family: Family, each: Rung) -> Rung:
    """Return the rung with keys and values of the width that the family has, not whole heads."""
    size = (
        family.small_head_dim if each.architecture.width < family.small_below else family.head_dim
    )
    assert family.kv_heads is not None
    ratio = min(1.0, family.kv_heads * size / each.architecture.width)
    full = each.architecture
    wide = 2 * full.layers * full.width * full.kv_heads * full.head_dim
    missing = round(wide * (ratio - 1))
    return replace(
        each,
        params={name: count + missing for name, count in each.params.items()},
        sequence_flops=each.sequence_flops + 6 * full.seq_len * missing,
        useful_flops=each.useful_flops + 6 * full.seq_len * missing,
    )


def curve_through(points: list[tuple[float, dict[Counting, float]]]) -> Curve:
    """Return the curve through points of FLOPs per token and counts, smallest first."""
    nodes = np.log([flops for flops, _ in points])
    grid = np.linspace(nodes[0], nodes[-1], max(400, 4 * len(points)))
    log_params = {
        name: np.interp(grid, nodes, np.log([params[name] for _, params in points]))
        for name in COUNTINGS
    }
    return Curve(log_flops=grid, log_params=log_params)
