"""Windows: a corpus cut into train and held-out parts, and these into sequences in random order.

Every shard is cut into blocks, which end where a document does if one does in reach. A few blocks,
always the same ones for the same data, are held out. A window (one sequence and the token after it)
lies within neighbouring blocks of one part: none sees both sides of the cut. Texts that stand in
the corpus twice may still be on both sides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from budgetplan.calibrate.order import Indices, permuted
from budgetplan.calibrate.readers.reader import BadData, Offsets, Shard
from budgetplan.core.units import show

BLOCKS = 64  # that are held out, where there is enough data: a sample of the whole corpus
HELD_OUT = -1  # the seed of what is held out and of its order: the same in every run
Stretches = NDArray[np.int64]  # shard, first token, last + 1; shape (stretches, 3)


@dataclass(frozen=True, kw_only=True, eq=False)
class Windows:
    """The sequences of one part of a corpus, in an order that a seed decides."""

    shards: tuple[Shard, ...]
    stretches: Stretches
    before: Offsets  # windows before each stretch, and all at the end; shape (stretches + 1,)
    seq_len: int
    vocab: int
    seed: int

    def __len__(self) -> int:
        return int(self.before[-1])

    @property
    def tokens(self) -> int:
        """Tokens that are learned from in one epoch."""
        return len(self) * self.seq_len

    def batch(self, first: int, count: int) -> Indices:
        """Return sequences number `first` and following of an endless run, shape (count, seq + 1).

        Each epoch has all windows once, in an order of its own; the position is all that is needed
        to go on.

        Raises:
            BadData: a token is not in the vocabulary; names the file and the place.
        """
        place = np.arange(first, first + count, dtype=np.int64)
        rows = np.empty((count, self.seq_len + 1), dtype=np.int64)
        for epoch in range(first // len(self), (first + count - 1) // len(self) + 1):
            now = place // len(self) == epoch
            order = permuted(place[now] % len(self), size=len(self), key=(self.seed, epoch))
            rows[now] = self.windows(order)
        return rows

    def windows(self, index: Indices) -> Indices:
        """Return windows by their number in the corpus, shape (n, seq + 1)."""
        which = np.searchsorted(self.before, index, side="right") - 1
        shards, starts = self.stretches[which, 0], self.stretches[which, 1]
        starts = starts + (index - self.before[which]) * self.seq_len
        rows: Indices = np.empty((len(index), self.seq_len + 1), dtype=np.int64)
        for row, shard, start in zip(rows, shards, starts, strict=True):
            row[:] = self.shards[shard].tokens[start : start + self.seq_len + 1]
        low, high = rows.min(initial=0), rows.max(initial=0)
        if low < 0 or high >= self.vocab:
            row, column = np.argwhere((rows < 0) | (rows >= self.vocab))[0]
            beyond(self.shards[shards[row]], int(starts[row] + column), vocab=self.vocab)
        return rows


def beyond(shard: Shard, place: int, *, vocab: int) -> None:
    """Raise BadData for a token that is not in the vocabulary."""
    raise BadData(
        f"{shard.path}: token {int(shard.tokens[place]):,} at offset {place:,} is beyond the "
        f"vocabulary of {vocab:,}",
        "The vocabulary is the plan's: plan with the tokenizer's own; or the --format is another.",
    )


def split(
    shards: tuple[Shard, ...], *, seq_len: int, share: float, vocab: int, seed: int
) -> tuple[Windows, Windows]:
    """Return the windows to train on and those held out.

    Args:
        shards: all tokens.
        seq_len: of a sequence [tokens].
        share: to hold out, of all tokens.
        vocab: token ids are below it.
        seed: of the order of training; what is held out does not depend on it.

    Raises:
        BadData: there are too few tokens for a sequence in each part.
    """
    total = sum(len(shard.tokens) for shard in shards)
    length = max(seq_len + 1, int(share * total / BLOCKS))
    for whole in (True, False):  # documents, unless so few tokens are left no block that way
        blocks = np.concatenate(
            [_blocks(shard, i, length=length, whole=whole) for i, shard in enumerate(shards)]
        )
        usable = np.flatnonzero(blocks[:, 2] - blocks[:, 1] > seq_len)
        if len(usable) >= 2:
            break
    else:
        raise BadData(
            f"{show(total)} tokens are too few for sequences of {seq_len:,}: one part is trained "
            "on, one held out",
            "Give more data, or plan with shorter sequences.",
        )
    wanted = min(max(1, round(share * len(blocks))), len(usable) - 1)
    order = permuted(np.arange(len(usable)), size=len(usable), key=(HELD_OUT,))
    chosen = np.zeros(len(blocks), dtype=bool)
    chosen[usable[order[:wanted]]] = True

    def part(mine: NDArray[np.bool_], seed: int) -> Windows:
        stretches = _joined(blocks, mine)
        windows = (stretches[:, 2] - stretches[:, 1] - 1) // seq_len
        return Windows(
            shards=shards,
            stretches=stretches[windows > 0],
            before=np.r_[0, np.cumsum(windows[windows > 0])],
            seq_len=seq_len,
            vocab=vocab,
            seed=seed,
        )

    return part(~chosen, seed), part(chosen, HELD_OUT)


def _blocks(shard: Shard, number: int, *, length: int, whole: bool) -> Stretches:
    """Return the shard in blocks of about this length; `whole`: cut where a document begins."""
    cuts = np.arange(0, len(shard.tokens), length, dtype=np.int64)
    if whole and len(shard.documents) and len(cuts) > 1:
        inner = cuts[1:]
        at = np.minimum(np.searchsorted(shard.documents, inner), len(shard.documents) - 1)
        near = shard.documents[at]
        cuts[1:] = np.where((near >= inner) & (near < inner + length), near, inner)
    ends = np.r_[cuts[1:], len(shard.tokens)]
    kept = ends > cuts
    every = np.stack([np.full(len(cuts), number), cuts, ends], axis=1)
    return np.asarray(every[kept], dtype=np.int64)


def _joined(blocks: Stretches, mine: NDArray[np.bool_]) -> Stretches:
    """Return the blocks of one part, neighbours made one."""
    own = np.flatnonzero(mine)
    if not len(own):
        return blocks[:0]
    apart = (np.diff(own) > 1) | (np.diff(blocks[own, 0]) > 0)
    first = own[np.r_[True, apart]]
    last = own[np.r_[apart, True]]
    joined: Stretches = np.stack([blocks[first, 0], blocks[first, 1], blocks[last, 2]], axis=1)
    return joined
