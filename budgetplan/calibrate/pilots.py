"""Pilots: from a size and a number of tokens to the spec of a run, every choice by a rule."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from budgetplan.calibrate.kinds.kind import Asked
from budgetplan.calibrate.spec import RunSpec
from budgetplan.calibrate.worth import Option
from budgetplan.core.counting import Counting
from budgetplan.core.run import Run
from budgetplan.plan.shapes import Ladder, Rung
from budgetplan.rules import derive

SPACING = math.sqrt(2)  # of the FLOPs of a token, from one size to the next
RATIOS = tuple(float(r) for r in np.geomspace(5, 160, 11))  # tokens per parameter of milestones
USUAL = 20.0  # tokens per parameter at which batch and learning rate are asked for
FEWEST_STEPS = 200  # before the first milestone; else the batch is made smaller
# Tokens before the first milestone: before that a model learns how often each token occurs, and no
# power law holds. An assumption; it matters to models below a few hundred thousand parameters.
FEWEST_TOKENS = 1e6
WARMUP = 0.25  # of the first milestone at most: no measurement inside the warmup
# Rules of the learning rate were tested on five million parameters and more, and rise towards
# small models without end; the cap is that of Marin's rule, presets/hyperparameters/marin.yaml.
RATE_CEILING = 0.01
BETA2_CEILING = 0.99  # 0.999 forgets in thousands of steps, and small pilots have hundreds


@dataclass(frozen=True, kw_only=True)
class Pilot:
    """A size that can be trained, with its hyperparameters and its milestones."""

    rung: Rung
    batch: int  # [sequences]
    steps: tuple[int, ...]  # of each milestone, ascending
    recipe: Run
    rules: Run  # what the rules say of it, before the limits of pilots

    def tokens(self, milestone: int) -> int:
        """Tokens up to a milestone (from 0)."""
        return self.steps[milestone] * self.batch * self.rung.architecture.seq_len

    def spec(self, asked: Asked, *, milestones: int, evaluation_tokens: int) -> RunSpec:
        """Return the run up to its so many first milestones, at a constant learning rate."""
        return RunSpec(
            kind="isoflop",
            steps=self.steps[milestones - 1],
            schedule="constant",
            evaluate_at=self.steps[:milestones],
            evaluation_tokens=evaluation_tokens,
            **self.common(asked),
        )

    def common(self, asked: Asked) -> dict[str, Any]:
        """Return the fields that runs of every schedule share."""
        run, shape = self.recipe, self.rung.architecture
        assert run.learning_rate is not None
        return {
            "architecture": shape,
            "factory": asked.factory,
            "qk_norm": asked.qk_norm,
            "data": asked.data,
            "seq_len": shape.seq_len,
            "batch_sequences": self.batch,
            "learning_rate": run.learning_rate,
            "warmup_tokens": run.warmup_tokens or 0.0,
            "precision": asked.precision,
            "seed": asked.seed,
            **{
                name: getattr(run, name)
                for name in ("adam_beta1", "adam_beta2", "adam_eps", "weight_decay", "z_loss")
                if getattr(run, name) is not None
            },
        }


def rungs(ladder: Ladder, *, most: float, least: float = 0.0) -> list[Rung]:
    """Return sizes of a ladder about sqrt(2) apart, none above so many FLOPs of a token."""
    if ladder.family is None:
        return [each for each in ladder.rungs if least <= each.flops_per_token <= most]
    first, last = np.exp(ladder.curve.log_flops[[0, -1]])
    start, end = max(first, least), min(last, most)
    found: dict[str, Rung] = {}
    for step in itertools.count():
        size = start * SPACING**step
        if size > end:
            return sorted(found.values(), key=lambda each: each.flops_per_token)
        near = [each for each in ladder.near(size) if each.flops_per_token <= end]
        if near:
            each = min(near, key=lambda rung: _far(rung, size))
            found[each.architecture.name] = each
    return []


def _far(rung: Rung, size: float) -> float:
    return abs(math.log(rung.flops_per_token / size)) + abs(math.log(rung.depth_ratio)) / 2


def pilot(rung: Rung, asked: Asked, *, counting: Counting, ratios: Sequence[float]) -> Pilot:
    """Return the size with rules' hyperparameters, and milestones in whole steps."""
    shape, params = rung.architecture, rung.params[counting]
    first = max(min(ratios) * params, FEWEST_TOKENS)
    known: dict[str, Any] = {
        "architecture": shape,
        "seq_len": shape.seq_len,
        "tokens": USUAL * params,
        "flops_per_token": rung.flops_per_token,
        "precision": asked.precision,
    }
    advice = derive(Run(**known), families=asked.rules)
    batch_tokens = float(advice["batch_tokens"].value or shape.seq_len)
    batch = max(1, min(round(batch_tokens / shape.seq_len),
                       int(first / shape.seq_len / FEWEST_STEPS)))  # fmt: skip
    known["batch_tokens"] = batch * shape.seq_len
    rules = derive(Run(**known), families=asked.rules).run
    assert rules.learning_rate is not None
    run = rules.model_copy(
        update={
            "learning_rate": min(rules.learning_rate, RATE_CEILING),
            "warmup_tokens": min(rules.warmup_tokens or params, WARMUP * first),
            "adam_beta2": min(rules.adam_beta2 or BETA2_CEILING, BETA2_CEILING),
        }
    )
    step = batch * shape.seq_len
    steps = sorted({max(1, round(max(ratio * params, first) / step)) for ratio in ratios})
    return Pilot(rung=rung, batch=batch, steps=tuple(steps), recipe=run,
                 rules=rules.model_copy(update={"batch_tokens": batch_tokens}))  # fmt: skip


def option(pilot: Pilot, *, counting: Counting, evaluation_tokens: int) -> Option:
    """Return the size as the design sees it, with exact FLOPs, evaluations included."""
    rung = pilot.rung
    steps = np.array(pilot.steps, dtype=float)
    training = steps * pilot.batch * rung.sequence_flops
    # A forward pass is a third of a step.
    evaluations = np.arange(1, len(steps) + 1) * evaluation_tokens * rung.flops_per_token / 3
    return Option(
        name=rung.architecture.name,
        params=float(rung.params[counting]),
        tokens=steps * pilot.batch * rung.architecture.seq_len,
        flops=training + evaluations,
    )
