"""Campaign: what one calibration set out to do, kept beside its runs so that it can go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from budgetplan.calibrate import durable
from budgetplan.calibrate.durable import told
from budgetplan.calibrate.kinds.kind import Design
from budgetplan.core.errors import BadValue
from budgetplan.core.plan import Plan

FILE = "calibration.json"


class Part(BaseModel):
    """The runs of one kind."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["throughput", "isoflop", "hyperparameters"]
    runs: tuple[str, ...]
    flops: float


class Campaign(BaseModel):
    """A plan, the options of its calibration, and the runs that were designed for it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    plan: Plan
    options: dict[str, Any]  # of the command, as written
    allowance: float  # of all runs together [FLOPs]
    parts: tuple[Part, ...]

    @property
    def runs(self) -> tuple[str, ...]:
        """Names of all runs, in the order of making."""
        return tuple(name for part in self.parts for name in part.runs)


def parts_of(designs: list[Design]) -> tuple[Part, ...]:
    """Return the runs of each design by name."""
    return tuple(
        Part(kind=each.kind, runs=tuple(spec.id for spec in each.specs), flops=each.flops)
        for each in designs
    )


def write(campaign: Campaign, folder: Path) -> None:
    """Keep the campaign in the folder of its runs.

    Raises:
        StoreError: the folder cannot be written.
    """
    with told(folder, doing="create"):
        folder.mkdir(parents=True, exist_ok=True)
    durable.write(folder / FILE, text(campaign))


def text(campaign: Campaign) -> str:
    """Return the text of the campaign's file."""
    return campaign.model_dump_json(indent=1, exclude_none=True)


def read(folder: Path) -> Campaign:
    """Return the campaign of a folder.

    Raises:
        BadValue: there is none, or it is of another version.
    """
    path = folder / FILE
    try:
        content = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadValue(
            f"{folder} holds no calibration: {FILE}: {error.strerror}",
            "Name its --folder, or begin one: budgetplan calibrate PLAN.yaml.",
        ) from error
    try:
        return Campaign.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadValue(
            f"{path}: {where}: {first['msg']}", "It is of another budgetplan; begin anew."
        ) from error
