"""Result: what one calibration run measured, and the states that a run passes through."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

Ending = Literal["finished", "diverged", "failed"]
State = Literal["planned", "running", "interrupted", "finished", "diverged", "failed"]


class Interrupted(Exception):
    """Training was asked to stop, and stopped after writing its checkpoint."""


class Killed(Exception):
    """A process of the run was killed from outside; the message says how. Nothing is decided."""


class Evaluation(NamedTuple):
    """One measurement of the held-out loss."""

    step: int
    tokens: int
    loss: float  # [nats/token]


class Result(BaseModel):
    """What a run that ended measured. A diverged run is a result; so is a failed one, with why."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    status: Ending
    evaluations: tuple[Evaluation, ...] = ()
    train_loss: float | None = None  # at the end [nats/token]
    tokens_per_second: float | None = None  # in steady state, warm-up steps left out
    flops_per_second: float | None = None  # achieved, by the exact count
    peak_memory_bytes: int | None = None  # None: not measured on this device
    seconds: float = 0.0  # of training, over all attempts
    flops_spent: float = 0.0  # exact, evaluations included [FLOPs]
    reason: str = ""  # why it diverged or failed
