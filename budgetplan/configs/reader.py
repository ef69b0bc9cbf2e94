"""Reader: the one thing that knows a format, which is recognized by content, not by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from budgetplan.configs.document import Document
from budgetplan.configs.reading import Reading
from budgetplan.core.errors import BadValue
from budgetplan.core.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the user says beside the file, because the file cannot know."""

    ranks: int | None = None  # cards; readers divide them where the file shares a rank
    vocab: int | None = None
    overrides: tuple[str, ...] = ()  # --key=value, as on the trainer's own command line


class Reader(Protocol):
    """A format of training configs."""

    title: str  # as people call the framework

    def recognizes(self, document: Document) -> int:
        """Return how many keys say that the document is of this format; 0: it is not."""
        ...

    def read(self, document: Document, told: Told) -> Reading:
        """Return what the config says.

        Raises:
            BadValue: a value that matters cannot be read; names file, line and column.
        """
        ...


readers: Registry[Reader] = Registry("config reader", package="budgetplan.configs")


def signs_in(document: Document, *, under: str, signs: Iterable[tuple[str, str]]) -> int:
    """Return how many of the keys, by section, stand in a document with the section `under`."""
    tree = document.tree
    if not isinstance(tree, Mapping) or not isinstance(tree.get(under), Mapping):
        return 0
    return sum(
        isinstance(tree.get(section), Mapping) and key in tree[section] for section, key in signs
    )


def recognize(document: Document) -> str | None:
    """Return the name of the reader that knows the document best, or None where none does."""
    scores = {name: reader.recognizes(document) for name, reader in readers.items()}
    best = max(scores, key=lambda name: scores[name], default=None)
    return best if best is not None and scores[best] > 0 else None


def read(document: Document, *, reader: str | None = None, told: Told | None = None) -> Reading:
    """Return what a config says, by the reader named, or the one that recognizes it.

    Raises:
        BadValue: nobody recognizes it, or a value cannot be read.
        UnknownName: there is no such reader.
    """
    name = reader or recognize(document)
    if name is None:
        raise BadValue(
            f"{document.path}: no training config that is known",
            f"Known: {', '.join(sorted(readers))}; --reader forces one.",
        )
    return readers[name].read(document, told or Told())
