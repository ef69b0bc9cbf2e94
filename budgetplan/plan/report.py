"""Report: the answer as a plan, every number with its origin, and what the reader must know."""

from __future__ import annotations

import numpy as np

import budgetplan
from budgetplan.core.budget import MFU_BASIS, PUE, PUE_BASIS
from budgetplan.core.plan import Figure, Plan, PlannedLaw, Stage, figure
from budgetplan.plan.consensus import NAME as CONSENSUS
from budgetplan.plan.cost import Cost
from budgetplan.plan.optimum import Optimum
from budgetplan.plan.planner import REPETITION, Answer
from budgetplan.plan.remarks import notes
from budgetplan.plan.surface import AS_GOOD
from budgetplan.plan.uncertainty import loss_interval


def plan(answer: Answer) -> Plan:
    """Return the plan file's content."""
    return Plan(
        made_by=f"budgetplan {version()}",
        asked=dict(answer.question.asked or {}),
        budget=_budget(answer),
        spent=Figure(
            value=answer.spent,
            unit="FLOPs",
            origin="computed",
            by="steps x batch x exact FLOPs of a sequence, attention over all pairs",
        ),
        law=_law(answer.likely) if answer.likely else None,
        laws=tuple(_law(each.likely) for each in answer.members),
        stages=(_stage(answer),),
        figures=figures(answer),
        notes=tuple(notes(answer)),
    )


def version() -> str:
    """Return the version of this package."""
    from importlib.metadata import version as installed

    return installed(budgetplan.__name__)


def _budget(answer: Answer) -> Figure:
    budget = answer.question.budget
    if budget.flops is not None:
        return Figure(value=answer.flops.best, unit="FLOPs", origin="stated", by="--flops")
    if not answer.question.states_budget():
        by = "--params and --tokens"
        return Figure(value=answer.flops.best, unit="FLOPs", origin="computed", by=by)
    assert budget.gpu is not None
    return figure(
        answer.flops,
        origin="computed",
        unit="FLOPs",
        by=f"card-hours x {budget.gpu.name} {budget.precision} peak x MFU",
        note=f"MFU {budget.mfu:g} {budget.mfu_origin}",
    )


def _law(found: Optimum) -> PlannedLaw:
    preset = found.law.preset
    return PlannedLaw(
        name=preset.name,
        title=preset.title,
        counting=preset.counting,
        source=None if preset.name == CONSENSUS else preset.source,
        params=figure(found.params(), origin="law", unit="parameters", by=preset.name),
        flops=found.law_flops,
        outside=found.outside,
    )


def _stage(answer: Answer) -> Stage:
    shape = Figure(
        value=answer.rung.architecture.name,
        origin="computed",
        by=f"the shape of {answer.ladder.name} closest to the optimum",
    )
    whole = {
        name: Figure(value=value, unit=unit, origin="computed", by=by)
        for name, value, unit, by in (
            ("tokens", answer.tokens, "tokens", "steps x batch x sequence length"),
            ("steps", answer.steps.steps, "", "the budget, rounded down"),
            ("batch_sequences", answer.steps.batch, "sequences", "batch_tokens"),
        )
    }
    run = answer.run.model_copy(
        update={
            "flops": float(answer.spent),
            "flops_per_token": answer.rung.flops_per_token,
            "loss": answer.loss if _knows_loss(answer) else None,
        }
    )
    return Stage(
        run=run,
        sequence_flops=answer.rung.sequence_flops,
        useful_sequence_flops=answer.rung.useful_flops,
        figures={"architecture": shape} | whole | answer.recipe.figures(),
    )


def figures(answer: Answer) -> dict[str, Figure]:
    """Return what the plan comes to, by name."""
    shape = answer.rung
    found, wide = answer.optimum, answer.likely
    out = {
        "params": Figure(value=shape.stored, unit="parameters", origin="computed",
                         by="exact count of the shape, every parameter, a tied matrix once"),
        "tokens": Figure(value=answer.tokens, unit="tokens", origin="computed"),
        "tokens_per_param": Figure(value=answer.tokens / shape.params["total"], origin="computed",
                                   by=f"tokens / {answer.counted}"),
        "flops_causal": Figure(
            value=answer.steps.sequences * shape.useful_flops, unit="FLOPs", origin="computed",
            by="as spent, only query-key pairs that the causal mask passes"),
    }  # fmt: skip
    if answer.question.moe:
        out["active_params"] = Figure(
            value=shape.params["total"], unit="parameters", origin="computed",
            by="those that a token meets; what is called optimal counts them alone")  # fmt: skip
    if found is not None and wide is not None:
        out |= _optimal(found, wide)
        out |= _loss(answer, found)
    if answer.within_permil and answer.surface is not None:
        low, high = answer.within_permil
        best = answer.ladder.curve.at(answer.best.per_token, "total") if answer.best else 0.0
        out["params_within_1_permil"] = Figure(
            value=float(best), low=low, high=high, unit="parameters", origin="law",
            by=answer.surface.law.name,
            note=f"compute-optimal loss + 0.1% at the same budget{_cut(answer, low, high)}",
        )  # fmt: skip
    question = answer.question
    steered = (question.params, question.tokens, question.unique_tokens, question.inference_tokens)
    if answer.loss is not None and answer.best is not None and any(steered):
        out["excess"] = Figure(
            value=(answer.loss / answer.best.loss - 1) * 1e3, unit="permil of loss", origin="law",
            by="loss of this plan over the compute-optimal one, every token distinct")  # fmt: skip
    if answer.rounding_permil is not None and question.params is None:
        out["rounding"] = Figure(
            value=answer.rounding_permil, unit="permil of loss", origin="computed",
            by="loss of this shape over that of the best point of the ladder's curve")  # fmt: skip
    if unique := question.unique_tokens:
        out["epochs"] = Figure(
            value=answer.tokens / unique, origin="computed", by="tokens / unique_tokens"
        )
        if answer.surface is not None and answer.surface.repetition is not None:
            worth, (low, high) = answer.surface.repetition.share(float(answer.tokens))
            out["token_worth"] = Figure(
                value=worth, low=low, high=high, origin="law", by=REPETITION,
                note="of a token seen, against a fresh one; R*_D is weakly identified, "
                     f"interval: {AS_GOOD[0]:g} to {AS_GOOD[1]:g}")  # fmt: skip
    if advised := answer.vocabulary:
        out["recommended_vocab"] = Figure(
            value=advised.size, origin="law", by=advised.law.name, source=advised.law.source,
            outside={"params": advised.outside} if advised.outside > 1 else {},
            note="not taken: the plan keeps its own")  # fmt: skip
    if answer.cost is not None:
        out |= _cost(answer.cost)
    return out


