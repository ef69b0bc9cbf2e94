"""Kept: tokens that took time to make, in a folder of the user's own, so that they are made once.

Each is two files: the tokens, which are mapped into memory, and where documents begin in them. The
second is written last, so a reader finds both whole or makes them anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from budgetplan.calibrate.readers.reader import BadData, Shard, Tokens, mapped
from budgetplan.core.units import show

PAUSE = 5.0  # between two words about how far it is [s]
Tell = Callable[[str], None]
_listeners: list[Tell] = []


@contextlib.contextmanager
def telling(tell: Tell) -> Iterator[None]:
    """Within this, what takes long says in a line how far it is."""
    _listeners.append(tell)
    try:
        yield
    finally:
        _listeners.remove(tell)


def cache() -> Path:
    """Return the folder for what can be made again: BUDGETPLAN_CACHE, or the user's own."""
    if own := os.environ.get("BUDGETPLAN_CACHE"):
        return Path(own)
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "budgetplan"


def tokens_of(
    key: bytes,
    documents: Callable[[], Iterable[Tokens]],
    *,
    name: Path,
    dtype: str,
    total: int | None = None,
) -> Shard:
    """Return the shard of these documents, from the cache if they were made before.

    Where nothing can be written (a home that is read-only or full) they are kept in memory.

    Args:
        key: of all that decides the tokens.
        documents: makes them.
        name: of what they are made from.
        dtype: of a token.
        total: tokens, if it is known before.

    Raises:
        BadData: there are none, or they cannot be made.
    """
    kept = cache() / "tokens" / f"{hashlib.sha256(key).hexdigest()[:32]}.bin"
    if not kept.with_suffix(".npy").is_file():
        try:
            _write(kept, _said(documents(), name=name, total=total), name=name)
        except OSError:
            return in_memory(documents(), name=name)
    starts = np.load(kept.with_suffix(".npy"))
    return Shard(path=str(name), tokens=mapped(kept, dtype), documents=starts)


def in_memory(documents: Iterable[Tokens], *, name: Path) -> Shard:
    """Return the shard of these documents, one after another.

    Raises:
        BadData: there are none.
    """
    found = list(documents)
    if not found:
        raise BadData(f"{name}: holds no text", "Leave it out.")
    starts = np.r_[0, np.cumsum([len(each) for each in found])[:-1]].astype(np.int64)
    return Shard(path=str(name), tokens=np.concatenate(found), documents=starts)


def _said(documents: Iterable[Tokens], *, name: Path, total: int | None) -> Iterator[Tokens]:
    """Pass the documents on, and say at times how many tokens there are."""
    made, last = 0, time.monotonic()
    for document in documents:
        yield document
        made += len(document)
        if time.monotonic() - last > PAUSE:
            last = time.monotonic()
            of = f" of {show(total)}" if total else ""
            for tell in _listeners:
                tell(f"{name}: {show(made)}{of} tokens are made, and kept for later runs")


def _write(kept: Path, documents: Iterable[Tokens], *, name: Path) -> None:
    """Write tokens and the offsets of documents, so that a reader sees all or nothing."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    starts, place = [], 0
    folder = Path(tempfile.mkdtemp(dir=kept.parent, prefix=".writing-"))
    try:
        with (folder / "tokens").open("wb") as out:
            for document in documents:
                starts.append(place)
                place += len(document)
                out.write(document.tobytes())
            out.flush()
            os.fsync(out.fileno())
        if not place:
            raise BadData(f"{name}: holds no text", "Leave it out.")
        np.save(folder / "starts.npy", np.array(starts, dtype=np.int64))
        (folder / "tokens").replace(kept)
        (folder / "starts.npy").replace(kept.with_suffix(".npy"))
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(folder)
