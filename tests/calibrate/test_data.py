"""Data: formats against files written by hand, splits against their definition, order, errors."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as arrow
import pyarrow.parquet as tables
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from budgetplan.calibrate import kept
from budgetplan.calibrate.data import Corpus, open_corpus
from budgetplan.calibrate.order import permuted
from budgetplan.calibrate.readers import synthetic
from budgetplan.calibrate.readers.reader import BadData, Shard, readers
from budgetplan.calibrate.readers.synthetic import Process
from budgetplan.calibrate.spec import Data
from budgetplan.calibrate.windows import split
from budgetplan.core.errors import MissingPackage, UnknownName, UserError

TOKENS = np.random.default_rng(0).integers(0, 5000, size=3000)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BUDGETPLAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def corpus(*paths: Path | str, vocab: int = 5000, **more: object) -> Corpus:
    names = tuple(str(path) for path in paths)
    return open_corpus(Data.model_validate({"paths": names, "vocab": vocab, **more}))


def stream(found: Corpus) -> np.ndarray:
    return np.concatenate([np.asarray(shard.tokens, dtype=np.int64) for shard in found.shards])


# --- formats --------------------------------------------------------------------------------------


def llm_c(number: int, version: int, *, dtype: str, width: int = 0) -> bytes:
    header = np.zeros(256, dtype="<i4")
    header[:4] = number, version, len(TOKENS), width
    return header.tobytes() + TOKENS.astype(dtype).tobytes()


def megatron(tokens: np.ndarray, *, lengths: list[int], documents: list[int]) -> bytes:
    """The index as Megatron-LM's own writer makes it: magic, version, type, counts, three lists."""
    code = {"uint16": 8, "int32": 4}[tokens.dtype.name]
    pointers = np.r_[0, np.cumsum(lengths)[:-1]] * tokens.itemsize
    return (
        b"MMIDIDX\x00\x00"
        + struct.pack("<QBQQ", 1, code, len(lengths), len(documents))
        + np.array(lengths, dtype="<i4").tobytes()
        + pointers.astype("<i8").tobytes()
        + np.array(documents, dtype="<i8").tobytes()
    )


FILES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "nanogpt u16": ("train.bin", lambda: TOKENS.astype("<u2").tobytes()),
    "nanogpt u32": ("train.bin", lambda: TOKENS.astype("<u4").tobytes()),
    "llm.c gpt-2": ("x.bin", lambda: llm_c(20240520, 1, dtype="<u2")),
    "llm.c llama-3": ("x.bin", lambda: llm_c(20240801, 7, dtype="<u4")),
    "automodel u16": ("x.bin", lambda: llm_c(278895051, 1, dtype="<u2", width=2)),
    "automodel u32": ("x.bin", lambda: llm_c(278895051, 1, dtype="<u4", width=4)),
}


@pytest.mark.parametrize(("name", "content"), FILES.values(), ids=FILES)
def test_tokens_are_read_where_they_lie(
    name: str, content: Callable[[], bytes], tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content())
    found = corpus(tmp_path / name)
    assert np.array_equal(stream(found), TOKENS)
    assert isinstance(found.shards[0].tokens, np.memmap)
    assert not (tmp_path / "cache").exists()  # and nothing was copied


