"""The answer of `predict` for people: what each law says, side by side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from budgetplan.cli.derived.people import times
from budgetplan.cli.predicted.asked import Answer, Prediction
from budgetplan.cli.tables import bullets, table, titled
from budgetplan.core.units import show
from budgetplan.laws.law import Tested

if TYPE_CHECKING:
    from rich.console import RenderableType

BEYOND = {"params": "N", "tokens": "D", "flops": "C", "tokens_per_param": "D/N"}


def render(answer: Answer) -> Iterator[RenderableType]:
    """Yield the blocks of the screen from top to bottom."""
    from rich.text import Text

    unique = f", {show(answer.unique_tokens)} of them distinct" if answer.unique_tokens else ""
    yield Text.assemble((answer.title, "bold"), f"  on {show(answer.tokens)} tokens{unique}")
    yield ""
    made = table(
        "Predicted loss [nats/token]", "", "N", "counted", "loss", "90%", "beyond", wide=(5,)
    )
    for each in answer.predictions:
        made.add_row(
            each.law.name,
            show(each.params),
            each.law.preset.counting,
            f"{each.loss.best:.3f}",
            _interval(each),
            _beyond(each),
        )
    made.caption = "beyond: factor outside the law's runs, of size N, tokens D, compute C."
    yield titled(made)
    yield ""
    yield bullets(
        [
            *answer.assumptions,
            *(f"{each.law.name}: {_of(each)}" for each in answer.predictions),
            *(f"{each.law.name}: {note}" for each in answer.predictions for note in each.notes),
        ]
    )


def _interval(each: Prediction) -> str:
    ends = each.loss.interval()
    return f"{ends[0]:.3f} to {ends[1]:.3f}" if ends else "none published"


def _beyond(each: Prediction) -> str:
    """Return by what factor the run leaves the runs of the law, in every direction."""
    if each.law.preset.tested == Tested():
        return "not stated"
    return ", ".join(f"{BEYOND[name]} {times(factor)}" for name, factor in each.outside.items())


def _of(each: Prediction) -> str:
    return each.law.preset.loss_of or "on what this loss was measured is not stated"
