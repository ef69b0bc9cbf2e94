"""Data: from files to a corpus, its tokens mapped into memory.

    paths -> files -> format, by content -> shards of tokens -> windows (windows.py)

Text is tokenized once and kept beside other caches; files of tokens are never copied.
"""

from __future__ import annotations

import functools
import glob
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from budgetplan.calibrate.kept import in_memory, tokens_of
from budgetplan.calibrate.readers import stdlib, synthetic
from budgetplan.calibrate.readers.reader import (
    HEAD,
    BadData,
    Reader,
    Shard,
    TextReader,
    TokenReader,
    Tokens,
    mapped,
    readers,
)
from budgetplan.calibrate.spec import Data
from budgetplan.calibrate.tokenizer import Tokenizer, tokenizer
from budgetplan.calibrate.windows import Windows, beyond, split
from budgetplan.core.units import show

WHOLE = 64 * 2**20  # bytes up to which a file is read whole for its hash, and checked whole
SAMPLES, SAMPLE = 64, 2**16  # of a larger one: how many, of how many bytes
PACKED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"PK\x03\x04": "zip", b"BZh": "bzip2",
          b"\xfd7zXZ": "xz"}  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Corpus:
    """Tokens, and what they are."""

    shards: tuple[Shard, ...]
    vocab: int
    description: str
    fingerprint: str  # of the content

    @property
    def tokens(self) -> int:
        """All tokens, held-out ones included."""
        return sum(len(shard.tokens) for shard in self.shards)

    def split(self, *, seq_len: int, share: float, seed: int) -> tuple[Windows, Windows]:
        """Return the windows to train on, and those held out, which no seed changes."""
        return split(self.shards, seq_len=seq_len, share=share, vocab=self.vocab, seed=seed)


def open_corpus(data: Data) -> Corpus:
    """Return the corpus that a spec names, opened once in a process.

    Raises:
        BadData: a file is missing, empty, cut off, packed, or of another format than the rest; a
            token is beyond the vocabulary; or the content is not the one that the spec was made of.
        MissingPackage: the format or the tokenizer needs one that is not installed.
    """
    files = tuple(_files(data.paths))
    seen = tuple((str(each), each.stat().st_size, each.stat().st_mtime_ns) for each in files
                 if not is_generated(each))  # fmt: skip
    corpus = _opened(data.model_copy(update={"fingerprint": ""}), files, seen)
    if data.fingerprint and data.fingerprint != corpus.fingerprint:
        raise BadData(
            f"the data has changed: fingerprint {corpus.fingerprint}, the run was planned on "
            f"{data.fingerprint}",
            "Plan the runs again, or put the old files back.",
        )
    return corpus


@functools.lru_cache(maxsize=4)
def _opened(data: Data, files: tuple[Path, ...], seen: tuple[tuple[str, int, int], ...]) -> Corpus:
    """Return the corpus; `seen` makes files that changed another call."""
    found = [(each, _reader(each, data.format)) for each in files]
    names = {name for _, (name, _) in found}
    if len(names) > 1:
        raise BadData(
            f"the files are of {len(names)} formats: {', '.join(sorted(names))}",
            "Give files of one format; they may be in one folder.",
        )
    name, reader = found[0][1]
    if isinstance(reader, TokenReader):
        shards = tuple(reader.read(each) for each in _once(files, reader))
        contents = [file for each in files for file in reader.files(each)]
        used = "none"
    else:
        assert isinstance(reader, TextReader)  # a format is one of both
        if data.tokenizer == "none":
            raise BadData(f"{files[0]}: text, and the tokenizer is none", "Give one, or `bytes`.")
        encoder = tokenizer(data.tokenizer)
        if encoder.vocab > data.vocab:
            raise BadData(
                f"the tokenizer {data.tokenizer} has {encoder.vocab:,} tokens, the vocabulary "
                f"{data.vocab:,}",
                f"The vocabulary is the plan's: plan with --vocab {encoder.vocab}.",
            )
        shards = tuple(_encoded(each, reader, encoder) for each in files)
        contents, used = list(files), encoder.name
    _refuse_mixed(shards)
    _refuse_beyond(shards, vocab=data.vocab)
    return Corpus(
        shards=shards,
        vocab=data.vocab,
        description=_description(name, shards, used),
        fingerprint=_fingerprint(contents, shards, used),
    )


# --- files ----------------------------------------------------------------------------------------


def is_generated(path: Path) -> bool:
    """Whether a name stands for tokens that are made, and for no file."""
    return str(path).startswith((synthetic.PREFIX, stdlib.NAME))


def _files(paths: tuple[str, ...]) -> Iterator[Path]:
    """Yield the files behind paths, folders and patterns, sorted within each."""
    for text in paths or (stdlib.NAME,):
        path = Path(text) if text.startswith((synthetic.PREFIX, stdlib.NAME)) else _expanded(text)
        if is_generated(path) or path.is_file():
            yield path
            continue
        if path.is_dir():
            found = sorted(each for each in path.rglob("*") if each.is_file() and _wanted(each))
        else:
            found = sorted(Path(each) for each in glob.glob(str(path), recursive=True))  # noqa: PTH207
            found = [each for each in found if each.is_file() and _wanted(each)]
        if not found:
            kind = "an empty folder" if path.is_dir() else "no such file"
            raise BadData(
                f"--data {text}: {kind}", "Give files, a folder, or a pattern like *.bin."
            )
        yield from found


