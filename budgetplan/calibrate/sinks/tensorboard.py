"""TensorBoard: records of each run as event files in the run's own folder."""

from __future__ import annotations

from typing import Any

from budgetplan.calibrate.result import Result
from budgetplan.calibrate.run_folder import RunFolder
from budgetplan.calibrate.sinks.sink import Opens, numbers, package, sinks

MODULE = "torch.utils.tensorboard"


@sinks.add("tensorboard")
class TensorBoard:
    """Event files in each run's folder; `tensorboard --logdir STORE` shows them all."""

    def __init__(self, run: RunFolder) -> None:
        self._run = run
        self._open = package(MODULE, extra="tensorboard").SummaryWriter
        self._writer: Any = None

    @classmethod
    def needed(cls) -> None:
        """Raise MissingPackage unless tensorboard is installed."""
        package(MODULE, extra="tensorboard")

    def record(self, record: dict[str, Any]) -> None:
        """Take one record, its numbers as curves over steps."""
        if self._writer is None:
            self._begin(before=record.get("step", 0))
        for name, value in numbers(record).items():
            self._writer.add_scalar(name, value, global_step=record.get("step"))

    def _begin(self, *, before: int) -> None:
        """Open the writer, and tell again what a killed process may not have written out."""
        self._writer = self._open(str(self._run.path / "tensorboard"), purge_step=1)
        for each in self._run.metrics():
            if each.get("step", before) < before:
                self.record(each)

    def close(self, result: Result | None) -> None:
        """Write out what waits."""
        if self._writer is None:
            return
        if result is not None:
            self._writer.add_text("status", f"{result.status} {result.reason}".strip())
        self._writer.close()


_: Opens = TensorBoard
