"""Speed: what short runs say of how fast the plan would go, and how sure that is.

Steps of one run follow each other under one clock and one temperature, so that many of them know no
more than one: what is uncertain is told by runs that were repeated, minutes apart. What no short
run knows is assumed, and said.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from budgetplan.calibrate.allowance import flops_per_sequence
from budgetplan.calibrate.device import device_of
from budgetplan.calibrate.kinds.kind import Asked, Device, Outcome
from budgetplan.core.errors import BadValue
from budgetplan.core.estimate import Estimate

UNSEEN = 0.03  # of the speed: heat, clocks and stragglers that minutes do not show; an assumption
UNREPEATED = 0.1  # the same for a batch of one run, whose scatter nobody knows; an assumption
PER_OCTAVE = 0.05  # the same for every doubling of size from the measured shape to the planned one
MORE_CARDS = 0.8  # the low end where the plan has more cards than were measured: an assumption
NEAR = 0.5  # of the best speed: batches whose runs tell of the scatter of the best
T95 = (6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812)
"""95% quantiles of Student's t by degrees of freedom, from 1."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """The fastest batch, and what it says of the plan."""

    runs: tuple[Outcome, ...]  # of the fastest batch
    device: Device | None  # on which they were made
    processes: int  # of each run, a card each
    reached: float  # FLOP/s of one card, by exact count
    tokens: float  # tokens/s of one card
    scatter: float | None  # of log speed between runs of one batch; None: none was repeated
    planned: Estimate  # FLOP/s of one card at the planned shape and number of cards
    more_cards: bool  # whether the plan has more than were measured

    @property
    def batch(self) -> int:
        """Sequences of a card at a time."""
        return -(-self.runs[0].spec.batch_sequences // self.processes)


def processes_of(outcome: Outcome) -> int:
    """Return how many processes made the run, each on a card of its own."""
    training = outcome.surroundings.get("training")
    count = training.get("processes", 1) if isinstance(training, Mapping) else 1
    return count if isinstance(count, int) and count > 0 else 1


def shared_out(outcome: Outcome) -> bool:
    """Whether the processes of the run each held a share of the model, and not the whole."""
    training = outcome.surroundings.get("training")
    return isinstance(training, Mapping) and training.get("sharding") == "fsdp"


def device(outcome: Outcome, asked: Asked) -> Device | None:
    """Return where the run was made, which may be another machine than this one."""
    return device_of(outcome.surroundings) or asked.device


def achieved(outcome: Outcome) -> float:
    """Return the model FLOP/s of a run, by exact count."""
    tokens = outcome.result.tokens_per_second
    assert tokens is not None
    return outcome.result.flops_per_second or (
        tokens * flops_per_sequence(outcome.spec) / outcome.spec.seq_len
    )


def speed(ended: Sequence[Outcome], asked: Asked) -> Speed:
    """Return the fastest batch by the mean of its runs, carried over to the plan.

    The share of the peak is taken as the same. Its interval is what the scatter of repeated runs
    leaves, what they cannot see, more for every octave of size between the shapes, and below where
    the plan spreads over more cards.

    Raises:
        BadValue: no run was long enough to be timed.
    """
    by_batch: dict[int, list[Outcome]] = {}
    for each in ended:
        if each.result.tokens_per_second:
            by_batch.setdefault(each.spec.batch_sequences, []).append(each)
    if not by_batch:
        raise BadValue("no throughput run was long enough to be timed", "Run them again.")
    logs = {batch: np.log([achieved(each) for each in own]) for batch, own in by_batch.items()}
    fastest = max(logs, key=lambda batch: float(logs[batch].mean()))
    center = float(logs[fastest].mean())
    near = [own for own in logs.values() if own.mean() > center + math.log(NEAR)]
    scatter, freedom = _pooled(near)
    runs = tuple(by_batch[fastest])
    cards = processes_of(runs[0])
    spec, stage = runs[0].spec, asked.plan.stage
    own = flops_per_sequence(spec) / spec.seq_len
    wanted = stage.sequence_flops / (stage.run.seq_len or 1)
    error = _t(freedom) * scatter / math.sqrt(len(runs)) if scatter is not None else UNREPEATED
    width = math.hypot(UNSEEN, error) + PER_OCTAVE * abs(math.log2(wanted / own))
    more = (stage.run.gpus or 1) > cards
    reached = math.exp(center) / cards
    low = reached * math.exp(-width) * (MORE_CARDS if more else 1)
    return Speed(
        runs=runs,
        device=device(runs[0], asked),
        processes=cards,
        reached=reached,
        tokens=reached * spec.seq_len / flops_per_sequence(spec),
        scatter=scatter,
        planned=Estimate(reached, bounds=(low, reached * math.exp(width))),
        more_cards=more,
    )


def _pooled(groups: Sequence[np.ndarray]) -> tuple[float | None, int]:
    """Return the standard deviation within groups, and its degrees of freedom."""
    freedom = sum(len(each) - 1 for each in groups)
    if not freedom:
        return None, 0
    squares = sum(float(((each - each.mean()) ** 2).sum()) for each in groups)
    return math.sqrt(squares / freedom), freedom


def _t(freedom: int) -> float:
    return T95[min(freedom, len(T95)) - 1]


# --- which batch fits -----------------------------------------------------------------------------


def following(tried: Mapping[int, bool], *, most: int) -> int | None:
    """Return the batch to try next in search of the largest that fits, None once it is known.

    Doubled while everything fits, then halfway between the largest that did and the smallest that
    did not, until an eighth more would not.

    Args:
        tried: whether each batch fits [sequences].
        most: no larger batch is wanted.
    """
    fits = max((batch for batch, fine in tried.items() if fine), default=0)
    fails = min((batch for batch, fine in tried.items() if not fine and batch > fits), default=None)
    if fails is None:
        return None if fits >= most else min(most, max(1, 2 * fits))
    middle = (fits + fails) // 2
    return middle if middle > fits and fails - fits > max(1, fits // 8) else None
