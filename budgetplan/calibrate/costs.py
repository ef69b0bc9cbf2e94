"""Costs: time, money and energy of the plan at a measured speed, and what they contradict."""

from __future__ import annotations

from budgetplan.calibrate.kinds.kind import Asked, Finding, finding
from budgetplan.calibrate.speed import Speed
from budgetplan.core.budget import PUE, PUE_BASIS, Gpu
from budgetplan.core.estimate import Estimate
from budgetplan.core.plan import Figure, Plan, figure

Costs = tuple[dict[str, Figure], tuple[Finding, ...], list[str]]


def costs(found: Speed, asked: Asked) -> Costs:
    """Return MFU, card-hours, time, money and energy, what they refute, and what is not known."""
    plan, card = asked.plan, found.device.gpu if found.device else None
    where = found.device.name if found.device else "an unknown machine"
    planned = plan.stage.run.gpu
    if planned and (card is None or card.name != planned):
        remark = (
            f"measured on {where}, planned for {planned}: its time and cost are left as planned"
        )
        return {}, (), [remark]
    names = tuple(each.id for each in found.runs)
    by = f"{len(names)} run{'s' if len(names) > 1 else ''}: {', '.join(names)}; on {where}"
    spent = float(plan.spent.value)
    hours = found.planned.map(lambda each: spent / each / 3600)
    out: dict[str, Figure] = {}
    findings: list[Finding] = []
    remarks: list[str] = []
    precision = found.runs[0].spec.precision
    if card is not None and precision in card.peak:
        mfu = found.planned.map(lambda each: each / card.peak[precision])
        out["mfu"] = figure(mfu, origin="measured", by=by)
        if "mfu" in plan.figures:
            findings.append(finding("mfu", planned=plan.figures["mfu"], measured=mfu, runs=names))
    elif card is not None:
        remarks.append(f"MFU is not known: {card.name} has no {precision} peak in the presets")
    else:
        remarks.append(f"MFU is not known: the peak of {where} is in no preset")
    out["gpu_hours"] = figure(hours, origin="measured", unit="hours", by=by)
    if cards := plan.stage.run.gpus:
        out["time"] = figure(
            hours.map(lambda h: h * 3600 / cards), origin="measured", unit="seconds", by=by
        )
    else:
        remarks.append("the plan names no number of cards: hours are those of one")
    out |= _money(plan, card, hours, by=by, remarks=remarks)
    out |= _energy(card, hours, by=by, where=where, remarks=remarks)
    return out, tuple(findings), remarks


def _money(
    plan: Plan, card: Gpu | None, hours: Estimate, *, by: str, remarks: list[str]
) -> dict[str, Figure]:
    """Return the money at the plan's own price, else at the card's typical one."""
    price, whose = None, ""
    if "usd" in plan.figures and "gpu_hours" in plan.figures:
        price = float(plan.figures["usd"].value) / float(plan.figures["gpu_hours"].value)
        whose = "as planned"
    elif card is not None and card.usd_per_hour:
        price, whose = card.usd_per_hour, "typical"
    if price is None:
        remarks.append("money is not known: no price is; give optimize --usd-per-gpu-hour")
        return {}
    made = figure(
        hours.map(lambda h: h * price), origin="measured", unit="dollars",
        by=f"{by}; {price:.4g} $/h, {whose}",
        note=card.price_note if card is not None and whose == "typical" else "")  # fmt: skip
    return {"usd": made}


def _energy(
    card: Gpu | None, hours: Estimate, *, by: str, where: str, remarks: list[str]
) -> dict[str, Figure]:
    """Return the energy at the board's power, which is an upper bound of what cards take."""
    energy = card.energy(hours) if card is not None else None
    if card is None or energy is None:
        remarks.append(f"energy is not known: the power of {where} is in no preset")
        return {}
    made = figure(
        energy, origin="measured", unit="joules", source=PUE_BASIS,
        by=f"{by}; board power {card.power:g} W x PUE {PUE:g}, not measured")  # fmt: skip
    return {"energy": made}
