"""Fake: a trainer that draws losses from a known law plus noise, so that the truth is known.

Store, launchers, designs and fits meet it in place of the real one, at thousands of runs a second,
without torch. It keeps every promise of the real trainer: records, checkpoints, resuming to the
same result, stopping when asked, and divergence as a result.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from budgetplan.calibrate import durable
from budgetplan.calibrate.allowance import evaluation_flops, evaluations_of, flops_per_sequence
from budgetplan.calibrate.result import Evaluation, Interrupted, Result
from budgetplan.calibrate.run_folder import RunFolder
from budgetplan.calibrate.spec import RunSpec
from budgetplan.core.errors import BadValue, UnknownName

Loss = Callable[[RunSpec, float], float]
"""The true loss [nats/token] of a spec after so many tokens."""


@dataclass(frozen=True, kw_only=True)
class Fake:
    """A trainer of runs that nobody makes: `Fake(truth=..., noise=0.003)(spec, run)`."""

    truth: Loss
    noise: float = 0.0  # standard deviation of the log loss, one draw for the whole run
    flicker: float = 0.0  # the same, one draw for each step
    seed: int = 0  # of the world: another seed, other noise
    diverge_above: float = math.inf  # learning rates above it diverge
    flops_per_second: float = 1e12  # of the card that is not there
    most_sequences: float = math.inf  # that it holds at a time, where speed is measured
    pause: float = 0.0  # really waited at each step [s]
    save_every: int = 10  # steps between checkpoints
    record_every: int = 1  # steps between records

    def __call__(
        self,
        spec: RunSpec,
        run: RunFolder,
        *,
        device: str | None = None,
        should_stop: Callable[[], bool] | None = None,
        on_step: Callable[..., None] | None = None,
    ) -> Result:
        """Go through the steps of the run and return what it would have measured.

        Raises:
            Interrupted: should_stop said so, and the checkpoint is written.
        """
        del device, on_step
        if spec.kind == "throughput" and spec.batch_sequences > self.most_sequences:
            reason = f"out of memory with {spec.batch_sequences} sequences at a time"
            return Result(status="failed", reason=reason)
        done = self._checkpointed(run)
        for step in range(done + 1, spec.steps + 1):
            if should_stop and should_stop():
                self._save(run, step - 1)
                raise Interrupted
            if self.pause:
                time.sleep(self.pause)
            if spec.learning_rate > self.diverge_above and step > spec.steps // 2:
                return self._result(spec, step, diverged=True)
            self._record(spec, run, step)
            if step % self.save_every == 0:
                self._save(run, step)
        return self._result(spec, spec.steps)

    def loss(self, spec: RunSpec, step: int) -> float:
        """Return the loss after the step, with noise, the same whenever it is asked for."""
        true = self.truth(spec, float(step * spec.batch_tokens))
        if not (self.noise or self.flicker):
            return true
        name = int(spec.id, 16)
        of_run = np.random.default_rng([self.seed, name]).standard_normal()
        of_step = np.random.default_rng([self.seed, name, step]).standard_normal()
        return float(true * math.exp(self.noise * of_run + self.flicker * of_step))

    def _seconds(self, spec: RunSpec, step: int) -> float:
        work = step * spec.batch_sequences * flops_per_sequence(spec)
        return work / self.flops_per_second

    def _record(self, spec: RunSpec, run: RunFolder, step: int) -> None:
        place = {"step": step, "tokens": step * spec.batch_tokens}
        if step % self.record_every == 0 or step == spec.steps:
            run.append({
                **place, "loss": self.loss(spec, step), "learning_rate": spec.learning_rate,
                "gradient_norm": 1.0, "seconds": self._seconds(spec, step),
            })  # fmt: skip
        if step in evaluations_of(spec):
            run.append({**place, "validation_loss": self.loss(spec, step)})

    def _result(self, spec: RunSpec, step: int, *, diverged: bool = False) -> Result:
        seconds = self._seconds(spec, step)
        flops = step * spec.batch_sequences * flops_per_sequence(spec)
        reached = [at for at in evaluations_of(spec) if at <= step]
        return Result(
            status="diverged" if diverged else "finished",
            evaluations=tuple(
                Evaluation(at, at * spec.batch_tokens, self.loss(spec, at)) for at in reached
            ),
            train_loss=math.nan if diverged else self.loss(spec, step),
            tokens_per_second=step * spec.batch_tokens / seconds,
            flops_per_second=self.flops_per_second,
            seconds=seconds,
            flops_spent=flops + len(reached) * evaluation_flops(spec),
            reason=f"loss is NaN at step {step}" if diverged else "",
        )

    def _save(self, run: RunFolder, step: int) -> None:
        if run.writes:
            durable.write(run.checkpoint_path, json.dumps({"step": step}))

    def _checkpointed(self, run: RunFolder) -> int:
        if not run.checkpoint_path.exists():
            return 0
        return int(json.loads(run.checkpoint_path.read_text(encoding="utf-8"))["step"])


def law_truth(name: str) -> Loss:
    """Return the loss that a published law, or one in a preset file, gives to any run.

    Raises:
        BadValue: the law gives no loss of any size and corpus.
    """
    from budgetplan.laws.law import Surface, law

    known = law(name, allow_unverified=True)
    if not isinstance(known.best, Surface):
        raise BadValue(f"law {name} gives no loss of any run", "Choose one with a surface.")

    def truth(spec: RunSpec, tokens: float) -> float:
        sizes = spec.architecture.params(seq_len=spec.seq_len)
        size = np.array([float(sizes.counted(known.preset.counting))])
        return float(known.best.loss(params=size, tokens=np.array([tokens])).item())

    return truth


def parse(text: str) -> Fake:
    """Return the fake trainer that `LAW[,noise=0.003][,seed=1][,pause=0.01]...` describes.

    Raises:
        UnknownName: no such law, or no such property of a fake trainer.
        BadValue: a property is no number.
    """
    name, *settings = text.split(",")
    known = {field.name for field in fields(Fake)} - {"truth"}
    values: dict[str, Any] = {}
    for setting in settings:
        key, _, value = setting.partition("=")
        if key not in known:
            raise UnknownName("property of a fake trainer", key, known)
        try:
            whole = key in ("seed", "save_every", "record_every")
            values[key] = int(value) if whole else float(value)
        except ValueError as error:
            raise BadValue(f"fake trainer: {key}={value} is no number") from error
    return Fake(truth=law_truth(name), **values)
