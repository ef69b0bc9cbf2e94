"""The trainer: learning against known entropies, steps against torch's own, resuming bit by bit."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from budgetplan.calibrate import card
from budgetplan.calibrate import data as data_module
from budgetplan.calibrate import step as steps
from budgetplan.calibrate import train as trainer
from budgetplan.calibrate.allowance import flops_of
from budgetplan.calibrate.data import open_corpus
from budgetplan.calibrate.divergence import RISE, WINDOW, Watch
from budgetplan.calibrate.durable import StoreError
from budgetplan.calibrate.model import build, nats
from budgetplan.calibrate.optimizer import adamw
from budgetplan.calibrate.readers.reader import BadData
from budgetplan.calibrate.readers.synthetic import Process
from budgetplan.calibrate.result import Interrupted, Result
from budgetplan.calibrate.run_folder import RunFolder
from budgetplan.calibrate.schedule import learning_rate, refuse_without_effect
from budgetplan.calibrate.spec import Data, RunSpec
from budgetplan.calibrate.step import Arithmetic, Step
from budgetplan.calibrate.store import Store
from budgetplan.calibrate.train import train
from budgetplan.calibrate.world import World
from budgetplan.core.architecture import Architecture
from budgetplan.core.errors import BadValue
from budgetplan.flops import closed_form
from budgetplan.flops.memory import Training, fit, memory_of_architecture

MARKOV = "synthetic:markov?vocab=16&tokens=200000&seed=5"
SMALL = Architecture(layers=2, width=32, heads=2, kv_heads=1, ffn=64, vocab=16, seq_len=32)
ALONE = World(rank=0, size=1, device=torch.device("cpu"))
FP32 = Arithmetic(precision="fp32", precision_asked="fp32")


@pytest.fixture(autouse=True)
def threads() -> Any:
    """One thread: tests run beside each other, and a bit more of sums must not depend on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def spec(**changes: object) -> RunSpec:
    known: dict[str, object] = {
        "kind": "isoflop", "architecture": SMALL, "seq_len": 32, "batch_sequences": 8, "steps": 20,
        "learning_rate": 1e-2, "data": Data(paths=(MARKOV,), vocab=16), "evaluation_tokens": 2048,
        "precision": "fp32",
    }  # fmt: skip
    return RunSpec.model_validate({**known, **changes})


def folder(tmp_path: Path, made: RunSpec) -> RunFolder:
    return Store(tmp_path).add(made)


def losses(run: RunFolder) -> list[float]:
    return [record["loss"] for record in run.metrics() if "loss" in record]


def weights(run: RunFolder) -> dict[str, Any]:
    """Return parameters and their moments in the last checkpoint, by name."""
    content = torch.load(run.checkpoint_path, weights_only=True)
    return {"model": dict(content["model"]), "moments": content["optimizer"]["state"]}


def assert_bitwise(one: Any, other: Any) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        if isinstance(value, dict):
            assert_bitwise(value, other[name])
        else:
            assert torch.equal(value, other[name]), name


# --- it learns ------------------------------------------------------------------------------------


def test_a_markov_source_is_learned_down_to_its_entropy(tmp_path: Path) -> None:
    """No model is better than the source's entropy, but for the chance of the held-out sample.

    Its true surprise under the true probabilities is computed on the very tokens that are
    evaluated; the unigram entropy is what a model without context could reach.
    """
    made = spec(steps=250, batch_sequences=16, evaluation_tokens=8192, schedule="wsd",
                warmup_tokens=5120, decay_tokens=51200)  # fmt: skip
    result = train(made, folder(tmp_path, made))
    process = Process.named(MARKOV)
    _, held = open_corpus(made.data).split(seq_len=32, share=0.02, seed=0)
    rows = held.batch(0, min(len(held), 256))
    floor = -np.log(process.transitions()[rows[:, :-1], rows[:, 1:]])
    loss = result.evaluations[-1].loss
    error = floor.std() / math.sqrt(floor.size)
    assert floor.mean() - 3 * error < loss < floor.mean() + 0.12
    assert loss < process.unigram_entropy() - 0.5
    assert result.status == "finished"


