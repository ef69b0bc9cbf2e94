"""Progress: how far a run is and what it has measured; what becomes of it on disk.

A checkpoint keeps the progress beside the tensors; a log writes it down for those who watch; at the
end it is the result.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from budgetplan.calibrate import card
from budgetplan.calibrate.divergence import Watch
from budgetplan.calibrate.result import Ending, Evaluation, Result
from budgetplan.calibrate.run_folder import RunFolder
from budgetplan.calibrate.spec import RunSpec
from budgetplan.calibrate.step import Done
from budgetplan.calibrate.world import World

RECORDS = 5000  # of a run at most; of a longer one every second, third ... step is recorded


@dataclass(kw_only=True)
class Progress:
    """How far the run is, and what it has measured: what a checkpoint keeps beside the tensors."""

    micro_batch: int  # these two decide how sums are rounded
    threads: int
    step: int = 0
    seconds: float = 0.0  # since the first step, over all attempts
    train_loss: float | None = None
    evaluations: list[Evaluation] = field(default_factory=list)
    steady: list[float] = field(default_factory=list)  # seconds of steps at full speed
    remarks: list[str] = field(default_factory=list)  # of all attempts: what was not as asked
    watch: Watch = field(default_factory=Watch)

    def remark(self, words: str) -> None:
        """Keep a remark, once."""
        if words and words not in self.remarks:
            self.remarks.append(words)

    def saved(self) -> dict[str, Any]:
        """Return the progress as a checkpoint keeps it."""
        plain = {name: value for name, value in vars(self).items() if name != "watch"}
        evaluations = [tuple(each) for each in self.evaluations]
        return {**plain, "evaluations": evaluations, "watch": self.watch.state()}

    @classmethod
    def restored(cls, saved: dict[str, Any]) -> Progress:
        """Return the progress that a checkpoint kept."""
        watch = Watch()
        watch.restore(saved["watch"])
        evaluations = [Evaluation(*each) for each in saved["evaluations"]]
        return cls(**{**saved, "watch": watch, "evaluations": evaluations})

    def add(self, done: Done, *, number: int, seconds: float, warm: bool) -> str:
        """Go one step on, and return why the run counts as diverged, or nothing."""
        self.step = number
        self.train_loss = done.loss
        self.seconds = seconds
        if not warm:
            self.steady.append(done.seconds)
        return done.wrong or self.watch.says(
            loss=done.loss, gradient_norm=done.gradient_norm, step=number
        )


@dataclass(frozen=True, kw_only=True)
class Log:
    """Writes what happens into the run's folder; only the first of several processes does."""

    run: RunFolder
    spec: RunSpec
    world: World
    sequence_flops: int
    evaluated: int  # sequences of one measurement of the held-out loss
    on_step: Callable[[dict[str, Any]], None] | None = None

    def step(self, done: Done, so_far: Progress, *, reason: str) -> None:
        """Write down a step: every one of a short run, and the last."""
        number = so_far.step
        thinned = number % math.ceil(self.spec.steps / RECORDS)
        if not thinned or number == self.spec.steps or reason:
            self._record({
                "step": number, "tokens": number * self.spec.batch_tokens, "loss": done.loss,
                "learning_rate": done.learning_rate, "gradient_norm": done.gradient_norm,
                "seconds": so_far.seconds, "step_seconds": done.seconds,
            })  # fmt: skip

    def evaluation(self, loss: float, so_far: Progress) -> None:
        """Write down a measurement of the held-out loss, and keep it for the result."""
        found = Evaluation(so_far.step, so_far.step * self.spec.batch_tokens, loss)
        so_far.evaluations.append(found)
        self._record({"step": found.step, "tokens": found.tokens, "validation_loss": loss})

    def _record(self, entry: dict[str, Any]) -> None:
        if self.world.first:
            self.run.append(entry)
            if self.on_step:
                self.on_step(entry)

    def surroundings(self, **facts: Any) -> None:
        """Add how the run is made to what is known of its surroundings."""
        if not self.world.first:
            return
        try:
            known = json.loads((self.run.path / "environment.json").read_bytes())
        except (OSError, ValueError):
            known = {}
        before = known.get("training", {}) if isinstance(known, dict) else {}
        self.run.environment({**known, "training": {**before, **facts, "process": os.getpid()}})

    def result(self, so_far: Progress, status: Ending, reason: str = "") -> Result:
        """Return what the run measured."""
        spec, batch = self.spec, self.spec.batch_sequences * self.sequence_flops
        seen = self.evaluated * len(so_far.evaluations)
        per_step = math.fsum(so_far.steady) / len(so_far.steady) if so_far.steady else None
        return Result(
            status=status,
            evaluations=tuple(so_far.evaluations),
            train_loss=so_far.train_loss,
            tokens_per_second=spec.batch_tokens / per_step if per_step else None,
            flops_per_second=batch / per_step if per_step else None,
            peak_memory_bytes=card.peak_memory(self.world),
            seconds=so_far.seconds,
            flops_spent=so_far.step * batch + seen * self.sequence_flops // 3,  # forward alone
            reason=reason,
        )
