"""Law: a functional form with coefficients, the convention they were counted in, and a source.

A form is a formula over arrays, most of one of two kinds. A `Surface` gives the loss of any size
and corpus; a `Frontier` gives the best size for a compute budget. Others answer questions of their
own, as `purpose` says. Coefficients have shape (draws, 1), so that a formula written for numbers
broadcasts over equally likely laws.
"""

from __future__ import annotations

import csv
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from budgetplan.core import presets
from budgetplan.core.counting import Counting
from budgetplan.core.errors import BadPreset, BadValue
from budgetplan.core.registry import Registry
from budgetplan.core.source import Evidence, Source

Floats = NDArray[np.float64]
Purpose = Literal["allocation", "loss", "downstream", "experts", "vocabulary", "precision"]
"""What a law answers: how to split a budget, the loss of a run, the error on tasks from a loss,
what experts are worth, how large a vocabulary should be, what few bits cost."""

forms: Registry[type[Any]] = Registry("law form", package="budgetplan.laws")


@runtime_checkable
class Surface(Protocol):
    """A form that gives the loss of any size and corpus."""

    def loss(self, *, params: Floats, tokens: Floats) -> Floats:
        """Return the loss [nats/token], shape (draws, grid)."""
        ...


@runtime_checkable
class Frontier(Protocol):
    """A form that gives the compute-optimal size of a budget, C = 6 N D in its own convention."""

    def optimal_params(self, *, flops: Floats) -> Floats:
        """Return the optimal N [parameters], shape (draws, grid)."""
        ...


@runtime_checkable
class Envelope(Protocol):
    """A form that gives the loss of the best run of a budget."""

    def optimal_loss(self, *, flops: Floats) -> Floats | None:
        """Return the loss [nats/token], shape (draws, grid); None where none was published."""
        ...


class OptimalSurface(Surface, Frontier, Protocol):
    """A surface whose compute-optimal size under C = 6 N D has a closed form."""


class Tested(BaseModel):
    """The range in which a law or rule was fitted or tested; None where it was not stated."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    params: tuple[float, float] | None = None  # in the law's own convention
    tokens: tuple[float, float] | None = None
    flops: tuple[float, float] | None = None
    tokens_per_param: tuple[float, float] | None = None

    def leaves(self, **values: float) -> dict[str, float]:
        """Return by what factor each value lies outside its range, for those that do."""
        outside: dict[str, float] = {}
        for name, value in values.items():
            span = getattr(self, name)
            if span and value > span[1]:
                outside[name] = value / span[1]
            elif span and value < span[0]:
                outside[name] = span[0] / value
        return outside


class LawPreset(BaseModel):
    """A published law as data: one YAML file in presets/laws."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    form: str
    coefficients: dict[str, float]
    draws: str | None = None  # CSV beside the preset: one column per coefficient, one row per draw
    draws_origin: str = ""  # who drew them, or the command that made them
    counting: Counting  # what its N counts
    purpose: tuple[Purpose, ...] = ("allocation", "loss")
    loss_of: str = ""  # what the loss was measured on: data and tokenizer
    vocab: int | None = None
    seq_len: int | None = None
    optimizer: str = ""
    schedule: str = ""
    tested: Tested = Tested()
    scatter: float = 0.0  # of the log loss of the fitted runs about the law, near their optimum
    misfit: float | None = None  # of the form, per unit of excess log loss; None: not learned
    evidence: Evidence = "single-paper"
    source: Source
    notes: str = ""


@dataclass(frozen=True, kw_only=True)
class Law:
    """A law ready to be asked: `best` to act on, `draws` for what is known of its uncertainty."""

    preset: LawPreset
    best: Any  # Surface or Frontier, coefficients of shape (1, 1)
    draws: Any | None  # the same form, coefficients of shape (draws, 1)

    @property
    def name(self) -> str:
        """Name of the preset."""
        return self.preset.name


def law(name: str, *, allow_unverified: bool = False) -> Law:
    """Return the published law of this name, or the law in a preset file such as `fit` writes.

    Raises:
        UnknownName: no such preset.
        BadValue: its numbers were not read at their origin, and that was not allowed; or there is
            no such file.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise BadValue(f"no law file {name}", "budgetplan fit RUNS.csv --output writes one.")
        return build(presets.read(path, LawPreset), folder=path.parent)
    preset = presets.load("laws", name, LawPreset)
    mark = preset.source.mark
    if mark == "memory" or (mark == "secondary" and not allow_unverified):
        how = "remembered" if mark == "memory" else "quoted by others"
        raise BadValue(
            f"law {name!r} is unverified: its numbers were {how}",
            "Use it all the same with --allow-unverified." if mark == "secondary" else "",
        )
    return build(preset)


def build(preset: LawPreset, *, folder: Path | None = None) -> Law:
    """Return the law that the preset describes, its draws read from beside it.

    Raises:
        BadPreset: the coefficients are not those of the form.
    """
    form = forms[preset.form]
    known = {field.name for field in fields(form)}
    needed = {field.name for field in fields(form) if field.default is MISSING}
    if not needed <= set(preset.coefficients) <= known:
        raise BadPreset(
            f"law {preset.name}: form {preset.form} has coefficients {', '.join(sorted(known))}",
            f"The preset gives {', '.join(sorted(preset.coefficients))}.",
        )
    beside = folder or presets.folder() / "laws"
    draws = _draws(preset, form, path=beside / preset.draws) if preset.draws else None
    best = form(**{key: np.array([[value]]) for key, value in preset.coefficients.items()})
    return Law(preset=preset, best=best, draws=draws)


def _draws(preset: LawPreset, form: type[Any], *, path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadPreset(f"{path}: the draws cannot be read: {error.strerror}") from error
    rows = list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))
    needed = {field.name for field in fields(form) if field.default is MISSING}
    drawn = set(rows[0] if rows else ())
    if not rows or not needed <= drawn:
        raise BadPreset(f"{path}: draws need a row and the columns {', '.join(sorted(needed))}")
    return form(  # an optional coefficient without draws stays unknown, not certain
        **{
            key: np.array([[float(row[key])] for row in rows])
            for key in preset.coefficients
            if key in drawn
        }
    )
