"""Compiled: torch.compile, layer by layer, where it pays and works.

All layers of a model share one graph, so that the time to compile does not grow with depth, and
the joining of processes (DDP, FSDP2), which hooks itself around layers, stays outside.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from budgetplan.calibrate.spec import RunSpec
from budgetplan.calibrate.world import World, layers_of

PAYS = 2e16  # FLOPs of a run from which a minute of compiling pays: assumed, not measured
BACKEND = "inductor"


def pays_to_compile(spec: RunSpec, world: World, *, flops: float) -> bool:
    """Whether torch.compile is used: on a card, for long runs and for those that measure speed."""
    return world.device.type == "cuda" and (spec.kind == "throughput" or flops >= PAYS)


def compile_layers(model: nn.Module) -> None:
    """Have each layer compiled when it is first called; before processes are joined.

    Each size of a pass has a graph of its own, which is faster than one for all sizes.
    """
    forget_graphs()
    for part in _parts(model):
        part.forward = torch.compile(part.forward, dynamic=False, backend=BACKEND)


def leave_uncompiled(model: nn.Module) -> None:
    """Have each layer run as it is written again."""
    for part in _parts(model):
        part.__dict__.pop("forward", None)
    forget_graphs()


def forget_graphs() -> None:
    """Drop all graphs: torch keeps eight for one code, and an earlier run's count among them."""
    torch.compiler.reset()


def _parts(model: nn.Module) -> Iterator[nn.Module]:
    inner = model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model
    found = list(layers_of(inner))
    yield from found or [inner]
