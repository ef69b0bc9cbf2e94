"""Numbers are read as people write them, exactly, and what is ambiguous is refused."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from budgetplan.core import units
from budgetplan.core.errors import BadValue

# --- reading ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e21", 1e21),
        ("1E21", 1e21),
        ("1 ZFLOP", 1e21),
        ("1zflops", 1e21),
        ("0.5 YFLOPs", 5e23),
        ("1000 EFLOP", 1e21),
        ("1,000", 1e3),
        ("1_000_000", 1e6),
        (".5e3", 500.0),
        ("5.", 5.0),
        ("+5", 5.0),
        (" 2 P ", 2e15),
        ("1e5k", 1e8),
        # one petaFLOP/s for a day is 1e15 * 24 * 3600 = 8.64e19 FLOPs
        ("1 PF-day", 8.64e19),
        ("3640 PF-days", 3640 * 8.64e19),  # GPT-3's training, as Brown et al. 2020 state it
        ("3.5pf-days", 3.5 * 8.64e19),
        ("2 PFLOP/s-days", 2 * 8.64e19),
        ("2 petaflop", None),
        (1e21, 1e21),
        (10**21, 1e21),
    ],
)
def test_flops_as_people_write_them(text: str | float, value: float | None) -> None:
    if value is None:
        with pytest.raises(BadValue, match="magnitude"):
            units.flops(text)
    else:
        assert units.flops(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "1e21x", "20x", "x", "", "   ", "e21", "1e", "1 e", "1e21 FLOP/s", "1e21e", "0x10", "1..2",
        "1.2.3", "5 e3", "--5", "1+1", "1e2.5", "inf", "-inf", "nan", "1e400", "1e41", "2e40",
        "1,5e21", "1,00", "1,0000", ",5", "1__0", "1_", "_1", "1,000_000", "１０", "٣", "½", "∞",
        "1e21\x00", "15T tokens", "1" * 5000, "1e99999999999999999999999", "-1e21", "0", "0e5",
        "-0", "1e-400", "1e-99999999999999999999999", "9e39 Y",
        True, math.inf, math.nan, -1.0, 0,
    ],
)  # fmt: skip
def test_what_is_no_budget_is_refused_with_the_culprit(text: str | float) -> None:
    with pytest.raises(BadValue) as caught:
        units.flops(text, what="--flops")
    assert caught.value.problem.startswith("--flops: ")
    assert len(caught.value.problem) < 140, "a long argument is shortened"
    assert str(caught.value).count("\n") <= 1


def test_a_decimal_comma_is_never_read_as_thousands() -> None:
    assert units.tokens("1,500") == 1500
    for text in ("1,5", "1,5T", "12,34", "1,5000"):
        with pytest.raises(BadValue):
            units.tokens(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [("15T", 15e12), ("15T tokens", 15e12), ("1 token", 1), ("20k", 20e3), ("0.3 b tokens", 3e8)],
)
def test_tokens(text: str, value: float) -> None:
    assert units.tokens(text) == value


def test_zero_only_where_it_has_a_meaning() -> None:
    assert units.tokens("0", zero=True) == 0
    with pytest.raises(BadValue, match="must be positive"):
        units.tokens("0")
    with pytest.raises(BadValue, match="must be zero or more"):
        units.tokens("-1", zero=True)


@given(
    number=st.integers(1, 10**9),
    places=st.integers(0, 6),
    letter=st.sampled_from([("", 0), ("k", 3), ("M", 6), ("B", 9), ("G", 9), ("T", 12), ("p", 15)]),
    gap=st.sampled_from(["", " "]),
)
def test_a_decimal_is_read_exactly(
    number: int, places: int, letter: tuple[str, int], gap: str
) -> None:
    """The nearest float to the exact product, as rational arithmetic gives it."""
    name, power = letter
    text = f"{number // 10**places}.{number % 10**places:0{max(places, 1)}d}"
    exact = Fraction(text) * 10**power
    assert units.quantity(f"{text}{gap}{name}", what="n", zero=True) == float(exact)


@given(st.floats(min_value=1e-30, max_value=1e39))
def test_every_float_survives_its_own_repr(value: float) -> None:
    assert units.quantity(repr(value), what="n") == value
    assert units.quantity(value, what="n") == value


@given(st.integers(1, 2**53))
def test_every_whole_number_is_counted_to_the_unit(value: int) -> None:
    assert units.count(str(value), what="n") == value
    assert units.count(f"{value:,}", what="n") == value
    assert units.count(f"{value:_}", what="n") == value


@given(st.integers(1, 10**9), st.integers(1, 3))
def test_thousands_with_decimals_are_whole(value: int, places: int) -> None:
    """16.1k is 16100; in binary floating point it would be 16100.000000000002."""
    whole, rest = divmod(value, 10**places)
    text = f"{whole}.{rest:0{places}d}k"
    assert units.count(text, what="n") == value * 10 ** (3 - places)


@pytest.mark.parametrize("text", ["1.5", "1e-1", "1.0000000001", "16.1234k", "1e16", "0", "-3"])
def test_what_is_no_count(text: str) -> None:
    with pytest.raises(BadValue, match="--n: "):
        units.count(text, what="--n")


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (units.flops, units.tokens, units.seconds, units.memory):
        try:
            value = read(text)
        except BadValue:
            continue
        assert 0 < value <= units.MAX
    try:
        number, name = units.cards(text)
    except BadValue:
        return
    assert number >= 1
    assert name.strip() == name != ""


# --- durations, memory, cards ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3d", 259_200),
        ("36 hours", 129_600),
        ("1d12h", 129_600),
        ("1 day, 12 hours", 129_600),
        ("1d12h30m", 131_400),
        ("90 min", 5_400),
        ("1.5 weeks", 907_200),
        ("2 yr", 2 * 365.25 * 86400),
        ("10s", 10),
        ("1,000 hrs", 3_600_000),
    ],
)
def test_durations(text: str, value: float) -> None:
    assert units.seconds(text) == value


@pytest.mark.parametrize(
    "text", ["3", "3 months", "90m", "1d30m", "1,5 d", "-3d", "1h-1h", "0h", "1h30", "d", "", "∞d"]
)
def test_ambiguous_durations_are_refused(text: str) -> None:
    with pytest.raises(BadValue, match="--time: "):
        units.seconds(text)


def test_minutes_have_to_be_told_from_months() -> None:
    with pytest.raises(BadValue, match="Write min for minutes"):
        units.seconds("90m")


def test_a_bare_number_is_no_duration() -> None:
    with pytest.raises(BadValue, match="has no unit"):
        units.seconds(5)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("80GiB", 80 * 2**30),
        ("80 gib", 80 * 2**30),
        ("24GB", 24e9),
        ("24 G", 24e9),
        ("141 GB", 141e9),
        ("512 bytes", 512),
        ("1.5TiB", 1.5 * 2**40),
    ],
)
def test_memory(text: str, value: float) -> None:
    assert units.memory(text) == value


@pytest.mark.parametrize("text", ["80", "80GBps", "GiB", "-1GB", "0GB", "1e", 80, "80 Gi B/s"])
def test_memory_without_a_clear_unit(text: str | float) -> None:
    with pytest.raises(BadValue, match="memory: "):
        units.memory(text)


@pytest.mark.parametrize(
    ("text", "number", "name"),
    [
        ("64xH100", 64, "H100"),
        ("64 x H100", 64, "H100"),
        ("64X h100", 64, "h100"),
        ("64×H100", 64, "H100"),
        ("8*A100 80GB", 8, "A100 80GB"),
        ("64 H100", 64, "H100"),
        ("1kxH100", 1000, "H100"),
        ("H100", 1, "H100"),
        ("2xRTX-4090", 2, "RTX-4090"),
        ("256xTPU v5p", 256, "TPU v5p"),
        ("2xMI300X", 2, "MI300X"),
        ("8x4090", 8, "4090"),
        ("RTX 4090", 1, "RTX 4090"),
    ],
)
def test_cards(text: str, number: int, name: str) -> None:
    assert units.cards(text) == (number, name)


@pytest.mark.parametrize("text", ["64", "64x", "", "0xH100", "-1xH100", "1.5xH100", "axH 100 x 2+"])
def test_no_cards(text: str) -> None:
    with pytest.raises(BadValue, match="--gpus: "):
        units.cards(text)


# --- printing --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (-0.0, "0"),
        (693e6, "693M"),
        (999, "999"),
        (999.6, "1000"),
        (1024, "1024"),
        (9999.6, "10k"),
        (99_999, "100k"),
        (999_499, "999k"),
        (999_999, "1M"),
        (70.6e9, "70.6B"),
        (999.96e12, "1e15"),
        (15e12, "15T"),
        (1e24, "1e24"),
        (1.234e21, "1.23e21"),
        (0.0047, "0.0047"),
        (1e-8, "1e-8"),
        (-5e6, "-5M"),
        (math.nan, "nan"),
    ],
)
def test_shown_for_people(value: float, text: str) -> None:
    assert units.show(value) == text


def test_the_unit_follows() -> None:
    assert units.show(1e24, "FLOP") == "1e24 FLOP"
    assert units.show(1234567, "tokens", digits=4) == "1.235M tokens"


@given(st.floats(min_value=1e-30, max_value=1e30), st.integers(1, 9), st.booleans())
def test_what_is_shown_reads_back_within_its_digits(value: float, digits: int, sign: bool) -> None:
    """A number rounded to d significant digits is off by at most half a unit of the last."""
    text = units.show(-value if sign else value, digits=digits)
    assert text.startswith("-") == sign
    back = units.quantity(text.removeprefix("-"), what="n")
    assert abs(back - value) <= 0.5 * 10.0 ** (1 - digits) * value * (1 + 1e-9)
    assert "+" not in text and ".0" not in text.partition("e")[0][-2:]


@given(st.floats(min_value=1e-3, max_value=9.9e14), st.integers(1, 6))
def test_no_exponent_inside_the_range_of_letters(value: float, digits: int) -> None:
    assume(float(f"{value:.{digits}e}") < 9.5e14)
    assert "e" not in units.show(value, digits=digits)


@given(st.floats(min_value=1e-3, max_value=1e30), st.floats(min_value=1e-3, max_value=1e30))
def test_a_larger_number_never_reads_smaller(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert units.quantity(units.show(low), what="n") <= units.quantity(units.show(high), what="n")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 seconds"),
        (60, "60 seconds"),
        (90, "1.5 minutes"),
        (3600, "60 minutes"),
        (86400, "24 hours"),
        (3.2 * 86400, "3.2 days"),
        (31557600, "365 days"),
        (1000 * 31557600, "1,000 years"),
    ],
)
def test_durations_for_people(value: float, text: str) -> None:
    assert units.show_seconds(value) == text


@given(st.floats(min_value=0.01, max_value=1e10))
def test_a_shown_duration_reads_back(value: float) -> None:
    assert units.seconds(units.show_seconds(value)) == pytest.approx(value, rel=5.1e-3)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (80 * 2**30, "80.0 GiB"),
        (2**20 - 1, "1.00 MiB"),
        (2**30 - 1, "1.00 GiB"),
        (85.9e9, "80.0 GiB"),
    ],
)
def test_sizes_for_people(value: float, text: str) -> None:
    assert units.show_bytes(value) == text


@given(st.floats(min_value=1, max_value=1e18))
def test_a_shown_size_reads_back(value: float) -> None:
    """Shown to 3 digits at least from 1 KiB on, to a whole byte below."""
    back = units.memory(units.show_bytes(value))
    assert back == pytest.approx(value, rel=5.1e-3, abs=0.5)
