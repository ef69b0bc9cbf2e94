"""What a plan costs: hand arithmetic for hours, money and energy; memory by its own formula."""

from __future__ import annotations

import json
import re

import pytest

from budgetplan.cli.app import main
from budgetplan.core import presets
from budgetplan.core.architecture import Architecture
from budgetplan.core.budget import Budget
from budgetplan.core.cards import gpu
from budgetplan.core.units import show_bytes
from budgetplan.flops.memory import memory_of_architecture, usable
from budgetplan.plan import remarks
from budgetplan.plan.cost import Cost, Room, cost
from budgetplan.plan.planner import answer
from budgetplan.plan.question import Question


def cost_of(model: str, *, batch: int = 1024, cards: int | None = None, card: str = "h100") -> Cost:
    budget = Budget(gpu=gpu(card), gpus=cards, time=86400.0)
    shape = presets.load("models", model, Architecture)
    found = cost(shape, flops=1e21, batch=batch, budget=budget)
    assert found is not None
    return found


def room_of(model: str, *, batch: int = 1024, cards: int | None = None, card: str = "h100") -> Room:
    found = cost_of(model, batch=batch, cards=cards, card=card)
    assert found.room is not None, found.problem
    return found.room


def test_hours_money_and_energy_by_hand() -> None:
    # An H100's dense bf16 peak is 989.4 TFLOP/s, of which 0.4 is assumed to be reached:
    # 1e21 / (9.894e14 x 0.4) = 2,526,784 card-seconds = 701.88 card-hours; 700 W and PUE 1.58.
    found = cost_of("gpt2", cards=8)
    assert found.card_hours.best == pytest.approx(701.88, rel=1e-5)
    assert found.seconds is not None and found.usd is not None and found.energy is not None
    assert found.seconds.best == pytest.approx(2_526_784 / 8, rel=1e-5)
    assert found.usd.best == pytest.approx(701.88 * found.gpu.usd_per_hour, rel=1e-5)
    assert found.energy.best == pytest.approx(2_526_784 * 700 * 1.58, rel=1e-5)
    # The interval is the MFU's own, 0.3 to 0.5, turned round.
    assert found.card_hours.interval() == pytest.approx((701.88 * 0.8, 701.88 / 0.75), rel=1e-5)


def test_no_card_costs_nothing_that_could_be_named() -> None:
    shape = presets.load("models", "gpt2", Architecture)
    assert cost(shape, flops=1e21, batch=8, budget=Budget(flops=1e21)) is None


@pytest.mark.parametrize(
    ("model", "cards", "batch"),
    [
        ("gpt2", 1, 1024),  # the card is the limit
        ("gpt2", 64, 128),  # the batch is: two sequences for each card
        ("llama-3-8b", 8, 1024),
        ("llama-3-8b", 64, 64),
        ("llama-3-70b", 64, 1024),
        ("mixtral-8x7b", 64, 512),
    ],
)
def test_the_memory_is_that_of_the_micro_batch_beside_it(
    model: str, cards: int, batch: int
) -> None:
    room = room_of(model, cards=cards, batch=batch)
    fit = room.fit
    shape = presets.load("models", model, Architecture)
    own = memory_of_architecture(shape, fit.training, micro_batch=fit.micro_batch)
    assert fit.memory == own
    assert fit.training.ranks == room.ranks == cards
    assert own.total <= usable(gpu("h100"))
    # It is as large as the card and the batch allow, and never larger than either.
    share = max(1, batch // cards)
    assert fit.micro_batch <= share
    if fit.micro_batch < share:
        more = memory_of_architecture(shape, fit.training, micro_batch=fit.micro_batch + 1)
        assert more.total > usable(gpu("h100"))


def test_a_small_batch_takes_less_memory_than_a_large_one() -> None:
    small, large = (room_of("gpt2", cards=8, batch=batch).fit for batch in (8, 1024))
    assert small.micro_batch == 1 < large.micro_batch
    assert small.memory.total < large.memory.total


def test_too_few_cards_say_how_many_it_takes() -> None:
    # 70.6e9 parameters, gradients and Adam's moments: over 1 TB, and 8 cards have 0.68 TB.
    found = cost_of("llama-3-70b", cards=8)
    assert found.room is None
    match = re.fullmatch(r"8 cards are too few: (\d+) would hold it, checkpointed in full",
                         found.problem)  # fmt: skip
    assert match
    assert room_of("llama-3-70b", cards=int(match[1])).fit.fits
    assert cost_of("llama-3-70b", cards=int(match[1]) - 1).room is None


def test_cards_nobody_counted_come_in_nodes_of_eight() -> None:
    assert room_of("gpt2").ranks == 1
    room = room_of("llama-3-70b")
    assert room.ranks % 8 == 0
    assert room.smallest <= room.ranks < room.smallest + 8
    assert not room.given


def test_the_printed_memory_belongs_to_the_printed_micro_batch(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for cards, time in ((8, "1d"), (1024, "1h")):
        asked = Budget(gpu=gpu("h100"), gpus=cards, time={"1d": 86400.0, "1h": 3600.0}[time])
        found = answer(Question(budget=asked))
        words = ["optimize", "--gpus", f"{cards}xH100", "--time", time]
        assert main(words) == 0
        shown = " ".join(capsys.readouterr().out.split())
        assert main([*words, "--json"]) == 0
        memory = json.loads(capsys.readouterr().out)["memory"]
        assert found.cost is not None and found.cost.room is not None
        training = found.cost.room.fit.training
        own = memory_of_architecture(
            found.rung.architecture, training, micro_batch=memory["micro_batch"]
        )
        assert memory["bytes"] == own.total
        assert memory["checkpointing"] == training.checkpointing
        assert memory["micro_batch"] * cards <= max(cards, found.steps.batch)
        printed = f"{show_bytes(own.total)} of 79.6 GiB on {cards:,} cards (FSDP, micro-batch "
        assert f"{printed}{memory['micro_batch']}," in shown


@pytest.mark.parametrize(
    ("card", "price", "power"),
    [("h100", True, True), ("mi300x", False, True), ("h20", False, False)],
)
def test_money_and_energy_that_nobody_knows_are_said(card: str, price: bool, power: bool) -> None:
    found = answer(Question(budget=Budget(gpu=gpu(card), gpus=8, flops=1e20)))
    notes = " ".join(remarks.notes(found))
    assert ("No price of" not in notes) == price
    assert ("The power of" not in notes) == power
    stated = Budget(gpu=gpu(card), gpus=8, flops=1e20, usd_per_hour=2.0)
    assert "No price of" not in " ".join(remarks.notes(answer(Question(budget=stated))))
