"""The trainer on a card: MFU, and memory against the prediction, of two reference models in bf16.

A model of 124M and one of 1.3B parameters, at sequences of 1,024 and 2,048 tokens, each with the
largest micro-batch that is predicted to fit, as written and compiled. FLOPs are counted exactly,
dense attention included; MFU is their share of the card's peak, where the card is a preset.

Nobody has run it on a card yet; `--cpu` goes the same way with a tiny model.

Run from the root of a checkout: python -m benchmarks.gpu [--cpu]
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from budgetplan.calibrate.result import Result
from budgetplan.calibrate.spec import Data, RunSpec
from budgetplan.calibrate.store import Store
from budgetplan.calibrate.train import WARM_COMPILED, train
from budgetplan.core.architecture import Architecture
from budgetplan.core.cards import gpu
from budgetplan.core.errors import UnknownName
from budgetplan.flops.memory import Training, largest_micro_batch, memory_of_architecture

SMALL = Architecture(
    name="124M", layers=12, width=768, heads=12, ffn=2048, vocab=50304, tied=True, seq_len=1024
)
LARGE = Architecture(
    name="1.3B", layers=24, width=2048, heads=16, ffn=5504, vocab=50304, tied=True, seq_len=1024
)
TINY = Architecture(name="tiny", layers=2, width=64, heads=2, ffn=176, vocab=256, seq_len=64)
STEPS = WARM_COMPILED + 20
MOST = 64  # sequences of a micro-batch: beyond, speed no longer changes


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is trained for some steps."""

    shape: Architecture
    micro_batch: int
    compiled: bool

    def spec(self) -> RunSpec:
        """Return the run, on tokens that mean nothing."""
        tokens = self.shape.seq_len * self.micro_batch * (STEPS + 8)
        vocab = self.shape.vocab
        return RunSpec(
            kind="throughput",
            architecture=self.shape,
            seq_len=self.shape.seq_len,
            batch_sequences=self.micro_batch,
            steps=STEPS,
            learning_rate=3e-4,
            precision="bf16",
            evaluation_tokens=self.shape.seq_len,
            data=Data(paths=(f"synthetic:zipf?vocab={vocab}&tokens={tokens}",), vocab=vocab),
        )


def cases(memory: float | None) -> Iterator[Case]:
    """Yield what to train on a card of so much memory [bytes]; None: on a CPU."""
    shapes = [
        shape.model_copy(update={"seq_len": seq_len})
        for shape in (SMALL, LARGE)
        for seq_len in (1024, 2048)
    ]
    for shape in [TINY] if memory is None else shapes:
        fit = 4
        if memory is not None:
            training = Training(precision="bf16")
            fit = largest_micro_batch(shape, training, card=memory).micro_batch
        for compiled in (False, True):
            yield Case(shape=shape, micro_batch=min(fit, MOST), compiled=compiled)


def told(case: Case, result: Result, *, card: str) -> str:
    """Return a line of the table."""
    training = Training(precision="bf16")
    predicted = memory_of_architecture(case.shape, training, micro_batch=case.micro_batch).total
    peak = result.peak_memory_bytes
    share = "peak unknown"
    if result.flops_per_second:
        try:
            share = f"{result.flops_per_second / gpu(card).peak_for('bf16'):.1%}"
        except UnknownName:
            share = f"{result.flops_per_second:.3g}/s"
    memory = f"{peak / predicted:.3f}" if peak else "not told"
    return (
        f"{case.shape.name:<6}{case.shape.seq_len:>6}{case.micro_batch:>7}"
        f"{'compiled' if case.compiled else 'as written':>12}"
        f"{result.tokens_per_second or 0:>12,.0f}{share:>14}{memory:>22}"
        + (f"  {result.reason}" if result.reason else "")
    )


def main(*, cpu: bool) -> None:
    """Print MFU and memory of every case."""
    if not cpu and not torch.cuda.is_available():
        raise SystemExit("no CUDA device here; --cpu goes the same way with a tiny model")
    device = "cpu" if cpu else "cuda"
    memory = None if cpu else float(torch.cuda.get_device_properties(0).total_memory)
    card = "cpu" if cpu else torch.cuda.get_device_name()
    print(f"{card}, torch {torch.__version__}")
    print(f"{'':<6}{'seq':>6}{'batch':>7}{'':>12}{'tokens/s':>12}{'MFU':>14}{'peak/predicted':>22}")
    for case in cases(memory):
        with tempfile.TemporaryDirectory() as folder:
            run = Store(Path(folder)).add(case.spec())
            result = train(case.spec(), run, device=device, compiled=case.compiled)
        print(told(case, result, card=card), flush=True)


if __name__ == "__main__":
    main(cpu="--cpu" in sys.argv[1:])
