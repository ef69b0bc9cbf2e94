"""Card: what a run asks of the device that it is made on; a CPU answers where it can.

Clocks are read when the work is done and not when it is handed over; peaks of memory are those of
this run at full speed, not of an earlier one in the same process or of a pass that did not fit.
"""

from __future__ import annotations

import gc

import torch
from torch import Tensor

from budgetplan.calibrate.environment import processor
from budgetplan.calibrate.world import World
from budgetplan.core.architecture import Architecture
from budgetplan.core.budget import Precision

SHORT = (
    "CUDA out of memory",
    "CUDA error: out of memory",  # of the driver, which gives no torch.OutOfMemoryError
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "can't allocate memory",  # on a CPU, Linux
    "not enough memory",  # on a CPU, Windows
)


def cleared(world: World) -> None:
    """Give back what an earlier run of this process held, and count peaks from here."""
    if world.device.type == "cuda":
        gc.collect()  # a joined model holds itself in a ring
        torch.cuda.empty_cache()
        count_peaks_from_here(world)


def count_peaks_from_here(world: World) -> None:
    """Forget the peak of memory so far."""
    if world.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(world.device)


def peak_memory(world: World) -> int | None:
    """Return the most that tensors took at a time since the last count began [bytes].

    What torch keeps for later and what the driver needs is not in it. None on a CPU.
    """
    if world.device.type != "cuda":
        return None
    return int(torch.cuda.max_memory_allocated(world.device))


def reserved_memory(world: World) -> int | None:
    """Return the most that torch held of the card, gaps between tensors included [bytes]."""
    if world.device.type != "cuda":
        return None
    return int(torch.cuda.max_memory_reserved(world.device))


def wait(world: World) -> None:
    """Wait until the card has done what it was given."""
    if world.device.type == "cuda":
        torch.cuda.synchronize(world.device)


def moved(tokens: Tensor, world: World) -> Tensor:
    """Return the tokens on the device; the copy to a card runs beside what the CPU does next."""
    if world.device.type == "cpu":
        return tokens
    return tokens.pin_memory().to(world.device, non_blocking=True)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch says that memory was short, on a card or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or any(
        words in str(error) for words in SHORT if isinstance(error, RuntimeError)
    )


def name(world: World) -> str:
    """Return the device and, of a card, what it is called."""
    if world.device.type != "cuda":
        return str(world.device)
    return f"{world.device} ({torch.cuda.get_device_name(world.device)})"


def arithmetic_unit(world: World) -> str:
    """Return what decides how sums are rounded: torch's version, the chip, the processes."""
    cuda = world.device.type == "cuda"
    chip = torch.cuda.get_device_name(world.device) if cuda else processor()
    many = f", {world.size} processes" if world.size > 1 else ""
    return f"torch {torch.__version__} on {chip}{many}"


def attention_kernel(shape: Architecture, *, precision: Precision, world: World) -> str:
    """Return which kernels a card has for the reference model's attention, '' on a CPU.

    Of flash, cudnn and efficient; "plain" where there is none of them, which stores the scores of
    all pairs. Which one is taken is torch's choice. Asked of torch with tensors of this shape.
    """
    if world.device.type != "cuda":
        return ""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    expanded = dtype == torch.float32  # as the reference model does
    kv_heads = shape.heads if expanded else shape.kv_heads
    q, k = (
        torch.empty(1, heads, 128, shape.head_dim, device=world.device, dtype=dtype,
                    requires_grad=True)
        for heads in (shape.heads, kv_heads)
    )  # fmt: skip
    grouped = shape.heads != kv_heads
    own = torch.backends.cuda
    asked = own.SDPAParams(q, k, k, None, 0.0, True, grouped)
    able = {
        "flash": own.can_use_flash_attention(asked),
        "cudnn": own.can_use_cudnn_attention(asked),
        "efficient": own.can_use_efficient_attention(asked),
    }
    return " ".join(name for name, can in able.items() if can) or "plain"
