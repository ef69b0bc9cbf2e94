"""Diagnostics: what a set of runs can and cannot tell, before anybody believes a coefficient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from budgetplan.core.errors import BadValue
from budgetplan.core.units import show
from budgetplan.laws.chinchilla import Chinchilla
from budgetplan.laws.fit.parametric import Runs

Floats = NDArray[np.float64]
NARROW = 2.0  # tokens per parameter within this factor: size and data cannot be told apart
SAME = 1.25  # sizes, or corpora, within this factor are one: nothing is seen of how they act
ILL = 300.0  # condition number beyond which single coefficients mean little
FEW = 10  # runs below which a fit is refused
ONE_BUDGET = 1.5  # budgets within this factor say nothing of how things change with compute


@dataclass(frozen=True, kw_only=True)
class Design:
    """How the runs lie in size, data and compute."""

    runs: int
    params: tuple[float, float]
    tokens: tuple[float, float]
    flops: tuple[float, float]  # 6 N D
    tokens_per_param: tuple[float, float]
    condition: (
        float  # of the Chinchilla surface's coefficients on these runs, columns of length one
    )
    warnings: tuple[str, ...]

    @property
    def identifies_allocation(self) -> bool:
        """Whether the runs can say how to split a budget into size and data."""
        return not _unseen(self.params, self.tokens, self.tokens_per_param)


def design(runs: Runs, law: Chinchilla) -> Design:
    """Return how the runs lie, with a warning for each thing that they cannot tell.

    Args:
        runs: the runs.
        law: a surface fitted to them, coefficients of shape (1, 1).

    Raises:
        BadValue: too few runs, or all of one budget.
    """
    ratio, flops = runs.tokens / runs.params, 6 * runs.params * runs.tokens
    if len(runs.losses) < FEW:
        raise BadValue(
            f"{len(runs.losses)} runs are too few for a law", f"Give {FEW} or more; 20 are modest."
        )
    if flops.max() / flops.min() < ONE_BUDGET:
        raise BadValue(
            f"all runs spend one budget, {flops.min():.3g} to {flops.max():.3g} FLOP",
            "A law in compute needs budgets that span a factor of ten or more.",
        )
    number = condition(runs, law)
    unseen = _unseen(_span(runs.params), _span(runs.tokens), _span(ratio))
    return Design(
        runs=len(runs.losses),
        params=_span(runs.params),
        tokens=_span(runs.tokens),
        flops=_span(flops),
        tokens_per_param=_span(ratio),
        condition=number,
        warnings=tuple(_warnings(unseen, flops, number)),
    )


def _span(values: Floats) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def _unseen(
    params: tuple[float, float], tokens: tuple[float, float], ratio: tuple[float, float]
) -> str:
    """Return why no split of a budget follows from the runs; empty where one does."""
    for (low, high), noun, act in (
        (params, "parameters", "what size does"), (tokens, "tokens", "what more data do"),
    ):  # fmt: skip
        if high / low <= SAME:
            span = show(low) if show(low) == show(high) else f"{show(low)} to {show(high)}"
            return (
                f"all runs have {span} {noun}: {act} cannot be told, so no split of a budget"
                " follows from them"
            )
    if ratio[1] / ratio[0] <= NARROW:
        return (
            f"all runs have {ratio[0]:.3g} to {ratio[1]:.3g} tokens per parameter: size and"
            " data cannot be told apart, so no split of a budget follows from them"
        )
    return ""


def _warnings(unseen: str, flops: Floats, number: float) -> list[str]:
    found = []
    if unseen:
        found.append(unseen)
    elif number > ILL:
        found.append(
            f"condition number {shown(number)}: the coefficients trade off against each other, so"
            " read predictions, not coefficients"
        )
    if flops.max() / flops.min() < 10:
        found.append(
            f"budgets span a factor {flops.max() / flops.min():.3g}: too little to see a law bend"
        )
    return found


def shown(number: float) -> str:
    """Return a condition number in words of a sensible length."""
    return f"{number:,.0f}" if number < 1e9 else f"{number:.0e}"


def condition(runs: Runs, law: Chinchilla) -> float:
    """Return the condition number of the coefficients: columns of log-loss slopes, length one.

    At most what double precision tells from a coefficient that the runs do not see at all.
    """
    log_n, log_d = np.log(runs.params), np.log(runs.tokens)
    by_size = (law.A / runs.params**law.alpha)[0]
    by_data = (law.B / runs.tokens**law.beta)[0]
    loss = law.E.item() + by_size + by_data
    slopes = np.column_stack(
        [np.full_like(loss, law.E.item()), by_size, by_data, -by_size * log_n, -by_data * log_d]
    ) / loss[:, None]  # fmt: skip
    lengths = np.linalg.norm(slopes, axis=0)
    values = np.linalg.svd(slopes / np.where(lengths > 0, lengths, 1.0), compute_uv=False)
    return float(values[0] / max(values[-1], values[0] * np.finfo(float).eps))