@pytest.mark.parametrize("dtype", ["uint16", "int32", "int64"])
def test_npy(dtype: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", TOKENS.astype(dtype))
    assert np.array_equal(stream(corpus(tmp_path / "a.npy")), TOKENS)


@pytest.mark.parametrize("suffix", ["bin", "idx"])
@pytest.mark.parametrize("dtype", ["uint16", "int32"])
def test_megatron_by_either_file(suffix: str, dtype: str, tmp_path: Path) -> None:
    """Sequences of 1000, 500 and 1500 tokens; documents begin with the first and the third."""
    tokens = TOKENS.astype(dtype)
    (tmp_path / "d.bin").write_bytes(tokens.tobytes())
    index = megatron(tokens, lengths=[1000, 500, 1500], documents=[0, 2, 3])
    (tmp_path / "d.idx").write_bytes(index)
    found = corpus(tmp_path / f"d.{suffix}")
    assert np.array_equal(stream(found), TOKENS)
    assert found.shards[0].documents.tolist() == [0, 1500]


def test_megatron_whose_index_is_cut_or_is_another_files(tmp_path: Path) -> None:
    tokens = TOKENS.astype("uint16")
    index = megatron(tokens, lengths=[1000, 2000], documents=[0, 1, 2])
    (tmp_path / "d.bin").write_bytes(tokens.tobytes())
    (tmp_path / "d.idx").write_bytes(index[:-4])
    with pytest.raises(BadData, match=r"d\.idx: cut off"):
        corpus(tmp_path / "d.bin")
    (tmp_path / "d.idx").write_bytes(index)
    (tmp_path / "d.bin").write_bytes(tokens[:-1].tobytes())
    with pytest.raises(BadData, match="promises 3,000 tokens, 2,999 are there"):
        corpus(tmp_path / "d.bin")
    (tmp_path / "d.bin").unlink()
    with pytest.raises(BadData, match=r"d\.bin: missing beside d\.idx"):
        corpus(tmp_path / "d.idx")


def test_a_format_that_is_named_is_not_guessed(tmp_path: Path) -> None:
    """Four bytes a token read as two are its halves: the even ones, and zeros."""
    (tmp_path / "x.bin").write_bytes(TOKENS.astype("<u4").tobytes())
    halves = stream(corpus(tmp_path / "x.bin", format="uint16"))
    assert np.array_equal(halves[0::2], TOKENS)
    assert not halves[1::2].any()
    with pytest.raises(UnknownName, match="uint16"):
        corpus(tmp_path / "x.bin", format="uint61")


def test_plain_text_is_its_bytes_in_place(tmp_path: Path) -> None:
    text = "Grüße, wie geht es?\n" * 200
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    found = corpus(tmp_path / "a.txt", vocab=256)
    assert bytes(found.shards[0].tokens) == text.encode()
    assert isinstance(found.shards[0].tokens, np.memmap)


def test_lines_of_json_are_documents(tmp_path: Path, cache: Path) -> None:
    texts = ["first", "zweites é", "", "third " * 50]
    lines = "".join(json.dumps({"id": 1, "text": text}) + "\n" for text in texts)
    (tmp_path / "a.jsonl").write_text(lines + "\n")
    found = corpus(tmp_path / "a.jsonl", vocab=256)
    kept = [text.encode() + b"\0" for text in texts if text]
    assert bytes(found.shards[0].tokens) == b"".join(kept)
    assert found.shards[0].documents.tolist() == [0, len(kept[0]), len(kept[0] + kept[1])]
    assert isinstance(found.shards[0].tokens, np.memmap)
    assert len(list((cache / "tokens").iterdir())) == 2  # tokenized once, and nothing left over


def test_a_cache_that_cannot_be_written_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("BUDGETPLAN_CACHE", str(tmp_path / "file"))
    (tmp_path / "a.jsonl").write_text('{"text": "abc"}\n' * 30)
    assert bytes(corpus(tmp_path / "a.jsonl", vocab=256).shards[0].tokens) == b"abc\0" * 30


def test_a_given_tokenizer_decodes_to_the_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    text = "the cat sat on the mat and the rat sat on the cat " * 20
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet
    )
    made.train_from_iterator([text], trainer)
    made.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "a.txt").write_text(text)
    more = {"tokenizer": str(tmp_path / "tokenizer.json")}
    found = corpus(tmp_path / "a.txt", vocab=300, **more)
    ids = found.shards[0].tokens.tolist()
    assert ids[-1] == made.token_to_id("<|endoftext|>")
    assert made.decode(ids[:-1]).strip() == text.strip()
    lines = [{"text": text}, {"text": "rat"}, {"text": text}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    several = corpus(tmp_path / "a.jsonl", vocab=300, **more).shards[0]
    assert several.tokens.tolist()[: len(ids)] == several.tokens.tolist()[-len(ids) :] == ids
    assert several.documents.tolist() == [0, len(ids), len(several.tokens) - len(ids)]
    monkeypatch.setattr("budgetplan.calibrate.tokenizer.PIECE", 64)
    (tmp_path / "b.txt").write_text(text.replace("cat ", "cat\n"))
    cut = corpus(tmp_path / "b.txt", vocab=300, **more).shards[0].tokens.tolist()
    assert made.decode(cut[:-1]).strip() == text.replace("cat ", "cat\n").strip()
    with pytest.raises(BadData, match=f"has {made.get_vocab_size()} tokens, the vocabulary 20"):
        corpus(tmp_path / "a.txt", vocab=20, **more)


def test_parquet(tmp_path: Path, cache: Path) -> None:
    """Rows in three groups, one without a text, one with an empty one; a column beside."""
    table = arrow.table({"id": range(5), "text": ["one", None, "drei é", "", "five"]})
    tables.write_table(table, tmp_path / "a.parquet", row_group_size=2, compression="zstd")
    found = corpus(tmp_path / "a.parquet", vocab=256).shards[0]
    assert bytes(found.tokens) == "one\0drei é\0five\0".encode()
    assert found.documents.tolist() == [0, 4, 12]
    raw = arrow.table({"content": arrow.array([b"as bytes"], arrow.large_binary())})
    tables.write_table(raw, tmp_path / "b.parquet")
    assert bytes(corpus(tmp_path / "b.parquet", vocab=256).shards[0].tokens) == b"as bytes\0"


def test_parquet_that_cannot_be_read_is_named(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "a.parquet"
    tables.write_table(arrow.table({"tokens": [[1, 2]], "id": [1]}), path)
    refused(path, "its columns are tokens, id", "One must be named text, content", vocab=256)
    tables.write_table(arrow.table({"text": [[1, 2], [3]]}), path)
    refused(path, "column text holds list<element: int64>", vocab=256)
    tables.write_table(arrow.table({"text": ["a" * 1000] * 100}), path)
    path.write_bytes(path.read_bytes()[:-50])
    refused(path, "a.parquet", "Copy it again", vocab=256)
    tables.write_table(arrow.table({"text": arrow.array([], arrow.string())}), path)
    refused(path, "holds no text", vocab=256)


def test_a_package_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (tmp_path / "a.parquet").write_bytes(b"PAR1" + bytes(100))
    with pytest.raises(MissingPackage, match="pip install 'budgetplan\\[data\\]'"):
        corpus(tmp_path / "a.parquet", vocab=256)


def test_a_folder_is_its_files_in_order(tmp_path: Path) -> None:
    for name, part in (("b.bin", TOKENS[1000:]), ("a.bin", TOKENS[:1000])):
        (tmp_path / name).write_bytes(part.astype("<u2").tobytes())
    (tmp_path / ".hidden").write_text("no data")
    for given_as in (tmp_path, tmp_path / "*.bin"):
        assert np.array_equal(stream(corpus(given_as)), TOKENS)


# --- sources without files ------------------------------------------------------------------------


def test_no_file_is_pythons_own_source() -> None:
    found = open_corpus(Data())
    text = bytes(found.shards[0].tokens)
    assert "own standard library" in found.description
    assert json.__file__.endswith("json/__init__.py")
    assert Path(json.__file__).read_bytes() in text
    assert Path(pytest.__file__).read_bytes() not in text
    assert b"\0" + Path(json.__file__).read_bytes() + b"\0" in text  # documents are kept apart
    assert open_corpus(Data()).fingerprint == found.fingerprint


def test_the_entropy_of_a_markov_source_is_that_of_its_draws() -> None:
    """The mean surprise of a million draws under the true probabilities, to one part in 200."""
    process = Process.named("synthetic:markov?vocab=32&tokens=1000000&seed=3")
    tokens, rows = process.draw(), process.transitions()
    assert rows.sum(1) == pytest.approx(1)
    surprise = -np.log(rows[tokens[:-1], tokens[1:]]).mean()
    assert surprise == pytest.approx(process.entropy(), rel=5e-3)
    share = np.bincount(tokens, minlength=32) / len(tokens)
    assert share == pytest.approx(process.stationary(), abs=5e-3)
    assert process.entropy() < process.unigram_entropy() < math.log(32)


def test_the_entropy_of_a_zipf_source_by_hand() -> None:
    """Two tokens with 2/3 and 1/3: log 3 - 2/3 log 2."""
    process = Process.named("synthetic:zipf?vocab=2&tokens=300k&seed=0")
    assert process.entropy() == pytest.approx(math.log(3) - 2 / 3 * math.log(2))
    assert process.draw().mean() == pytest.approx(1 / 3, abs=5e-3)


@pytest.mark.parametrize("vocab", [2, 3, 40])
def test_an_alias_table_draws_with_the_given_probabilities(vocab: int) -> None:
    """Each column has 1 / vocab to give, to itself and to one other: the sums are exact."""
    rows = np.random.default_rng(vocab).dirichlet(np.full(vocab, 0.2), size=50)
    rows[0] = 1 / vocab  # none is lighter than the others
    rows[1] = np.eye(vocab)[0]
    table = synthetic.alias_table(rows)
    given = table.keep / vocab
    for row in range(50):
        np.add.at(given[row], table.other[row], (1 - table.keep[row]) / vocab)
    assert given == pytest.approx(rows, abs=1e-12)


def test_many_drawn_tokens_are_kept_in_a_file(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "synthetic:markov?vocab=16&tokens=20000&seed=2"
    monkeypatch.setattr(synthetic, "BLOCK", 8 * synthetic.CHAIN)
    monkeypatch.setattr(kept, "PAUSE", 0.0)
    told: list[str] = []
    with kept.telling(told.append):
        found = corpus(name, vocab=16)
    assert found.shards[0].tokens.tolist() == Process.named(name).draw().tolist()
    assert isinstance(found.shards[0].tokens, np.memmap)
    assert len(list((cache / "tokens").iterdir())) == 2
    assert told[0] == f"{name}: 8192 of 20k tokens are made, and kept for later runs"
    longer = Process.named(name.replace("20000", "30000")).draw()
    assert longer[:16384].tolist() == found.shards[0].tokens[:16384].tolist()


@pytest.mark.parametrize(
    "name",
    ["synthetic:", "synthetic:markov?size=3", "synthetic:zipf?vocab=1",
     "synthetic:markov?vocab=5000"],
)  # fmt: skip
def test_a_source_that_does_not_exist(name: str) -> None:
    with pytest.raises(BadData, match="synthetic:markov"):
        corpus(name)


# --- split and order ------------------------------------------------------------------------------


def shards(*lengths: int, documents: tuple[int, ...] = ()) -> tuple[Shard, ...]:
    """Shards in which every token is its own number, so that a token is seen once if it is."""
    first, out = 0, []
    for length in lengths:
        starts = np.array([at for at in documents if at < length], dtype=np.int64)
        out.append(Shard(path="x", tokens=np.arange(first, first + length), documents=starts))
        first += length
    return tuple(out)


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 4000), min_size=1, max_size=4),
    seq_len=st.integers(1, 40),
    share=st.floats(0.01, 0.4),
    documents=st.lists(st.integers(0, 4000), max_size=30).map(sorted),
)
@example(lengths=[6], seq_len=2, share=0.01, documents=[4])  # a document's cut leaves two tokens
def test_no_token_is_on_both_sides(
    lengths: list[int], seq_len: int, share: float, documents: list[int]
) -> None:
    parts = shards(*lengths, documents=tuple(documents))
    try:
        train, held = split(parts, seq_len=seq_len, share=share, vocab=10**6, seed=0)
    except BadData:
        assert sum(length > seq_len for length in lengths) < 2
        assert max(lengths) < 2 * max(seq_len + 1, share * sum(lengths))
        return
    assert len(held) > 0
    seen = [set(part.windows(np.arange(len(part))).ravel().tolist()) for part in (train, held)]
    assert not seen[0] & seen[1]
    for part in (train, held):
        rows = part.windows(np.arange(len(part)))
        assert np.all(np.diff(rows, axis=1) == 1)  # a window is one piece of one file
        assert np.unique(rows[:, :-1]).size == part.tokens  # nothing is learned from twice


