"""How a calibration stands: its runs by kind and state, and what they have spent."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from budgetplan.calibrate.campaign import Campaign
    from budgetplan.calibrate.run_folder import RunFolder
    from budgetplan.calibrate.store import Store

MOST = 20  # runs that are named


@dataclass(frozen=True, kw_only=True)
class Line:
    """One run that has not ended well, or is going on."""

    id: str
    kind: str
    shape: str
    state: str
    words: str  # the reason, or its last loss


@dataclass(frozen=True, kw_only=True)
class Standing:
    """All runs of a folder."""

    folder: Path
    allowance: float | None  # [FLOPs]
    spent: float  # [FLOPs]
    states: dict[str, dict[str, int]]  # kind: state: runs
    lines: tuple[Line, ...]
    remarks: tuple[str, ...]
    workers: int = 0  # at work or in a queue

    @property
    def going(self) -> int:
        """Runs that have not ended."""
        return sum(
            each.get(state, 0)
            for each in self.states.values()
            for state in ("planned", "running", "interrupted")
        )

    @property
    def runs(self) -> int:
        """Runs in all."""
        return sum(sum(each.values()) for each in self.states.values())


def standing(store: Store, campaign: Campaign | None) -> Standing:
    """Return how the runs are; each folder is read once."""
    from budgetplan.calibrate.allowance import spent_on
    from budgetplan.core.errors import UserError

    states: dict[str, Counter[str]] = {}
    spent, lines = 0.0, list[Line]()
    remarks: list[str] = []
    for run in store.runs():
        try:
            kind, state = run.spec.kind, run.state
        except UserError as error:
            remarks.append(error.problem)
            continue
        states.setdefault(kind, Counter())[state] += 1
        if state != "planned":
            spent += spent_on(run)
        if state != "finished" and len(lines) < MOST:
            lines.append(_line(run, kind=kind, state=state))
        remarks += [f"{run.id}: {each}" for each in run.remarks]
    return Standing(
        folder=store.folder,
        allowance=campaign.allowance if campaign else None,
        spent=spent,
        states={kind: dict(each) for kind, each in sorted(states.items())},
        lines=tuple(lines),
        remarks=tuple(remarks[:MOST]),
    )


def _line(run: RunFolder, *, kind: str, state: str) -> Line:
    spec, words = run.spec, ""
    result = run.result
    if result is not None:
        words = result.reason
    elif state in ("running", "interrupted") and (records := run.metrics()):
        last = records[-1]
        loss = last.get("loss", last.get("validation_loss"))
        words = f"{last.get('step')}/{spec.steps}"
        words += f", loss {loss:.3f}" if isinstance(loss, float) else ""
    shape = spec.architecture
    return Line(
        id=run.id, kind=kind, shape=shape.name or f"{shape.width}x{shape.layers}", state=state,
        words=words,
    )  # fmt: skip
