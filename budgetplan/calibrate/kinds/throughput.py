"""Throughput: how fast this hardware is, and what time, money and energy follow for the plan."""

from __future__ import annotations

import math
from collections.abc import Sequence

from budgetplan.calibrate.allowance import TooSmall, flops_of
from budgetplan.calibrate.costs import costs
from budgetplan.calibrate.kinds.kind import Asked, Design, Device, Outcome, Verdict, kinds, usable
from budgetplan.calibrate.pilots import rungs
from budgetplan.calibrate.spec import RunSpec
from budgetplan.calibrate.speed import (
    MORE_CARDS,
    UNREPEATED,
    UNSEEN,
    Speed,
    following,
    shared_out,
    speed,
)
from budgetplan.core.architecture import Architecture
from budgetplan.core.estimate import Estimate
from budgetplan.core.units import show, show_bytes
from budgetplan.flops.memory import Training, largest_micro_batch, memory_of_architecture
from budgetplan.plan.shapes import rung as rung_of

STEPS = 20  # of each run; the trainer leaves its first ones out of the mean
REPEATS = 3  # runs of each batch, the whole row made before it is begun again
WIDE = ("fp32", "tf32", "fp16", "bf16")


@kinds.add("throughput")
class Throughput:
    """Short runs at rising batches of the planned shape, or of the largest that fits."""

    words = "how many tokens a second, at which share of the card's peak, in how much memory"
    goes_on = True  # in search of the largest batch that fits

    def design(self, asked: Asked) -> Design:
        """Return short runs: batches up to what should fit, and one beyond it.

        Of batches that were tried before, the next one in search of the largest that fits.

        Raises:
            TooSmall: the allowance pays for no run.
        """
        shape, notes = measured_shape(asked)
        specs: list[RunSpec] = []
        spent = 0.0
        for batch, seed in _row(shape, asked):
            spec = _spec(shape, asked, batch=batch, seed=seed)
            cost = flops_of(spec)
            if spent + cost > asked.allowance:
                notes.append(
                    f"left out for the allowance: {batch} sequences and what follows, each run"
                    f" {show(cost)} FLOPs"
                )
                break
            spent += cost
            specs.append(spec)
        if not specs:
            raise TooSmall(
                f"an allowance of {show(asked.allowance)} FLOPs is too small for any run",
                needed=cost,
            )
        if max(each.seed for each in specs) > asked.seed:
            notes.append("batches are measured in turn, and again, so that drifts show")
        return Design(
            kind="throughput",
            specs=tuple(specs),
            flops=spent,
            costs=tuple(flops_of(each) for each in specs),
            seconds=Estimate(spent / asked.speed) if asked.speed else None,
            notes=tuple(notes),
        )

    def verdict(self, asked: Asked, outcomes: Sequence[Outcome]) -> Verdict:
        """Return the speed of the best batch, and the plan's time, money and energy from it.

        Raises:
            BadValue: no run finished.
        """
        found = speed(usable(outcomes, "throughput", least=1), asked)
        figures, findings, remarks = costs(found, asked)
        shape = found.runs[0].spec.architecture
        words = (
            f"{shape.name or 'The shape'} at {found.batch} sequence{'s' * (found.batch > 1)} at a"
            " time:"
            f" {show(found.tokens)} tokens/s, {show(found.reached)} FLOP/s of one"
            f" {'card' if found.device and found.device.kind == 'cuda' else 'device'}"
        )
        if "mfu" in figures:
            words += f", MFU {float(figures['mfu'].value):.1%} of the card's peak"
        return Verdict(
            kind="throughput",
            headline=words + ".",
            figures=figures,
            findings=findings,
            notes=(*remarks, *_certain(found, asked), *_memory(found), *_limit(outcomes)),
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


def most_wanted(asked: Asked) -> int:
    """Return the sequences of a card at a time beyond which the planned batch has none left."""
    run = asked.plan.stage.run
    return max(1, math.ceil(round(run.batch_sequences or 1) / (run.gpus or 1)))


def predicted(shape: Architecture, asked: Asked) -> int:
    """Return the largest batch that should fit, no larger than is wanted."""
    device, most = asked.device, most_wanted(asked)
    if device is None or not device.memory:
        return most
    fit = largest_micro_batch(shape, _training(asked), card=device.memory, reserve=_reserve(device))
    return max(1, min(fit.micro_batch, most))


def _row(shape: Architecture, asked: Asked) -> list[tuple[int, int]]:
    """Return batches and seeds of the runs, in the order of making."""
    most = predicted(shape, asked)
    sizes = {2**power for power in range(int(math.log2(most)) + 1)} | {most}
    tried = {
        each.spec.batch_sequences: each.finished
        for each in asked.made_alike("throughput", shape)
        if each.finished or short_of_memory(each)
    }
    fails = {batch for batch, fine in tried.items() if not fine}
    fits = (sizes | {batch for batch, fine in tried.items() if fine}) - fails
    beyond = following(dict.fromkeys(fits, True) | tried, most=most_wanted(asked))
    known = [(batch, seed) for seed in range(REPEATS) for batch in sorted(fits)]
    probes = fails | ({beyond} if beyond else set())
    return known + [(batch, 0) for batch in sorted(probes)]


def short_of_memory(outcome: Outcome) -> bool:
    """Whether the run failed because its batch did not fit."""
    return outcome.result.status == "failed" and "memory" in outcome.result.reason


def _spec(shape: Architecture, asked: Asked, *, batch: int, seed: int) -> RunSpec:
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
        seed=asked.seed + seed,
        evaluation_tokens=shape.seq_len,  # the speed is wanted, and no loss
    )


