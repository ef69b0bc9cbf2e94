"""Step: one optimizer step over a batch, in as many passes as the memory needs; and a measurement.

Gradients are those of the mean loss over all tokens of the batch, however it is divided: among
passes, among processes.
"""

from __future__ import annotations

import contextlib
import math
import time
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from budgetplan.calibrate import card, compiled, schedule
from budgetplan.calibrate.model import (
    architecture_of,
    logits_of,
    nats,
    squared_log_partition,
)
from budgetplan.calibrate.spec import RunSpec
from budgetplan.calibrate.windows import Windows
from budgetplan.calibrate.world import World, gradients_kept
from budgetplan.core.budget import Precision
from budgetplan.core.errors import BadValue
from budgetplan.flops.memory import Training, largest_micro_batch

CPU_TOKENS, CPU_LOGITS = 2**14, 2**27  # of a micro-batch on the CPU, which has no OutOfMemory


@dataclass(frozen=True, kw_only=True)
class Arithmetic:
    """In what numbers the run computes, and why not as asked if it does not."""

    precision: Precision
    precision_asked: Precision
    why: str = ""

    @property
    def autocast(self) -> bool:
        """Whether products are made in bf16, with weights and sums in fp32."""
        return self.precision == "bf16"


def arithmetic(spec: RunSpec, world: World) -> Arithmetic:
    """Return the arithmetic that this device does, and set torch to it.

    Raises:
        BadValue: the trainer does not know the precision.
    """
    asked = spec.precision
    if asked not in ("fp32", "tf32", "bf16"):
        raise BadValue(f"precision {asked}: the trainer knows fp32, tf32 and bf16")
    if world.device.type == "cpu":
        why = f"{asked} on a CPU is slower than fp32, or absent" if asked != "fp32" else ""
        return Arithmetic(precision="fp32", precision_asked=asked, why=why)
    torch.set_float32_matmul_precision("high" if asked == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = asked == "tf32"  # of convolutions, and by default allowed
    if asked == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        name = torch.cuda.get_device_name(world.device)
        return Arithmetic(precision="fp32", precision_asked=asked, why=f"{name} has no bf16")
    return Arithmetic(precision=asked, precision_asked=asked)


class OutOfMemory(Exception):
    """The model does not fit, or not even one sequence does."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """What one optimizer step measured."""

    loss: float  # of the whole batch, without z-loss [nats/token]
    gradient_norm: float
    learning_rate: float
    seconds: float  # of computing; reading the data is left out
    wrong: str = ""  # why the parameters were not changed


@dataclass(kw_only=True)
class Step:
    """An optimizer step over a batch, in as many passes as the memory needs."""

    spec: RunSpec
    model: nn.Module
    optimizer: torch.optim.Optimizer
    world: World
    numbers: Arithmetic
    micro_batch: int  # sequences of one pass, at most
    compiled: bool = False  # layers are, until that turns out not to work
    settled: bool = False  # whether it was tried what works and fits
    remark: str = ""  # what turned out other than asked

    def take(self, tokens: Tensor, number: int) -> Done:
        """Change the parameters by one step over these sequences, shape (rows, seq + 1).

        Raises:
            OutOfMemory: one sequence at a time is too much.
        """
        if (self.world.size > 1 or self.compiled) and not self.settled:
            self.settle(tokens)
        card.wait(self.world)
        began = time.perf_counter()
        rate = schedule.learning_rate(self.spec, number)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = self._gradients(card.moved(tokens, self.world))
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.spec.grad_clip or math.inf)
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        wrong = (
            "" if math.isfinite(norm) else f"the gradient norm is {norm.item()} at step {number}"
        )
        if not wrong:
            self._change()
        self.optimizer.zero_grad(set_to_none=True)
        total = self.world.sum([float(loss)])[0] / self.spec.batch_tokens
        card.wait(self.world)
        return Done(loss=total, gradient_norm=float(norm), learning_rate=rate,
                    seconds=time.perf_counter() - began, wrong=wrong)  # fmt: skip

    def _change(self) -> None:
        try:
            self.optimizer.step()
        except RuntimeError as error:
            if not card.out_of_memory(error):
                raise
            raise OutOfMemory(
                f"out of memory for the optimizer's moments on {self.world.device}"
            ) from error

    def settle(self, tokens: Tensor) -> None:
        """Find, together with the other processes, how many of these sequences fit at a time.

        Processes that wait for each other cannot each repeat a pass that failed, so they try
        before the first step, with the optimizer's memory set aside. Layers that cannot be
        compiled here run as they are written, which is remarked.

        Raises:
            OutOfMemory: one sequence at a time is too much.
        """
        while True:
            full, error = self._tried(tokens[: self.micro_batch])
            self._forget()
            failed, short = self.world.sum([float(error is not None), float(full)])
            if failed and self.compiled:
                self._uncompile(error)
            elif error is not None:
                raise error
            elif failed:
                raise RuntimeError("another process could not make a pass")
            elif short:
                self._halve()
            else:
                self.settled = True
                return

    def _tried(self, part: Tensor) -> tuple[bool, Exception | None]:
        """Make a pass that changes nothing; return whether memory was short, and other errors."""
        cards = [self.world.device] if self.world.device.type == "cuda" else []
        with torch.random.fork_rng(cards):
            try:
                aside = [(torch.empty_like(p), torch.empty_like(p)) for p in self._parameters()]
                with gradients_kept(self.model, here=True):
                    self._pass(card.moved(part, self.world), scale=0.0)
                del aside
            except Exception as error:  # torch.compile fails in a hundred ways
                full = card.out_of_memory(error)
                return full, None if full else error
        return False, None

    def _uncompile(self, error: Exception | None) -> None:
        words = " ".join(str(error).split())[:160] if error else "in another process"
        self.remark = f"torch.compile failed, layers run as written: {words}"
        self.compiled = False
        compiled.leave_uncompiled(self.model)

    def _parameters(self) -> list[Tensor]:
        return [each.detach() for each in self.model.parameters() if each.requires_grad]

    def _gradients(self, tokens: Tensor) -> Tensor:
        """Return the summed loss [nats]; gradients are those of the mean over the whole batch.

        A pass that does not fit is made again in two, as often as needed: the sum is the same but
        for rounding.
        """
        while True:
            try:
                return self._passes(tokens)
            except RuntimeError as error:  # torch.OutOfMemoryError is one
                if not card.out_of_memory(error) or self.world.size > 1:
                    raise
            self._forget()
            self._halve()

    def _forget(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        card.cleared(self.world)

    def _halve(self) -> None:
        # A run that measures the speed of a batch has no result but that it does not fit.
        if self.micro_batch <= 1 or self.spec.kind == "throughput":
            many = "1 sequence" if self.micro_batch == 1 else f"{self.micro_batch} sequences"
            raise OutOfMemory(
                f"out of memory with {many} of {self.spec.seq_len} tokens at a time "
                f"on {self.world.device}"
            )
        self.micro_batch = -(-self.micro_batch // 2)
        if self.compiled:
            compiled.forget_graphs()

    def _passes(self, tokens: Tensor) -> Tensor:
        total = torch.zeros((), device=self.world.device, dtype=torch.float64)
        parts = tokens.tensor_split(-(-len(tokens) // self.micro_batch))
        # Processes average their gradients; we want the sum of their shares of one mean.
        scale = self.world.size / self.spec.batch_tokens
        for place, part in enumerate(parts):
            with gradients_kept(self.model, here=place < len(parts) - 1):
                total += self._pass(part, scale=scale)
        return total

    def _pass(self, part: Tensor, *, scale: float) -> Tensor:
        """Return the summed loss [nats] of some sequences, having added their gradients."""
        with self.autocast():
            logits = logits_of(self.model(part[:, :-1]), part[:, :-1])
        plain = nats(logits, part[:, 1:])
        loss = plain
        if self.spec.z_loss:
            loss = loss + self.spec.z_loss * squared_log_partition(logits)
        (loss * scale).backward()
        return plain.detach()

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Within this, products are made in the run's precision."""
        if not self.numbers.autocast:
            return contextlib.nullcontext()
        return torch.autocast(self.world.device.type, dtype=torch.bfloat16)


def first_micro_batch(
    spec: RunSpec, rows: slice, *, precision: Precision, sharding: str, world: World,
    memory: float | None,
) -> int:  # fmt: skip
    """Return how many sequences to try at a time: what should fit on a card, or is handy on a CPU.

    The prediction is that of `budgetplan count --gpu`; what does not fit after all is halved. A
    run that measures the speed of a batch takes it in one pass.

    Args:
        spec: what is computed.
        rows: of a batch, which are this process's.
        precision: of the products.
        sharding: `fsdp` where processes share the model out.
        world: the processes.
        memory: of a card [bytes]; None on a CPU.
    """
    count = int(rows.stop - rows.start)
    if spec.kind == "throughput":
        return count
    if memory is None:
        logits = spec.seq_len * spec.architecture.vocab
        return max(1, min(count, CPU_TOKENS // spec.seq_len, CPU_LOGITS // logits))
    if spec.factory is not None:  # its memory is not known
        return count
    shared: Literal["fsdp", "none"] = "fsdp" if sharding == "fsdp" else "none"
    training = Training(precision=precision, ranks=world.size, sharding=shared)
    fit = largest_micro_batch(architecture_of(spec), training, card=memory, seq_len=spec.seq_len)
    return max(1, min(count, fit.micro_batch))


@torch.no_grad()
def evaluate(step: Step, held_out: Windows) -> float:
    """Return the mean loss of held-out tokens [nats/token], the same ones in every run.

    Every process makes as many passes as the others, which a sharded model needs: where they do not
    come out even, the last ones repeat a sequence that is not counted.
    """
    spec, world = step.spec, step.world
    count = evaluated(spec, held_out)
    rows = torch.from_numpy(held_out.batch(0, count))
    share = -(-count // world.size)
    first = world.rank * share
    total = 0.0
    step.model.eval()
    for place in torch.arange(first, first + share).split(step.micro_batch):
        part = rows[place.clamp(max=count - 1)].to(world.device)
        real = int((place < count).sum())
        with step.autocast():
            logits = logits_of(step.model(part[:, :-1]), part[:, :-1])
        total += float(nats(logits[:real], part[:real, 1:])) if real else 0.0
    step.model.train()
    return world.sum([total])[0] / (count * spec.seq_len)


def evaluated(spec: RunSpec, held_out: Windows) -> int:
    """Return how many held-out sequences are measured: as asked for, or all there are."""
    return min(len(held_out), math.ceil(spec.evaluation_tokens / spec.seq_len))
