"""Ladders: real shapes, and a curve that goes through them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from budgetplan.core import presets
from budgetplan.core.counting import COUNTINGS
from budgetplan.core.errors import BadPreset, BadValue, Infeasible, UnknownName
from budgetplan.plan.family import family
from budgetplan.plan.own_ladder import ladder_from
from budgetplan.plan.shapes import ladder_of, rung

FAMILIES = presets.names("ladders")

# width, depth, feed-forward, N with head, N without, exact N of Porian et al. 2024's 16 models:
# arXiv:2406.19146, data.py and paper_tables.py of the authors' repository.
PORIAN = [
    (96, 3, 256, 5173248, 331776, 5175744),
    (320, 9, 1024, 28672000, 12533760, 28695680),
    (640, 15, 1792, 108462080, 76185600, 108540160),
    (1504, 30, 4096, 901726208, 825876480, 902090176),
]


@pytest.mark.parametrize("row", PORIAN, ids=lambda row: f"{row[0]}x{row[1]}")
def test_porians_models_to_the_integer(row: tuple[int, ...]) -> None:
    width, layers, ffn, with_head, body, exact = row
    grid = family("porian")
    shape = grid.shape(width=width, layers=layers, heads=4)
    each = rung(shape)
    assert shape.ffn == ffn
    assert each.params["with_head"] == with_head
    assert each.params["kaplan"] == body
    assert each.params["with_attention"] == with_head + 2048 * width * layers
    # their N_exact leaves the input embedding out and counts norms
    assert each.params["total"] - 50432 * width == exact


@pytest.mark.parametrize("name", FAMILIES)
def test_every_count_rises_along_the_curve(name: str) -> None:
    curve = ladder_of(family(name)).curve
    assert (np.diff(curve.log_flops) > 0).all()
    for counting in COUNTINGS:
        assert (np.diff(curve.log_params[counting]) > 0).all(), counting


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("size", [2e8, 3e9, 7e10])
def test_there_is_a_real_shape_near_every_size_and_the_curve_goes_through_it(
    name: str, size: float
) -> None:
    ladder = ladder_of(family(name))
    wanted = float(ladder.curve.at(size, known="total"))
    near = ladder.near(wanted)
    best = min(near, key=lambda each: abs(np.log(each.flops_per_token / wanted)))
    assert best.flops_per_token == pytest.approx(wanted, rel=0.06)
    typical = min(near, key=lambda each: abs(np.log(each.depth_ratio)))
    on_curve = ladder.curve.at(typical.flops_per_token, "total")
    assert typical.params["total"] == pytest.approx(float(on_curve), rel=0.05)


@pytest.mark.parametrize("name", FAMILIES)
def test_shapes_can_be_trained(name: str) -> None:
    ladder = ladder_of(family(name), multiple_of=128)
    for each in ladder.near(float(ladder.curve.at(2e9, known="total"))):
        shape = each.architecture
        assert shape.width % 128 == 0
        assert shape.heads * shape.head_dim == shape.width
        assert shape.heads % shape.kv_heads == 0
        assert shape.ffn % family(name).ffn_multiple == 0


def test_what_the_user_wants_otherwise_is_obeyed() -> None:
    chosen = family("llama", vocab=128256, seq_len=8192, head_dim=64, kv_heads=4, tied=True)
    ladder = ladder_of(chosen)
    shapes = [each.architecture for each in ladder.near(float(ladder.curve.at(1e9, known="total")))]
    assert {shape.vocab for shape in shapes} == {128256}
    assert {shape.seq_len for shape in shapes} == {8192}
    assert {shape.head_dim for shape in shapes} == {64}
    assert {shape.kv_heads for shape in shapes} == {4}
    assert {shape.tied for shape in shapes} == {True}


@pytest.mark.parametrize("multiple", [3, 7, 48, 96, 160, 384])
def test_widths_are_multiples_of_what_was_asked(multiple: int) -> None:
    ladder = ladder_of(family("llama"), multiple_of=multiple)
    near = ladder.near(float(ladder.curve.at(3e9, known="total")))
    assert [each.architecture.width % multiple for each in near] == [0] * len(near)


def test_more_kv_heads_than_heads_are_not_quietly_made_fewer() -> None:
    ladder = ladder_of(family("llama", kv_heads=1000))
    with pytest.raises(Infeasible, match="heads"):
        ladder.near(float(ladder.curve.at(3e9, known="total")))


def test_heads_that_never_come_out_whole_are_an_error() -> None:
    ladder = ladder_of(family("llama", head_dim=8000))  # widths of 8,000, 16,000 ... alone
    with pytest.raises(Infeasible, match="heads"):
        ladder.near(6e8)


def test_an_unknown_family_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="llama"):
        family("lama")


SHAPES = """
- {name: small, width: 512, layers: 8, heads: 8, ffn: 1536, vocab: 50432}
- {name: middle, width: 768, layers: 12, heads: 12, ffn: 2048, vocab: 50432}
- {name: large, width: 1024, layers: 16, heads: 16, ffn: 2816, vocab: 50432}
"""


def test_the_users_own_ladder(tmp_path: Path) -> None:
    path = tmp_path / "ladder.yaml"
    path.write_text(SHAPES)
    ladder = ladder_from(path)
    assert [each.architecture.name for each in ladder.rungs] == ["small", "middle", "large"]
    for each in ladder.rungs:
        params = ladder.curve.at(each.flops_per_token, "total")
        assert params == pytest.approx(each.params["total"], rel=1e-3)


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("- {width: 512, layers: 8, heads: 8, vocab: 100}", BadValue, "two architectures"),
        ("just words", BadValue, "two architectures"),
        ("- {width: 512}\n- {width: 768}", BadPreset, "shape 1"),
        ("- 3\n- 4", BadPreset, "shape 1"),
        (
            SHAPES.replace("width: 768", "widht: 768"),
            BadPreset,
            "shape 2",
        ),
        (SHAPES.replace("12, ffn: 2048, vocab: 50432", "12, vocab: 32000"), BadValue, "vocab"),
        (SHAPES.replace("width: 768, layers: 12", "width: 512, layers: 8")
         .replace("heads: 12, ffn: 2048", "heads: 8, ffn: 1536"), BadValue, "larger"),
    ],
)  # fmt: skip
def test_a_ladder_that_is_none(
    tmp_path: Path, text: str, error: type[Exception], words: str
) -> None:
    path = tmp_path / "ladder.yaml"
    path.write_text(text)
    with pytest.raises(error, match=words):
        ladder_from(path)