def test_the_share_that_is_held_out_is_as_asked() -> None:
    train, held = split(shards(1_000_000), seq_len=100, share=0.05, vocab=10**7, seed=0)
    blocks = (held.stretches[:, 2] - held.stretches[:, 1]).sum()
    assert blocks == pytest.approx(0.05 * 1_000_000, rel=0.02)
    assert held.tokens > blocks - 100 * len(held.stretches)  # less than a sequence of each is lost
    assert train.tokens + blocks > 0.98e6
    assert len(held.stretches) > 30  # from all over the corpus


def test_documents_are_cut_whole_where_they_can_be() -> None:
    """Documents of 90 tokens and blocks of at least 200: every cut is where a document begins."""
    starts = tuple(range(0, 20_000, 90))
    train, held = split(shards(20_000, documents=starts), seq_len=50, share=0.02 * 32, vocab=10**6,
                        seed=0)  # fmt: skip
    for part in (train, held):
        assert set(part.stretches[:, 1].tolist()) <= set(starts)


def test_what_is_held_out_depends_on_no_seed() -> None:
    parts = [split(shards(30_000), seq_len=20, share=0.1, vocab=10**6, seed=s) for s in (0, 1)]
    first, second = (held.batch(0, 50) for _, held in parts)
    assert np.array_equal(first, second)
    first, second = (train.batch(0, 50) for train, _ in parts)
    assert not np.array_equal(first, second)


