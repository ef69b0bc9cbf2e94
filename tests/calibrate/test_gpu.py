"""On a card: the same losses, memory as predicted, kernels that are worth a card. Skipped without.

None of these has met a card yet.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from budgetplan.calibrate.result import Interrupted
from budgetplan.calibrate.run_folder import RunFolder
from budgetplan.calibrate.spec import Data, RunSpec
from budgetplan.calibrate.train import train
from budgetplan.core.architecture import Architecture
from budgetplan.core.cards import gpu
from budgetplan.core.errors import UnknownName
from budgetplan.flops.memory import Training, memory_of_architecture
from tests.calibrate.test_train import folder, losses, spec, stopping_after

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of torch, when it compiles
]
WIDE = Architecture(layers=12, width=768, heads=12, ffn=2048, vocab=32768, seq_len=1024)


def wide(**changes: object) -> RunSpec:
    """A run of the size of GPT-2 small, long enough to be timed."""
    known: dict[str, object] = {
        "kind": "throughput", "architecture": WIDE, "seq_len": 1024, "batch_sequences": 8,
        "steps": 20, "precision": "bf16", "evaluation_tokens": 8192,
        "data": Data(paths=("synthetic:zipf?vocab=32768&tokens=2M",), vocab=32768),
    }  # fmt: skip
    return spec(**{**known, **changes})


def facts(run: RunFolder) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run.path / "environment.json").read_text())["training"]
    return found


def test_a_run_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    """The backward pass of attention adds in an order of its own: not bit for bit."""
    made = spec(precision="bf16", steps=12)
    whole, cut = folder(tmp_path / "a", made), folder(tmp_path / "b", made)
    train(made, whole, device="cuda")
    with pytest.raises(Interrupted):
        train(made, cut, device="cuda", should_stop=stopping_after(4))
    train(made, cut, device="cuda")
    assert losses(cut) == pytest.approx(losses(whole), rel=1e-3)


@pytest.mark.parametrize("kv_heads", [12, 4])
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_memory_is_within_a_twentieth_of_the_prediction(
    kv_heads: int, precision: Any, tmp_path: Path
) -> None:
    shape = WIDE.model_copy(update={"kv_heads": kv_heads})
    made = wide(architecture=shape, precision=precision)
    result = train(made, folder(tmp_path, made), device="cuda", compiled=False)
    predicted = memory_of_architecture(
        shape, Training(precision=precision), micro_batch=8, seq_len=1024
    )
    assert result.peak_memory_bytes == pytest.approx(predicted.total, rel=0.05)


def test_compiled_layers_learn_the_same_with_flash_attention(tmp_path: Path) -> None:
    plain, other = folder(tmp_path / "a", wide()), folder(tmp_path / "b", wide())
    train(wide(), plain, device="cuda", compiled=False)
    result = train(wide(), other, device="cuda", compiled=True)
    assert facts(other)["compiled"] is True, facts(other)["remark"]
    assert "flash" in facts(other)["attention"]
    assert losses(other) == pytest.approx(losses(plain), rel=1e-2)
    assert result.flops_per_second and result.tokens_per_second
    try:
        peak = gpu(torch.cuda.get_device_name()).peak_for("bf16")
    except UnknownName:
        return
    assert 0.05 < result.flops_per_second / peak < 0.9


def test_a_batch_beyond_the_card_is_divided(tmp_path: Path) -> None:
    memory = torch.cuda.get_device_properties(0).total_memory
    one = memory_of_architecture(WIDE, Training(precision="bf16"), seq_len=1024).working
    many = int(1.5 * memory / one)
    data = Data(paths=(f"synthetic:zipf?vocab=32768&tokens={many * 1024 * 3}",), vocab=32768)
    made = wide(kind="isoflop", batch_sequences=many, steps=2, data=data)
    run = folder(tmp_path, made)
    assert train(made, run, device="cuda", compiled=False).status == "finished"
    assert 1 <= facts(run)["micro_batch"] < many
    beyond = made.model_copy(update={"kind": "throughput"})
    failed = train(beyond, folder(tmp_path, beyond), device="cuda", compiled=False)
    assert failed.status == "failed"
    assert f"out of memory with {many} sequences" in failed.reason
    small = spec(steps=3)  # and the process can go on
    assert train(small, folder(tmp_path, small), device="cuda").status == "finished"
