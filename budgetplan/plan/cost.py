"""Cost: time, card-hours, money, energy, and whether the model fits the cards."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from budgetplan.core.architecture import Architecture
from budgetplan.core.budget import Budget, Gpu
from budgetplan.core.errors import Infeasible
from budgetplan.core.estimate import Estimate
from budgetplan.flops.memory import (
    Fit,
    Training,
    largest_micro_batch,
    memory_of_architecture,
    smallest_ranks,
)

WIDE = ("fp32", "tf32", "fp16", "bf16")


@dataclass(frozen=True, kw_only=True)
class Room:
    """How the model fits the cards: sharded over all of them (FSDP), with which checkpointing."""

    ranks: int
    fit: Fit
    given: bool  # the user said how many cards there are
    smallest: int  # fewest cards that hold one sequence each, checkpointing in full


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What the plan costs on a card. Intervals are those of the MFU."""

    gpu: Gpu
    precision: str
    mfu: Estimate
    mfu_origin: str
    card_hours: Estimate
    seconds: Estimate | None  # None: the number of cards is not known
    usd: Estimate | None  # None: no price is known
    price: float | None  # [dollars/card-hour]
    price_origin: str
    energy: Estimate | None  # [J] at the site; None: the card's power is not known
    room: Room | None
    problem: str = ""  # why it does not fit


def cost(architecture: Architecture, *, flops: float, batch: int, budget: Budget) -> Cost | None:
    """Return what so many model FLOPs cost on the budget's card, or None without a card.

    Energy is board power for all card-hours times the site's PUE: an upper bound, since cards
    seldom draw their full power, on what the cards take; hosts and network come on top.
    """
    gpu = budget.gpu
    if gpu is None:
        return None
    hours = budget.card_hours_for(flops)
    price = budget.price()
    room, problem = _room(architecture, gpu, batch=batch, budget=budget)
    return Cost(
        gpu=gpu,
        precision=budget.precision,
        mfu=budget.utilization(),
        mfu_origin=budget.mfu_origin,
        card_hours=hours,
        seconds=hours.map(lambda h: h * 3600 / budget.gpus) if budget.gpus else None,
        usd=hours.map(lambda h: h * price) if price else None,
        price=price,
        price_origin="stated" if budget.usd_per_hour else "preset",
        energy=gpu.energy(hours),
        room=room,
        problem=problem,
    )


def _room(
    architecture: Architecture, gpu: Gpu, *, batch: int, budget: Budget
) -> tuple[Room | None, str]:
    """Return how the model fits: the least checkpointing that holds one sequence or more."""
    # Memory in fp8 depends on the implementation; 16 bits is an upper bound.
    training = Training(precision=budget.precision if budget.precision in WIDE else "bf16")
    try:
        full = replace(training, checkpointing="full")
        smallest = smallest_ranks(architecture, full, card=gpu)
    except Infeasible as error:
        return None, error.problem
    # Whole nodes of eight where the user did not say how many cards.
    ranks = budget.gpus or (1 if smallest == 1 else 8 * math.ceil(smallest / 8))
    fits = [
        largest_micro_batch(
            architecture, replace(training, ranks=ranks, checkpointing=kind), card=gpu
        )
        for kind in ("none", "selective", "full")
    ]
    fit = next((each for each in fits if each.fits), None)
    if fit is None:
        return None, f"{ranks} cards are too few: {smallest} would hold it, checkpointed in full"
    size = min(fit.micro_batch, max(1, batch // ranks))
    memory = memory_of_architecture(architecture, fit.training, micro_batch=size)
    fit = replace(fit, micro_batch=size, memory=memory)
    return Room(ranks=ranks, fit=fit, given=budget.gpus is not None, smallest=smallest), ""
