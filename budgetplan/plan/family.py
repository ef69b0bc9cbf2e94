"""Family: models of one kind at every size, from one file in presets/ladders."""

from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from budgetplan.core import presets
from budgetplan.core.architecture import Architecture
from budgetplan.core.errors import UnknownName
from budgetplan.core.source import Source
from budgetplan.plan.mixture import Mixture

Whole = Annotated[int, Field(gt=0)]
TINY = 512  # width below which a model may have narrower heads, so that sizes lie close enough


class Anchor(BaseModel):
    """Width and depth of one published model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: Whole
    layers: Whole


class Family(BaseModel):
    """Models of one kind at every size: one file in presets/ladders."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    anchors: tuple[Anchor, ...]  # by width; depth between them is interpolated in log-log
    head_dim: Whole
    small_head_dim: Whole  # of models narrower than `small_below`
    small_below: int
    multiple: Whole = 32  # the width of a small model is a multiple of it
    narrow_head_dim: Whole = 32  # where `small_head_dim` does not divide a width under TINY
    kv_heads: Whole | None = None  # at most so many; None: as many as heads
    kv_heads_else: Whole | None = None  # where heads are no multiple of `kv_heads`
    ffn_ratio: Annotated[float, Field(gt=0)]  # feed-forward width / width, before rounding up
    ffn_multiple: Whole
    vocab: Whole
    seq_len: Whole
    tied: bool = False
    mixture: Mixture | None = None  # experts instead of every feed-forward
    architecture: dict[str, Any] = {}  # further fields of Architecture
    source: Source
    notes: str = ""

    def depth(self, width: float) -> float:
        """Return the depth of the family at a width, not rounded [layers]."""
        widths = [anchor.width for anchor in self.anchors]
        layers = [anchor.layers for anchor in self.anchors]
        for end, outside in ((0, width < widths[0]), (-1, width > widths[-1])):
            if outside:
                return layers[end] * width / widths[end]
        return math.exp(float(np.interp(math.log(width), np.log(widths), np.log(layers))))

    def heads_of(self, width: int) -> int:
        """Return the number of heads at a width, or 0 where the width has no whole number."""
        size = self.small_head_dim if width < self.small_below else self.head_dim
        if width % size and width < TINY:
            size = self.narrow_head_dim
        heads = width // size if width % size == 0 else 0
        stated = self.kv_heads_else == self.kv_heads
        if stated and self.kv_heads and self.kv_heads > heads:
            return 0  # a stated number is kept, not capped
        return heads if heads and self.kv_heads_of(heads) else 0

    def kv_heads_of(self, heads: int) -> int:
        """Return the number of heads of keys and values, or 0 where none comes out whole."""
        wanted = (self.kv_heads or heads, self.kv_heads_else or heads)
        return next((min(n, heads) for n in wanted if heads % min(n, heads) == 0), 0)

    def shape(self, *, width: int, layers: int, heads: int, smooth: bool = False) -> Architecture:
        """Return one architecture; `smooth` leaves the feed-forward unrounded, for the curve."""
        ffn = self.ffn_ratio * width
        extra = dict(self.architecture)
        if extra.get("positions") == "learned":
            extra.setdefault("position_rows", self.seq_len)
        # The tolerance keeps 8/3 of a multiple of three from being rounded up by its last bit.
        rounded = self.ffn_multiple * math.ceil(ffn / self.ffn_multiple - 1e-9)
        return Architecture(
            name=f"{self.name}-{width}x{layers}{self.mixture.suffix if self.mixture else ''}",
            width=width,
            layers=layers,
            heads=heads,
            kv_heads=self.kv_heads_of(heads),
            ffn=0 if self.mixture else round(ffn) if smooth else rounded,
            moe=self.mixture.layer(ffn if smooth else rounded, smooth=smooth)
            if self.mixture
            else None,
            vocab=self.vocab,
            seq_len=self.seq_len,
            tied=self.tied,
            **extra,
        )


def family(
    name: str,
    *,
    vocab: int | None = None,
    seq_len: int | None = None,
    head_dim: int | None = None,
    kv_heads: int | None = None,
    tied: bool | None = None,
    mixture: Mixture | None = None,
) -> Family:
    """Return the family of this name, with what the user wants otherwise.

    Raises:
        UnknownName: no such family.
    """
    if name not in presets.names("ladders"):
        raise UnknownName("family", name, presets.names("ladders"))
    given: dict[str, Any] = {"vocab": vocab, "seq_len": seq_len, "kv_heads": kv_heads, "tied": tied}
    given["mixture"] = mixture
    changes = {key: value for key, value in given.items() if value is not None}
    if head_dim is not None:
        changes |= dict.fromkeys(("head_dim", "small_head_dim", "narrow_head_dim"), head_dim)
    if kv_heads is not None:
        changes["kv_heads_else"] = kv_heads  # what the user states is exact
    return presets.load("ladders", name, Family).model_copy(update=changes)
