"""World: the processes that make one run together, one per card; torchrun names them.

Data parallel: every process has the whole model (DDP), or a share of it that is gathered layer by
layer when needed (FSDP2), and its own rows of each batch.
"""

from __future__ import annotations

import atexit
import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.distributed as dist
from torch import nn

from budgetplan.core.errors import BadModel, BadValue
from budgetplan.core.units import show

Sharding = Literal["auto", "ddp", "fsdp"]
BYTES_PER_PARAMETER = 16  # fp32 weights, gradients and two moments
FULL = 0.6  # share of a card's memory that these may take before they are shared out
CONTAINERS = (nn.ModuleList, nn.ModuleDict)  # which have no forward of their own


@dataclass(frozen=True, kw_only=True)
class World:
    """This process among those that make the run."""

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def sum(self, values: Sequence[float]) -> list[float]:
        """Return the sums of numbers over all processes, the same in each."""
        if self.size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return [float(value) for value in total.tolist()]

    def mine(self, count: int, *, even: bool = False) -> slice:
        """Return which of so many rows are this process's: as even as they go, in order.

        Args:
            count: rows of all processes.
            even: all must have as many, as a sharded model needs.

        Raises:
            BadValue: there are fewer rows than processes, or they do not come out even.
        """
        if count < self.size or (even and count % self.size):
            raise BadValue(
                f"{count} sequences in a batch, {self.size} processes to share them",
                f"Give a batch of a multiple of {self.size}, or fewer GPUs.",
            )
        return slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)


def join(device: str | None) -> World:
    """Return this process's place, having met the others where torchrun started several.

    Args:
        device: `cpu`, `cuda`, `cuda:1`; None: a card if there is one.

    Raises:
        BadValue: there is no such device.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise BadValue(f"device {device!r}: {str(error).splitlines()[0]}") from error
    if chosen.type == "cuda":
        if not torch.cuda.is_available():
            raise BadValue(
                f"device {device}: torch sees no GPU", "Use the CPU, or check nvidia-smi."
            )
        if size > 1 and chosen.index is not None:
            raise BadValue(
                f"device {device}: {size} processes need a card each", "Say cuda, without a number."
            )
        chosen = torch.device("cuda", local if chosen.index is None else chosen.index)
        if chosen.index is not None and chosen.index >= torch.cuda.device_count():
            raise BadValue(f"device {chosen}: there are {torch.cuda.device_count()} GPUs")
        torch.cuda.set_device(chosen)
    elif chosen.type != "cpu":
        raise BadValue(f"device {device}: the trainer knows cpu and cuda")
    if size > 1 and not dist.is_initialized():
        if chosen.type == "cuda":  # told the card, NCCL joins now and not at the first sum
            dist.init_process_group("nccl", device_id=chosen)
        else:
            dist.init_process_group("gloo")
        atexit.register(_leave)  # not after each run: a process may make several
    rank = dist.get_rank() if size > 1 else 0
    return World(rank=rank, size=size, device=chosen)


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def chosen_sharding(wanted: Sharding, *, params: int, world: World) -> str:
    """Return how the model is placed: `one`, `ddp`, or `fsdp` where a card is too small for it."""
    if world.size == 1:
        return "one"
    if wanted != "auto":
        return wanted
    memory = card_memory(world)
    if memory is None:
        return "ddp"
    return "fsdp" if params * BYTES_PER_PARAMETER > FULL * memory else "ddp"


def card_memory(world: World) -> float | None:
    """Return the memory of this process's card [bytes]; None on a CPU."""
    if world.device.type != "cuda":
        return None
    return float(torch.cuda.get_device_properties(world.device).total_memory)


def placed(model: nn.Module, *, sharding: str, world: World) -> nn.Module:
    """Return the model on this process's device, joined with the others'.

    Raises:
        BadModel: a card is too small for its parameters.
    """
    try:
        if sharding == "fsdp":  # moves one layer at a time: the whole may not fit on one card
            return _sharded(model, world=world)
        model = model.to(world.device)
    except torch.OutOfMemoryError as error:
        count = sum(each.numel() for each in model.parameters())
        raise BadModel(
            f"{show(count)} parameters do not fit on {world.device}",
            "Calibrate at a smaller shape, or on a larger card.",
        ) from error
    if sharding == "one":
        return model
    ids = [world.device.index] if world.device.type == "cuda" else None
    # Gradients lie in the buckets that are sent, not in a second copy beside them.
    return nn.parallel.DistributedDataParallel(model, device_ids=ids, gradient_as_bucket_view=True)


def _sharded(model: nn.Module, *, world: World) -> nn.Module:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(world.device.type, (world.size,))
    for layer in layers_of(model):  # inner ones first: what is shared out is not shared again
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def layers_of(model: nn.Module) -> Iterator[nn.Module]:
    """Yield the members of every list of modules once, inner ones first, and no list itself."""
    seen: set[int] = set()
    for module in reversed(list(model.modules())):
        for each in module if isinstance(module, nn.ModuleList) else ():
            if not isinstance(each, CONTAINERS) and id(each) not in seen:
                seen.add(id(each))
                yield each


@contextlib.contextmanager
def gradients_kept(model: nn.Module, *, here: bool) -> Iterator[None]:
    """Within this, gradients of a whole model stay in this process if `here`, and are not averaged.

    A sharded model averages after every pass: to keep gradients would need room for all of them on
    each card, for want of which it was sharded.
    """
    if isinstance(model, nn.parallel.DistributedDataParallel) and here:
        with model.no_sync():
            yield
        return
    yield