def test_source_text_is_learned_below_its_unigram_entropy(tmp_path: Path) -> None:
    a = Architecture(layers=2, width=64, heads=2, ffn=128, vocab=256, seq_len=64, tied=True)
    made = spec(architecture=a, data=Data(), seq_len=64, steps=70, warmup_tokens=5120,
                evaluation_tokens=8192)  # fmt: skip
    run = folder(tmp_path, made)
    result = train(made, run)
    text = np.asarray(open_corpus(made.data).shards[0].tokens)
    share = np.bincount(text) / len(text)
    unigram = -(share[share > 0] * np.log(share[share > 0])).sum()
    assert 3.0 < unigram < 3.6  # nats of a byte of Python
    assert result.evaluations[-1].loss < unigram - 0.4
    facts = json.loads((run.path / "environment.json").read_text())["training"]
    assert "standard library" in facts["data"]["what"]
    assert facts["data"]["epochs"] == made.tokens / facts["data"]["unique_tokens"] < 0.01


# --- one step -------------------------------------------------------------------------------------


def test_a_run_is_the_loop_that_everybody_writes(tmp_path: Path) -> None:
    """Ten steps against plain torch: its AdamW, not fused, its cross-entropy, its clipping."""
    made = spec(steps=10, weight_decay=0.3, adam_beta2=0.9, grad_clip=0.5, z_loss=1e-3)
    run = folder(tmp_path, made)
    train(made, run, keep_last=True)
    model = build(made)
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    plain = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.3}, {"params": vectors, "weight_decay": 0.0}],
        lr=1e-2, betas=(0.9, 0.9), eps=1e-8, fused=False, foreach=False,
    )  # fmt: skip
    data, _ = open_corpus(made.data).split(seq_len=32, share=0.02, seed=0)
    found = []
    for number in range(10):
        rows = torch.from_numpy(data.batch(number * 8, 8))
        logits = model(rows[:, :-1])
        loss = nn.functional.cross_entropy(logits.transpose(1, 2), rows[:, 1:])
        (loss + 1e-3 * logits.logsumexp(-1).square().mean()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        plain.step()
        plain.zero_grad()
        found.append(loss.item())
    assert losses(run) == pytest.approx(found, rel=1e-5)
    kept = weights(run)["model"]
    for name, value in model.state_dict().items():
        assert torch.allclose(value, kept[name], atol=2e-5), name


def test_gradients_do_not_depend_on_how_a_batch_is_divided() -> None:
    made = spec(batch_sequences=7, z_loss=1e-3)
    tokens = torch.randint(16, (7, 33), generator=torch.Generator().manual_seed(0))
    found = []
    for size in (7, 4, 1):
        model = build(made)
        one = Step(spec=made, model=model, optimizer=adamw(model, made),
                   world=ALONE, numbers=FP32, micro_batch=size)  # fmt: skip
        total = one._gradients(tokens)
        found.append((total.item(), [p.grad.clone() for p in model.parameters()]))
    for total, gradients in found[1:]:
        assert total == pytest.approx(found[0][0], rel=1e-6)
        for one_grad, whole in zip(gradients, found[0][1], strict=True):
            assert torch.allclose(one_grad, whole, atol=1e-6)
    assert found[0][1][0].abs().max() > 1e-4


class Limited(nn.Module):
    """A model with room for so many sequences, as a card would have."""

    def __init__(self, inner: nn.Module, room: int) -> None:
        super().__init__()
        self.inner, self.room, self.sizes = inner, room, []

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        if len(tokens) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        self.sizes.append(len(tokens))
        return self.inner(tokens)


def test_a_batch_that_does_not_fit_is_halved_until_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = spec(steps=5)
    whole, parts = folder(tmp_path / "a", made), folder(tmp_path / "b", made)
    train(made, whole)
    limited = Limited(build(made), room=3)
    monkeypatch.setattr(trainer, "build", lambda _: limited)
    train(made, parts)
    assert limited.sizes[:4] == [2, 2, 2, 2]  # 8 and 4 did not fit
    assert losses(parts) == pytest.approx(losses(whole), rel=1e-5)
    facts = json.loads((parts.path / "environment.json").read_text())["training"]
    assert facts["micro_batch"] == 2


def test_several_processes_settle_before_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    made = spec()
    model = Limited(build(made), room=3)
    one = Step(spec=made, model=model, optimizer=adamw(model, made), world=ALONE,
               numbers=FP32, micro_batch=8)  # fmt: skip
    one.settle(torch.zeros(8, 33, dtype=torch.long))
    assert (one.micro_batch, one.settled) == (2, True)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_card_is_tried_with_what_should_fit() -> None:
    """One sequence more than is tried would not be predicted to fit."""
    wide = Architecture(layers=8, width=512, heads=8, ffn=1376, vocab=32768, seq_len=1024)
    made = spec(architecture=wide, data=Data(vocab=256), seq_len=1024, batch_sequences=512)

    def tried(memory: float | None, made: RunSpec = made, sharding: str = "one") -> int:
        return steps.first_micro_batch(made, slice(0, 512), precision="bf16", sharding=sharding,
                                       world=ALONE, memory=memory)  # fmt: skip

    how = Training(precision="bf16", sharding="none")
    found = tried(8e9)
    assert 1 < found < 512
    used = [memory_of_architecture(wide, how, micro_batch=n).total for n in (found, found + 1)]
    room = fit.usable(8e9)
    assert used[0] <= room < used[1]
    assert tried(3e9) == 1  # even if nothing fits, one sequence is tried
    assert tried(1e13) == 512
    assert tried(8e9, made.model_copy(update={"kind": "throughput"})) == 512
    assert tried(None) == 2**27 // (1024 * 32768)  # a CPU


def test_what_never_fits_is_a_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = spec()
    monkeypatch.setattr(trainer, "build", lambda _: Limited(build(made), room=0))
    result = train(made, folder(tmp_path, made))
    assert result.status == "failed"
    assert "out of memory with 1 sequence of 32 tokens" in result.reason


def test_a_batch_whose_speed_is_measured_is_not_divided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = spec(kind="throughput", steps=4)
    monkeypatch.setattr(trainer, "build", lambda _: Limited(build(made), room=4))
    result = train(made, folder(tmp_path, made))
    assert result.status == "failed"
    assert "out of memory with 8 sequences of 32 tokens at a time" in result.reason


def test_memory_that_runs_out_in_the_middle_loses_no_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = spec(steps=6)
    whole, cut = folder(tmp_path / "a", made), folder(tmp_path / "b", made)
    train(made, whole)
    passes = itertools.count(1)

    def filled(*given: torch.Tensor) -> torch.Tensor:
        if next(passes) > 3:  # another process took the rest of the card
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return nats(*given)

    with monkeypatch.context() as patched:
        patched.setattr(steps, "nats", filled)
        first = train(made, cut)
    assert (first.status, len(losses(cut))) == ("failed", 3)
    cut.finish(first)
    cut.retry()
    second = train(made, cut)
    assert second.status == "finished"
    assert losses(cut) == pytest.approx(losses(whole), rel=1e-5)
    facts = json.loads((cut.path / "environment.json").read_text())["training"]
    assert (facts["resumed_from_step"], facts["micro_batch"]) == (3, 1)


def test_a_full_disk_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    made = spec(steps=6)
    run = folder(tmp_path, made)
    with pytest.raises(Interrupted):
        train(made, run, should_stop=stopping_after(2))
    before = run.checkpoint_path.read_bytes()
    with monkeypatch.context() as patched, pytest.raises(StoreError, match="the disk is full"):
        patched.setattr(os, "fsync", full)
        train(made, run, should_stop=stopping_after(1))
    assert run.checkpoint_path.read_bytes() == before
    assert [each.name for each in run.path.glob(".checkpoint*")] == []
    assert train(made, run).status == "finished"


def test_other_errors_are_not_taken_for_a_full_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*_: object) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(steps, "logits_of", wrong)
    made = spec()
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        train(made, folder(tmp_path, made))


