"""Budget: what may be spent, as people state it, and the cards it is spent on."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from budgetplan.core.errors import BadValue
from budgetplan.core.estimate import Estimate
from budgetplan.core.precision import Precision
from budgetplan.core.source import Source
from budgetplan.core.units import show

__all__ = [
    "EXAMPLES", "MFU_BASIS", "MFU_WORDS", "PUE", "PUE_BASIS", "Budget", "Gpu", "Precision",
    "assumed_mfu",
]  # fmt: skip

Positive = Annotated[float, Field(gt=0)]

# Assumed until measured, counted as here, attention over all pairs. MosaicML's tables of MPT up to
# 8,192 tokens of context, read at their origin: 30% to 46% on H100 in bf16, 39% to 64% on A100
# 80 GB, 18% to 30% of the fp8 peak on H100. The same 0.4 is kept for A100: a plan that ends early
# hurts less than one that ends late.
MFU, MFU_INTERVAL = 0.4, (0.3, 0.5)
MFU_FP8, MFU_FP8_INTERVAL = 0.25, (0.15, 0.3)
MFU_BASIS = Source(
    title="MPT Training Benchmarks",
    authors="MosaicML",
    year=2023,
    identifier="github.com/mosaicml/llm-foundry at 061f2c7",
    place="scripts/train/benchmarking/README.md, tables H100 80GB BF16, H100 80GB FP8, A100",
)
MFU_WORDS = "30 to 46% on H100 in bf16, 39 to 64% on A100, 18 to 30% on H100 in fp8"
# Sites vary from 1.1 to above 2; the mean of a yearly survey.
PUE = 1.58
PUE_BASIS = Source(
    title="Large data centers are mostly more efficient, analysis confirms",
    authors="Uptime Institute",
    year=2024,
    identifier="journal.uptimeinstitute.com",
    place="industry average of power usage effectiveness in 2023",
)
SMALLEST, LARGEST = 1e9, 1e32  # [FLOPs]; 1e32 is a million H100 for eight millennia
EXAMPLES = "Give --flops 1e21, --gpus 64xH100 --time 3d, --gpu-hours 20000 or --usd 50000."


def assumed_mfu(precision: Precision) -> tuple[float, tuple[float, float]]:
    """Return the MFU to assume for a number format, and its interval."""
    return (MFU_FP8, MFU_FP8_INTERVAL) if precision == "fp8" else (MFU, MFU_INTERVAL)


class Gpu(BaseModel):
    """An accelerator: dense peaks by number format, memory and bandwidth."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    aliases: tuple[str, ...] = ()  # other names, in lower case
    peak: dict[Precision, Positive]  # dense tensor-core (or matrix-unit) peak [FLOP/s]
    memory: Positive  # in all, as the driver reports it where that was seen [bytes]
    bandwidth: Positive  # [bytes/s]
    power: Positive | None = None  # board power [W]
    usd_per_hour: Positive | None = None  # typical price of one card-hour; moves, so say when
    price_note: str = ""
    source: Source

    def energy(self, hours: Estimate) -> Estimate | None:
        """Return the energy at the site [J] of so many card-hours; None: the power is not known.

        Full board power times the site's PUE: an upper bound of what cards take.
        """
        watts = self.power
        return hours.map(lambda each: each * 3600 * watts * PUE) if watts else None

    def peak_for(self, precision: Precision) -> float:
        """Return the dense peak [FLOP/s].

        Raises:
            BadValue: the card has no such format.
        """
        if precision not in self.peak:
            raise BadValue(
                f"{self.name} has no {precision} matrix peak", f"It has {', '.join(self.peak)}."
            )
        return self.peak[precision]


