"""torch.compile: the same losses, one graph for all layers, resuming, where it does not work.

With several processes: test_train.py.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from budgetplan.calibrate import compiled
from budgetplan.calibrate.compiled import pays_to_compile
from budgetplan.calibrate.result import Interrupted
from budgetplan.calibrate.run_folder import RunFolder
from budgetplan.calibrate.train import train
from budgetplan.calibrate.world import World
from tests.calibrate.test_train import (
    ALONE,
    assert_bitwise,
    folder,
    losses,
    spec,
    stopping_after,
    weights,
)

# Torch looks at what it traces, and warns itself.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
MEASURED = {"steps": 6, "evaluate_at": (4,), "evaluation_tokens": 256}


@pytest.fixture(autouse=True)
def no_graphs() -> Iterator[None]:
    yield
    torch.compiler.reset()


def facts(run: RunFolder) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run.path / "environment.json").read_text())["training"]
    return found


def test_layers_share_a_graph_and_losses_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traced as for a card, then computed by the same kernels as without."""
    counter = CompileCounter()
    monkeypatch.setattr(compiled, "BACKEND", counter)
    made = spec(**MEASURED)
    plain, other = folder(tmp_path / "a", made), folder(tmp_path / "b", made)
    train(made, plain, keep_last=True)
    train(made, other, compiled=True, keep_last=True)
    assert losses(other) == pytest.approx(losses(plain), rel=1e-6)
    assert counter.frame_count == 2  # one for training, one for measuring; not one for each layer
    assert facts(other)["compiled"] is True
    assert weights(other)["model"].keys() == weights(plain)["model"].keys()


def test_a_compiled_run_goes_on_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "BACKEND", "eager")
    made = spec(**MEASURED)
    whole, cut = folder(tmp_path / "a", made), folder(tmp_path / "b", made)
    train(made, whole, compiled=True, keep_last=True)
    with pytest.raises(Interrupted):
        train(made, cut, compiled=True, should_stop=stopping_after(2))
    train(made, cut, compiled=True, keep_last=True)
    assert_bitwise(weights(whole), weights(cut))
    assert facts(whole)["compiled"] is facts(cut)["compiled"] is True
    plain = folder(tmp_path / "c", made)
    train(made, plain)
    assert losses(plain) == pytest.approx(losses(whole), rel=1e-5)


def test_where_it_cannot_compile_it_runs_as_written_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("Cannot find a working triton installation")

    monkeypatch.setattr(compiled, "BACKEND", broken)
    made = spec(steps=3)
    plain, other = folder(tmp_path / "a", made), folder(tmp_path / "b", made)
    train(made, plain)
    train(made, other, compiled=True)
    assert losses(other) == losses(plain)
    assert facts(other)["compiled"] is False
    assert "torch.compile failed" in facts(other)["remark"]
    assert "triton" in facts(other)["remark"]


def test_it_pays_on_a_card_for_long_runs_and_measures_of_speed() -> None:
    card = World(rank=0, size=1, device=torch.device("cuda", 0))
    assert pays_to_compile(spec(kind="throughput"), card, flops=1)
    assert not pays_to_compile(spec(), card, flops=1e15)
    assert pays_to_compile(spec(), card, flops=1e17)
    assert not pays_to_compile(spec(kind="throughput"), ALONE, flops=1e20)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch, in what it imports
@pytest.mark.skipif(not os.environ.get("BUDGETPLAN_SLOW"), reason="BUDGETPLAN_SLOW is not set")
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile on a CPU needs g++")
def test_kernels_that_are_compiled_learn_the_same_and_go_on(tmp_path: Path) -> None:
    made = spec(**MEASURED)
    plain, whole, cut = (folder(tmp_path / name, made) for name in "abc")
    train(made, plain)
    train(made, whole, compiled=True, keep_last=True)
    with pytest.raises(Interrupted):
        train(made, cut, compiled=True, should_stop=stopping_after(2))
    train(made, cut, compiled=True, keep_last=True)
    assert facts(whole)["compiled"] is True
    assert_bitwise(weights(whole), weights(cut))
    assert losses(whole) == pytest.approx(losses(plain), rel=1e-4)