def test_products_in_bf16_leave_weights_gradients_and_moments_in_fp32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a card, on the CPU: bf16 keeps 8 bits, and 20 steps stay within a few parts in 100."""
    made = spec(z_loss=1e-4, architecture=SMALL.model_copy(update={"qk_norm": "head"}))
    plain, other = folder(tmp_path / "a", made), folder(tmp_path / "b", made)
    train(made, plain)
    bf16 = Arithmetic(precision="bf16", precision_asked="bf16")
    monkeypatch.setattr(trainer, "arithmetic", lambda *_: bf16)
    seen: set[torch.dtype] = set()

    def noting(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        seen.add(logits.dtype)
        return nats(logits, targets)

    monkeypatch.setattr(steps, "nats", noting)
    train(made, other, keep_last=True)
    assert seen == {torch.bfloat16}
    assert losses(other) != losses(plain)
    assert losses(other) == pytest.approx(losses(plain), rel=0.03)
    kept = weights(other)
    moments = [each for state in kept["moments"].values() for each in state.values()]
    assert {each.dtype for each in [*kept["model"].values(), *moments]} == {torch.float32}


def test_a_token_beyond_the_vocabulary_is_named_when_it_is_met(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of large files the beginning alone is looked at before; training looks at every token."""
    tokens = np.arange(6000, dtype="<u2") % 16
    tokens[3000:] = 999
    (tmp_path / "a.bin").write_bytes(tokens.tobytes())
    monkeypatch.setattr(data_module, "WHOLE", 2000)
    monkeypatch.setattr(data_module, "SAMPLE", 16)
    made = spec(data=Data(paths=(str(tmp_path / "a.bin"),), vocab=16), steps=30)
    run = folder(tmp_path, made)
    with pytest.raises(BadData, match=r"a\.bin: token 999 at offset [0-9,]+ is beyond the vocab"):
        train(made, run)


