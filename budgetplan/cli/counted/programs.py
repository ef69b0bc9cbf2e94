"""What `budgetplan count --json` gives to programs; its keys are in the command's help."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from budgetplan.flops import modules
from budgetplan.flops.conventions import Convention, conventions
from budgetplan.flops.count import COMPONENTS, Count
from budgetplan.flops.load import Answer

if TYPE_CHECKING:
    from budgetplan.cli.counted.memory import MemoryAnswer
    from budgetplan.cli.counted.whole_run import WholeRun


def as_dict(
    answer: Answer, memory: MemoryAnswer | None, run: WholeRun | None, *, depth: int | None
) -> dict[str, Any]:
    """Return everything that was counted."""
    count = answer.count
    return {
        "target": count.target,
        "title": answer.title,
        "method": count.method,
        "step": {
            "batch": count.batch,
            "seq_len": count.seq_len if answer.tokens else None,
            "tokens": count.tokens if answer.tokens else None,
        },
        "flops": {
            **_phases(count),
            "recompute": count.total(phase="recompute"),
            "hardware": count.total(recompute=True),
            "per_token": _whole(count.total(), count.tokens) if answer.tokens else None,
            "per_sequence": _whole(count.total(), count.batch),
            "per_step": count.total(),
        },
        "parts": {part: _phases(count, component=part) for part in COMPONENTS},
        "params": {
            name: getattr(count.params, name)
            for name in (
                "total",
                "active",
                "embedding",
                "head",
                "head_matrix",
                "non_embedding",
                "tied",
            )
        },
        "families": count.by_family(),
        "modules": [_module(node) for node in modules.tree(count).walk(depth=depth)],
        "conventions": [
            {
                "name": each.name,
                "flops_per_token": each.flops_per_token,
                "of_dense": each.ratio_full,
                "of_causal": each.ratio_useful,
                "gaps": each.gaps,
                "formula": each.formula,
                "remark": each.remark,
                "source": str(each.source),
            }
            for each in conventions_of(answer)
        ],
        "memory": memory.as_dict() if memory else None,
        "run": run.as_dict() if run else None,
        "inputs": list(answer.inputs),
        "notes": [*answer.notes, *count.notes],
        "uncounted": list(count.uncounted),
    }


def conventions_of(answer: Answer) -> tuple[Convention, ...]:
    """Return the conventions, which are about training on tokens: else none."""
    count = answer.count
    if not answer.tokens or not count.total(phase="backward"):
        return ()
    return conventions(count, answer.architecture)


def _phases(count: Count, **part: Any) -> dict[str, int]:
    return {
        "forward": count.total(phase="forward", **part),
        "backward": count.total(phase="backward", **part),
        "total": count.total(**part),
        "useful": count.total(useful=True, **part),
    }


def _module(node: modules.Node) -> dict[str, Any]:
    return {
        "path": node.path,
        "depth": node.depth,
        "times": node.times,
        "params": node.params,
        "forward": node.forward,
        "backward": node.backward,
        "recompute": node.recompute,
        "useful": node.useful,
    }


def _whole(total: int, share: int) -> int | float:
    """Return the quotient, an integer where it is one."""
    return total // share if total % share == 0 else total / share
