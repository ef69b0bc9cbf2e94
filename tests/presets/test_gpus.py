"""The cards: dense peaks only, ratios that the hardware has, and vendors' own numbers."""

from __future__ import annotations

import pytest

from budgetplan.core import presets
from budgetplan.core.budget import Gpu, Precision
from budgetplan.core.cards import aliases, gpu, plain
from budgetplan.core.errors import UnknownName

CARDS = [presets.load("gpus", name, Gpu) for name in presets.names("gpus")]
FORMATS = {"bf16", "fp16", "tf32", "fp32", "fp8", "fp4", "int8"}
every_card = pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)


@every_card
def test_sixteen_bit_formats_are_equally_fast_where_both_exist(card: Gpu) -> None:
    assert card.peak.keys() <= FORMATS
    assert "bf16" in card.peak or "fp16" in card.peak
    if {"bf16", "fp16"} <= card.peak.keys():
        assert card.peak["bf16"] == card.peak["fp16"]


@every_card
def test_halving_the_width_doubles_the_rate(card: Gpu) -> None:
    sixteen = card.peak.get("bf16", card.peak.get("fp16", 0.0))
    if "fp8" in card.peak:
        assert card.peak["fp8"] == pytest.approx(2 * sixteen, rel=0.02)
    if "tf32" in card.peak:
        assert card.peak["tf32"] == pytest.approx(sixteen / 2, rel=0.02)
    if "fp4" in card.peak:
        # Twice the rate of fp8. GeForce cards run fp8 with fp32 accumulation at half rate, fp4 not.
        geforce = 2 if card.name.startswith("rtx") else 1
        assert card.peak["fp4"] == pytest.approx(2 * geforce * card.peak["fp8"], rel=0.02)


@every_card
def test_memory_bandwidth_and_power_are_plausible(card: Gpu) -> None:
    assert 15e9 <= card.memory <= 300e9
    assert 0.3e12 <= card.bandwidth <= 10e12
    assert card.power is None or 50 <= card.power <= 1500
    # Every matrix unit needs more than 50 products for each byte that memory delivers.
    assert max(card.peak.values()) / card.bandwidth > 50


@pytest.mark.parametrize(
    ("name", "gigabytes"),
    [("h100-sxm", 80), ("a100-40gb", 40), ("h200-sxm", 141), ("l40s", 48), ("b200", 180),
     ("rtx-4090", 24), ("t4", 16), ("mi300x", 192), ("tpu-v5p", 95)],
)  # fmt: skip
def test_memory_lies_between_six_percent_under_and_the_binary_reading_of_what_is_sold(
    name: str, gigabytes: int
) -> None:
    """Error correction takes a sixteenth of GDDR; a gigabyte of HBM is often a binary one."""
    sold = gigabytes * 2**30
    assert sold * 15 / 16 * 0.99 <= gpu(name).memory <= sold


@every_card
def test_a_price_says_when_and_where(card: Gpu) -> None:
    assert (card.usd_per_hour is None) == (card.price_note == "")
    if card.usd_per_hour:
        assert "202" in card.price_note
        assert "https://" in card.price_note


# Numbers that vendors print with sparsity, which is twice what a dense product reaches [TFLOP/s].
SPARSE = [
    ("a100-80gb", "bf16", 624), ("h100-sxm", "bf16", 1979), ("h100-sxm", "fp8", 3958),
    ("h100-pcie", "bf16", 1513), ("h100-nvl", "bf16", 1671), ("h200-sxm", "bf16", 1979),
    ("b200", "bf16", 4500), ("gb200", "bf16", 5000), ("l4", "bf16", 242), ("l40s", "bf16", 733),
    ("rtx-4090", "bf16", 330), ("rtx-5090", "fp4", 3352), ("mi300x", "bf16", 2614.9),
]  # fmt: skip


@pytest.mark.parametrize(("name", "precision", "sparse"), SPARSE)
def test_no_peak_is_the_sparse_one(name: str, precision: Precision, sparse: float) -> None:
    assert gpu(name).peak_for(precision) == pytest.approx(sparse * 1e12 / 2, rel=0.015)


