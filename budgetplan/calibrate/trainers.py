"""Trainers: who makes a run: the real one, a fake of known truth, or the user's own function."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Protocol

from budgetplan.calibrate.result import Result
from budgetplan.calibrate.run_folder import RunFolder
from budgetplan.calibrate.spec import RunSpec
from budgetplan.core.errors import BadValue, MissingPackage, UnknownName

REAL = "real"
SHARDINGS = ("", "ddp", "fsdp")


class Trainer(Protocol):
    """Makes a run, or goes on with it from its checkpoint."""

    def __call__(
        self, spec: RunSpec, run: RunFolder, *, should_stop: Callable[[], bool] | None = None
    ) -> Result:
        """Return what the run measured; raise `Interrupted` if it was asked to stop."""
        ...


def trainer(name: str) -> Trainer:
    """Return the trainer of this name: `real`, `fake:LAW,noise=0.003` or `module:function`.

    `real:ddp` and `real:fsdp` say how several processes share a model, which `real` decides by
    size.

    Raises:
        MissingPackage: torch is not installed.
        UnknownName: there is none.
        BadValue: the module or its function does not exist.
    """
    kind, _, rest = name.partition(":")
    if kind == REAL:
        if rest not in SHARDINGS:
            raise UnknownName("sharding", rest, SHARDINGS)
        try:
            from budgetplan.calibrate.train import train
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            raise MissingPackage("torch", needed_for="calibrate", extra="torch") from error
        return functools.partial(train, sharding=rest) if rest else train  # type: ignore[arg-type]
    if kind == "fake" and rest:
        from budgetplan.calibrate import fake

        return fake.parse(rest)
    if not rest:
        raise UnknownName("trainer", name, [REAL, "fake:LAW", "module:function"])
    try:
        found: Trainer = getattr(importlib.import_module(kind), rest)
    except (ImportError, AttributeError) as error:
        raise BadValue(f"trainer {name}: {error}", "Write it like module:function.") from error
    return found