# --- schedules ------------------------------------------------------------------------------------

BATCH = 100  # tokens of a step


def rates(schedule: str, steps_: int = 10, **more: object) -> list[float]:
    made = spec(schedule=schedule, steps=steps_, learning_rate=1.0, seq_len=10,
                batch_sequences=10, **more)  # fmt: skip
    return [learning_rate(made, number) for number in range(1, steps_ + 1)]


def test_schedules_by_hand() -> None:
    assert rates("constant", 5, warmup_tokens=4 * BATCH) == [0.25, 0.5, 0.75, 1, 1]
    assert rates("constant", 5, warmup_tokens=250) == pytest.approx([0.4, 0.8, 1, 1, 1])
    assert rates("linear", 4) == [1, 0.75, 0.5, 0.25]
    assert rates("linear", 6, warmup_tokens=200, min_learning_rate=0.2) == pytest.approx(
        [0.5, 1, 1, 0.8, 0.6, 0.4]
    )
    assert rates("wsd", 6, warmup_tokens=200, decay_tokens=200) == [0.5, 1, 1, 1, 1, 0.5]
    assert rates("cosine", 4) == pytest.approx(
        [1, 0.5 + 0.5 * math.cos(math.pi / 4), 0.5, 0.5 + 0.5 * math.cos(3 * math.pi / 4)]
    )
    halved = rates("cosine", 10, warmup_tokens=200, min_learning_rate=0.1)
    assert halved[2 + 4] == pytest.approx(0.55)  # half-way down from 1 to 0.1


@pytest.mark.parametrize("schedule", ["linear", "cosine", "wsd"])
def test_no_step_is_wasted_and_none_is_above_the_peak(schedule: str) -> None:
    found = rates(schedule, 40, warmup_tokens=500,
                  decay_tokens=1000 if schedule == "wsd" else 0)  # fmt: skip
    assert 0 < min(found) <= max(found) == 1
    assert all(a >= b for a, b in itertools.pairwise(found[5:]))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schedule": "wsd"}, "wsd without decay_tokens"),
        ({"schedule": "cosine", "decay_tokens": 256.0}, "decay_tokens has no effect"),
        ({"min_learning_rate": 1e-3}, "min_learning_rate has no effect with schedule constant"),
        ({"schedule": "linear", "min_learning_rate": 1.0}, "above the peak"),
    ],
)
def test_settings_without_effect_are_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(BadValue, match=words):
        refuse_without_effect(spec(**changes))


# --- divergence -----------------------------------------------------------------------------------


def test_a_run_that_diverges_is_a_result(tmp_path: Path) -> None:
    made = spec(learning_rate=1e4, grad_clip=None, steps=300, evaluate_at=(1,))
    run = folder(tmp_path, made)
    result = train(made, run)
    assert result.status == "diverged"
    assert "at step" in result.reason
    assert result.flops_spent < flops_of(made)
    assert [each.step for each in result.evaluations] == [1]
    run.finish(result)
    assert run.state == "diverged"


