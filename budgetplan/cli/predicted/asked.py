"""From the options of `predict` to what each law says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from budgetplan.cli.derived.asked import FEWEST_TOKENS, model_facts, not_forgotten, run_of
from budgetplan.core import units
from budgetplan.core.errors import BadValue
from budgetplan.core.estimate import Estimate
from budgetplan.laws import Law, law
from budgetplan.laws import predict as say
from budgetplan.laws.data_constrained import DataConstrained
from budgetplan.rules.facts import with_assumed_counts

HOPEFUL = 16
"""Epochs beyond which repeated tokens are worth less than the law says [count].
Source: Muennighoff et al. 2023, arXiv:2305.16264, Figure 5."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What one law says of the run."""

    law: Law
    params: float  # as the law counts them
    loss: Estimate
    outside: dict[str, float]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What every law says of the run."""

    title: str
    tokens: float
    unique_tokens: float | None
    predictions: tuple[Prediction, ...]
    assumptions: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return all that is known, by the keys that `predict --help` documents."""
        return {
            "model": self.title,
            "tokens": self.tokens,
            "unique_tokens": self.unique_tokens,
            "assumptions": list(self.assumptions),
            "laws": [
                {
                    "law": each.law.name,
                    "params": each.params,
                    "counting": each.law.preset.counting,
                    "loss": each.loss.as_json(),
                    "loss_of": each.law.preset.loss_of,
                    "outside": each.outside,
                    "notes": list(each.notes),
                }
                for each in self.predictions
            ],
        }


def predictions(
    target: str | None,
    *,
    params: str | None,
    counting: str | None,
    tokens: str | None,
    unique_tokens: str | None,
    laws: str,
    seq_len: str | None,
    settings: Sequence[str],
    allow_unverified: bool,
) -> Answer:
    """Return what every law says.

    Raises:
        UserError: an option cannot be read, a law does not predict the loss of a run, or a
            parameter count that a law needs cannot be told.
    """
    title, model = model_facts(
        target, params=params, counting=counting, usual="total", vocab=None, seq_len=seq_len,
        settings=settings,
    )  # fmt: skip
    if tokens is None:
        raise BadValue("no tokens given", "Say how long is trained: --tokens 300B.")
    seen = units.tokens(tokens)
    not_forgotten(seen, tokens, what="--tokens", fewest=FEWEST_TOKENS, example="20B")
    unique = units.tokens(unique_tokens, what="--unique-tokens") if unique_tokens else None
    if unique is not None and unique > seen:
        raise BadValue(
            f"--unique-tokens {unique_tokens} exceeds --tokens {tokens}",
            "Unique tokens are those among the ones seen.",
        )
    names = [name.strip() for name in laws.split(",") if name.strip()]
    if not names:
        raise BadValue("--law names no law", "budgetplan presets laws lists them.")
    facts, assumptions = with_assumed_counts(run_of(model))
    return Answer(
        title=title,
        tokens=seen,
        unique_tokens=unique,
        predictions=tuple(
            _predict(law(name, allow_unverified=allow_unverified), facts, seen, unique)
            for name in names
        ),
        assumptions=assumptions,
    )


def _predict(law: Law, facts: dict[str, Any], tokens: float, unique: float | None) -> Prediction:
    size = float(facts[f"params_{law.preset.counting}"])
    notes = [law.preset.notes] if law.preset.notes else []
    if unique is not None and unique < tokens:
        loss = _repeated(law, size, tokens, unique)
        notes.append("no interval: none was calibrated on repeated data")
        if tokens / unique > HOPEFUL:
            notes.append(
                f"{tokens / unique:,.0f} epochs: beyond {HOPEFUL} the law is far too hopeful, "
                "overfitting is not in it"
            )
    else:
        loss = say.loss(law, params=size, tokens=tokens)
    outside = law.preset.tested.leaves(
        params=size, tokens=tokens, flops=6 * size * tokens, tokens_per_param=tokens / size
    )
    return Prediction(law=law, params=size, loss=loss, outside=outside, notes=tuple(notes))


def _repeated(law: Law, params: float, tokens: float, unique: float) -> Estimate:
    if not isinstance(law.best, DataConstrained):
        raise BadValue(
            f"law {law.name} knows nothing of repeated tokens",
            "Ask --law muennighoff2023_c4, or leave --unique-tokens out.",
        )
    loss = law.best.loss(
        params=np.array([params]), tokens=np.array([tokens]), unique_tokens=np.array([unique])
    )
    return Estimate(loss.item())
