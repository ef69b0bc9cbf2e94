"""The answer of `calibrate` for programs; the keys are documented in its help."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from budgetplan.core.plan import LEVEL

if TYPE_CHECKING:
    from budgetplan.calibrate.kinds.kind import Basin, Design, Verdict
    from budgetplan.cli.calibrated.session import Answer
    from budgetplan.cli.calibrated.standing import Standing


def answer(found: Answer) -> dict[str, Any]:
    """Return all that came of a calibration."""
    return {
        "designs": [design(each) for each in found.designs],
        "verdicts": [verdict(each) for each in found.verdicts],
        "revised": found.revised.model_dump(mode="json") if found.revised else None,
        "contradicts": found.contradicts,
        "files": [str(file) for file in found.files],
    }


def design(found: Design) -> dict[str, Any]:
    """Return the runs of one kind before they are made."""
    return {
        "kind": found.kind,
        "runs": [
            {
                "id": spec.id,
                "shape": spec.architecture.name,
                "params": spec.architecture.params().total,
                "tokens": spec.tokens,
                "batch_sequences": spec.batch_sequences,
                "steps": spec.steps,
                "learning_rate": spec.learning_rate,
                "milestones": [step * spec.batch_tokens for step in spec.evaluate_at],
                "flops": cost,
            }
            for spec, cost in zip(found.specs, found.costs, strict=True)
        ],
        "flops": found.flops,
        "seconds": found.seconds.as_json(LEVEL) if found.seconds else None,
        "expected": [
            {
                "name": each.name,
                "unit": each.unit,
                "before": each.before.as_json(LEVEL),
                "after": each.after.as_json(LEVEL),
            }
            for each in found.expected
        ],
        "notes": list(found.notes),
    }


def verdict(found: Verdict) -> dict[str, Any]:
    """Return what the runs of one kind say."""
    return {
        "kind": found.kind,
        "headline": found.headline,
        "contradicts": found.contradicts,
        "figures": {name: each.model_dump(mode="json") for name, each in found.figures.items()},
        "findings": [
            {
                "name": each.name,
                "unit": each.unit,
                "planned": each.planned.model_dump(mode="json"),
                "measured": each.measured.as_json(LEVEL),
                "contradicts": each.contradicts,
                "beyond": each.beyond,
                "runs": list(each.runs),
            }
            for each in found.findings
        ],
        "scores": [asdict(each) for each in found.scores],
        "holdout": [asdict(each) for each in found.holdout.refits] if found.holdout else [],
        "basin": _basin(found.basin) if found.basin else None,
        "law": found.law.preset.model_dump(mode="json", exclude_none=True) if found.law else None,
        "notes": list(found.notes),
    }


def _basin(found: Basin) -> dict[str, Any]:
    return {
        "learning_rates": list(found.learning_rates),
        "batches": list(found.batches),
        "losses": [
            {"learning_rate": rate, "batch_sequences": batch, "loss": loss}
            for (rate, batch), loss in sorted(found.losses.items())
        ],
        "best": {"learning_rate": found.best[0], "batch_sequences": found.best[1]},
        "advised": {"learning_rate": found.advised[0], "batch_sequences": found.advised[1]},
        "lost": [{"learning_rate": rate, "batch_sequences": batch} for rate, batch in found.lost],
        "beta2": [
            {
                "adam_beta2": beta2,
                "batch_sequences": batch,
                "loss": loss,
                "rules": found.beta2_of.get(batch) == beta2,
            }
            for (beta2, batch), loss in sorted(found.beta2.items())
        ],
    }


def standing(found: Standing) -> dict[str, Any]:
    """Return how the runs of a folder are."""
    return {
        "folder": str(found.folder),
        "allowance": found.allowance,
        "spent": found.spent,
        "states": found.states,
        "workers": found.workers,
        "runs": [asdict(each) for each in found.lines],
        "remarks": list(found.remarks),
    }