def test_not_a_number_stops_before_the_parameters_are_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def poisoned(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return nats(logits, targets) * math.nan

    made = spec(steps=3)
    run = folder(tmp_path, made)
    monkeypatch.setattr(steps, "nats", poisoned)
    result = train(made, run, keep_last=True)
    assert (result.status, result.reason) == ("diverged", "the gradient norm is nan at step 1")
    kept, before = weights(run)["model"], build(made).state_dict()
    assert all(torch.equal(kept[name], value) for name, value in before.items())


def watched(values: list[float]) -> list[str]:
    watch = Watch()
    found = enumerate(values, start=1)
    return [watch.says(loss=each, gradient_norm=1.0, step=number) for number, each in found]


def test_the_rule_of_divergence() -> None:
    fine = [5 - number / 100 for number in range(200)]
    assert not any(watched(fine))
    assert not any(watched([*fine, *[9.0] * 7, *fine[150:]]))  # 7 x 6 nats in 50 steps: below 1
    assert any(watched([*fine, *[9.0] * 11, *fine[150:]]))  # 11 x 6: above
    rising = watched([*fine, *[5.0] * WINDOW])
    first = next(place for place, words in enumerate(rising) if words)
    assert first < len(rising) - 1
    assert f"the mean loss of {WINDOW} steps rose from" in rising[first]
    assert watched([math.inf])[0] == "the loss is inf at step 1"
    assert RISE == 1.0


# --- interrupted and resumed ----------------------------------------------------------------------


def stopping_after(count: int) -> Callable[[], bool]:
    left = iter(range(count))
    return lambda: next(left, None) is None


RESUMED = {"steps": 14, "evaluate_at": (4, 9), "schedule": "cosine", "warmup_tokens": 512.0}


@pytest.mark.parametrize("at", [[1], [6], [3, 4], [13]])
def test_a_run_that_was_interrupted_ends_bit_for_bit_the_same(
    at: list[int], tmp_path: Path
) -> None:
    made = spec(**RESUMED)
    whole, cut = folder(tmp_path / "a", made), folder(tmp_path / "b", made)
    once = train(made, whole, keep_last=True)
    for steps_done in at:
        with pytest.raises(Interrupted):
            train(made, cut, should_stop=stopping_after(steps_done - 1))
    again = train(made, cut, keep_last=True)
    assert_bitwise(weights(whole), weights(cut))
    assert again.evaluations == once.evaluations
    assert again.train_loss == once.train_loss
    assert again.flops_spent == once.flops_spent == flops_of(made)
    assert losses(cut) == losses(whole)


DROPPING = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, *, width, depth, vocab):
        super().__init__()
        self.embed = nn.Embedding(vocab, width)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(width, vocab)

    def forward(self, tokens):
        x = self.embed(tokens)
        for layer in self.layers:
            x = x + self.drop(layer(x).relu())
        return self.head(x)
"""


def test_also_where_the_users_own_model_draws_numbers(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(DROPPING)
    made = spec(factory=f"{tmp_path / 'model.py'}:Net")
    whole, cut = folder(tmp_path / "a", made), folder(tmp_path / "b", made)
    train(made, whole, keep_last=True)
    with pytest.raises(Interrupted):
        train(made, cut, should_stop=stopping_after(7))
    train(made, cut, keep_last=True)
    assert_bitwise(weights(whole), weights(cut))


def test_going_on_with_another_torch_or_chip_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = spec(steps=6)
    run = folder(tmp_path, made)
    for unit, count in (("torch 2.12 on A", 0), ("torch 2.13 on A", 1), ("torch 2.13 on B", 9)):
        monkeypatch.setattr(card, "arithmetic_unit", lambda _, unit=unit: unit)
        with contextlib.suppress(Interrupted):
            train(made, run, should_stop=stopping_after(count))
    facts = json.loads((run.path / "environment.json").read_text())["training"]
    assert facts["remark"] == (
        "begun with torch 2.12 on A, went on with torch 2.13 on A; "
        "begun with torch 2.13 on A, went on with torch 2.13 on B"
    )


DRAWING = """
import random
import numpy as np
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, *, width, depth, vocab):
        super().__init__()
        start = np.random.standard_normal((vocab, width)) / 9 + random.random() / 9
        self.embed = nn.Embedding(vocab, width, _weight=torch.tensor(start).float())
        self.head = nn.Linear(width, vocab)

    def forward(self, tokens):
        scale = 1 + (random.random() + np.random.random()) / 9 if self.training else 1.0
        return self.head(self.embed(tokens) * scale)