HELD = "interval: draws and error of the form, calibrated on hold-outs"
DRAWN = "interval: the law's own draws alone; too narrow where it extrapolates"
POOLED = "interval: of the laws' sizes in one pool, those with draws calibrated on hold-outs"
POOLED_DRAWN = "interval: of the laws' sizes and own draws in one pool"


def _optimal(own: Optimum, wide: Optimum) -> dict[str, Figure]:
    """Return the optimum with intervals that hold, and beside it that of the law's own draws."""
    by = own.law.name
    known = wide.per_token.draws is not None
    words = (POOLED, POOLED_DRAWN) if own.law.name == CONSENSUS else (HELD, DRAWN)
    held, drawn = words if known else ("", "")
    params = "converted from the law's counting through the ladder"
    out = {
        "optimal_params": figure(
            wide.params("total"), origin="law", unit="parameters", by=by,
            note="; ".join(part for part in (params, held) if part)),
        "optimal_tokens": figure(wide.tokens, origin="law", unit="tokens", by=by, note=held),
        "optimal_tokens_per_param": figure(
            wide.tokens_per_param, origin="law", by=by, note=held),
    }  # fmt: skip
    if own.per_token.draws is not None:
        out |= {
            "optimal_params_draws": figure(
                own.params("total"), origin="law", unit="parameters", by=by, note=drawn),
            "optimal_tokens_draws": figure(
                own.tokens, origin="law", unit="tokens", by=by, note=drawn),
        }  # fmt: skip
    return out


def _cut(answer: Answer, low: float, high: float) -> str:
    """Return words for an end that is the ladder's, not the loss's."""
    first, last = np.exp(answer.ladder.curve.log_params["total"][[0, -1]])
    cut = [word for word, end, limit in (("low", low, first), ("high", high, last)) if end == limit]
    return f"; {' and '.join(cut)}: the ladder ends first" if cut else ""


def _knows_loss(answer: Answer) -> bool:
    """Whether the loss is one of the law's own; a surface that was lent knows only differences."""
    return answer.optimum is None or answer.optimum.loss is not None


def _loss(answer: Answer, found: Optimum) -> dict[str, Figure]:
    if answer.loss is None or found.loss is None:
        return {}
    # Draws of the law's own optimum, carried over to this shape and these tokens.
    optimal = answer.best.loss if answer.best else answer.loss
    estimate = loss_interval(found, best=answer.loss, optimal=optimal)
    assert answer.surface is not None
    note = f"on {found.law.preset.loss_of or 'the law’s own data'}"
    return {"loss": figure(estimate, origin="law", unit="nats/token", by=found.law.name, note=note)}


def _cost(spent: Cost) -> dict[str, Figure]:
    mfu = figure(
        spent.mfu,
        origin={"assumed": "assumed", "stated": "stated", "measured": "measured"}[spent.mfu_origin],  # type: ignore[arg-type]
        by="--mfu" if spent.mfu_origin == "stated" else "",
        source=MFU_BASIS if spent.mfu_origin == "assumed" else None,
    )
    card = spent.gpu.name
    out = {
        "mfu": mfu,
        "gpu_hours": figure(spent.card_hours, origin="computed", unit="hours", by=f"{card}, MFU"),
    }
    if spent.seconds is not None:
        out["time"] = figure(spent.seconds, origin="computed", unit="seconds", by="gpu_hours")
    if spent.usd is not None:
        out["usd"] = figure(
            spent.usd, origin="computed", unit="dollars",
            by=f"gpu_hours x {spent.price:g} $/h ({spent.price_origin})",
            note=spent.gpu.price_note if spent.price_origin == "preset" else "")  # fmt: skip
    if spent.energy is not None:
        out["energy"] = figure(
            spent.energy, origin="computed", unit="joules", source=PUE_BASIS,
            by=f"gpu_hours x board power {spent.gpu.power:g} W x PUE {PUE:g}")  # fmt: skip
    return out