def test_every_epoch_has_all_windows_in_another_order() -> None:
    train, _ = split(shards(5000), seq_len=10, share=0.1, vocab=10**6, seed=7)
    many = len(train)
    epochs = [train.batch(epoch * many, many) for epoch in (0, 1)]
    assert not np.array_equal(*epochs)
    assert np.array_equal(*(np.sort(epoch[:, 0]) for epoch in epochs))
    across = train.batch(many - 3, 6)  # a batch may begin in one epoch and end in the next
    assert np.array_equal(across, np.concatenate([epochs[0][-3:], epochs[1][:3]]))


@settings(max_examples=50, deadline=None)
@given(size=st.integers(1, 3000), seed=st.integers(0, 2**40), epoch=st.integers(0, 5))
def test_the_order_is_a_permutation(size: int, seed: int, epoch: int) -> None:
    out = permuted(np.arange(size), size=size, key=(seed, epoch))
    assert np.array_equal(np.sort(out), np.arange(size))


def test_the_order_is_shuffled() -> None:
    """Of a random permutation, neighbours are uncorrelated: below 4 / sqrt(n) almost surely."""
    out = permuted(np.arange(10_000), size=10_000, key=(0, 0))
    assert abs(np.corrcoef(out[:-1], out[1:])[0, 1]) < 0.04
    assert abs(np.corrcoef(out, np.arange(10_000))[0, 1]) < 0.04
    assert len(np.unique(permuted(np.arange(9), size=10**12, key=(1,)))) == 9


