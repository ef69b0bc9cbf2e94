"""What a run asks of a card, by a card that only notes what it is asked: none is needed here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

from budgetplan.calibrate import card, device, world
from budgetplan.calibrate import train as trainer
from budgetplan.calibrate.step import arithmetic
from budgetplan.calibrate.train import train
from budgetplan.calibrate.world import World, join, placed
from budgetplan.core.errors import BadModel, BadValue
from tests.calibrate.test_train import SMALL, Limited, folder, spec

CARD = World(rank=0, size=1, device=torch.device("cuda", 0))


class Noted:
    """Stands for torch.cuda: notes what is called, and gives the answers it was told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **answers: Any) -> None:
        self.calls: list[tuple[str, Any]] = []
        for name, answer in answers.items():
            monkeypatch.setattr(torch.cuda, name, self._noting(name, answer))

    def _noting(self, name: str, answer: Any) -> Any:
        def call(*args: Any, **more: Any) -> Any:
            self.calls.append((name, *args))
            return answer

        return call


# --- memory ---------------------------------------------------------------------------------------


def test_a_run_does_not_count_the_peak_of_an_earlier_one(monkeypatch: pytest.MonkeyPatch) -> None:
    noted = Noted(monkeypatch, empty_cache=None, reset_peak_memory_stats=None,
                  max_memory_allocated=7, max_memory_reserved=9)  # fmt: skip
    card.cleared(CARD)
    assert card.peak_memory(CARD) == 7
    assert card.reserved_memory(CARD) == 9
    assert [name for name, *_ in noted.calls] == [
        "empty_cache", "reset_peak_memory_stats", "max_memory_allocated", "max_memory_reserved",
    ]  # fmt: skip
    assert all(each[1:] in ((), (CARD.device,)) for each in noted.calls)


def test_peaks_are_those_of_steps_at_full_speed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory of a pass that did not fit, and of first steps, is no part of the result."""
    made = spec(steps=6)
    limited = Limited(build_of(made), room=4)
    told: list[tuple[str, int]] = []
    for name in ("cleared", "count_peaks_from_here"):
        monkeypatch.setattr(
            card, name, lambda _, name=name: told.append((name, len(limited.sizes)))
        )
    monkeypatch.setattr(card, "peak_memory", lambda _: 5)
    monkeypatch.setattr(trainer, "build", lambda _: limited)
    result = train(made, folder(tmp_path, made))
    assert result.peak_memory_bytes == 5
    # Before the first pass; after 8 sequences did not fit; after 3 steps of 2 passes each.
    assert told == [("cleared", 0), ("cleared", 0), ("count_peaks_from_here", 6)]


def build_of(made: Any) -> nn.Module:
    from budgetplan.calibrate.model import build

    return build(made)


@pytest.mark.parametrize(
    ("error", "short"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be ..."), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("CUDA out of memory"), False),
    ],
)
def test_what_counts_as_too_little_memory(error: Exception, short: bool) -> None:
    assert card.out_of_memory(error) is short


# --- time -----------------------------------------------------------------------------------------


def test_a_step_is_timed_between_two_waits_for_the_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = spec(steps=3)
    order: list[str] = []
    clock = iter(range(100))

    def time() -> float:
        order.append("clock")
        return float(next(clock))

    monkeypatch.setattr(card, "wait", lambda _: order.append("wait"))
    monkeypatch.setattr("budgetplan.calibrate.step.time.perf_counter", time)
    train(made, folder(tmp_path, made))
    assert order == ["wait", "clock", "wait", "clock"] * 3


def test_waiting_is_for_this_card(monkeypatch: pytest.MonkeyPatch) -> None:
    noted = Noted(monkeypatch, synchronize=None)
    card.wait(World(rank=0, size=1, device=torch.device("cpu")))
    assert not noted.calls
    card.wait(CARD)
    assert noted.calls == [("synchronize", CARD.device)]


# --- which card -----------------------------------------------------------------------------------


@pytest.fixture
def eight(monkeypatch: pytest.MonkeyPatch) -> Noted:
    """Eight cards, and this is the second of two processes that torchrun started."""
    for name, value in (("WORLD_SIZE", "2"), ("RANK", "5"), ("LOCAL_RANK", "3")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(dist, "is_initialized", lambda: False)
    monkeypatch.setattr(dist, "get_rank", lambda: 5)
    monkeypatch.setattr("atexit.register", lambda _: None)
    return Noted(monkeypatch, is_available=True, device_count=8, set_device=None)


def test_each_process_has_the_card_of_its_local_rank(
    eight: Noted, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined: list[Any] = []
    monkeypatch.setattr(
        dist, "init_process_group", lambda backend, **more: joined.append((backend, more))
    )
    found = join(None)
    assert found == World(rank=5, size=2, device=torch.device("cuda", 3))
    assert ("set_device", torch.device("cuda", 3)) in eight.calls
    assert joined == [("nccl", {"device_id": torch.device("cuda", 3)})]


def test_processes_do_not_share_a_card(eight: Noted) -> None:
    with pytest.raises(BadValue, match="2 processes need a card each"):
        join("cuda:1")


def test_a_card_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    Noted(monkeypatch, is_available=True, device_count=1, set_device=None)
    with pytest.raises(BadValue, match="device cuda:4: there are 1 GPUs"):
        join("cuda:4")


# --- numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("asked", "matmul"), [("fp32", "highest"), ("tf32", "high")])
def test_tf32_is_used_where_it_is_asked_for_alone(
    asked: str, matmul: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By torch's default convolutions are in tf32 whatever is asked for."""
    told: list[str] = []
    monkeypatch.setattr(torch, "set_float32_matmul_precision", told.append)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", asked != "tf32")
    arithmetic(spec(precision=asked), CARD)
    assert told == [matmul]
    assert torch.backends.cudnn.allow_tf32 is (asked == "tf32")


