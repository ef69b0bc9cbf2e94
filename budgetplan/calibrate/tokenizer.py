"""Tokenizer: text to tokens, by its bytes or by a given tokenizer.json.

Documents are kept apart by a separator: the byte zero, which text does not have, or the
tokenizer's own end-of-text token where it has one.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from budgetplan.calibrate.readers.reader import BadData, Tokens
from budgetplan.core.errors import MissingPackage

ENDS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<|eos|>", "[SEP]", "<EOT>")
PIECE = 2**20  # characters that are tokenized at once


class Tokenizer(Protocol):
    """Turns documents into tokens."""

    name: str  # with a hash of its content, so that a changed one is another
    vocab: int
    dtype: str

    def encode(self, texts: Iterable[bytes]) -> Iterator[Tokens]:
        """Yield the tokens of each document, its separator at the end."""
        ...


class Bytes:
    """Every byte is a token: 256 of them, and no tokenizer to choose."""

    name, vocab, dtype = "bytes", 256, "u1"

    def encode(self, texts: Iterable[bytes]) -> Iterator[Tokens]:
        """Yield the bytes of each document, and a zero."""
        for text in texts:
            yield np.frombuffer(text + b"\0", dtype=np.uint8)


class Json:
    """A tokenizer.json, as Hugging Face's tokenizers write it."""

    def __init__(self, path: Path) -> None:
        if importlib.util.find_spec("tokenizers") is None:
            raise MissingPackage("tokenizers", needed_for=f"reading {path.name}", extra="data")
        import tokenizers

        try:
            content = path.read_bytes()
            self._tokenizer: Any = tokenizers.Tokenizer.from_str(content.decode())
        except OSError as error:
            raise BadData(f"--tokenizer {path}: {error.strerror or error}") from error
        except Exception as error:  # what the library raises is a bare Exception
            problem = str(error).splitlines()[0][:100]
            raise BadData(
                f"--tokenizer {path}: not a tokenizer.json: {problem}",
                "Give `bytes`, or a file that Hugging Face's tokenizers wrote.",
            ) from error
        self.name = f"{path.name} {hashlib.sha256(content).hexdigest()[:16]}"
        self.vocab = max(self._tokenizer.get_vocab(with_added_tokens=True).values()) + 1
        self.dtype = "<u2" if self.vocab <= 2**16 else "<u4"
        known = (self._tokenizer.token_to_id(end) for end in ENDS)
        self._end = next((number for number in known if number is not None), None)

    def encode(self, texts: Iterable[bytes]) -> Iterator[Tokens]:
        """Yield the tokens of each document, and the end-of-text token where there is one.

        Documents are given to the library many at a time, which has threads of its own. A very long
        one is cut into pieces at the ends of lines, where hardly any tokenizer joins; one that puts
        a space before every text puts it before every piece.
        """
        tail = [] if self._end is None else [self._end]
        for some in _many(texts):
            pieces = [_pieces(text.decode("utf-8", errors="replace")) for text in some]
            flat = [piece for document in pieces for piece in document]
            found = iter(self._tokenizer.encode_batch(flat, add_special_tokens=False))
            for document in pieces:
                ids = [number for _ in document for number in next(found).ids]
                yield np.array([*ids, *tail], dtype=self.dtype)


def _many(texts: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Yield documents in groups of about `PIECE` bytes, at least one in each."""
    group: list[bytes] = []
    size = 0
    for text in texts:
        group.append(text)
        size += len(text)
        if size >= PIECE:
            yield group
            group, size = [], 0
    if group:
        yield group


def _pieces(text: str) -> list[str]:
    """Return the text in pieces of about `PIECE` characters, cut after a line."""
    pieces, first = [], 0
    while len(text) - first > PIECE:
        cut = text.rfind("\n", first, first + PIECE) + 1 or first + PIECE
        pieces.append(text[first:cut])
        first = cut
    return [*pieces, text[first:]]


def tokenizer(name: str) -> Tokenizer:
    """Return the tokenizer: `bytes`, or the path of a tokenizer.json.

    Raises:
        BadData: there is no such file, or it is none.
    """
    if name == "bytes":
        return Bytes()
    path = Path(name).expanduser()
    path = path / "tokenizer.json" if path.is_dir() else path
    if not path.is_file():
        raise BadData(f"--tokenizer {name}: no such file", "Give `bytes` or a tokenizer.json.")
    return Json(path)
