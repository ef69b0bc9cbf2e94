"""Measurements: training runs as columns in base units, completed, their faults named by row."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from budgetplan.core.counting import COUNTINGS, Counting
from budgetplan.core.errors import BadValue
from budgetplan.laws.fit.columns import COUNTED
from budgetplan.laws.fit.tables import NEEDED

Floats = NDArray[np.float64]
ENDED = {"crashed", "failed", "killed", "preempted", "preempting", "error", "oom", "diverged",
         "running", "cancelled", "canceled", "timeout"}  # fmt: skip
SMALLEST = 1e4  # parameters, and tokens: less is a column in millions or billions
DIVERGED = 1.02  # a loss above this many times the loss of guessing has learned nothing


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """Runs as columns, each of shape (runs,); what a table does not say is absent, never guessed.

    `values` are in base units by the names of `Run`'s fields, NaN where a cell is empty. `counting`
    is by which convention params was counted; None where neither the header nor the user said.
    """

    values: Mapping[str, Floats]
    rows: tuple[int, ...]  # line of each run in its file, from 1
    counting: Counting | None = None
    experiments: tuple[str, ...] = ()
    names: tuple[str, ...] = ()  # of each run, where the table has them
    states: tuple[str, ...] = ()  # how each run ended, as a tracker says
    columns: Mapping[str, str] = field(default_factory=dict)  # field: header it was read from
    unread: tuple[str, ...] = ()  # headers that mean nothing here
    dropped: tuple[str, ...] = ()  # rows left out, and why
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, name: str) -> Floats:
        if name not in self.values:
            raise BadValue(
                f"the runs have no column for {name}",
                f"They have {', '.join(sorted(self.values))}.",
            )
        return self.values[name]

    def __contains__(self, name: object) -> bool:
        return name in self.values

    def chosen(self, keep: NDArray[np.bool_]) -> Measurements:
        """Return the runs where `keep` is true."""
        return self.at(np.flatnonzero(keep))

    def at(self, places: NDArray[np.intp]) -> Measurements:
        """Return the runs at these places, in their order."""
        return replace(
            self,
            values={name: column[places] for name, column in self.values.items()},
            rows=tuple(self.rows[place] for place in places),
            experiments=_of(self.experiments, places),
            names=_of(self.names, places),
            states=_of(self.states, places),
        )


def _of(words: tuple[str, ...], places: NDArray[np.intp]) -> tuple[str, ...]:
    return tuple(words[place] for place in places) if words else ()


def complete(
    runs: Measurements,
    *,
    judge: Callable[[Measurements], Measurements] = lambda runs: runs,
    sweep: bool = False,
) -> Measurements:
    """Return the runs with one N, its tokens and flops filled in, and faulty rows named.

    Where params, tokens and flops are all given they must agree with C = 6 N D within a factor of
    two, or the convention of one of them is not what it seems.

    Args:
        runs: as read.
        judge: chooses among the runs once their sizes are known and before their faults are.
        sweep: whether the runs vary learning rate and batch, so that params and loss are enough.

    Raises:
        BadValue: not enough columns, or a fault that would change every result.
    """
    values = dict(runs.values)
    if "params" not in values:
        by_convention = {COUNTED[name]: name for name in values if name in COUNTED}
        if runs.counting in by_convention:
            values["params"] = values[by_convention[runs.counting]]
    if "loss" not in values and "train_loss" in values:
        values["loss"] = values["train_loss"]
    if "batch_tokens" not in values and {"batch_sequences", "seq_len"} <= set(values):
        values["batch_tokens"] = values["batch_sequences"] * values["seq_len"]
    if "tokens" not in values and {"steps", "batch_tokens"} <= set(values):
        values["tokens"] = values["steps"] * values["batch_tokens"]
    if sweep and {"loss", "params"} <= set(values):
        for name in ("tokens", "flops"):
            values.setdefault(name, np.full(len(runs), np.nan))
        return _judged(replace(runs, values=values), all_given=False, sizes=("params",))
    have = {"params", "tokens", "flops"} & set(values)
    if "loss" not in values or len(have) < 2:
        raise BadValue(
            f"the runs need {NEEDED}; found {', '.join(sorted(runs.columns)) or 'none of them'}",
            f"Headers not understood: {', '.join(runs.unread) or 'none'}."
            " Name one with --column loss=HEADER.",
        )
    if "flops" not in values:
        values["flops"] = 6 * values["params"] * values["tokens"]
    if "tokens" not in values:
        values["tokens"] = values["flops"] / 6 / values["params"]
    if "params" not in values:
        values["params"] = values["flops"] / 6 / values["tokens"]
    if "unique_tokens" not in values and "epochs" in values:
        values["unique_tokens"] = values["tokens"] / np.maximum(values["epochs"], 1)
    return _judged(judge(replace(runs, values=values)), all_given=len(have) == 3)


def _judged(
    runs: Measurements, *, all_given: bool, sizes: tuple[str, ...] = ("params", "tokens", "flops")
) -> Measurements:
    """Return the runs without the rows that cannot be used; refuse what taints them all."""
    given = {"params"} if set(COUNTED) & set(runs.columns) else set()
    given |= set(runs.columns)
    for name in sorted(("flops", "params", "tokens"), key=lambda name: name not in given):
        negative = np.flatnonzero(runs[name] <= 0)
        if negative.size:
            hint = "An integer product overflowed? " if name == "flops" else ""
            raise BadValue(
                f"line {runs.rows[negative[0]]}: {name} is {runs[name][negative[0]]:.4g}",
                f"{hint}Sizes must be positive.",
            )
    small = np.flatnonzero(runs["params"] < SMALLEST)
    if small.size:
        raise BadValue(
            f"line {runs.rows[small[0]]}: params is {runs['params'][small[0]]:g}, below any model",
            "If the column counts millions, name it 'params (M)'.",
        )
    low = np.flatnonzero(runs["tokens"] < SMALLEST)
    if low.size:
        raise BadValue(
            f"line {runs.rows[low[0]]}: tokens is {runs['tokens'][low[0]]:g}, below any run",
            "If the column counts billions, name it 'tokens (B)'.",
        )
    warnings = list(runs.warnings)
    if all_given:
        _agree(runs, warnings)
    if runs.counting is None:
        warnings.append(
            f"params counts an unknown convention; say --counting {'|'.join(COUNTINGS)}"
        )
    keep, dropped = _usable(runs, needed=sizes)
    return replace(runs.chosen(keep), dropped=tuple(dropped), warnings=tuple(warnings))


def _agree(runs: Measurements, warnings: list[str]) -> None:
    ratio = runs["flops"] / (6 * runs["params"] * runs["tokens"])
    known = ratio[np.isfinite(ratio)]
    off = np.flatnonzero((ratio < 0.5) | (ratio > 2))
    if off.size > len(known) / 2:
        raise BadValue(
            f"line {runs.rows[off[0]]}: flops is {ratio[off[0]]:.3g} times 6 x params x tokens",
            "One of the three is in another unit or convention; leave one out with --drop-column.",
        )
    if off.size:
        lines = ", ".join(str(runs.rows[place]) for place in off[:5])
        warnings.append(f"flops disagrees with 6 N D by more than two on lines {lines}")
    spread = known.max() / known.min() if known.size else 1
    if spread > 1.1 and not off.size:
        warnings.append(
            f"flops is {known.min():.3g} to {known.max():.3g} times 6 N D: counted differently"
        )


def _usable(runs: Measurements, *, needed: tuple[str, ...]) -> tuple[NDArray[np.bool_], list[str]]:
    loss = runs["loss"]
    keep = np.ones(len(runs), dtype=bool)
    dropped = []
    guess = math.log(float(np.nanmax(runs["vocab"]))) if "vocab" in runs else math.log(300_000)
    seen: dict[tuple[float, ...], int] = {}
    optional = [name for name in ("unique_tokens", "learning_rate", "batch_tokens",
                                  "batch_sequences", "adam_beta2", "weight_decay",
                                  "warmup_tokens") if name in runs]  # fmt: skip
    for place, line in enumerate(runs.rows):
        sizes = [float(runs[name][place]) for name in needed]
        key = (*sizes, *(float(runs[name][place]) for name in optional), float(loss[place]))
        key = (*key, hash(runs.experiments[place]))
        reason = ""
        if runs.states and runs.states[place].lower() in ENDED:
            reason = f"run {runs.names[place] or 'without a name'}" if runs.names else "its run"
            reason += f" is marked {runs.states[place].lower()}"
        elif not all(math.isfinite(size) for size in sizes):
            reason = "a size is missing"
        elif not math.isfinite(loss[place]):
            reason = f"loss is {loss[place]}"
        elif loss[place] <= 0:
            reason = f"loss is {loss[place]:g}, not positive"
        elif loss[place] > DIVERGED * guess:
            reason = f"loss {loss[place]:.3g} is that of guessing: diverged"
        elif key in seen:
            reason = f"the same run as line {seen[key]}"
        seen.setdefault(key, line)
        if reason:
            keep[place] = False
            dropped.append(f"line {line}: {reason}")
    if not keep.any():
        raise BadValue(f"no run can be used: {dropped[0]}", f"{len(dropped)} rows are at fault.")
    return keep, dropped
