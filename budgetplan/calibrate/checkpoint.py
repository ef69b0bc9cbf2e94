"""Checkpoint: all that the next step depends on, in one file that is there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from budgetplan.calibrate import card
from budgetplan.calibrate.durable import sync_folder, told
from budgetplan.calibrate.world import World

VERSION = 2
Progress = dict[str, Any]
"""Step, records so far and whatever else the loop needs: numbers, words, lists of them."""


def save(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, *, progress: Progress,
    world: World,
) -> None:  # fmt: skip
    """Write the checkpoint: a new file beside, made durable, then renamed over the old one.

    All processes must call it; the first one writes. Shares of a sharded model are gathered.

    Raises:
        StoreError: the disk is full, or cannot be written; the old checkpoint is untouched.
    """
    whole = StateDictOptions(full_state_dict=True, cpu_offload=world.size > 1)
    content = {
        "version": VERSION,
        "made_by": card.arithmetic_unit(world),
        "model": get_model_state_dict(model, options=whole),
        "optimizer": get_optimizer_state_dict(model, optimizer, options=whole),
        "random": _random_states(world),
        "progress": progress,
    }
    if not world.first:
        return
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    with told(path, doing="write"):
        try:
            with fresh.open("wb") as out:
                torch.save(content, out)
                out.flush()
                os.fsync(out.fileno())
            fresh.replace(path)
        except (OSError, RuntimeError) as error:  # torch's own writer raises the latter
            with contextlib.suppress(OSError):
                fresh.unlink()
            cause = error.__context__ if isinstance(error.__context__, OSError) else error
            raise cause if isinstance(cause, OSError) else OSError(str(error)) from error
    sync_folder(path.parent)


def load(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, *, world: World
) -> tuple[Progress | None, str]:
    """Put the checkpoint into model and optimizer, and return its progress.

    Without one, or where it cannot be read, the progress is None and all stays as it is; the second
    value says what was wrong, or why from here on sums may be rounded otherwise.
    """
    if not path.exists():
        return None, ""
    try:
        # Several processes share the pages of one file, instead of reading it into memory each.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=world.size > 1)
        if content["version"] != VERSION:
            return None, f"the checkpoint is of version {content['version']}: begun anew"
        progress: Progress = content["progress"]
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, ValueError,
            pickle.UnpicklingError) as error:  # fmt: skip
        words = (str(error).splitlines() or [type(error).__name__])[0][:120]
        return None, f"the checkpoint could not be read, begun anew: {words}"
    whole = StateDictOptions(full_state_dict=True, cpu_offload=world.size > 1)
    set_model_state_dict(model, content["model"], options=whole)
    set_optimizer_state_dict(model, optimizer, content["optimizer"], options=whole)
    _set_random_states(content["random"], world)
    here, before = card.arithmetic_unit(world), content["made_by"]
    return progress, "" if here == before else f"begun with {before}, went on with {here}"


def _random_states(world: World) -> list[dict[str, Any]]:
    """Return the states of all generators in all processes, as plain values and tensors."""
    by_numpy: dict[str, Any] = np.random.get_state(legacy=False)
    keys = torch.from_numpy(by_numpy["state"]["key"].astype(np.int64))
    own = {
        "torch": torch.get_rng_state(),
        "card": torch.cuda.get_rng_state(world.device) if world.device.type == "cuda" else None,
        "numpy": {**by_numpy, "state": {**by_numpy["state"], "key": keys}},
        "python": random.getstate(),
    }
    if world.size == 1:
        return [own]
    every: list[Any] = [None] * world.size
    torch.distributed.all_gather_object(every, own)
    return every


def _set_random_states(states: list[dict[str, Any]], world: World) -> None:
    """Go on where the generators were; a process that was not there then keeps its own."""
    if world.rank >= len(states):
        return
    own = states[world.rank]
    torch.set_rng_state(own["torch"])
    if world.device.type == "cuda" and own["card"] is not None:
        torch.cuda.set_rng_state(own["card"], world.device)
    by_numpy = own["numpy"]
    keys = by_numpy["state"]["key"].numpy().astype(np.uint32)
    np.random.set_state({**by_numpy, "state": {**by_numpy["state"], "key": keys}})
    random.setstate(own["python"])
