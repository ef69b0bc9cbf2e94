"""Kind: a calibration as `design -> runs -> verdict`, both ends pure functions of values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from budgetplan.calibrate.result import Result
from budgetplan.calibrate.spec import Data, RunSpec
from budgetplan.core.architecture import Architecture
from budgetplan.core.budget import Gpu, Precision
from budgetplan.core.errors import BadValue
from budgetplan.core.estimate import Estimate
from budgetplan.core.plan import Figure, Plan
from budgetplan.core.registry import Registry
from budgetplan.laws.fit.holdout import Report
from budgetplan.laws.law import Law
from budgetplan.plan.shapes import Ladder

KindName = Literal["throughput", "isoflop", "hyperparameters"]
kinds: Registry[Kind] = Registry("kind of calibration", package="budgetplan.calibrate.kinds")


@dataclass(frozen=True, kw_only=True)
class Device:
    """Where the runs are made."""

    name: str  # as the driver or the processor calls itself
    kind: Literal["cuda", "cpu"]
    memory: float | None  # of one card [bytes]; None: not asked
    gpu: Gpu | None = None  # the card in the presets, if it is one
    count: int = 1


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a kind is told: the plan, the shapes it may train, on what, and what it may spend."""

    plan: Plan
    ladder: Ladder
    allowance: float  # exact FLOPs of all runs of this kind
    data: Data = field(default_factory=Data)
    device: Device | None = None
    precision: Precision = "bf16"
    qk_norm: bool = False
    factory: str | None = None
    seed: int = 0
    speed: float | None = None  # FLOP/s that runs have reached here, if known
    rules: tuple[str, ...] = ()
    unique_tokens: float | None = None  # training tokens at hand; None: not known
    made: tuple[Outcome, ...] = ()  # runs that have ended in the same folder

    def made_alike(self, kind: KindName, shape: Architecture) -> list[Outcome]:
        """Return the runs of this kind and shape that have ended, of the same code and format."""
        return [
            each
            for each in self.made
            if each.spec.kind == kind and each.spec.architecture == shape
            and (each.spec.factory, each.spec.qk_norm, each.spec.precision)
            == (self.factory, self.qk_norm, self.precision)
        ]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What is known of a quantity now, and what should be known after the runs."""

    name: str
    unit: str
    before: Estimate
    after: Estimate


@dataclass(frozen=True, kw_only=True)
class Design:
    """Runs to make, what they cost, and what they should teach."""

    kind: KindName
    specs: tuple[RunSpec, ...]
    flops: float  # exact, evaluations included
    costs: tuple[float, ...]  # of each run [FLOPs]
    expected: tuple[Expected, ...] = ()
    seconds: Estimate | None = None  # None: the speed is not known
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A run that ended."""

    spec: RunSpec
    result: Result
    surroundings: Mapping[str, Any] = field(default_factory=dict)  # of runs that measure speed

    @property
    def id(self) -> str:
        """Name of the run."""
        return self.spec.id

    @property
    def finished(self) -> bool:
        """Whether it ran to its end."""
        return self.result.status == "finished"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One number of the plan beside what was measured."""

    name: str  # of the plan's figure
    unit: str
    planned: Figure
    measured: Estimate
    beyond: float | None  # factor from the nearest end of the plan's interval; None: inside
    runs: tuple[str, ...]

    @property
    def contradicts(self) -> bool:
        """Whether plan and measurement exclude each other."""
        return self.beyond is not None


@dataclass(frozen=True, kw_only=True)
class Basin:
    """Losses of a sweep, for a picture: learning rate against batch, and beta2 against batch."""

    learning_rates: tuple[float, ...]
    batches: tuple[int, ...]  # [sequences]
    losses: dict[tuple[float, int], float]
    best: tuple[float, float]  # learning rate and batch, of the surface through the losses
    advised: tuple[float, int]
    lost: tuple[tuple[float, int], ...] = ()  # points whose runs diverged or failed
    beta2: dict[tuple[float, int], float] = field(default_factory=dict)  # loss by beta2 and batch
    beta2_of: dict[int, float] = field(default_factory=dict)  # what the rules say, by batch


@dataclass(frozen=True, kw_only=True)
class Score:
    """How a law predicted the held-out runs: mean log density and error of log loss."""

    law: str
    log_score: float  # mean log density of the held-out log losses; higher is better
    error: float  # root mean square of log loss
    half_width: float  # of the 90% intervals of log loss, mean
    covered: float  # share inside them


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the runs say."""

    kind: KindName
    headline: str
    figures: dict[str, Figure] = field(default_factory=dict)  # measured, by the plan's names
    findings: tuple[Finding, ...] = ()
    law: Law | None = None  # fitted here, if it is to be believed
    holdout: Report | None = None
    scores: tuple[Score, ...] = ()
    basin: Basin | None = None
    notes: tuple[str, ...] = ()

    @property
    def contradicts(self) -> bool:
        """Whether any number of the plan is refuted."""
        return any(each.contradicts for each in self.findings)


class Kind(Protocol):
    """A kind of calibration."""

    words: str  # what it finds out, for a list of kinds
    goes_on: bool  # whether runs that have ended may ask for more, which are made at once

    def design(self, asked: Asked) -> Design:
        """Return the runs to make."""
        ...

    def verdict(self, asked: Asked, outcomes: Sequence[Outcome]) -> Verdict:
        """Return what the runs say about the plan."""
        ...


def finding(name: str, *, planned: Figure, measured: Estimate, runs: Sequence[str]) -> Finding:
    """Return the two numbers side by side, and by how much they exclude each other.

    They do where the measured value lies outside the plan's interval and the planned value outside
    the measured one. A side without an interval is taken as exact.
    """
    if isinstance(planned.value, str):
        raise TypeError(f"{name} is no number")
    value = float(planned.value)
    low = value if planned.low is None else planned.low
    high = value if planned.high is None else planned.high
    own = measured.interval() or (measured.best, measured.best)
    beyond = None
    if not own[0] <= value <= own[1] and not low <= measured.best <= high:
        beyond = measured.best / high if measured.best > high else low / measured.best
    return Finding(
        name=name,
        unit=planned.unit,
        planned=planned,
        measured=measured,
        beyond=beyond,
        runs=tuple(runs),
    )


def usable(outcomes: Sequence[Outcome], kind: KindName, *, least: int) -> list[Outcome]:
    """Return the runs of a kind that ran to their end.

    Raises:
        BadValue: too few did.
    """
    own = [each for each in outcomes if each.spec.kind == kind]
    ended = [each for each in own if each.finished]
    if len(ended) < least:
        ill = [f"{each.id}: {each.result.status}, {each.result.reason}" for each in own
               if not each.finished]  # fmt: skip
        raise BadValue(
            f"{len(ended)} {kind} runs finished, {least} are needed"
            + (f"; {ill[0]}" if ill else ""),
            "See budgetplan calibrate status; resume the others.",
        )
    return ended