def _expanded(text: str) -> Path:
    return Path(text).expanduser()


def _wanted(path: Path) -> bool:
    """Whether a file found in a folder is data: not hidden, and no index beside its tokens."""
    return not path.name.startswith((".", "_")) and path.suffix != ".idx"


def _once(files: Iterable[Path], reader: TokenReader) -> list[Path]:
    """Return files without those that stand for the same shard, as an index and its tokens."""
    firsts = {(reader.files(each) or (each,))[0]: each for each in files}
    return list(firsts.values())


def _reader(path: Path, wanted: str) -> tuple[str, Reader]:
    """Return the format of a file, by name or by its content."""
    if is_generated(path):
        name = str(path).partition(":")[0]
        return name, readers[name]()
    try:
        with path.open("rb") as opened:
            head = opened.read(HEAD)
    except OSError as error:
        raise BadData(f"{path}: {error.strerror or error}") from error
    if not head:
        raise BadData(f"{path}: the file is empty", "Leave it out.")
    if wanted != "auto":
        return wanted, readers[wanted]()
    packed = next((kind for number, kind in PACKED.items() if head.startswith(number)), None)
    if packed:
        raise BadData(f"{path}: packed with {packed}", "Unpack it: it is read in place.")
    for name in sorted(readers, key=lambda each: (readers[each].certainty, each)):
        reader = readers[name]()
        if reader.recognizes(path, head=head):
            return name, reader
    raise BadData(
        f"{path}: of no format that is known",
        f"Name it with --format: {', '.join(readers)}.",
    )


# --- checks ---------------------------------------------------------------------------------------


def _refuse_mixed(shards: tuple[Shard, ...]) -> None:
    types = {shard.tokens.dtype.name: shard.path for shard in shards}
    if len(types) > 1:
        (one, first), (other, second), *_ = types.items()
        raise BadData(
            f"{first} has {one} tokens, {second} has {other}",
            "They may be of two tokenizers; name the format if its type was guessed (uint16).",
        )
    if shards[0].tokens.dtype.kind not in "iu":
        raise BadData(f"{shards[0].path}: tokens are whole numbers, not {next(iter(types))}")


def _refuse_beyond(shards: tuple[Shard, ...], *, vocab: int) -> None:
    """Raise for a token outside the vocabulary: in small files all are looked at, in large ones
    the beginning. What is trained on is looked at again, every one."""
    for shard in shards:
        part = shard.tokens[: WHOLE // shard.tokens.itemsize]
        if int(part.max()) >= vocab or int(part.min()) < 0:
            place = int(np.argmax((part < 0) | (part >= vocab)))
            beyond(shard, place, vocab=vocab)


def _description(name: str, shards: tuple[Shard, ...], used: str) -> str:
    total = show(sum(len(shard.tokens) for shard in shards))
    what = "bytes" if used == "bytes" else "tokens"
    if name == "stdlib":
        return f"{total} {what} of the {stdlib.description()}"
    if name == "synthetic":
        return f"{total} tokens drawn from {shards[0].path}"
    many = f"{len(shards)} files" if len(shards) > 1 else shards[0].path
    return f"{total} {what} of {name} in {many}"


# --- fingerprint ----------------------------------------------------------------------------------


def _fingerprint(files: list[Path], shards: tuple[Shard, ...], used: str) -> str:
    """Return a hash of what is trained on; of large files 64 pieces and the size are looked at."""
    digest = hashlib.sha256(used.encode())
    if not files or is_generated(files[0]):
        for shard in shards:
            digest.update(_tokens_hash(shard.tokens))
    for file in files if files and not is_generated(files[0]) else ():
        digest.update(_content_hash(file))
    return digest.hexdigest()[:16]


def _tokens_hash(tokens: Tokens) -> bytes:
    digest = hashlib.sha256(str(len(tokens)).encode())
    if tokens.nbytes <= WHOLE:
        digest.update(tokens.tobytes())
    else:
        for place in np.linspace(0, len(tokens) - SAMPLE, SAMPLES).astype(int):
            digest.update(tokens[place : place + SAMPLE].tobytes())
    return digest.digest()


def _content_hash(path: Path) -> bytes:
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as opened:
        if size <= WHOLE:
            digest.update(opened.read())
        else:
            for place in np.linspace(0, size - SAMPLE, SAMPLES).astype(int):
                opened.seek(int(place))
                digest.update(opened.read(SAMPLE))
    return digest.digest()


# --- text to tokens -------------------------------------------------------------------------------


def _encoded(path: Path, reader: TextReader, encoder: Tokenizer) -> Shard:
    """Return the text as tokens: a plain file's bytes in place, everything else from the cache."""
    if reader.raw and encoder.name == "bytes":
        return Shard(path=str(path), tokens=mapped(path, "u1"))
    if is_generated(path) and encoder.name == "bytes":
        return in_memory(encoder.encode(reader.texts(path)), name=path)
    content = stdlib.description().encode() if is_generated(path) else _content_hash(path)
    return tokens_of(
        b"1" + content + type(reader).__name__.encode() + encoder.name.encode(),
        lambda: encoder.encode(reader.texts(path)),
        name=path,
        dtype=encoder.dtype,
    )