@pytest.mark.parametrize(
    ("name", "units", "flops_per_clock", "hertz"),
    [
        # Streaming multiprocessors, dense bf16 FLOP per clock of each, boost clock: from NVIDIA's
        # architecture whitepapers (V100: fp16).
        ("v100-32gb", 80, 1024, 1.53e9),
        ("a100-80gb", 108, 2048, 1.41e9),
        ("h100-sxm", 132, 4096, 1.83e9),
        ("a10g", 80, 512, 1.71e9),
        ("rtx-3090", 82, 512, 1.695e9),
        ("rtx-a6000", 84, 1024, 1.80e9),
        ("rtx-4090", 128, 512, 2.52e9),
        ("rtx-5090", 170, 512, 2.407e9),
        ("l4", 58, 1024, 2.04e9),
        ("l40s", 142, 1024, 2.49e9),
        ("t4", 40, 1024, 1.59e9),
        ("mi300x", 304, 2048, 2.1e9),
        ("mi250x", 220, 1024, 1.7e9),
    ],
)
def test_the_peak_is_units_times_width_times_clock(
    name: str, units: int, flops_per_clock: int, hertz: float
) -> None:
    card = gpu(name)
    peak = card.peak.get("bf16", card.peak.get("fp16", 0.0))
    assert peak == pytest.approx(units * flops_per_clock * hertz, rel=0.01)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("H100", "h100-sxm"), ("h100", "h100-sxm"), ("A100", "a100-80gb"), ("V100", "v100-32gb"),
        ("NVIDIA A100 80GB", "a100-80gb"), ("RTX 4090", "rtx-4090"), ("4090", "rtx-4090"),
        ("NVIDIA GeForce RTX 3090", "rtx-3090"), ("AMD Instinct MI300X", "mi300x"),
        ("TPU v5e", "tpu-v5e"), ("h200", "h200-sxm"), ("a100_40gb", "a100-40gb"),
    ],
)  # fmt: skip
def test_cards_answer_to_the_names_that_people_use(said: str, meant: str) -> None:
    assert gpu(said).name == meant


@pytest.mark.parametrize("said", ["H1000", "A100 90GB", "", "   ", "gpu", "nvidia"])
def test_an_unknown_card_is_answered_with_the_nearest(said: str) -> None:
    with pytest.raises(UnknownName) as caught:
        gpu(said)
    assert caught.value.remedy


def test_every_alias_is_plain_and_leads_to_one_card() -> None:
    for alias, name in aliases().items():
        assert plain(alias) == alias
        assert gpu(alias).name == name
    assert not set(aliases()) & set(presets.names("gpus"))


def test_the_cards_that_people_rent_are_there() -> None:
    assert {
        "v100-32gb", "a100-40gb", "a100-80gb", "a100-80gb-pcie", "h100-sxm", "h100-pcie",
        "h100-nvl", "h200-sxm", "b200", "gb200", "l4", "l40s", "a10g", "rtx-3090", "rtx-4090",
        "rtx-5090", "mi250x", "mi300x", "tpu-v4", "tpu-v5e", "tpu-v5p", "tpu-v6e",
    } <= set(presets.names("gpus"))  # fmt: skip


@pytest.mark.parametrize(
    ("driver", "card"),
    [
        ("NVIDIA H100 80GB HBM3", "h100-sxm"),
        ("NVIDIA H100 PCIe", "h100-pcie"),
        ("NVIDIA H100 NVL", "h100-nvl"),
        ("NVIDIA H200", "h200-sxm"),
        ("NVIDIA B200", "b200"),
        ("NVIDIA A100-SXM4-80GB", "a100-80gb"),
        ("NVIDIA A100-SXM4-40GB", "a100-40gb"),
        ("NVIDIA A100 80GB PCIe", "a100-80gb-pcie"),
        ("NVIDIA A100-PCIE-40GB", "a100-40gb-pcie"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("NVIDIA L40S", "l40s"),
        ("Tesla V100-SXM2-16GB", "v100-16gb"),
        ("Tesla V100-SXM2-32GB", "v100-32gb"),
        ("Tesla V100-PCIE-32GB", "v100-pcie"),
        ("Tesla T4", "t4"),
    ],
)
def test_cards_are_known_by_what_the_driver_calls_them(driver: str, card: str) -> None:
    """As nvidia-smi prints them: else a measurement finds neither its peak nor its plan."""
    assert gpu(driver).name == card