# --- what the reader must know --------------------------------------------------------------------


def _certain(found: Speed, asked: Asked) -> list[str]:
    """Return what the interval rests on, and what is in no number."""
    words = []
    if found.scatter is None:
        words.append(f"no batch was measured twice: {UNREPEATED:.0%} are assumed for its scatter")
    else:
        words.append(
            f"{len(found.runs)} runs of this batch; runs of one batch scatter by"
            f" {found.scatter:.1%}, and {UNSEEN:.0%} more are assumed for what minutes do not show"
            " (heat, clocks, stragglers)"
        )
    if found.more_cards:
        measured = f"{found.processes} card" + ("s" if found.processes > 1 else "")
        words.append(
            f"measured on {measured}, planned on {asked.plan.stage.run.gpus}: that they scale"
            f" without loss was not measured; the low end assumes {1 - MORE_CARDS:.0%} less"
        )
    words.append(
        "steps of this trainer alone: your own code has a speed of its own, and reading data,"
        " checkpoints, evaluation and restarts come on top"
    )
    return words


def _memory(found: Speed) -> list[str]:
    """Return measured memory beside the prediction, where the device told it."""
    run = found.runs[0]
    peak, spec = run.result.peak_memory_bytes, run.spec
    if peak is None:
        return ["memory was not measured on this device"]
    if spec.factory is not None:
        return [f"peak memory {show_bytes(peak)}; that of your own model is not predicted here"]
    total = memory_of_architecture(
        spec.architecture,
        Training(
            precision=spec.precision if spec.precision in WIDE else "bf16",
            ranks=found.processes,
            sharding="fsdp" if shared_out(run) else "none",
        ),
        micro_batch=found.batch,
        seq_len=spec.seq_len,
    ).total
    return [
        f"peak memory {show_bytes(peak)}, predicted {show_bytes(total)} ({peak / total - 1:+.1%})"
    ]


def _limit(outcomes: Sequence[Outcome]) -> list[str]:
    """Return the largest batch that ran, and the smallest that did not."""
    own = [each for each in outcomes if each.spec.kind == "throughput"]
    fits = max((each.spec.batch_sequences for each in own if each.finished), default=None)
    words = [f"largest batch that ran: {fits} sequences"] if fits else []
    fails = [each for each in own if each.result.status == "failed"]
    short = [each for each in fails if short_of_memory(each)]
    if short:
        first = min(short, key=lambda each: each.spec.batch_sequences)
        words.append(f"{first.spec.batch_sequences} sequences did not fit: {first.result.reason}")
    words += [
        f"{each.spec.batch_sequences} sequences failed: {each.result.reason}"
        for each in fails
        if each not in short
    ]
    return words
