"""IsoFLOP: the optimum of each compute budget, and the power law through these optima.

The estimator of Porian et al. 2024, arXiv:2406.19146, as their code release has it (analysis.py at
0dc60d9): Akima interpolation of log loss over log size, a bootstrap over the noise of the loss that
drops replicates whose optimum lies on the edge, the median of the rest as the observation, a
regression weighted by 1 / sigma^2, and percentile intervals over refits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from budgetplan.core.errors import BadValue
from budgetplan.core.estimate import Estimate

Floats = NDArray[np.float64]
Noise = Callable[[Floats], Floats]
"""Standard deviation of a loss [nats/token], as a function of that loss."""

POINTS_PER_GAP = 25  # grid points between two neighbouring sizes
FLOOR = 0.33  # sigma of log N* is at least this share of the mean spacing of the sizes
ENOUGH = 0.5  # a budget needs this share of its replicates off the edge
REPLICATES = 1000


def constant_noise(sigma: float) -> Noise:
    """Return noise of one size at every loss: what the authors' code does in effect.

    Their code compares the logarithm of the loss with thresholds meant for the loss itself, so
    that the noise never leaves its lower end: 0.002 on RefinedWeb, 0.01 on OpenWebText2.
    """
    return lambda loss: np.full_like(loss, sigma)


def rising_noise(low: float, high: float, *, loss_low: float, loss_high: float) -> Noise:
    """Return noise that rises with the loss as a power law between two ends: what they describe."""

    def sigma(loss: Floats) -> Floats:
        return np.exp(np.interp(np.log(loss), np.log([loss_low, loss_high]), np.log([low, high])))

    return sigma


def noise_of(budgets: Iterable[tuple[Floats, Floats]], *, near: float = 0.1) -> Noise | None:
    """Return noise in proportion to the loss, from how runs scatter about a curve of their budget.

    The curve is a cubic of log loss in log size through the runs within `near` of the best log
    loss, of budgets that have six or more sizes; None where none has. A budget's scatter counts
    by the runs that its curve leaves free, of which too few make the noise too small by luck.

    Args:
        budgets: sizes and losses of each.
        near: excess log loss beyond which runs say little of the valley.
    """
    squares, free = 0.0, 0
    for sizes, losses in budgets:
        log_loss = np.log(losses)
        close = log_loss < log_loss.min() + near
        if np.unique(sizes[close]).size < 6:
            continue
        x = np.log(sizes[close])
        x = (x - x.mean()) / x.std()
        residuals = log_loss[close] - np.polyval(np.polyfit(x, log_loss[close], 3), x)
        squares += float((residuals**2).sum())
        free += int(close.sum()) - 4
    if not free:
        return None
    share = float(np.sqrt(squares / free))
    return lambda loss: share * loss


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """The optimum of one budget: where log loss over log size is lowest."""

    flops: float
    best: float  # noiseless optimum [parameters or tokens]
    loss: float  # loss at it [nats/token]
    on_edge: bool  # the noiseless optimum is the smallest or the largest size tried
    replicates: Floats = field(repr=False)  # optima off the edge under noise, in order drawn
    losses: Floats = field(repr=False)  # loss at each replicate
    sigma: float  # standard deviation of the log optimum, floored and inflated

    @property
    def median(self) -> float:
        """The observation that the power law is fitted to."""
        return float(np.median(self.replicates))


@dataclass(frozen=True, kw_only=True)
class PowerFit:
    """A power law, coefficient * x^exponent, with one refit per draw."""

    coefficient: float
    exponent: float
    coefficients: Floats = field(repr=False)  # shape (draws,)
    exponents: Floats = field(repr=False)  # shape (draws,)
    used: int  # budgets that entered

    def at(self, x: float) -> Estimate:
        """Return the law at x, with the refits as draws."""
        draws = self.coefficients * x**self.exponents
        return Estimate(float(self.coefficient * x**self.exponent), draws)


def optimum(
    flops: float,
    sizes: Floats,
    *,
    losses: Floats,
    noise: Noise,
    random: np.random.RandomState,
    replicates: int = REPLICATES,
) -> Optimum | None:
    """Return the optimum of one budget, or None where fewer than half the replicates have one.

    Args:
        flops: the budget [FLOPs].
        sizes: models tried at this budget [parameters or tokens], ascending, shape (models,).
        losses: their losses [nats/token], shape (models,).
        noise: standard deviation of a loss.
        random: source of the noise; the authors' is numpy's legacy generator, seeded 42.
        replicates: how often noise is drawn.

    Raises:
        BadValue: fewer than three sizes.
    """
    if len(sizes) < 3:
        raise BadValue(f"budget {flops:.3g} FLOP has {len(sizes)} sizes", "Three are needed.")
    grid = np.geomspace(sizes[0], sizes[-1], (len(sizes) - 1) * POINTS_PER_GAP)
    curve = _akima(sizes, losses, grid)
    lowest = int(np.argmin(curve))
    sigma = noise(losses)
    noisy = losses + random.normal(size=(replicates, len(losses))) * sigma
    curves = _akima(sizes, noisy.T, grid)
    places = np.argmin(curves, axis=0)
    inside = (places > 0) & (places < len(grid) - 1)
    if inside.sum() < ENOUGH * replicates:
        return None
    found = grid[places[inside]]
    floor = FLOOR * POINTS_PER_GAP * np.log(grid[1] / grid[0])
    return Optimum(
        flops=flops,
        best=float(grid[lowest]),
        loss=float(curve[lowest]),
        on_edge=lowest in (0, len(grid) - 1),
        replicates=found,
        losses=curves[places, np.arange(replicates)][inside],
        sigma=float(max(np.std(np.log(found)), floor) * replicates / inside.sum()),
    )


def _akima(sizes: Floats, losses: Floats, grid: Floats) -> Floats:
    """Return losses interpolated in log-log on the grid, shape (grid,) or (grid, replicates)."""
    from scipy.interpolate import Akima1DInterpolator

    return np.asarray(np.exp(Akima1DInterpolator(np.log(sizes), np.log(losses))(np.log(grid))))


def power_law(
    optima: Sequence[Optimum], *, draws: int | None = None, weighted: bool = True
) -> PowerFit:
    """Return the power law through the medians of the optima, refitted once per replicate.

    Args:
        optima: one per budget; those whose noiseless optimum is on the edge must be left out.
        draws: how many refits; by default as many as the budget with the fewest replicates allows.
        weighted: weigh each budget by 1 / sigma^2.

    Raises:
        BadValue: fewer than two budgets.
    """
    if len(optima) < 2:
        raise BadValue(f"{len(optima)} budgets have an optimum", "A power law needs at least two.")
    flops = np.array([each.flops for each in optima])
    weights = np.array([each.sigma**-2.0 if weighted else 1.0 for each in optima])
    medians = np.array([[each.median] for each in optima])
    draws = draws or common(optima)
    refits = np.array([each.replicates[:draws] for each in optima])
    (coefficient,), (exponent,) = log_log_fit(flops, medians, weights=weights)
    coefficients, exponents = log_log_fit(flops, refits, weights=weights)
    return PowerFit(
        coefficient=float(coefficient),
        exponent=float(exponent),
        coefficients=coefficients,
        exponents=exponents,
        used=len(optima),
    )


def common(optima: Iterable[Optimum]) -> int:
    """Return how many replicates every budget has: the number of joint draws."""
    return min(len(each.replicates) for each in optima)


def log_log_fit(x: Floats, y: Floats, *, weights: Floats) -> tuple[Floats, Floats]:
    """Return coefficients and exponents of y = c x^e by weighted least squares on logarithms.

    Args:
        x: shape (points,). y: shape (points, fits). weights: shape (points,).
    """
    log_x, log_y = np.log(x), np.log(y)
    share = (weights / weights.sum())[:, None]
    mean_x, mean_y = (share[:, 0] * log_x).sum(), (share * log_y).sum(axis=0)
    away = (log_x - mean_x)[:, None]
    exponents = (share * away * (log_y - mean_y)).sum(axis=0) / (share * away**2).sum()
    return np.exp(mean_y - exponents * mean_x), exponents


@dataclass(frozen=True, kw_only=True)
class IsoFlopFit:
    """What the IsoFLOP points of one experiment say about size and data."""

    params: PowerFit  # N* against C
    tokens: PowerFit  # D* against C, estimated on its own
    params_optima: tuple[Optimum, ...]
    tokens_optima: tuple[Optimum, ...]
    left_out: dict[float, str]  # budgets without an estimate, and why


def fit(
    points: Iterable[tuple[float, float, float]],
    *,
    noise: Noise,
    seed: int = 42,
    random: np.random.RandomState | None = None,
    replicates: int = REPLICATES,
) -> IsoFlopFit:
    """Return the compute-optimal power laws of a set of IsoFLOP points.

    Args:
        points: (flops, params, loss) of each model at each budget; tokens follow as C / 6N. Where
            a budget has one size twice, the lower loss counts.
        noise: standard deviation of a loss.
        seed: of the noise, unless a generator is handed in.
        random: a generator in use, so that experiments may share one stream.
        replicates: how often noise is drawn.

    Raises:
        BadValue: fewer than two budgets have an optimum.
    """
    stream = random or np.random.RandomState(seed)
    found: dict[str, list[Optimum]] = {"params": [], "tokens": []}
    left_out: dict[float, str] = {}
    for flops, (ladder, losses) in sorted(_by_budget(points).items()):
        if len(ladder) < 3:
            left_out[flops] = f"{len(ladder)} sizes, three are needed"
            continue

        def search(sizes: Floats, losses: Floats, flops: float = flops) -> Optimum | None:
            return optimum(
                flops, sizes, losses=losses, noise=noise, random=stream, replicates=replicates
            )

        by_params = search(ladder, losses)
        by_tokens = search((flops / (6 * ladder))[::-1], losses[::-1])
        if by_params is None or by_tokens is None or by_params.on_edge:
            left_out[flops] = "the optimum is the smallest or the largest size tried"
            continue
        found["params"].append(by_params)
        found["tokens"].append(by_tokens)
    if not found["params"]:
        raise BadValue("no budget has an optimum between its smallest and largest size")
    draws = common(found["params"] + found["tokens"])
    return IsoFlopFit(
        params=power_law(found["params"], draws=draws),
        tokens=power_law(found["tokens"], draws=draws),
        params_optima=tuple(found["params"]),
        tokens_optima=tuple(found["tokens"]),
        left_out=left_out,
    )


def _by_budget(
    points: Iterable[tuple[float, float, float]],
) -> dict[float, tuple[Floats, Floats]]:
    """Return ascending sizes and their losses by budget; of one size twice, the lower loss."""
    budgets: dict[float, dict[float, float]] = {}
    for flops, params, loss in points:
        sizes = budgets.setdefault(flops, {})
        sizes[params] = min(loss, sizes.get(params, np.inf))
    return {
        flops: (np.array(sorted(sizes)), np.array([sizes[size] for size in sorted(sizes)]))
        for flops, sizes in budgets.items()
    }
