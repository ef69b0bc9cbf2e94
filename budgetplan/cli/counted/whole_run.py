"""A whole run of the model that was counted: its FLOPs, and what they take on a card."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from budgetplan.cli.tables import table
from budgetplan.core.budget import PUE, Budget, Gpu
from budgetplan.core.errors import BadValue
from budgetplan.core.estimate import Estimate
from budgetplan.core.units import show
from budgetplan.flops.load import Answer

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, kw_only=True)
class WholeRun:
    """Training on so many tokens; intervals are those of the MFU."""

    tokens: int
    seq_len: int
    flops: float  # model FLOPs, dense
    useful: float  # of the pairs that the mask lets through
    gpu: Gpu | None = None
    precision: str = ""
    mfu: Estimate | None = None
    mfu_origin: str = ""
    gpu_hours: Estimate | None = None
    usd: Estimate | None = None  # None: no price is known
    energy: Estimate | None = None  # [J] at the site; None: the card's power is not known

    def as_dict(self) -> dict[str, Any]:
        """Return the run for programs, in base units."""
        found = {
            name: _figure(getattr(self, name)) for name in ("mfu", "gpu_hours", "usd", "energy")
        }
        return {
            "tokens": self.tokens,
            "flops": self.flops,
            "useful": self.useful,
            "gpu": self.gpu.name if self.gpu else None,
            **found,
        }


def _figure(found: Estimate | None) -> dict[str, float | None] | None:
    if found is None:
        return None
    low, high = sorted(found.bounds) if found.bounds else (None, None)
    return {"value": found.best, "low": low, "high": high}


def whole_run(
    answer: Answer, *, tokens: int, gpu: Gpu | None, precision: str, mfu: float | None
) -> WholeRun:
    """Return what training the model on so many tokens takes.

    Args:
        answer: the count of a step, backward included.
        tokens: of the whole run.
        gpu: the card, if any.
        precision: of its products.
        mfu: share of the card's peak; None: what is usual.

    Raises:
        BadValue: the model does not read tokens, or the card lacks the number format.
    """
    count = answer.count
    if not answer.tokens:
        raise BadValue(
            "--tokens: this model reads no tokens", "Its cost per example stands under per step."
        )
    run = WholeRun(
        tokens=tokens,
        seq_len=count.seq_len,
        flops=count.total() / count.tokens * tokens,
        useful=count.total(useful=True) / count.tokens * tokens,
    )
    if gpu is None:
        return run
    stated: dict[str, Any] = {"mfu": mfu, "mfu_interval": None, "mfu_origin": "stated"}
    budget = Budget(gpu=gpu, precision=precision, **(stated if mfu else {}))
    hours, price = budget.card_hours_for(run.flops), budget.price()
    return replace(
        run,
        gpu=gpu,
        precision=precision,
        mfu=budget.utilization(),
        mfu_origin=budget.mfu_origin,
        gpu_hours=hours,
        usd=hours.map(lambda each: each * price) if price else None,
        energy=gpu.energy(hours),
    )


def as_table(run: WholeRun) -> Table:
    """Return the run as a table."""
    made = table(
        f"Training on {show(run.tokens)} tokens, {run.seq_len:,} a sequence", "", "",
        *(["interval"] if run.mfu and run.mfu.bounds else []),
        caption=_remarks(run),
    )  # fmt: skip
    made.add_row("FLOPs, dense", show(run.flops))
    made.add_row("FLOPs, causal", show(run.useful))
    if run.gpu is None:
        return made
    made.add_row("MFU, of the dense count", *_spread(run.mfu, lambda share: f"{share:.0%}"))
    made.add_row("card-hours", *_spread(run.gpu_hours, show))
    made.add_row("card-days", *_spread(run.gpu_hours, lambda hours: show(hours / 24)))
    if run.usd is not None:
        made.add_row("dollars", *_spread(run.usd, show))
    if run.energy is not None:
        made.add_row("MWh", *_spread(run.energy, lambda joules: show(joules / 3.6e9)))
    return made


def _remarks(run: WholeRun) -> str:
    if run.gpu is None:
        return ""
    words = [f"{run.gpu.title}, {run.precision}; MFU {run.mfu_origin}."]
    if run.usd is None:
        words.append("No price of this card is known.")
    else:
        words.append(f"List price ${run.gpu.usd_per_hour:g} an hour.")
    words.append(
        f"Energy: full board power, PUE {PUE:g}." if run.energy else "Its power is not known."
    )
    return " ".join(words)


def _spread(found: Estimate | None, shown: Callable[[float], str]) -> tuple[str, ...]:
    assert found is not None
    if found.bounds is None:
        return (shown(found.best),)
    low, high = sorted(found.bounds)
    return shown(found.best), f"{shown(low)} to {shown(high)}"
