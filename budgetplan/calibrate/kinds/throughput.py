"""Throughput: how fast this hardware is, and what time, money and energy follow for the plan."""

from __future__ import annotations

import math
from collections.abc import Sequence

from budgetplan.calibrate.allowance import TooSmall, flops_of, flops_per_sequence
from budgetplan.calibrate.kinds.kind import (
    Asked,
    Design,
    Device,
    Finding,
    Outcome,
    Verdict,
    finding,
    kinds,
    usable,
)
from budgetplan.calibrate.pilots import rungs
from budgetplan.calibrate.spec import RunSpec
from budgetplan.core.architecture import Architecture
from budgetplan.core.budget import PUE
from budgetplan.core.errors import BadValue
from budgetplan.core.estimate import Estimate
from budgetplan.core.plan import Figure, figure
from budgetplan.core.units import show, show_bytes
from budgetplan.flops.memory import Training, largest_micro_batch, memory_of_architecture
from budgetplan.plan.shapes import rung as rung_of

STEPS = 20  # of each run; the trainer leaves its first ones out of the mean
SCATTER = 0.03  # of tokens per second between runs of one shape on one machine: an assumption
PER_OCTAVE = 0.05  # more for every doubling of size from the measured shape to the planned one
MORE_CARDS = 0.8  # the low end, where the plan has more cards than were measured
WIDE = ("fp32", "tf32", "fp16", "bf16")


@kinds.add("throughput")
class Throughput:
    """Short runs at rising batches of the planned shape, or of the largest that fits."""

    words = "how many tokens a second, at which share of the card's peak, in how much memory"

    def design(self, asked: Asked) -> Design:
        """Return short runs: batches up to what should fit, and one beyond it.

        Raises:
            TooSmall: the allowance pays for no run.
        """
        shape, notes = measured_shape(asked)
        specs: list[RunSpec] = []
        costs: list[float] = []
        sizes = batches(shape, asked)
        for batch in sizes:
            spec = _spec(shape, asked, batch=batch)
            cost = flops_of(spec)
            if sum(costs) + cost > asked.allowance:
                notes.append(
                    f"batches from {batch} sequences on are left out: each would cost"
                    f" {show(cost)} FLOPs"
                )
                break
            specs.append(spec)
            costs.append(cost)
        if not specs:
            raise TooSmall(
                f"an allowance of {show(asked.allowance)} FLOPs is too small for any run",
                needed=cost,
            )
        return Design(
            kind="throughput",
            specs=tuple(specs),
            flops=sum(costs),
            costs=tuple(costs),
            seconds=Estimate(sum(costs) / asked.speed) if asked.speed else None,
            notes=tuple(notes),
        )

    def verdict(self, asked: Asked, outcomes: Sequence[Outcome]) -> Verdict:
        """Return the speed of the best batch, and the plan's time, money and energy from it.

        Raises:
            BadValue: no run finished.
        """
        ended = usable(outcomes, "throughput", least=1)
        timed = [each for each in ended if each.result.tokens_per_second]
        if not timed:
            raise BadValue("no throughput run was long enough to be timed", "Run them again.")
        best = max(timed, key=lambda each: each.result.tokens_per_second or 0.0)
        reached = achieved(best)
        speed = extrapolated(best, asked)
        notes = [*_memory_words(best, asked), *_limit(outcomes)]
        figures, findings = _consequences(speed, best, asked, notes)
        tokens = best.result.tokens_per_second or 0.0
        shape = best.spec.architecture
        words = (
            f"{shape.name or 'The shape'} at {best.spec.batch_sequences} sequences a step:"
            f" {show(tokens)} tokens/s, {show(reached)} FLOP/s"
        )
        if "mfu" in figures:
            words += f", MFU {float(figures['mfu'].value):.1%} of the card's peak"
        return Verdict(
            kind="throughput",
            headline=words + ".",
            figures=figures,
            findings=findings,
            notes=tuple(notes),
        )


def measured_shape(asked: Asked) -> tuple[Architecture, list[str]]:
    """Return the planned shape, or the largest of the ladder that fits, and what to remark."""
    planned = asked.plan.stage.run.architecture
    assert planned is not None
    if _fits(planned, asked) and STEPS * rung_of(planned).sequence_flops <= asked.allowance:
        return planned, []
    limit = asked.plan.stage.sequence_flops / asked.ladder.seq_len
    for each in reversed(rungs(asked.ladder, most=limit)):
        shape = each.architecture
        if _fits(shape, asked) and STEPS * each.sequence_flops <= asked.allowance / 4:
            octaves = math.log2(limit / each.flops_per_token)
            return shape, [
                f"{planned.name} is measured by {shape.name}, {octaves:.1f} octaves smaller: the"
                " card's share of its peak is taken as the same, and its interval widened"
            ]
    return planned, []


def _fits(shape: Architecture, asked: Asked) -> bool:
    device = asked.device
    if device is None or not device.memory:
        return True
    fit = largest_micro_batch(shape, _training(asked), card=device.memory, reserve=_reserve(device))
    return fit.fits


def _reserve(device: Device) -> float | None:
    """Return what to leave free [bytes]: half of a host's memory, which others use too."""
    return None if device.kind == "cuda" else (device.memory or 0.0) / 2


def _training(asked: Asked) -> Training:
    return Training(precision=asked.precision if asked.precision in WIDE else "bf16")


def batches(shape: Architecture, asked: Asked) -> list[int]:
    """Return batches to try: powers of two up to what should fit, and the next one."""
    device = asked.device
    planned = round(asked.plan.stage.run.batch_sequences or 1)
    if device is None or not device.memory:
        most = planned
    else:
        fit = largest_micro_batch(
            shape, _training(asked), card=device.memory, reserve=_reserve(device)
        )
        most = max(1, min(fit.micro_batch, planned))
    found = [2**k for k in range(int(math.log2(most)) + 1)]
    found += [most] if found[-1] != most else []
    if device is not None and device.kind == "cuda" and most < planned:
        found.append(2 * most)  # to see where memory really ends
    return found


