"""Sweep: the runs around what the rules say of a size, and which of them says what.

grid     five learning rates x three batches, all at the rules' beta2
seeds    the middle again with other seeds: how far runs scatter
beta2    the others of 0.95, 0.99 and 0.999 at each batch, so that a rule that derives beta2
         from the batch is judged at three of them
rules    their own point, where the grid had to be built around another
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from budgetplan.calibrate.kinds.kind import Asked
from budgetplan.calibrate.pilots import USUAL, Pilot, pilot
from budgetplan.calibrate.spec import RunSpec
from budgetplan.core.run import Run
from budgetplan.plan.shapes import Rung
from budgetplan.rules import derive

RATES = (0.25, 0.5, 1.0, 2.0, 4.0)  # times the learning rate of the middle
BATCHES = (0.5, 1.0, 2.0)  # times its batch
BETA2 = (0.95, 0.99, 0.999)  # those swept by Porian et al. 2024, arXiv:2406.19146
SEEDS = 3  # runs of the middle
STEP = 2.0  # from the edge of a sweep to the next value
EVALUATION = 65536


class Point(NamedTuple):
    """What is swept."""

    learning_rate: float
    batch: int  # [sequences]
    beta2: float


def point_of(spec: RunSpec) -> Point:
    """Return where in the sweep a run lies."""
    return Point(spec.learning_rate, spec.batch_sequences, spec.adam_beta2)


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A size, what the rules say of it, and the points around that."""

    proxy: Pilot
    asked: Asked
    middle: Point
    rules: Point  # the same, unless its learning rate is beyond what such a size can take
    rates: tuple[float, ...]
    batches: tuple[int, ...]

    @property
    def limited(self) -> bool:
        """Whether the rules' own point is not the middle."""
        return self.rules != self.middle

    def beta2_at(self, batch: int) -> float:
        """Return what the rules say of beta2 at a batch [sequences]."""
        shape = self.proxy.rung.architecture
        known = {"architecture": shape, "seq_len": shape.seq_len, "tokens": self._tokens,
                 "flops_per_token": self.proxy.rung.flops_per_token,
                 "precision": self.asked.precision,
                 "batch_tokens": batch * shape.seq_len}  # fmt: skip
        said = derive(Run(**known), families=self.asked.rules).run.adam_beta2
        return said or self.middle.beta2

    @property
    def _tokens(self) -> int:
        return self.proxy.tokens(len(self.proxy.steps) - 1)

    def specs(self) -> tuple[RunSpec, ...]:
        """Return all runs, none twice."""
        rate, batch, beta2 = self.middle
        points = [Point(*each, beta2) for each in itertools.product(self.rates, self.batches)]
        points += [
            Point(rate, each, other)
            for other in BETA2
            for each in self.batches
            if other != beta2 and each in base(batch)
        ]
        found = [self._spec(each, seed=0) for each in [*points, self.rules]]
        found += [self._spec(self.middle, seed=seed) for seed in range(1, SEEDS)]
        return tuple({each.id: each for each in found}.values())

    def _spec(self, at: Point, *, seed: int) -> RunSpec:
        common = self.proxy.common(self.asked)
        step = at.batch * self.proxy.rung.architecture.seq_len
        steps = max(2, round(self._tokens / step))
        warmup = common["warmup_tokens"]
        common |= {
            "learning_rate": at.learning_rate, "batch_sequences": at.batch,
            "adam_beta2": at.beta2, "seed": self.asked.seed + seed,
        }  # fmt: skip
        return RunSpec(
            kind="hyperparameters",
            **common,
            **_decay(self.asked, at, tokens=steps * step, warmup=warmup),
            steps=steps,
            evaluate_at=(steps,),
            evaluation_tokens=EVALUATION,
        )

    def beyond(self, edges: Sequence[str]) -> Sweep:
        """Return the sweep with one more learning rate or batch beyond each edge."""
        rates, batches = list(self.rates), list(self.batches)
        for edge in edges:
            if edge == "lowest learning rate":
                rates.insert(0, _short(rates[0] / STEP))
            elif edge == "highest learning rate":
                rates.append(_short(rates[-1] * STEP))
            elif edge == "lowest batch" and batches[0] > 1:
                batches.insert(0, max(1, round(batches[0] / STEP)))
            elif edge == "highest batch":
                batches.append(round(batches[-1] * STEP))
        return replace(self, rates=tuple(rates), batches=tuple(batches))

    def with_tried(self, points: Sequence[Point]) -> Sweep:
        """Return the sweep with the learning rates and batches that were tried beyond it, too."""
        own = [each for each in points if each.beta2 == self.middle.beta2 and each != self.rules]
        return replace(
            self,
            rates=tuple(sorted({*self.rates, *(each.learning_rate for each in own)})),
            batches=tuple(sorted({*self.batches, *(each.batch for each in own)})),
        )


def base(batch: int) -> tuple[int, ...]:
    """Return the batches around a batch [sequences]."""
    return tuple(sorted({max(1, round(batch * each)) for each in BATCHES}))


def sweep(rung: Rung, asked: Asked) -> Sweep:
    """Return the sweep of a size, around what the rules say of it."""
    proxy = pilot(rung, asked, counting="with_head", ratios=(USUAL,))
    run = proxy.rules
    assert run.learning_rate is not None and proxy.recipe.learning_rate is not None
    assert run.batch_tokens is not None
    size = max(1, round(run.batch_tokens / rung.architecture.seq_len))
    rules = Point(_short(run.learning_rate), size, run.adam_beta2 or BETA2[0])
    middle = rules._replace(learning_rate=_short(proxy.recipe.learning_rate), batch=proxy.batch)
    return Sweep(
        proxy=proxy,
        asked=asked,
        middle=middle,
        rules=rules,
        rates=tuple(_short(middle.learning_rate * each) for each in RATES),
        batches=base(proxy.batch),
    )


def _short(rate: float) -> float:
    """Return a learning rate that another machine's last bit does not change."""
    return float(f"{rate:.6g}")


def _decay(asked: Asked, at: Point, *, tokens: float, warmup: float) -> dict[str, Any]:
    """Return the plan's own schedule, in proportion to the run and its learning rate."""
    run = asked.plan.stage.run
    schedule = run.schedule or "constant"
    if schedule == "constant":
        return {"schedule": schedule}
    share = (run.min_learning_rate or 0.0) / (run.learning_rate or 1.0)
    found = {"schedule": schedule, "min_learning_rate": share * at.learning_rate}
    if schedule in ("linear", "wsd"):
        share = (run.decay_tokens or 0.0) / (run.tokens or 1.0) or 0.2
        found["decay_tokens"] = min(share * tokens, tokens - warmup)
    return found
