"""synthetic: tokens drawn from a source whose entropy is known, so that a loss has a true floor.

Named by a path like `synthetic:markov?vocab=32&tokens=1000000&seed=0`.
    zipf    tokens independent of each other, probability falling as 1 / (rank + 1)
    markov  each token drawn by the one before; rows of the transition matrix are drawn once
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl

import numpy as np
from numpy.typing import NDArray

from budgetplan.calibrate.kept import tokens_of
from budgetplan.calibrate.readers.reader import GUESS, BadData, Shard, readers
from budgetplan.core.errors import BadValue
from budgetplan.core.units import quantity

PREFIX = "synthetic:"
VERSION = 2  # of the way to draw: other tokens are another file
CHAIN = 1024  # tokens of one chain; chains are drawn side by side, and are documents
BLOCK = 4096 * CHAIN  # tokens that are drawn at a time
LARGEST_MARKOV = 4096  # tokens of a vocabulary whose pairs fit into memory
CONCENTRATION = 0.2  # of the rows of a transition matrix: far from uniform
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Process:
    """A source of tokens with known entropy."""

    kind: str
    vocab: int = 32
    tokens: int = 1_000_000
    seed: int = 0

    @classmethod
    def named(cls, name: str) -> Process:
        """Return the process that a path names.

        Raises:
            BadData: the kind or an argument is not known.
        """
        kind, _, rest = name.removeprefix(PREFIX).partition("?")
        arguments = dict(parse_qsl(rest))
        try:
            numbers = {
                key: int(quantity(value, what=key, zero=True)) for key, value in arguments.items()
            }
            if kind not in ("markov", "zipf") or numbers.keys() - {"vocab", "tokens", "seed"}:
                raise ValueError
            process = cls(kind=kind, **numbers)
            most = LARGEST_MARKOV if kind == "markov" else 2**16
            if not 2 <= process.vocab <= most or process.tokens < 2 or process.seed < 0:
                raise ValueError
        except (ValueError, OverflowError, BadValue):
            raise BadData(
                f"{name}: no such source",
                f"Write it like {PREFIX}markov?vocab=32&tokens=1M&seed=0, or with zipf. A "
                f"vocabulary has 2 to {LARGEST_MARKOV:,} tokens, of zipf 65,536.",
            ) from None
        return process

    def transitions(self) -> Floats:
        """Return the probabilities of the next token, shape (vocab, vocab) or (1, vocab)."""
        if self.kind == "zipf":
            share = 1 / np.arange(1, self.vocab + 1)
            return np.asarray(share / share.sum(), dtype=np.float64)[None, :]
        generator = np.random.default_rng(self.seed)
        rows = generator.dirichlet(np.full(self.vocab, CONCENTRATION), size=self.vocab)
        return np.asarray(0.99 * rows + 0.01 / self.vocab, dtype=np.float64)  # all are reached

    def stationary(self) -> Floats:
        """Return how often each token comes, shape (vocab,)."""
        rows = self.transitions()
        if len(rows) == 1:
            return np.asarray(rows[0], dtype=np.float64)
        equations = rows.T - np.eye(self.vocab)
        equations[-1] = 1  # one of them follows from the others; shares add up to one
        return np.asarray(np.linalg.solve(equations, np.eye(self.vocab)[-1]))

    def entropy(self) -> float:
        """Return the entropy rate [nats/token]: no model's expected loss is lower."""
        rows = self.transitions()
        per_row = -(rows * np.log(np.where(rows > 0, rows, 1))).sum(1)
        return float((self.stationary() if len(rows) > 1 else np.ones(1)) @ per_row)

    def unigram_entropy(self) -> float:
        """Return the entropy of single tokens [nats/token], which needs no context."""
        share = self.stationary()
        return float(-(share * np.log(share)).sum())

    def draw(self) -> NDArray[np.uint16]:
        """Return the tokens, shape (tokens,): chains one after another."""
        return np.concatenate(list(self.blocks()))

    def blocks(self) -> Iterator[NDArray[np.uint16]]:
        """Yield the tokens in blocks of a few million, each drawn from a seed of its own.

        The cost of a token does not depend on the vocabulary: one number is drawn for it, which
        chooses a column of an alias table and what to take there.
        """
        table, first = alias_table(self.transitions()), alias_table(self.stationary()[None, :])
        for block, start in enumerate(range(0, self.tokens, BLOCK)):
            count = min(BLOCK, self.tokens - start)
            chains = -(-count // CHAIN)
            generator = np.random.default_rng([self.seed, 1, block])
            out = np.empty((CHAIN, chains), dtype=np.uint16)
            now = taken(first, np.zeros(chains, dtype=np.int64), generator.random(chains))
            for place in range(CHAIN):
                out[place] = now
                now = taken(table, now if len(table.keep) > 1 else 0, generator.random(chains))
            yield out.T.reshape(-1)[:count]


@dataclass(frozen=True, kw_only=True, eq=False)
class Alias:
    """For each row of probabilities: what of a column stays itself, and what the rest becomes."""

    keep: Floats  # shape (rows, vocab)
    other: NDArray[np.int64]  # shape (rows, vocab)


def alias_table(rows: Floats) -> Alias:
    """Return tables to draw from each row of probabilities in constant time.

    Columns of equal width are filled with a light value and the rest of a heavy one; all rows at
    once, a column of each in every turn.

    Source: Walker 1977, "An Efficient Method for Generating Discrete Random Variables with General
    Distributions"; the order of filling from Huebschle-Schneider and Sanders 2019,
    arXiv:1903.00227, section 2.1.
    """
    count, vocab = rows.shape
    share = rows * vocab
    order = np.argsort(share, axis=1)
    keep, other = np.ones_like(share), np.tile(np.arange(vocab), (count, 1))
    lights = (share < 1).sum(1)
    light = np.zeros(count, dtype=np.int64)  # the next that is too light, as a place in the order
    heavy = np.minimum(lights, vocab - 1)  # whose rest fills the columns at present
    each = np.arange(count)
    left = share[each, order[each, heavy]].copy()  # of the heavy one
    for _ in range(vocab - 1):
        fills = (left >= 1) & (light < lights)
        row, column, giver = each[fills], order[fills, light[fills]], order[fills, heavy[fills]]
        keep[row, column], other[row, column] = share[row, column], giver
        left[fills] -= 1 - share[row, column]
        light[fills] += 1
        gives = ~fills & (left < 1) & (heavy < vocab - 1)
        row, column = each[gives], order[gives, heavy[gives]]
        giver = order[gives, heavy[gives] + 1]
        keep[row, column], other[row, column] = left[gives], giver
        left[gives] += share[row, giver] - 1
        heavy[gives] += 1
    return Alias(keep=keep, other=other)


def taken(table: Alias, row: NDArray[np.int64] | int, uniform: Floats) -> NDArray[np.int64]:
    """Return the values that numbers from 0 to 1 choose in these rows, shape (n,)."""
    vocab = table.keep.shape[1]
    scaled = uniform * vocab
    column = scaled.astype(np.int64)
    place = row * vocab + column
    kept = scaled - column < table.keep.reshape(-1)[place]
    found: NDArray[np.int64] = np.where(kept, column, table.other.reshape(-1)[place])
    return found


@readers.add("synthetic")
class Synthetic:
    """Tokens that are drawn, not read."""

    certainty = GUESS

    def recognizes(self, path: Path, *, head: bytes) -> bool:
        """Never by content: it is no file."""
        return False

    def files(self, path: Path) -> tuple[Path, ...]:
        """Return none."""
        return ()

    def read(self, path: Path) -> Shard:
        """Return the tokens that the name describes; many of them are kept in a file."""
        process = Process.named(str(path))
        starts = np.arange(0, process.tokens, CHAIN, dtype=np.int64)
        if process.tokens <= BLOCK:
            return Shard(path=str(path), tokens=process.draw(), documents=starts)
        made = tokens_of(repr((VERSION, process)).encode(), process.blocks, name=path, dtype="<u2",
                         total=process.tokens)  # fmt: skip
        return Shard(path=str(path), tokens=made.tokens, documents=starts)