def _spec(shape: Architecture, asked: Asked, *, batch: int) -> RunSpec:
    run = asked.plan.stage.run
    return RunSpec(
        kind="throughput",
        architecture=shape,
        factory=asked.factory,
        qk_norm=asked.qk_norm,
        data=asked.data,
        seq_len=shape.seq_len,
        batch_sequences=batch,
        steps=STEPS,
        learning_rate=min(run.learning_rate or 1e-4, 1e-3),
        precision=asked.precision,
        seed=asked.seed,
        evaluation_tokens=shape.seq_len,  # the speed is wanted, and no loss
    )


def achieved(outcome: Outcome) -> float:
    """Return the model FLOP/s of a run, by exact count."""
    tokens = outcome.result.tokens_per_second
    assert tokens is not None
    return outcome.result.flops_per_second or (
        tokens * flops_per_sequence(outcome.spec) / outcome.spec.seq_len
    )


def extrapolated(best: Outcome, asked: Asked) -> Estimate:
    """Return the FLOP/s per card of the planned shape.

    The measured share of the peak is carried over. Its interval is the scatter of runs, widened for
    every octave of size between the shapes, and below where the plan spreads over more cards.
    """
    reached = achieved(best)
    own = flops_per_sequence(best.spec) / best.spec.seq_len
    planned = asked.plan.stage.sequence_flops / (asked.plan.stage.run.seq_len or 1)
    width = SCATTER + PER_OCTAVE * abs(math.log2(planned / own))
    cards = asked.plan.stage.run.gpus or 1
    measured = asked.device.count if asked.device else 1
    low = reached * math.exp(-width) * (MORE_CARDS if cards > measured else 1)
    return Estimate(
        reached / measured, bounds=(low / measured, reached * math.exp(width) / measured)
    )


def _consequences(
    speed: Estimate, best: Outcome, asked: Asked, notes: list[str]
) -> tuple[dict[str, Figure], tuple[Finding, ...]]:
    """Return MFU, card-hours, time, money and energy of the plan, and what they contradict."""
    plan, device, run = asked.plan, asked.device, best.id
    gpu = device.gpu if device else None
    by = f"run {run} on {device.name if device else 'an unknown machine'}"
    planned_card = plan.stage.run.gpu
    if planned_card and (gpu is None or gpu.name != planned_card):
        notes.append(
            f"measured on {device.name if device else 'an unknown machine'}, planned for"
            f" {planned_card}: the plan's time and cost are left as they are"
        )
        return {}, ()
    hours = Estimate(
        float(plan.spent.value) / speed.best / 3600,
        bounds=tuple(
            float(plan.spent.value) / each / 3600 for each in reversed(speed.bounds or ())
        ),  # type: ignore[arg-type]
    )
    out: dict[str, Figure] = {}
    findings = []
    if gpu is not None:
        peak = gpu.peak_for(asked.precision)
        mfu = speed.map(lambda each: each / peak)
        out["mfu"] = figure(mfu, origin="measured", by=by)
        if "mfu" in plan.figures:
            findings.append(finding("mfu", planned=plan.figures["mfu"], measured=mfu, runs=(run,)))
    out["gpu_hours"] = figure(hours, origin="measured", unit="hours", by=by)
    if cards := plan.stage.run.gpus:
        out["time"] = figure(
            hours.map(lambda h: h * 3600 / cards), origin="measured", unit="seconds", by=by
        )
    if "usd" in plan.figures and "gpu_hours" in plan.figures:
        price = float(plan.figures["usd"].value) / float(plan.figures["gpu_hours"].value)
        out["usd"] = figure(
            hours.map(lambda h: h * price), origin="measured", unit="dollars",
            by=f"{by}, {price:.4g} $/h")  # fmt: skip
    if gpu is not None and gpu.power:
        watts = gpu.power
        out["energy"] = figure(
            hours.map(lambda h: h * 3600 * watts * PUE), origin="measured", unit="joules",
            by=f"{by}, board power {watts:g} W x PUE {PUE:g}")  # fmt: skip
    return out, tuple(findings)


def _memory_words(best: Outcome, asked: Asked) -> list[str]:
    """Return measured memory beside the prediction, where the device told it."""
    peak, spec = best.result.peak_memory_bytes, best.spec
    if peak is None:
        return ["memory was not measured on this device"]
    cards = asked.device.count if asked.device else 1
    predicted = memory_of_architecture(
        spec.architecture,
        Training(precision=asked.precision if asked.precision in WIDE else "bf16", ranks=cards),
        micro_batch=max(1, spec.batch_sequences // cards),
        seq_len=spec.seq_len,
    ).total
    return [
        f"peak memory {show_bytes(peak)}, predicted {show_bytes(predicted)}"
        f" ({peak / predicted - 1:+.1%})"
    ]


def _limit(outcomes: Sequence[Outcome]) -> list[str]:
    """Return the largest batch that ran, and the smallest that did not."""
    own = [each for each in outcomes if each.spec.kind == "throughput"]
    fits = [each.spec.batch_sequences for each in own if each.finished]
    fails = [each for each in own if each.result.status == "failed"]
    words = [f"largest batch that ran: {max(fits)} sequences"] if fits else []
    if fails:
        first = min(fails, key=lambda each: each.spec.batch_sequences)
        words.append(f"{first.spec.batch_sequences} sequences failed: {first.result.reason}")
    return words
