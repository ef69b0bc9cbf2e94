"""Train: make one run of a spec, from its first step or from its checkpoint, and measure it.

    device -> model -> data -> optimizer -> checkpoint -> log -> loop -> result

Read `train` from top to bottom; what it calls is below it in the same order, or in the module of
that name. The same spec gives the same numbers, bit by bit, on a CPU with the same version of
torch: interrupted or not, whatever else runs (threads.py). On a card the backward pass of attention
adds in an order of its own, and several cards may add in another order after going on.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import torch

from budgetplan.calibrate import card, checkpoint, schedule
from budgetplan.calibrate.compiled import compile_layers, pays_to_compile
from budgetplan.calibrate.data import Corpus, open_corpus
from budgetplan.calibrate.model import architecture_of, build, draw_from, flops_per_sequence
from budgetplan.calibrate.optimizer import adamw
from budgetplan.calibrate.progress import Log, Progress
from budgetplan.calibrate.result import Ending, Interrupted, Result
from budgetplan.calibrate.run_folder import RunFolder
from budgetplan.calibrate.spec import RunSpec
from budgetplan.calibrate.step import (
    OutOfMemory,
    Step,
    arithmetic,
    evaluate,
    evaluated,
    first_micro_batch,
)
from budgetplan.calibrate.threads import threads, threads_for
from budgetplan.calibrate.windows import Windows
from budgetplan.calibrate.world import (
    Sharding,
    World,
    card_memory,
    chosen_sharding,
    join,
    placed,
)
from budgetplan.core.errors import BadValue

WARM, WARM_COMPILED = 3, 10  # first steps after each start that say nothing about the speed


def train(  # noqa: PLR0915  # one path, read from top to bottom
    spec: RunSpec,
    run: RunFolder,
    *,
    device: str | None = None,
    should_stop: Callable[[], bool] | None = None,
    on_step: Callable[[dict[str, Any]], None] | None = None,
    sharding: Sharding = "auto",
    compiled: bool | None = None,
    checkpoint_seconds: float = 300.0,
    keep_last: bool = False,
) -> Result:
    """Return what the run measured; a run that diverges or does not fit is a result, too.

    Args:
        spec: what to compute.
        run: where to write metrics, checkpoints and surroundings.
        device: `cpu`, `cuda`, `cuda:1`; a card where there is one.
        should_stop: asked after each step.
        on_step: told of every record.
        sharding: of several processes: each the whole model (ddp) or a share (fsdp).
        compiled: use torch.compile; None: where it pays.
        checkpoint_seconds: between checkpoints [s].
        keep_last: write a checkpoint after the last step, with the trained parameters.

    Raises:
        Interrupted: asked to stop, by should_stop or a signal; the checkpoint is written.
        UserError: model, data or settings cannot be used.
        StoreError: the run's folder cannot be written.
    """
    # --- device: this process's card or cores, and the numbers they compute in ---------------
    world = join(device)
    card.cleared(world)
    numbers = arithmetic(spec, world)
    schedule.refuse_without_effect(spec)

    # --- model: drawn from the seed, compiled, put on the device -----------------------------
    model = build(spec)
    params = sum(each.numel() for each in model.parameters())
    sequence_flops = flops_per_sequence(spec)
    step_flops = spec.batch_sequences * sequence_flops
    if compiled is None:
        compiled = pays_to_compile(spec, world, flops=spec.steps * step_flops)
    if compiled:
        compile_layers(model)
    placement = chosen_sharding(sharding, params=params, world=world)
    model = placed(model, sharding=placement, world=world)
    draw_from(spec.seed + 7919 * world.rank)  # dropout, which a user's model may have

    # --- data: which sequences are trained on, held out, and this process's of each batch ----
    corpus = open_corpus(spec.data)
    training, held_out = corpus.split(
        seq_len=spec.seq_len, share=spec.data.validation, seed=spec.seed
    )
    refuse_too_little(spec, training)
    rows = world.mine(spec.batch_sequences, even=placement == "fsdp")

    # --- optimizer: a step over a batch, in passes that fit ----------------------------------
    micro_batch = first_micro_batch(
        spec, rows, precision=numbers.precision, sharding=placement, world=world,
        memory=card_memory(world),
    )  # fmt: skip
    step = Step(
        spec=spec, model=model, optimizer=adamw(model, spec), world=world, numbers=numbers,
        micro_batch=micro_batch, compiled=compiled,
    )  # fmt: skip

    # --- checkpoint: where an earlier attempt stopped, or the beginning ----------------------
    saved, remark = checkpoint.load(run.checkpoint_path, model, step.optimizer, world=world)
    if saved is not None:
        so_far = Progress.restored(saved)
        step.micro_batch = so_far.micro_batch
    else:
        count = threads_for(world, pass_flops=micro_batch * sequence_flops)
        so_far = Progress(micro_batch=micro_batch, threads=count)
    so_far.remark(remark)
    warm = so_far.step + (WARM_COMPILED if compiled else WARM)

    def keep() -> None:
        so_far.micro_batch = step.micro_batch
        checkpoint.save(
            run.checkpoint_path, model, step.optimizer, progress=so_far.saved(), world=world
        )

    # --- log: how this run is made -----------------------------------------------------------
    log = Log(
        run=run, spec=spec, world=world, sequence_flops=sequence_flops,
        evaluated=evaluated(spec, held_out), on_step=on_step,
    )  # fmt: skip
    log.surroundings(
        **asdict(numbers),
        device=card.name(world),
        attention=""
        if spec.factory  # the user's own, which is not looked into
        else card.attention_kernel(architecture_of(spec), precision=numbers.precision, world=world),
        processes=world.size,
        threads=so_far.threads,
        sharding=placement,
        params=params,
        flops_per_step=step_flops,
        data=data_facts(spec, corpus, training, held_out),
        resumed_from_step=so_far.step,
        remark="; ".join(so_far.remarks),
    )

    # --- loop: step, record, measure, save, until the end or a reason to stop ----------------
    status: Ending = "finished"
    reason = ""
    began, last_kept = time.monotonic() - so_far.seconds, time.monotonic()
    with (
        threads(so_far.threads),
        fetching(training, spec, so_far.step) as batch,
        signals() as signalled,
    ):
        while so_far.step < spec.steps:
            number = so_far.step + 1
            try:
                done = step.take(torch.from_numpy(batch(number)[rows]), number)
            except OutOfMemory as error:
                status, reason = "failed", str(error)
                break
            seconds = time.monotonic() - began
            reason = so_far.add(done, number=number, seconds=seconds, warm=number <= warm)
            log.step(done, so_far, reason=reason)
            if reason:
                status = "diverged"
                break
            if number == warm:
                card.count_peaks_from_here(world)
            if number in spec.evaluate_at or number == spec.steps:
                log.evaluation(evaluate(step, held_out), so_far)
                so_far.seconds = time.monotonic() - began
            asked_to = should_stop() if should_stop else False  # by each process, at each step
            late = time.monotonic() - last_kept >= checkpoint_seconds
            stop, save = agreed(world, asked_to or signalled(), late)
            if number < spec.steps and (stop or save):
                keep()
                last_kept = time.monotonic()
                if stop:
                    raise Interrupted

    # --- result: what was measured -----------------------------------------------------------
    so_far.remark(step.remark)
    log.surroundings(
        micro_batch=step.micro_batch,
        steady_steps=len(so_far.steady),
        compiled=step.compiled,
        reserved_memory_bytes=card.reserved_memory(world),
        remark="; ".join(so_far.remarks),
    )
    retried_from_here = status == "failed" and so_far.step > 0 and world.size == 1
    if keep_last or retried_from_here:
        keep()
    return log.result(so_far, status, reason)


# --- data -----------------------------------------------------------------------------------------


def refuse_too_little(spec: RunSpec, training: Windows) -> None:
    """Raise BadValue if the data is shorter than one batch."""
    if len(training) < spec.batch_sequences:
        raise BadValue(
            f"the data has {training.tokens:,} tokens to train on, a batch needs "
            f"{spec.batch_tokens:,}",
            "Give more data, or a smaller batch.",
        )


def data_facts(
    spec: RunSpec, corpus: Corpus, training: Windows, held_out: Windows
) -> dict[str, Any]:
    """Return what the data is, how often it is seen, and how much of it is held out."""
    return {
        "what": corpus.description,
        "fingerprint": corpus.fingerprint,
        "unique_tokens": training.tokens,
        "epochs": spec.tokens / training.tokens,
        "held_out_tokens": held_out.tokens,
        "evaluated_tokens": evaluated(spec, held_out) * spec.seq_len,
    }


@contextlib.contextmanager
def fetching(training: Windows, spec: RunSpec, step: int) -> Iterator[Callable[[int], Any]]:
    """Within this, batches are read one step ahead, beside the computation.

    The batch of a step follows from its number alone, so a position is all that a resumed run
    needs.
    """

    def read(number: int) -> Any:
        return training.batch((number - 1) * spec.batch_sequences, spec.batch_sequences)

    with ThreadPoolExecutor(1) as pool:
        waiting = {step + 1: pool.submit(read, step + 1)}

        def batch(number: int) -> Any:
            if number < spec.steps:
                waiting[number + 1] = pool.submit(read, number + 1)
            return waiting.pop(number).result()

        yield batch


# --- when to stop ---------------------------------------------------------------------------------


def agreed(world: World, stop: bool, due: bool) -> tuple[bool, bool]:
    """Return whether any process was asked to stop, and whether the first one's clock says save.

    All must know, so that all stop and save after the same step.
    """
    stops, dues = world.sum([float(stop), float(due and world.first)])
    return stops > 0, dues > 0


@contextlib.contextmanager
def signals() -> Iterator[Callable[[], bool]]:
    """Within this, SIGTERM and SIGUSR1 ask to stop, unless somebody else listens to them."""
    asked: list[int] = []
    mine: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGUSR1"):  # Windows has only the first
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                mine[number] = signal.signal(number, lambda received, _: asked.append(received))
    try:
        yield lambda: bool(asked)
    finally:
        for listened, former in mine.items():
            signal.signal(listened, former)
