"""nanogpt: tokens one after another, with no header, as u16 or u32.

Source: karpathy/nanoGPT, data/openwebtext/prepare.py (u16); OLMo's .npy files are such, too.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from budgetplan.calibrate.readers.reader import GUESS, BadData, Shard, mapped, readers

HEADER = 1024  # bytes of llm.c's header
SAMPLE = 2**16  # tokens that decide between two and four bytes
LARGEST_VOCAB = 2**20  # so that the upper half of four bytes is below 16


@readers.add("nanogpt")
class NanoGpt:
    """Bare tokens. Whether they have two or four bytes is seen in the upper halves of four."""

    certainty = GUESS

    def recognizes(self, path: Path, *, head: bytes) -> bool:
        """Whether the name says binary; nothing in the file does."""
        return path.suffix in {".bin", ".npy", ".tok", ".tokens"} and len(head) > 0

    def files(self, path: Path) -> tuple[Path, ...]:
        """Return the file."""
        return (path,)

    def read(self, path: Path) -> Shard:
        """Return the shard, mapped into memory."""
        refuse_header(path)
        tokens = mapped(path, "<u2")
        odd = tokens[1 : 2 * SAMPLE : 2]
        # No text has a token below 16 at every second place; four bytes always have.
        if odd.size and len(tokens) % 2 == 0 and int(odd.max()) < LARGEST_VOCAB >> 16:
            even = tokens[0 : 2 * SAMPLE : 2]
            if np.any(even >= LARGEST_VOCAB >> 16):
                tokens = mapped(path, "<u4")
        return Shard(path=str(path), tokens=tokens)


def refuse_header(path: Path) -> None:
    """Raise BadData if the file begins as llm.c's shards do, with numbers that none of them has.

    Five numbers of four bytes at most, and zeros up to the 1,024th byte: no tokens begin so.
    """
    with path.open("rb") as opened:
        head = opened.read(HEADER)
    if len(head) == HEADER and any(head[:4]) and not any(head[20:]):
        number, version = (int.from_bytes(head[at : at + 4], "little") for at in (0, 4))
        raise BadData(
            f"{path}: a header of a format that is not known (number {number}, version {version}), "
            "and no tokens",
            "Write it as llm.c, nanoGPT, Megatron or NumPy does; or say --format uint16.",
        )


@readers.add("uint16")
class Uint16(NanoGpt):
    """Bare tokens of two bytes: never a guess, only asked for by name."""

    dtype = "<u2"

    def recognizes(self, path: Path, *, head: bytes) -> bool:
        """Never: `nanogpt` guesses, this is told."""
        return False

    def read(self, path: Path) -> Shard:
        """Return the shard, mapped into memory."""
        return Shard(path=str(path), tokens=mapped(path, self.dtype))


@readers.add("uint32")
class Uint32(Uint16):
    """Bare tokens of four bytes."""

    dtype = "<u4"
