"""Weights & Biases: records of each run under its own name, continued after a break."""

from __future__ import annotations

import os
from typing import Any

from budgetplan.calibrate.result import Result
from budgetplan.calibrate.run_folder import RunFolder
from budgetplan.calibrate.sinks.sink import Opens, numbers, package, sinks

PROJECT = "budgetplan"  # unless WANDB_PROJECT says otherwise


@sinks.add("wandb")
class WeightsAndBiases:
    """A run of W&B for each run, named by the spec's hash, so that one that goes on stays one."""

    def __init__(self, run: RunFolder) -> None:
        self._run: Any = package("wandb", extra="wandb").init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=run.id,
            name=run.id,
            resume="allow",
            dir=str(run.path),
            config=run.spec.model_dump(mode="json"),
            settings={"console": "off", "silent": True},  # the output of a worker is its log
        )

    @classmethod
    def needed(cls) -> None:
        """Raise MissingPackage unless wandb is installed."""
        package("wandb", extra="wandb")

    def record(self, record: dict[str, Any]) -> None:
        """Take one record, its numbers as curves over steps."""
        self._run.log(numbers(record), step=record.get("step"))

    def close(self, result: Result | None) -> None:
        """Take the result as the summary; a run without one is marked as failed there."""
        if result is not None:
            self._run.summary.update(result.model_dump(mode="json", exclude={"evaluations"}))
        self._run.finish(exit_code=0 if result and result.status == "finished" else 1)


_: Opens = WeightsAndBiases
