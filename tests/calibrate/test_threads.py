"""Threads of the CPU decide the last bit of a sum: a run keeps its number, whoever else runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from budgetplan.calibrate import threads as own
from budgetplan.calibrate.result import Interrupted
from budgetplan.calibrate.threads import threads_for
from budgetplan.calibrate.train import train
from budgetplan.calibrate.world import World
from tests.calibrate.test_train import ALONE, assert_bitwise, folder, spec, stopping_after, weights


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_pass_has_a_thread_for_every_2e9_flops_of_those_given() -> None:
    torch.set_num_threads(3)
    found = [threads_for(ALONE, pass_flops=flops) for flops in (1e3, 2e9, 3.9e9, 4e9, 1e12)]
    assert found == [1, 1, 1, 2, 3]
    card = World(rank=0, size=1, device=torch.device("cuda", 0))
    assert threads_for(card, pass_flops=1e3) == 3


def test_a_run_keeps_its_threads_where_it_goes_on_with_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two threads are used where two are given; with one, its weights end in other last bits."""
    monkeypatch.setattr(own, "WORTH", 1e6)
    made = spec(steps=4, batch_sequences=32)
    whole, cut = folder(tmp_path / "a", made), folder(tmp_path / "b", made)
    torch.set_num_threads(2)
    train(made, whole, keep_last=True)
    with pytest.raises(Interrupted):
        train(made, cut, should_stop=stopping_after(1))
    torch.set_num_threads(1)  # as in a pool of more workers
    train(made, cut, keep_last=True)
    assert_bitwise(weights(whole), weights(cut))
    facts = json.loads((cut.path / "environment.json").read_text())["training"]
    assert (facts["threads"], facts["resumed_from_step"]) == (2, 2)
    assert torch.get_num_threads() == 1