"""


def test_also_where_it_draws_them_elsewhere_than_in_torch(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(DRAWING)
    made = spec(factory=f"{tmp_path / 'model.py'}:Net", steps=8)
    whole, cut = folder(tmp_path / "a", made), folder(tmp_path / "b", made)
    train(made, whole, keep_last=True)
    with pytest.raises(Interrupted):
        train(made, cut, should_stop=stopping_after(3))
    train(made, cut, keep_last=True)
    assert_bitwise(weights(whole), weights(cut))


def test_a_checkpoint_that_cannot_be_read_is_begun_anew_and_said(tmp_path: Path) -> None:
    made = spec(steps=4)
    run = folder(tmp_path, made)
    run.checkpoint_path.write_bytes(b"half of a checkpoint")
    result = train(made, run)
    assert result.status == "finished"
    facts = json.loads((run.path / "environment.json").read_text())["training"]
    assert "could not be read, begun anew" in facts["remark"]
    assert facts["resumed_from_step"] == 0


CHILD = """
import sys, torch
from pathlib import Path
torch.set_num_threads(1)
from budgetplan.calibrate.store import Store
from budgetplan.calibrate.result import Interrupted
from budgetplan.calibrate.train import train
run = Store(sys.argv[1]).get(sys.argv[2])
def told(entry):
    print(entry["step"], flush=True)
try:
    train(run.spec, run, on_step=told, checkpoint_seconds=float(sys.argv[3]), keep_last=True)
except Interrupted:
    print("interrupted", flush=True)
"""


def start(run: RunFolder, every: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, str(run.path.parent.parent), run.id, str(every)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=alone())


def alone() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def wait_for(process: subprocess.Popen[str], step: int) -> None:
    assert process.stdout
    for line in process.stdout:
        if line.strip() == str(step):
            return
    raise AssertionError("it ended before")


def test_killed_and_asked_to_stop_it_goes_on_to_the_same_end(tmp_path: Path) -> None:
    """SIGKILL after a checkpoint, then SIGTERM, then to the end: as if nobody had touched it."""
    made = spec(steps=4000, batch_sequences=2)
    run = folder(tmp_path / "a", made)
    with start(run, every=0.05) as killed:
        assert killed.stdout
        for _ in killed.stdout:
            if run.checkpoint_path.exists():
                break
        killed.kill()
    after_kill = torch.load(run.checkpoint_path, weights_only=True)["progress"]["step"]
    assert 0 < after_kill < 4000
    with start(run, every=1e9) as asked:
        wait_for(asked, after_kill + 20)
        asked.send_signal(signal.SIGTERM)
        assert asked.stdout
        said = asked.stdout.read().split()
    assert asked.returncode == 0
    assert said[-1] == "interrupted"
    progress = torch.load(run.checkpoint_path, weights_only=True)["progress"]["step"]
    assert after_kill + 20 <= progress == int([str(after_kill + 20), *said][-2])
    # A constant rate makes the first steps of a long run those of a short one, which ends sooner.
    short = made.model_copy(update={"steps": progress + 5})
    whole, resumed = folder(tmp_path / "b", short), folder(tmp_path / "c", short)
    resumed.checkpoint_path.write_bytes(run.checkpoint_path.read_bytes())
    for each in (whole, resumed):
        train(short, each, keep_last=True)
    assert_bitwise(weights(resumed), weights(whole))


# --- several processes ----------------------------------------------------------------------------

RANK = """
import sys
from budgetplan.calibrate import compiled
from budgetplan.calibrate.store import Store
from budgetplan.calibrate.train import train
compiled.BACKEND = "eager"
for name in sys.argv[2:]:
    sharding, _, how = name.partition("-")
    run, = Store(f"{sys.argv[1]}/{name}").runs()
    train(run.spec, run, sharding=sharding, compiled=how == "compiled", keep_last=True)