# --- fingerprints ---------------------------------------------------------------------------------


def test_changed_data_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(TOKENS.astype("<u2").tobytes())
    known = corpus(path).fingerprint
    assert corpus(path, fingerprint=known).fingerprint == known
    moved = tmp_path / "b.bin"
    moved.write_bytes(path.read_bytes())
    assert corpus(moved).fingerprint == known  # of the content, not of its name
    path.write_bytes(TOKENS[::-1].astype("<u2").tobytes())
    with pytest.raises(BadData, match="the data has changed"):
        corpus(path, fingerprint=known)


# --- what is refused ------------------------------------------------------------------------------


def refused(path: Path | str, *words: str, **more: object) -> None:
    with pytest.raises(UserError) as told:
        corpus(path, **more)
    message = str(told.value)
    assert all(word in message for word in words), message
    assert len(message.splitlines()) <= 3


def test_a_token_beyond_the_vocabulary_is_shown(tmp_path: Path) -> None:
    tokens = TOKENS.astype("<u2")
    tokens[1234] = 60_000
    (tmp_path / "a.bin").write_bytes(tokens.tobytes())
    refused(tmp_path / "a.bin", "a.bin", "60,000", "offset 1,234", "vocabulary of 5,000")


def test_also_where_only_the_batch_meets_it() -> None:
    tokens = np.zeros(3000, dtype=np.int64)
    tokens[2000] = -1
    train, held = split((Shard(path="f", tokens=tokens),), seq_len=10, share=0.1, vocab=5, seed=0)
    with pytest.raises(BadData, match="f: token -1 at offset 2,000"):
        for part in (train, held):
            part.windows(np.arange(len(part)))


