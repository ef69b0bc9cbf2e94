"""Collect: finished runs as a table of measurements, every count of parameters beside the next."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from budgetplan.calibrate.allowance import flops_per_sequence
from budgetplan.calibrate.kinds.kind import KindName, Outcome
from budgetplan.calibrate.run_folder import OtherSpec, RunFolder
from budgetplan.calibrate.spec import RunSpec
from budgetplan.calibrate.store import Store
from budgetplan.core.counting import COUNTINGS, Counting
from budgetplan.core.errors import BadValue
from budgetplan.laws.fit.measurements import Measurements, complete

NUMBERS = (
    "params_with_head", "params_total", "params_non_embedding", "params_kaplan",
    "params_with_attention", "tokens", "loss", "learning_rate", "batch_tokens", "seq_len",
    "adam_beta2", "weight_decay", "warmup_tokens", "width", "layers", "vocab",
)  # fmt: skip
"""Columns that `fit` knows by name. Exact FLOPs stand under a name that it does not take for 6 N D,
since they count attention and the head."""

HEADER = ("name", "run", *NUMBERS, "model_flops", "step", "schedule", "seed", "experiment",
          "dataset", "state")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measured loss: a run up to one of its milestones."""

    spec: RunSpec
    step: int
    tokens: int
    loss: float
    flops: float  # exact model FLOPs of training up to here
    state: str

    def numbers(self) -> dict[str, float]:
        """Return what `fit` reads, by the names of its columns."""
        spec, shape = self.spec, self.spec.architecture
        params = shape.params(seq_len=spec.seq_len)
        found: dict[str, float] = {
            f"params_{name}": float(params.counted(name, active=False))
            for name in COUNTINGS
            if f"params_{name}" in NUMBERS
        }
        found |= {name: float(getattr(spec, name)) for name in NUMBERS if hasattr(spec, name)}
        found |= {name: float(getattr(shape, name)) for name in ("width", "layers", "vocab")}
        return found | {"tokens": float(self.tokens), "loss": self.loss}


def outcomes(
    store: Store, *, kind: KindName | None = None, tell: Callable[[str], None] | None = None
) -> list[Outcome]:
    """Return every run of the store that ended, smallest first.

    Args:
        store: of the runs.
        kind: of those wanted; None: all.
        tell: told of each run that another version of budgetplan planned, which is left out.

    Raises:
        OtherSpec: there is such a run, and nobody to tell.
    """
    found = []
    for run in store.runs():
        result = run.result
        if result is None:
            continue
        try:
            spec = run.spec
        except OtherSpec as other:
            if tell is None:
                raise
            tell(f"{other.problem}: left out")
            continue
        if kind in (None, spec.kind):
            where = surroundings(run) if spec.kind == "throughput" else {}
            found.append(Outcome(spec=spec, result=result, surroundings=where))
    return sorted(found, key=lambda each: (each.spec.tokens, each.id))


def surroundings(run: RunFolder) -> dict[str, Any]:
    """Return what the run wrote down of its machine; nothing where that is lost."""
    try:
        found = json.loads((run.path / "environment.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def rows(outcomes: Iterable[Outcome]) -> Iterator[Row]:
    """Yield the held-out losses of every run that ended well, each milestone by itself.

    A run whose learning rate decays has one measurement: before its end it is not a smaller run.
    """
    for outcome in outcomes:
        if not outcome.finished:
            continue
        spec = outcome.spec
        last = spec.steps
        for step, tokens, loss in outcome.result.evaluations:
            if spec.schedule != "constant" and step != last:
                continue
            if tokens <= spec.warmup_tokens:
                continue
            yield Row(spec=spec, step=step, tokens=tokens, loss=loss,
                      flops=step * spec.batch_sequences * flops_per_sequence(spec),
                      state=outcome.result.status)  # fmt: skip


def measurements(outcomes: Sequence[Outcome], *, counting: Counting) -> Measurements:
    """Return the losses of all runs, N counted by one convention, ready for `fit`.

    Raises:
        BadValue: no run has a loss, or the convention is not one that runs are counted by.
    """
    found = list(rows(outcomes))
    if not found:
        raise BadValue("no finished run has a held-out loss", "See budgetplan calibrate status.")
    table = [row.numbers() for row in found]
    values = {name: np.array([row[name] for row in table]) for name in table[0]}
    if f"params_{counting}" not in values:
        raise BadValue(f"runs are not counted as {counting}", "Count with_head or total.")
    return complete(
        Measurements(
            values=values,
            rows=tuple(range(2, len(found) + 2)),
            counting=counting,
            columns={name: name for name in values},
            experiments=tuple(row.spec.kind for row in found),
            names=tuple(f"{row.spec.id}@{row.step}" for row in found),
        )
    )


def of_kind(outcomes: Sequence[Outcome], kinds: Sequence[str] = ()) -> list[Outcome]:
    """Return the runs of these kinds; by default all whose loss says something of a law.

    Twenty steps that measure the speed have a loss, but it is no law's.
    """
    wanted = kinds or ("isoflop", "hyperparameters")
    return [each for each in outcomes if each.spec.kind in wanted]


def as_csv(outcomes: Iterable[Outcome], *, counting: str = "with_head") -> str:
    """Return the losses of all runs as a CSV that `fit` and `recount` read.

    Args:
        outcomes: runs that have ended.
        counting: of N, whose column comes first: the one that `fit` takes if it is told nothing.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    first = f"params_{counting}"
    names = (first, *(name for name in NUMBERS if name != first)) if first in NUMBERS else NUMBERS
    writer.writerow([*HEADER[:2], *names, *HEADER[2 + len(NUMBERS) :]])
    for row in rows(outcomes):
        spec, numbers = row.spec, row.numbers()
        data = " ".join(spec.data.paths) or "python standard library"
        writer.writerow([
            f"{spec.id}@{row.step}", spec.id, *(f"{numbers[name]:.10g}" for name in names),
            f"{row.flops:.10g}", row.step, spec.schedule, spec.seed, spec.kind, data, row.state,
        ])  # fmt: skip
    return file.getvalue()
