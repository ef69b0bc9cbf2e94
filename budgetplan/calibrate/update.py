"""Update: the plan with what was measured in the place of what was published or assumed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from budgetplan.calibrate.kinds.kind import Finding, Verdict
from budgetplan.core.plan import Figure, Plan, Stage
from budgetplan.core.units import show

COSTS = ("gpu_hours", "time", "usd", "energy")  # all inversely proportional to MFU
TUNED = ("learning_rate", "batch_tokens")
OF_THE_LAW = ("optimal_params", "optimal_tokens", "loss")


def changes(plan: Plan, verdicts: Sequence[Verdict], *, law: Path | None) -> dict[str, Any]:
    """Return the options of `optimize` that the runs answer, to plan anew with.

    Args:
        plan: as `optimize` wrote it.
        verdicts: what the runs say.
        law: the file of the fitted law; None where none is to be believed.
    """
    found: dict[str, Any] = {}
    measured = _measured(verdicts)
    if law is not None:
        found["law"] = str(law)
    if "mfu" in measured and plan.stage.run.gpu:
        found["mfu"] = f"{float(measured['mfu'].value):.6g}"
    if "batch_tokens" in measured and plan.stage.run.seq_len:
        sequences = float(measured["batch_tokens"].value) / plan.stage.run.seq_len
        found["batch"] = str(max(1, round(sequences)))
    return found


def tuned(plan: Plan) -> bool:
    """Whether an earlier sweep has moved the plan's learning rate off what the rules say."""
    figure = plan.stage.figures.get("learning_rate")
    return figure is not None and figure.origin == "measured"


def measured_mfu(plan: Plan, verdicts: Sequence[Verdict]) -> Figure | None:
    """Return the MFU that was measured, now or by an earlier calibration."""
    found = _measured(verdicts).get("mfu") or plan.figures.get("mfu")
    return found if found is not None and found.origin == "measured" else None


def revise(
    plan: Plan,
    verdicts: Sequence[Verdict],
    *,
    anew: Plan | None = None,
    plain: Plan | None = None,
    made_by: str = "",
) -> Plan:
    """Return the revised plan; what was measured says so, and by which runs.

    What an earlier calibration measured stays, where it was not measured again.

    Args:
        plan: as `optimize` wrote it, or as it was revised before.
        verdicts: what the runs say.
        anew: the plan made again with `changes`; None where nothing made that necessary.
        plain: the plan as its options alone make it, where it was tuned before.
        made_by: who revised it.
    """
    base, measured = anew or plan, _measured(verdicts)
    law, by = _law_of(plan, verdicts)
    figures = {name: _stamped(each, law=law, by=by) for name, each in base.figures.items()}
    if "loss" in figures and figures["loss"].origin == "measured":
        figures["loss"] = _said(figures["loss"], "runs of a constant learning rate")
    for name, each in measured.items():
        made_anew = anew is not None and name in anew.figures
        if name in TUNED or (name in COSTS and made_anew and "mfu" in measured):
            continue
        if name in OF_THE_LAW and made_anew:
            continue  # the plan made by the fitted law has its own, of the shape that it chose
        figures[name] = each
    if anew is not None and (mfu := measured_mfu(plan, verdicts)) is not None:
        figures |= {"mfu": mfu} | _costs(figures, mfu)
    planned = base.law
    if planned is not None:
        planned = planned.model_copy(update={"params": _stamped(planned.params, law=law, by=by)})
    stage = _tuned(base.stage, plan.stage, (plain or plan).stage, measured)
    return base.model_copy(
        update={
            "made_by": made_by or base.made_by,
            "figures": figures,
            "law": planned,
            "stages": (*base.stages[:-1], stage),
            "notes": (*_notes(verdicts), *base.notes),
        }
    )


def _law_of(plan: Plan, verdicts: Sequence[Verdict]) -> tuple[str, str]:
    """Return the name of the law that was fitted here, now or before, and to which runs."""
    for each in verdicts:
        if each.law is not None:
            return each.law.name, f"law fitted to {_runs_of(verdicts, kind='isoflop')}"
    if plan.law is not None and plan.law.params.origin == "measured":
        return plan.law.name, plan.law.params.by
    return "", ""


def contradictions(verdicts: Sequence[Verdict]) -> list[Finding]:
    """Return the numbers of the plan that the runs refute, the furthest first."""
    found = [each for verdict in verdicts for each in verdict.findings if each.contradicts]
    return sorted(found, key=lambda each: -(each.beyond or 0.0))


def words(finding: Finding) -> str:
    """Return which number it is, and how far off."""
    planned, measured = finding.planned, finding.measured
    ends = ""
    if planned.low is not None and planned.high is not None:
        ends = f" ({show(planned.low)} to {show(planned.high)})"
    own = measured.interval()
    interval = f" ({show(own[0])} to {show(own[1])})" if own else ""
    value = planned.value if isinstance(planned.value, str) else show(planned.value)
    text = (
        f"{finding.name.replace('_', ' ')}: planned {value}{ends}, measured"
        f" {show(measured.best)}{interval}"
    )
    if finding.beyond is not None:
        text += f": a factor {finding.beyond:.2f} beyond the plan's interval"
    return text