"""
PLACED = ("ddp", "fsdp", "fsdp-compiled")


def test_two_processes_make_the_same_run_as_one(tmp_path: Path) -> None:
    """On the CPU with gloo: each with the whole model, and each with a share of it."""
    made = spec(steps=8, batch_sequences=6, evaluate_at=(3,), z_loss=1e-4, evaluation_tokens=1056)
    one = folder(tmp_path / "one", made)
    single = train(made, one, keep_last=True)
    runs = {name: folder(tmp_path / name, made) for name in PLACED}
    (tmp_path / "rank.py").write_text(RANK)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone",
               "--nproc-per-node=2", str(tmp_path / "rank.py"), str(tmp_path), *PLACED]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, env=alone(), check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for name, two in runs.items():
        assert losses(two) == pytest.approx(losses(one), rel=2e-6)
        held = [each["validation_loss"] for each in two.metrics() if "validation_loss" in each]
        assert held == pytest.approx([each.loss for each in single.evaluations], rel=2e-6)
        kept, alone_ = weights(two)["model"], weights(one)["model"]
        assert kept.keys() == alone_.keys()  # whole tensors, whoever had them
        for each, value in alone_.items():
            assert torch.allclose(value, kept[each], atol=3e-5), each
        facts = json.loads((two.path / "environment.json").read_text())["training"]
        assert (facts["processes"], facts["sharding"]) == (2, name.partition("-")[0])
        assert facts["compiled"] is name.endswith("compiled"), facts["remark"]


def test_shares_of_a_batch_are_as_even_as_they_go() -> None:
    parts = [World(rank=rank, size=3, device=ALONE.device).mine(8) for rank in range(3)]
    rows = [list(range(8))[part] for part in parts]
    assert list(itertools.chain(*rows)) == list(range(8))
    assert sorted(len(part) for part in rows) == [2, 3, 3]
    with pytest.raises(BadValue, match="2 sequences in a batch, 3 processes"):
        World(rank=0, size=3, device=ALONE.device).mine(2)
    with pytest.raises(BadValue, match="multiple of 3"):
        World(rank=0, size=3, device=ALONE.device).mine(8, even=True)


# --- what a result says ---------------------------------------------------------------------------


def test_the_numbers_of_a_result_follow_from_the_steps(tmp_path: Path) -> None:
    made = spec(steps=12, evaluate_at=(6, 12))
    run = folder(tmp_path, made)
    told: list[dict[str, Any]] = []
    result = train(made, run, on_step=told.append)
    assert told == run.metrics()
    timed = [record["step_seconds"] for record in told if "loss" in record][3:]
    mean = sum(timed) / len(timed)
    assert result.tokens_per_second == pytest.approx(8 * 32 / mean)
    per_sequence = closed_form.flops_per_step(SMALL, seq_len=32)
    assert result.flops_per_second == pytest.approx(8 * per_sequence / mean)
    assert result.flops_spent == flops_of(made)
    assert result.seconds >= sum(timed)
    assert [each.tokens for each in result.evaluations] == [6 * 256, 12 * 256]
    assert Result.model_validate_json(result.model_dump_json()) == result
    facts = json.loads((run.path / "environment.json").read_text())["training"]
    assert (facts["device"], facts["precision"], facts["micro_batch"]) == ("cpu", "fp32", 8)
    assert facts["flops_per_step"] == 8 * per_sequence
    assert facts["threads"] == 1
    assert facts["params"] == SMALL.params().total


def test_bf16_on_a_cpu_is_fp32_and_says_so(tmp_path: Path) -> None:
    made = spec(steps=1, precision="bf16")
    run = folder(tmp_path, made)
    train(made, run)
    facts = json.loads((run.path / "environment.json").read_text())["training"]
    assert (facts["precision"], facts["precision_asked"]) == ("fp32", "bf16")
    assert "CPU" in facts["why"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"precision": "fp8"}, "precision fp8"),
        ({"batch_sequences": 7000}, "a batch needs 224,000"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    changes: dict[str, object], words: str, tmp_path: Path
) -> None:
    made = spec(**changes)
    with pytest.raises(BadValue, match=words):
        train(made, folder(tmp_path, made))


def test_a_device_that_is_not_there(tmp_path: Path) -> None:
    made = spec()
    with pytest.raises(BadValue, match="device 'gpu'"):
        train(made, folder(tmp_path, made), device="gpu")
    with pytest.raises(BadValue, match="knows cpu and cuda"):
        train(made, folder(tmp_path, made), device="meta")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.gpu
def test_a_card_learns_the_same_as_the_cpu(tmp_path: Path) -> None:
    made = spec(steps=10)
    cpu, card = folder(tmp_path / "a", made), folder(tmp_path / "b", made)
    train(made, cpu, device="cpu")
    result = train(made, card, device="cuda")
    assert losses(card) == pytest.approx(losses(cpu), rel=1e-3)
    assert result.peak_memory_bytes and result.peak_memory_bytes > 0