class Budget(BaseModel):
    """What may be spent: FLOPs, or cards for a time, or card-hours, or money.

    `flops` is model FLOPs: every matrix product of forward and backward, attention over all pairs,
    nothing recomputed. MFU turns hardware time into it, and carries its own interval.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    flops: Positive | None = None
    gpus: Annotated[int, Field(gt=0)] | None = None
    gpu: Gpu | None = None
    time: Positive | None = None  # [s]
    gpu_hours: Positive | None = None
    usd: Positive | None = None
    usd_per_hour: Positive | None = None  # overrides the card's typical price
    precision: Precision = "bf16"
    mfu: Annotated[float, Field(gt=0, le=1)] = MFU
    mfu_interval: tuple[float, float] | None = MFU_INTERVAL  # None: measured, or stated
    mfu_origin: Literal["assumed", "stated", "measured"] = "assumed"

    @model_validator(mode="before")
    @classmethod
    def _assumed(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Assume the MFU of the number format where none is given."""
        if "mfu" in values or "precision" not in values:
            return values
        mfu, interval = assumed_mfu(values["precision"])
        return {"mfu": mfu, "mfu_interval": interval} | values

    def checked(self) -> Budget:
        """Return this budget if it is stated in exactly one way.

        Raises:
            BadValue: nothing is given, two ways contradict each other, or one lacks its other half.
        """
        stated = {
            "--flops": self.flops,
            "--time": self.time,
            "--gpu-hours": self.gpu_hours,
            "--usd": self.usd,
        }
        given = [name for name, value in stated.items() if value is not None]
        if not given:
            remedy = "Add --time 3d to the cards." if self.gpus else EXAMPLES
            raise BadValue("no budget given", remedy)
        if len(given) > 1:
            raise BadValue(f"{' and '.join(given)} are two budgets", "Keep one of them.")
        if self.time is not None and self.gpus is None:
            raise BadValue("--time needs cards to run on", "Add --gpus 64xH100.")
        if self.flops is None and self.gpu is None:
            raise BadValue(f"{given[0]} needs a card", "Name one: --gpu H100.")
        self.card_seconds()
        self.compute()
        return self

    def card_seconds(self) -> float | None:
        """Return the card-seconds that the budget buys, or None for a budget in FLOPs.

        Raises:
            BadValue: money without a price per hour.
        """
        if self.gpu_hours is not None:
            return self.gpu_hours * 3600
        if self.usd is not None:
            price = self.price()
            if price is None:
                raise BadValue(
                    f"--usd {self.usd:g} buys an unknown number of hours",
                    "Add --usd-per-gpu-hour.",
                )
            return self.usd / price * 3600
        if self.gpus is not None and self.time is not None:
            return self.gpus * self.time
        return None

    def price(self) -> float | None:
        """Return dollars per card-hour: the user's, else the card's typical one."""
        return self.usd_per_hour or (self.gpu.usd_per_hour if self.gpu else None)

    def card_hours_for(self, flops: float) -> Estimate:
        """Return the hours of one card that so many model FLOPs take, with the MFU's interval.

        Raises:
            BadValue: no card is named, or it lacks the number format.
        """
        if self.gpu is None:
            raise BadValue("hours need a card", "Name one: --gpu H100.")
        peak = self.gpu.peak_for(self.precision)
        return self.utilization().map(lambda share: flops / (peak * share) / 3600)

    def utilization(self) -> Estimate:
        """Return the MFU, with its interval where it is assumed."""
        return Estimate(self.mfu, bounds=self.mfu_interval)

    def compute(self) -> Estimate:
        """Return the model FLOPs that the budget buys, with the interval of an assumed MFU.

        Raises:
            BadValue: hardware time without a card, nothing to spend, or an absurd amount.
        """
        card_seconds = self.card_seconds()
        if self.flops is not None:
            flops = Estimate(self.flops)
        elif card_seconds is None:
            raise BadValue("no budget given", EXAMPLES)
        elif self.gpu is None:
            raise BadValue("hardware time needs a card", "Name one: --gpus 64xH100 or --gpu H100.")
        else:
            per_mfu = card_seconds * self.gpu.peak_for(self.precision)
            flops = self.utilization().map(lambda mfu: mfu * per_mfu)
        if not SMALLEST <= flops.best <= LARGEST:
            side = "above" if flops.best > LARGEST else "below"
            raise BadValue(
                f"a budget of {show(flops.best)} FLOPs is {side} anything that is trained",
                f"Budgets from {show(SMALLEST)} to {show(LARGEST)} FLOPs are understood.",
            )
        return flops
