"""Read numbers as people write them, at the border; print them back for people.

Inside budgetplan every quantity is in base units: FLOPs, tokens, bytes, seconds, dollars.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal

from budgetplan.core.errors import BadValue, quoted
from budgetplan.core.yaml import load_yaml

__all__ = [
    "PF_DAY", "cards", "count", "flops", "load_yaml", "memory", "quantity", "seconds", "show",
    "show_bytes", "show_seconds", "tokens",
]  # fmt: skip

_MAGNITUDE = {
    "": 1,
    "k": 10**3,
    "m": 10**6,
    "b": 10**9,
    "g": 10**9,
    "t": 10**12,
    "p": 10**15,
    "e": 10**18,
    "z": 10**21,
    "y": 10**24,
}
_BINARY = {"ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40, "pi": 2**50}
_SECONDS = {
    "s": 1, "sec": 1, "second": 1,
    "min": 60, "minute": 60,
    "h": 3600, "hr": 3600, "hour": 3600,
    "d": 86400, "day": 86400,
    "w": 604800, "wk": 604800, "week": 604800,
    "y": 31557600, "yr": 31557600, "year": 31557600,
}  # fmt: skip
# A comma stands before three digits or is refused: 1,5 is 15 to one reader and 1.5 to the next.
_DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d+(?:_\d+)*)"
_UNSIGNED = rf"(?:{_DIGITS}(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![\d,._])"
_NUMBER = rf"[+-]?{_UNSIGNED}"
PF_DAY = 86400 * 10**15  # FLOPs in a petaFLOP/s-day
MAX = 1e40  # beyond every computer that will be built; a larger number is a typing mistake
MAX_COUNT = 2**53  # the largest whole number that every float below is exact to


def _match(pattern: str, text: str) -> re.Match[str] | None:
    return re.fullmatch(rf"\s*{pattern}\s*", text, re.ASCII | re.IGNORECASE)


def _number(text: str, *, what: str, examples: str) -> Decimal:
    plain = text.replace(",", "").replace("_", "")
    value = float(plain)
    if not math.isfinite(value) or abs(value) > MAX:
        raise BadValue(
            f"{what}: {quoted(text)} is beyond any real budget", f"Write it like {examples}."
        )
    return Decimal(plain) if value else Decimal(0)  # exact: 16.1k is 16100, not 16100.000000000002


def _split(text: str, *, what: str, examples: str) -> tuple[Decimal, str]:
    match = _match(rf"({_NUMBER})\s*(.*?)", text)
    if not match:
        raise BadValue(
            f"{what}: cannot read {quoted(text)} as a number", f"Write it like {examples}."
        )
    return _number(match[1], what=what, examples=examples), match[2]


def _in_range(value: Decimal, text: object, *, what: str, zero: bool) -> Decimal:
    if value < 0 or (value == 0 and not zero):
        need = "zero or more" if zero else "positive"
        raise BadValue(f"{what}: {quoted(text)} must be {need}")
    if value > MAX:
        raise BadValue(f"{what}: {quoted(text)} is beyond any real budget")
    return value


def _exact(text: str | float, *, what: str, unit: str, examples: str, zero: bool) -> Decimal:
    if isinstance(text, bool):
        raise BadValue(f"{what}: {text!r} is not a number", f"Write it like {examples}.")
    written = text if isinstance(text, str) else repr(text)
    value, suffix = _split(written, what=what, examples=examples)
    rest = suffix.lower()
    for word in (f"{unit.lower()}s", unit.lower()):
        if unit and rest.endswith(word):
            rest = rest.removesuffix(word).strip()
            break
    if rest not in _MAGNITUDE or suffix.lower() == "e":  # 1e is a 1e21 cut short, not an exa
        raise BadValue(
            f"{what}: {quoted(suffix)} in {quoted(written)} is not a magnitude that is known",
            f"Write it like {examples}.",
        )
    return _in_range(value * _MAGNITUDE[rest], text, what=what, zero=zero)


def quantity(
    text: str | float, *, what: str, unit: str = "", examples: str = "70B or 1.5e9",
    zero: bool = False,
) -> float:  # fmt: skip
    """Return the number in base units: quantity("15T", what="--tokens") is 1.5e13.

    Args:
        text: a number, or a number with a magnitude (K M B/G T P E Z Y) and perhaps the unit.
        what: the option or field, for the error message.
        unit: a unit word that may follow, as "FLOP" or "token"; a plural s is understood.
        examples: what the error message suggests.
        zero: whether zero is allowed.

    Raises:
        BadValue: not a number, an unknown suffix, negative, or zero where that makes no sense.
    """
    return float(_exact(text, what=what, unit=unit, examples=examples, zero=zero))


def flops(text: str | float, *, what: str = "--flops") -> float:
    """Return FLOPs: flops("1e21"), flops("1 ZFLOP"), flops("3.5 PF-days")."""
    examples = "1e21, 1 ZFLOP or 40 PF-days"
    match = _match(rf"({_NUMBER})\s*pf(?:lops?)?[-/ ]?(?:s-)?days?", str(text))
    if match:
        value = _number(match[1], what=what, examples=examples) * PF_DAY
        return float(_in_range(value, text, what=what, zero=False))
    return quantity(text, what=what, unit="FLOP", examples=examples)


def tokens(text: str | float, *, what: str = "--tokens", zero: bool = False) -> float:
    """Return tokens: tokens("15T"), tokens("300B tokens")."""
    return quantity(text, what=what, unit="token", examples="300B, 15T or 2e9", zero=zero)


def count(text: str | float, *, what: str) -> int:
    """Return a whole positive number: count("50k") is 50000.

    Raises:
        BadValue: the number is not whole, not positive, or too large to count with.
    """
    value = _exact(text, what=what, unit="", examples="64 or 50k", zero=False)
    if value != int(value):
        raise BadValue(f"{what}: {quoted(text)} must be a whole number")
    if value > MAX_COUNT:
        raise BadValue(f"{what}: {quoted(text)} is too large to count")
    return int(value)


def seconds(text: str | float, *, what: str = "--time") -> float:
    """Return seconds: seconds("3d"), seconds("36 hours"), seconds("1d12h30m")."""
    examples = "3d, 36h or 1d12h"
    if isinstance(text, (int, float)):
        raise BadValue(f"{what}: {text!r} has no unit", f"Write it like {examples}.")
    part = rf"({_UNSIGNED})\s*([a-z]+)[\s,]*"
    if not _match(rf"(?:{part})+", text):
        raise BadValue(
            f"{what}: cannot read {quoted(text)} as a time", f"Write it like {examples}."
        )
    total, before = Decimal(0), ""
    for number, word in re.findall(part, text.lower(), re.ASCII):
        name = word if word in _SECONDS else word.removesuffix("s")
        if name == "m" and before.startswith("h"):
            name = "min"
        if name not in _SECONDS:
            hint = "Write min for minutes." if name == "m" else f"Write it like {examples}."
            raise BadValue(f"{what}: unknown unit {quoted(word)} in {quoted(text)}", hint)
        total += _number(number, what=what, examples=examples) * _SECONDS[name]
        before = name
    return float(_in_range(total, text, what=what, zero=False))


def memory(text: str | float, *, what: str = "memory") -> float:
    """Return bytes: memory("80GiB"), memory("24 GB")."""
    examples = "80GiB or 24GB"
    value, suffix = _split(str(text), what=what, examples=examples)
    rest = suffix.lower().removesuffix("bytes").removesuffix("byte").removesuffix("b").strip()
    scale = _BINARY.get(rest) or _MAGNITUDE.get(rest)
    if scale is None or not suffix or suffix.lower() == "e":
        raise BadValue(
            f"{what}: {quoted(text)} has {'an unknown' if suffix else 'no'} unit",
            f"Write it like {examples}.",
        )
    return float(_in_range(value * scale, text, what=what, zero=False))


def cards(text: str, *, what: str = "--gpus") -> tuple[int, str]:
    """Return how many cards of which name: cards("64xH100") is (64, "H100").

    Raises:
        BadValue: the text has no count and name, or the count is not a whole positive number.
    """
    bare = _match(r"(\d\S*?)\s*[x×*]\s*(\d{4})", text)  # 8x4090
    if bare:
        return count(bare[1], what=what), bare[2]
    match = _match(r"(?:(\S+?)\s*[x×*]\s*|(\d+)\s+)?([A-Za-z][\w .-]*?)", text)
    if not match:
        raise BadValue(f"{what}: cannot read {quoted(text)}", "Write it like 64xH100 or RTX-4090.")
    number = match[1] or match[2]
    return (count(number, what=what) if number else 1), match[3]


_LETTERS = (("", 1.0), ("k", 1e3), ("M", 1e6), ("B", 1e9), ("T", 1e12))


def show(value: float, unit: str = "", *, digits: int = 3) -> str:
    """Return the number for people: show(6.93e8) is '693M', show(1e24, 'FLOP') is '1e24 FLOP'.

    Rounded to `digits` significant digits, whole digits kept below 10 thousand; what is smaller
    than 0.001 or not smaller than 1e15 is written with an exponent, as `quantity` reads it.
    """
    tail = f" {unit}" if unit else ""
    if not math.isfinite(value):
        return f"{value}{tail}"
    rounded = float(f"{value:.{digits - 1}e}")
    size = abs(rounded)
    if size == 0:
        return f"0{tail}"
    if size < 1e-3 or size >= 1e15:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
        return f"{mantissa}e{int(exponent)}{tail}"
    if 1e3 <= size < 1e4:  # 1024 and 2048 are not rounded to 1.02k and 2.05k
        text = f"{value:.{max(0, digits - 4)}f}"
        return f"{text.rstrip('0').rstrip('.') if '.' in text else text}{tail}"
    letter, scale = next(pair for pair in reversed(_LETTERS) if size >= pair[1] or not pair[0])
    places = max(0, digits - 1 - math.floor(math.log10(size / scale)))
    text = f"{rounded / scale:.{places}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text}{letter}{tail}"


def show_seconds(value: float) -> str:
    """Return a duration for people: '3.2 days', '40 minutes'."""
    for name, scale in (("years", 31557600.0), ("days", 86400.0), ("hours", 3600.0),
                        ("minutes", 60.0)):  # fmt: skip
        if value >= 1.5 * scale:
            number = value / scale
            return f"{number:.3g} {name}" if number < 999.5 else f"{number:,.0f} {name}"
    return f"{value:.3g} seconds"


def show_bytes(value: float) -> str:
    """Return a size for people, in binary units: '79.6 GiB'."""
    for name, scale in (("PiB", 2**50), ("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20),
                        ("KiB", 2**10)):  # fmt: skip
        size = value / scale
        if size >= 0.99995:  # 1023.96 KiB would be shown as 1024.0 KiB
            return f"{size:.{1 if size >= 9.995 else 2}f} {name}"
    return f"{value:.0f} B"