def test_a_card_without_bf16_computes_in_fp32_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", torch.backends.cudnn.allow_tf32)
    Noted(monkeypatch, is_bf16_supported=False, get_device_name="Tesla T4")
    found = arithmetic(spec(precision="bf16"), CARD)
    assert (found.precision, found.precision_asked) == ("fp32", "bf16")
    assert found.why == "Tesla T4 has no bf16"
    assert not found.autocast


@pytest.mark.parametrize(
    ("precision", "flash", "kv_heads", "said"),
    [("bf16", True, 1, "flash"), ("fp32", False, 2, "plain")],
)
def test_which_kernels_attention_has_is_asked_with_the_models_own_shape(
    precision: Any, flash: bool, kv_heads: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Grouped heads stay grouped in bf16; in fp32 the model repeats them."""
    asked: list[Any] = []
    real = torch.empty

    def here(*size: int, device: torch.device, **more: Any) -> torch.Tensor:
        assert device == CARD.device
        return real(*size, **more)

    monkeypatch.setattr(torch, "empty", here)
    for name, able in (("flash", flash), ("cudnn", False), ("efficient", False)):
        monkeypatch.setattr(
            torch.backends.cuda, f"can_use_{name}_attention",
            lambda params, able=able: asked.append(params) or able,
        )  # fmt: skip
    assert card.attention_kernel(SMALL, precision=precision, world=CARD) == said
    assert {(each.query.shape[1], each.key.shape[1]) for each in asked} == {(2, kv_heads)}
    assert asked[0].query.dtype == (torch.bfloat16 if precision == "bf16" else torch.float32)
    assert asked[0].is_causal
    assert asked[0].enable_gqa is (kv_heads == 1)
    alone = World(rank=0, size=1, device=torch.device("cpu"))
    assert not card.attention_kernel(SMALL, precision=precision, world=alone)


# --- a model on several cards ---------------------------------------------------------------------


class Nested(nn.Module):
    """Layers with lists of experts inside."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(4, 2)
        self.layers = nn.ModuleList(
            nn.ModuleDict({"experts": nn.ModuleList(nn.Linear(2, 2) for _ in range(2))})
            if at == 0
            else nn.Sequential(nn.ModuleList([nn.Linear(2, 2)]))
            for at in range(2)
        )


def test_shares_are_cut_from_the_inside_and_never_moved_as_a_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """FSDP2 wants inner modules first, and no lists; a model that needs it fits on no card."""
    cut: list[nn.Module] = []
    monkeypatch.setattr(
        "torch.distributed.fsdp.fully_shard", lambda module, **_: cut.append(module)
    )
    monkeypatch.setattr("torch.distributed.device_mesh.init_device_mesh", lambda *_: None)
    monkeypatch.setattr(nn.Module, "to", lambda *_: pytest.fail("moved as a whole"))
    model = Nested()
    placed(model, sharding="fsdp", world=World(rank=0, size=2, device=CARD.device))
    assert cut[-1] is model
    assert not any(isinstance(each, world.CONTAINERS) for each in cut)
    assert len(cut) == len(set(map(id, cut))) == 3 + 1 + 1
    for place, outer in enumerate(cut):
        assert not any(each is inner for inner in outer.modules() for each in cut[place + 1 :])


def test_a_layer_that_is_used_twice_is_one_layer() -> None:
    shared = nn.Linear(2, 2)
    model = nn.ModuleDict(
        {"all": nn.ModuleList([shared, shared]), "again": nn.ModuleList([shared])}
    )
    assert list(world.layers_of(model)) == [shared]


def test_a_model_too_large_for_its_card_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(nn.Module, "to", full)
    with pytest.raises(BadModel, match=r"1\.05M parameters do not fit on cuda:0"):
        placed(nn.Linear(1024, 1024, bias=True), sharding="one", world=CARD)


# --- the machine that a plan has to know ----------------------------------------------------------


def test_a_container_has_the_memory_of_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = device.host_memory()
    assert whole and whole > 2**28
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(device, "LIMITS", (tmp_path / "none", limit))
    for text, found in (("1073741824\n", 2.0**30), ("max\n", None), ("9223372036854771712", None)):
        limit.write_text(text)
        memory = device.host_memory()
        assert memory == found or (found is None and memory and memory >= whole)