def _measured(verdicts: Sequence[Verdict]) -> dict[str, Figure]:
    return {name: each for verdict in verdicts for name, each in verdict.figures.items()}


def _runs_of(verdicts: Sequence[Verdict], *, kind: str) -> str:
    for verdict in verdicts:
        if verdict.kind == kind:
            for each in verdict.figures.values():
                return each.by
    return ""


def _stamped(each: Figure, *, law: str, by: str) -> Figure:
    """Return a figure that the fitted law gave as one that its runs measured."""
    if each.origin != "law" or each.by != law:
        return each
    return each.model_copy(update={"origin": "measured", "by": by})


def _said(each: Figure, words: str) -> Figure:
    if words in each.note:
        return each
    return each.model_copy(update={"note": "; ".join(part for part in (each.note, words) if part)})


def _costs(figures: dict[str, Figure], mfu: Figure) -> dict[str, Figure]:
    """Return time and money with the interval of the measured MFU."""
    share = float(mfu.value)
    out = {}
    for name in COSTS:
        each = figures.get(name)
        if each is None or isinstance(each.value, str) or mfu.low is None or mfu.high is None:
            continue
        out[name] = each.model_copy(
            update={
                "origin": "measured",
                "low": each.value * share / mfu.high,
                "high": each.value * share / mfu.low,
                "level": mfu.level,
                "by": _by(each, mfu),
            }
        )
    return out


def _by(each: Figure, mfu: Figure) -> str:
    """Return what a cost was computed from, and the runs that measured the speed."""
    return "; ".join(part for part in (each.by.partition("; MFU: ")[0], f"MFU: {mfu.by}") if part)


def _tuned(stage: Stage, before: Stage, rules: Stage, measured: dict[str, Figure]) -> Stage:
    """Return the stage with its learning rate moved as a sweep says, and whose its batch is.

    A sweep gives a factor between best and advised; it is applied to what the rules advise now.
    Without a new sweep the factor of the last one stays.

    Args:
        stage: of the plan as it is now, by the rules where it was made anew.
        before: of the plan that was calibrated.
        rules: of that plan, its learning rate as the rules say.
        measured: figures of the sweep.
    """
    figures = dict(stage.figures)
    batch, rate = (_last(name, measured, before) for name in ("batch_tokens", "learning_rate"))
    same = "batch_tokens" in measured or stage.run.batch_tokens == before.run.batch_tokens
    if batch is not None and stage.run.batch_tokens is not None and same:
        figures["batch_tokens"] = batch.model_copy(update={"value": stage.run.batch_tokens})
    found = stage.model_copy(update={"figures": figures})
    if rate is None or not rules.run.learning_rate or not stage.run.learning_rate:
        return found
    if stage is before and "learning_rate" not in measured:
        return found
    # Of a plan that was not made anew, the stage may hold what an earlier sweep found.
    now = rules.run.learning_rate if stage is before else stage.run.learning_rate
    return _with_rate(found, rate, scale=now / rules.run.learning_rate)


def _last(name: str, measured: dict[str, Figure], before: Stage) -> Figure | None:
    """Return what a sweep measured: this one, or one before."""
    found = measured.get(name) or before.figures.get(name)
    return found if found is not None and found.origin == "measured" else None


def _with_rate(stage: Stage, rate: Figure, *, scale: float) -> Stage:
    """Return the stage with this learning rate, scaled, and a final one in proportion."""
    moved = _scaled(rate, scale)
    run, figures = stage.run, {**stage.figures, "learning_rate": moved}
    assert run.learning_rate is not None
    update: dict[str, Any] = {"learning_rate": moved.value}
    if run.min_learning_rate:
        share = float(moved.value) / run.learning_rate
        update["min_learning_rate"] = run.min_learning_rate * share
        if "min_learning_rate" in figures:
            final = _scaled(figures["min_learning_rate"], share)
            figures["min_learning_rate"] = _said(final, "in proportion to the measured peak")
    return stage.model_copy(update={"run": run.model_copy(update=update), "figures": figures})


def _scaled(each: Figure, factor: float) -> Figure:
    ends = {
        end: None if getattr(each, end) is None else getattr(each, end) * factor
        for end in ("low", "high")
    }
    return each.model_copy(update={"value": float(each.value) * factor, **ends})


def _notes(verdicts: Sequence[Verdict]) -> list[str]:
    found = [f"calibrated, {verdict.kind}: {verdict.headline}" for verdict in verdicts]
    refuted = [f"contradicted by measurement: {words(each)}" for each in contradictions(verdicts)]
    return [*refuted, *found]
