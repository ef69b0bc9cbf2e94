"""What was asked: the options of `optimize`, read into a question."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from budgetplan.core import units
from budgetplan.core.errors import BadValue, UnknownName

if TYPE_CHECKING:
    from budgetplan.core.budget import Budget, Precision
    from budgetplan.plan.mixture import Mixture
    from budgetplan.plan.question import Question

HOURS = "20000 or 1.5k"
DOLLARS = "50000 or 1.2M"


def question(options: Mapping[str, Any]) -> Question:
    """Return the question that the options, as written, ask.

    Raises:
        BadValue: one of them cannot be read, or two name different cards.
        UnknownName: an unknown card or number format.
    """
    from budgetplan.cli.derived.asked import wanted_families
    from budgetplan.plan.question import FAMILY, LAW, Question

    given = {
        name: value
        for name, value in options.items()
        if value is not None and not (value is False and name != "tied")
    }
    if "ladder" in given and "family" in given:
        raise BadValue("--family and --ladder both say what shapes there are", "Keep one of them.")
    recommend = str(given.get("vocab", "")).strip().lower() == "auto"
    if recommend and "ladder" in given:
        raise BadValue("--vocab auto is for a family of shapes", "Leave out --vocab or --ladder.")
    return Question(
        budget=budget(given),
        law=given.get("law", LAW),
        family=given.get("family", FAMILY),
        ladder=Path(given["ladder"]) if "ladder" in given else None,
        vocab=None if recommend else _count(given, "vocab"),
        recommend_vocab=recommend,
        seq_len=_count(given, "seq_len"),
        head_dim=_count(given, "head_dim"),
        kv_heads=_count(given, "kv_heads"),
        tied=options.get("tied"),
        multiple_of=_count(given, "multiple_of") or 1,
        moe=_mixture(given["moe"]) if "moe" in given else None,
        params=_quantity(given, "params"),
        tokens=_tokens(given, "tokens"),
        inference_tokens=_tokens(given, "inference_tokens"),
        unique_tokens=_tokens(given, "unique_tokens"),
        rules=wanted_families(given.get("rules")),
        batch_sequences=_count(given, "batch"),
        allow_unverified=bool(given.get("allow_unverified")),
        asked={name.replace("_", "-"): value for name, value in given.items()},
    )


def _mixture(text: str) -> Mixture:
    """Return the mixture that is written as EXPERTS:TOPK or EXPERTS:TOPK:SHARED."""
    from pydantic import ValidationError

    from budgetplan.plan.mixture import Mixture

    remedy = "Write EXPERTS:TOPK, as 64:8, or EXPERTS:TOPK:SHARED, as 64:6:2."
    parts = text.split(":")
    if len(parts) not in (2, 3) or not all(part.strip().isdigit() for part in parts):
        raise BadValue(f"--moe {text!r} is no mixture of experts", remedy)
    names = ("experts", "top_k", "shared")
    try:
        return Mixture(**dict(zip(names, map(int, parts), strict=False)))
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise BadValue(f"--moe {text}: {reason}", remedy) from error


def budget(given: Mapping[str, Any]) -> Budget:
    """Return what may be spent, as the options state it."""
    from budgetplan.core.budget import Budget
    from budgetplan.core.cards import gpu

    count = card = None
    if "gpus" in given:
        text = str(given["gpus"])
        if text.strip().isdigit() and "gpu" in given:  # --gpus 64 --gpu H100
            count, name = units.count(text, what="--gpus"), given["gpu"]
        else:
            count, name = units.cards(text)
        card = gpu(name)
    if "gpu" in given:
        named = gpu(given["gpu"])
        if card is not None and named.name != card.name:
            raise BadValue(
                f"--gpu {given['gpu']} and --gpus {given['gpus']} are different cards",
                "Keep one of them.",
            )
        card = named
    for name in ("mfu", "usd_per_gpu_hour"):
        if name in given and card is None:
            raise BadValue(f"{_option(name)} says nothing without a card", "Add --gpu H100.")
    fields: dict[str, Any] = {
        "flops": units.flops(given["flops"]) if "flops" in given else None,
        "gpus": count,
        "gpu": card,
        "time": units.seconds(given["time"]) if "time" in given else None,
        "gpu_hours": _amount(given, "gpu_hours", examples=HOURS),
        "usd": _amount(given, "usd", examples=DOLLARS),
        "usd_per_hour": _amount(given, "usd_per_gpu_hour", examples="2.5"),
    }
    if "precision" in given:
        fields["precision"] = _precision(given["precision"])
    if "mfu" in given:
        fields |= {"mfu": share(given["mfu"]), "mfu_interval": None, "mfu_origin": "stated"}
    return Budget(**fields)


def share(text: str) -> float:
    """Return a share of one: share("0.4") and share("40%") are the same.

    Raises:
        BadValue: not a number above 0 and at most 1.
    """
    percent = text.strip().endswith("%")
    value = units.quantity(text.strip().removesuffix("%"), what="--mfu", examples="0.4 or 40%")
    value = value / 100 if percent else value
    if value > 1:
        raise BadValue(f"--mfu {text} is more than the card can do", "Write it like 0.4 or 40%.")
    return value


def _precision(text: str) -> Precision:
    from budgetplan.core.budget import Precision

    known: tuple[Precision, ...] = get_args(Precision)
    for name in known:
        if name == text.lower():
            return name
    raise UnknownName("precision", text, known)


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _count(given: Mapping[str, Any], name: str) -> int | None:
    return units.count(given[name], what=_option(name)) if name in given else None


def _tokens(given: Mapping[str, Any], name: str) -> float | None:
    return units.tokens(given[name], what=_option(name)) if name in given else None


def _quantity(given: Mapping[str, Any], name: str) -> float | None:
    return units.quantity(given[name], what=_option(name)) if name in given else None


def _amount(given: Mapping[str, Any], name: str, *, examples: str) -> float | None:
    if name not in given:
        return None
    text = str(given[name]).strip().removeprefix("$")
    return units.quantity(text, what=_option(name), examples=examples)