def test_files_that_will_not_do(tmp_path: Path) -> None:
    (tmp_path / "empty.bin").touch()
    refused(tmp_path / "empty.bin", "empty.bin", "empty")
    refused(tmp_path / "none.bin", "none.bin", "no such file")
    (tmp_path / "folder").mkdir()
    refused(tmp_path / "folder", "empty folder")
    (tmp_path / "odd.bin").write_bytes(bytes(1001))
    refused(tmp_path / "odd.bin", "1,001 bytes", "no whole number")
    (tmp_path / "a.gz").write_bytes(b"\x1f\x8b" + bytes(50))
    refused(tmp_path / "a.gz", "gzip", "Unpack")
    (tmp_path / "picture").write_bytes(b"\xff\xd8\xff\xe0" + bytes(50))
    refused(tmp_path / "picture", "of no format that is known", "megatron")
    (tmp_path / "short.bin").write_bytes(llm_c(20240520, 1, dtype="<u2")[:-100])
    refused(tmp_path / "short.bin", "promises 3,000 tokens, 2,950 are there")
    (tmp_path / "new.bin").write_bytes(llm_c(20240520, 9, dtype="<u2"))
    refused(tmp_path / "new.bin", "version 9")
    (tmp_path / "magic.bin").write_bytes(llm_c(12345678, 1, dtype="<u2"))
    refused(tmp_path / "magic.bin", "not known (number 12345678, version 1)", "--format uint16")
    (tmp_path / "eval.bin").write_bytes(llm_c(20240522, 1, dtype="<u2"))
    refused(tmp_path / "eval.bin", "multiple-choice")
    np.save(tmp_path / "floats.npy", np.zeros((3, 4)))
    refused(tmp_path / "floats.npy", "float64", "(3, 4)")
    (tmp_path / "a.jsonl").write_text('{"text": "good"}\n{"text": "cut off')
    refused(tmp_path / "a.jsonl", "a.jsonl:2", vocab=256)
    (tmp_path / "b.jsonl").write_text('{"words": "good"}\n')
    refused(tmp_path / "b.jsonl", "b.jsonl:1", "text, content", vocab=256)
    (tmp_path / "a.txt").write_text("text")
    refused(tmp_path / "a.txt", "tokenizer is none", vocab=256, tokenizer="none")
    refused(tmp_path / "a.txt", "no such file", vocab=256, tokenizer=str(tmp_path / "t.json"))
    refused(tmp_path / "a.txt", "has 256 tokens", vocab=100)


def test_files_that_do_not_belong_together(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(llm_c(20240520, 1, dtype="<u2"))
    (tmp_path / "b.bin").write_bytes(llm_c(20240801, 7, dtype="<u4"))
    refused(tmp_path, "a.bin has uint16 tokens", "b.bin has uint32")
    np.save(tmp_path / "c.npy", TOKENS)
    refused(tmp_path, "formats: llm.c, npy")


def test_too_few_tokens_for_two_parts(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(TOKENS.astype("<u2").tobytes())
    with pytest.raises(BadData, match="3000 tokens are too few for sequences of 2,000"):
        corpus(tmp_path / "a.bin").split(seq_len=2000, share=0.02, seed=0)


def test_every_format_says_what_it_is() -> None:
    assert len(readers) >= 10
    for name in readers:
        reader = readers[name]()
        assert reader.__doc__
        assert hasattr(reader, "read") != hasattr(reader, "texts"), name
        assert not reader.recognizes(Path("nothing"), head=b"")
