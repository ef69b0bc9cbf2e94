"""The memory section of `budgetplan count`: what one rank holds, and what a card can take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, get_args

from budgetplan.cli.tables import table
from budgetplan.core.errors import BadValue
from budgetplan.core.units import show_bytes
from budgetplan.flops.load import Answer
from budgetplan.flops.memory import (
    DEFAULT_RESERVE,
    Fit,
    Memory,
    Training,
    memory_of_architecture,
    what_fits,
)
from budgetplan.flops.memory.training import Checkpointing

if TYPE_CHECKING:
    from rich.console import RenderableType

    from budgetplan.core.budget import Gpu

KINDS: tuple[Checkpointing, ...] = get_args(Checkpointing)
PARTS = (
    "parameters", "gradients", "optimizer_states", "copies", "activations", "logits", "block",
    "total",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class MemoryAnswer:
    """Memory of one rank by kind of checkpointing, and what fits on a card."""

    training: Training
    by_checkpointing: dict[str, Memory]
    fits: tuple[Fit, ...] = ()
    gpu: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "recipe": self.training.chosen_recipe,
            "optimizer": self.training.optimizer,
            "precision": self.training.precision,
            "ranks": self.training.ranks,
            "gpu": self.gpu or None,
            "left_free": DEFAULT_RESERVE if self.fits else None,
            "checkpointing": {
                kind: {part: getattr(memory, part) for part in PARTS}
                | {"micro_batch": memory.micro_batch, "seq_len": memory.seq_len}
                for kind, memory in self.by_checkpointing.items()
            },
            "largest_micro_batch": [
                {
                    "ranks": fit.training.ranks,
                    "checkpointing": fit.training.checkpointing,
                    "micro_batch": fit.micro_batch,
                }
                for fit in self.fits
            ],
            "assumptions": list(self.assumptions),
        }

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What the numbers assume, over all kinds of checkpointing, each once."""
        notes = [note for memory in self.by_checkpointing.values() for note in memory.assumptions]
        return tuple(dict.fromkeys(notes))


@dataclass(frozen=True, kw_only=True)
class MemoryQuestion:
    """What the user asked about memory."""

    training: Training
    checkpointing: Checkpointing | None  # None: every kind
    micro_batch: int
    card: Gpu | None


def question(
    *,
    gpu: str | None,
    micro_batch: int,
    ranks: int,
    optimizer: str,
    precision: str,
    checkpointing: str | None,
) -> MemoryQuestion:
    """Return what was asked.

    Raises:
        UnknownName: no such card, optimizer or kind of checkpointing.
    """
    training = Training(
        precision=precision,  # type: ignore[arg-type]  # checked by Training
        optimizer=optimizer,
        ranks=ranks,
        checkpointing=checkpointing or "none",  # type: ignore[arg-type]
    )
    card = None
    if gpu:
        from budgetplan.core import cards

        card = cards.gpu(gpu)
    return MemoryQuestion(
        training=training,
        checkpointing=training.checkpointing if checkpointing else None,
        micro_batch=micro_batch,
        card=card,
    )


def memory_of(answer: Answer, asked: MemoryQuestion) -> MemoryAnswer | None:
    """Return the memory of training: by formula, or as measured; None where it is not known.

    Raises:
        BadValue: a kind of checkpointing was asked of code, which does its own.
    """
    name = asked.card.name if asked.card else ""
    if answer.memory is not None:
        if asked.checkpointing:
            raise BadValue(
                f"--checkpointing {asked.checkpointing} has no effect on code",
                "Its memory is measured with the checkpointing that the model does itself.",
            )
        return MemoryAnswer(
            training=asked.training,
            by_checkpointing={"as the model does": answer.memory},
            fits=(answer.fit,) if answer.fit else (),
            gpu=name,
        )
    if answer.architecture is None:
        return None
    seq_len = answer.count.seq_len
    fits: tuple[Fit, ...] = ()
    if asked.card:
        ranks = asked.training.ranks
        many = (ranks,) if ranks > 1 else (1, 8, 64)
        fits = what_fits(
            answer.architecture, asked.training, card=asked.card, ranks=many, seq_len=seq_len
        )
        fits = tuple(
            fit for fit in fits if asked.checkpointing in (None, fit.training.checkpointing)
        )
    kinds = (asked.checkpointing,) if asked.checkpointing else KINDS
    return MemoryAnswer(
        training=asked.training,
        by_checkpointing={
            kind: memory_of_architecture(
                answer.architecture,
                replace(asked.training, checkpointing=kind),
                micro_batch=asked.micro_batch,
                seq_len=seq_len,
            )
            for kind in kinds
        },
        fits=fits,
        gpu=name,
    )


def memory_tables(answer: MemoryAnswer, *, detailed: bool = False) -> Iterator[RenderableType]:
    """Yield the parts of the memory, and the largest micro-batches of a card.

    With `detailed`, what the parts assume stands below them.
    """
    training = answer.training
    kinds = list(answer.by_checkpointing)
    first = answer.by_checkpointing[kinds[0]]
    step = f"{first.micro_batch:,} × {first.seq_len:,} tokens"
    if first.seq_len == 1:  # a model without tokens
        step = f"{first.micro_batch:,} example{'s' * (first.micro_batch != 1)}"
    rank = "one rank" if training.ranks == 1 else f"each of {training.ranks:,} ranks"
    made = table(
        f"Memory of {rank}: {training.optimizer}, {training.precision} ({training.chosen_recipe}), "
        f"{step}",
        "checkpointing", *kinds,
    )  # fmt: skip
    for place, (name, _) in enumerate(first.rows()):
        sizes = [answer.by_checkpointing[kind].rows()[place][1] for kind in kinds]
        if any(sizes):
            made.add_row(name, *(show_bytes(size) if size else "·" for size in sizes))
    made.add_section()
    totals = [show_bytes(answer.by_checkpointing[kind].total) for kind in kinds]
    made.add_row("total", *totals, style="bold")
    if detailed:
        made.caption = "\n".join(f"• {line}" for line in answer.assumptions)
    yield made
    if answer.fits:
        yield _fits(answer)


def _fits(answer: MemoryAnswer) -> RenderableType:
    ranks = sorted({fit.training.ranks for fit in answer.fits})
    measured = next(iter(answer.by_checkpointing.values())).method == "trace"
    kinds = list(dict.fromkeys(fit.training.checkpointing for fit in answer.fits))
    made = table(
        f"Largest micro-batch on {answer.gpu} [sequences]",
        "checkpointing", *(f"{n} rank{'s' * (n != 1)}" for n in ranks),
    )  # fmt: skip
    for kind in kinds:
        row = {f.training.ranks: f for f in answer.fits if f.training.checkpointing == kind}
        name = "as the model does" if measured else kind
        made.add_row(name, *(f"{row[n].micro_batch:,}" if row[n].fits else "none" for n in ranks))
    made.caption = f"left free on the card: {DEFAULT_RESERVE}"
    return made
