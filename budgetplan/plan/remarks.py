"""Remarks: what the reader of a plan must know, most important first."""

from __future__ import annotations

import math

from budgetplan.core.budget import MFU_WORDS
from budgetplan.core.plan import LEVEL
from budgetplan.core.units import show
from budgetplan.laws.law import LawPreset
from budgetplan.plan.advice import PRECISION_LAW, worth_of_bits
from budgetplan.plan.mixture import worth
from budgetplan.plan.optimum import Optimum
from budgetplan.plan.planner import REPETITION, Answer
from budgetplan.plan.shapes import Ladder
from budgetplan.plan.surface import AS_GOOD

WORTHWHILE, USELESS = 4.0, 16.0
"""Epochs up to which repeated tokens are nearly as good as fresh ones, and beyond which the law was
far too hopeful on its authors' runs. Source: Muennighoff et al. 2023, arXiv:2305.16264, abstract
(up to 4 epochs) and Figure 5 (16 and more)."""
TESTED_REACH = 100.0  # factor of compute up to which intervals were held against runs
FEW_STEPS = 1000
STRETCHED = 1.5  # factor beyond a tested range from which the reader is told
VOCABULARY = 1.25  # ratio of vocabularies from which losses are said not to compare


def notes(answer: Answer) -> list[str]:
    """Return what the reader must know, most important first."""
    return [
        *_stretched(answer),
        *_size(answer),
        *_repeats(answer),
        *_mixed(answer),
        *_vocabulary(answer),
        *_narrow(answer),
        *_crowded(answer),
        *_brief(answer),
        *_utilization(answer),
        *_unpriced(answer),
        *_schedule(answer),
        *_foreign(answer),
        *_lent(answer),
        *_unknown(answer),
        *_rules(answer),
        *answer.recipe.warnings,
    ]


def times(factor: float) -> str:
    """Return a factor for people: '3.4 times', '3,160 times', '3.9e10 times'."""
    if factor < 999.5:
        return f"{factor:.3g} times"
    if factor < 999_500:
        return f"{float(f'{factor:.3g}'):,.0f} times"
    mantissa, exponent = f"{factor:.1e}".split("e")
    return f"{mantissa}e{int(exponent)} times"


def _stretched(answer: Answer) -> list[str]:
    found = answer.optimum
    if found is None:
        return [f"No compute-optimal size to compare with: {answer.no_optimum}."]
    several = [each.own for each in answer.members] or [found]
    return [line for each in several for line in _stretch(each)]


def _stretch(found: Optimum) -> list[str]:
    words = {"flops": "compute", "params": "parameters", "tokens": "tokens",
             "tokens_per_param": "tokens per parameter"}  # fmt: skip
    far = [
        f"{times(factor)} the {words[name]}"
        for name, factor in found.outside.items()
        if factor >= STRETCHED
    ]
    if not far:
        return []
    untested = found.outside.get("flops", 1) > TESTED_REACH and found.law.draws is not None
    return [
        f"Extrapolation: {' and '.join(far)} of the runs behind {found.law.name}"
        f"{f', intervals were tested up to {TESTED_REACH:g} times' if untested else ''}."
    ]


def _size(answer: Answer) -> list[str]:
    wanted, got = answer.question.params, answer.rung.params["total"]
    if wanted is None or abs(got / wanted - 1) < 0.01:
        return []
    return [f"The shape of {answer.ladder.name} closest to {show(wanted)} has {show(got)}."]


def _repeats(answer: Answer) -> list[str]:
    unique = answer.question.unique_tokens
    if not unique:
        return []
    epochs = answer.tokens / unique
    if epochs <= 1:
        return [f"{show(unique)} distinct tokens are enough: nothing repeats."]
    if epochs <= WORTHWHILE:
        return [
            f"{epochs:.1f} epochs: up to 4, repeated tokens are nearly as good as fresh ones. "
            f"{_worth(answer)}"
        ]
    if epochs <= USELESS:
        return [
            f"{epochs:.1f} epochs: beyond 4, repeated tokens are worth ever less. {_worth(answer)}"
        ]
    return [
        f"{epochs:.0f} epochs: beyond 16 the law is far too hopeful, overfitting is not in it. "
        "Do not train this; find more data or spend less."
    ]


def _mixed(answer: Answer) -> list[str]:
    """Return what is not known of a mixture of experts."""
    mixture = answer.question.moe
    if mixture is None:
        return []
    active = float(answer.rung.params["total"])
    said = worth(mixture, active=active, allow_unverified=answer.question.allow_unverified)
    cost = answer.cost
    if cost is not None and cost.mfu_origin == "assumed":
        return [said, "The MFU was measured on dense models; routing costs time on top."]
    return [said]


def _vocabulary(answer: Answer) -> list[str]:
    """Return the vocabulary that was asked for, which the plan does not take by itself."""
    advised = answer.vocabulary
    if advised is None:
        return []
    far = f", {times(advised.outside)} beyond its runs" if advised.outside >= STRETCHED else ""
    return [
        f"{advised.law.name} recommends a vocabulary of {advised.size:,} for this shape{far}. The "
        f"plan keeps {answer.ladder.vocab:,}: --vocab {advised.size} takes it, and the losses of "
        "other tokens do not compare."
    ]


def _narrow(answer: Answer) -> list[str]:
    """Return what is not known of training in few bits."""
    precision = answer.question.budget.precision
    value = worth_of_bits(precision)
    if value is None:
        return []
    if not answer.question.allow_unverified:
        return [
            f"What {precision} costs in loss is not in this plan, and no verified law says it. "
            "--allow-unverified shows an estimate."
        ]
    return [
        f"Not in size, tokens or loss: {PRECISION_LAW} (quoted by others) says that a parameter "
        f"whose weights and activations are trained in {precision} is worth {value:.2f} of one in "
        "16 bits. Scaled formats lose less."
    ]


def _crowded(answer: Answer) -> list[str]:
    """Return a warning where the cards outnumber the sequences of a batch."""
    gpus, batch = answer.question.budget.gpus, answer.steps.batch
    if not gpus or gpus <= batch:
        return []
    return [
        f"{gpus:,} cards share batches of {batch:,} sequences: data parallelism leaves "
        f"{gpus - batch:,} idle, and with the model split further the MFU will be lower."
    ]


def _brief(answer: Answer) -> list[str]:
    """Return what is odd about a run of few steps, or of few tokens for its size."""
    out = []
    if answer.steps.steps < FEW_STEPS:
        out.append(
            f"{answer.steps.steps:,} steps are few: rules for batch, rates and warmup come from "
            "runs of thousands. A smaller --batch gives more."
        )
    warmup = answer.recipe.figures().get("warmup_tokens")
    if warmup is not None and "of the run" in warmup.note:
        out.append(f"The warmup is cut to {warmup.note} for {warmup.by}.")
    return out


def _utilization(answer: Answer) -> list[str]:
    """Return on what the assumed MFU rests."""
    cost = answer.cost
    if cost is None or cost.mfu_origin != "assumed":
        return []
    known = "" if cost.precision in ("bf16", "fp16", "fp8") else f", nothing in {cost.precision}"
    return [f"The MFU is assumed: MosaicML measured {MFU_WORDS}{known}. State yours with --mfu."]


def _unpriced(answer: Answer) -> list[str]:
    """Return what the plan costs besides, as far as nobody has said it."""
    cost = answer.cost
    if cost is None:
        return []
    out = []
    if cost.usd is None:
        out.append(f"No price of {cost.gpu.name} is known: --usd-per-gpu-hour 2.5 states one.")
    if cost.energy is None:
        out.append(f"The power of {cost.gpu.name} is not known, so that its energy is not.")
    return out


def _worth(answer: Answer) -> str:
    repetition = answer.surface.repetition if answer.surface is not None else None
    if repetition is None:
        return ""
    worth, (low, high) = repetition.share(float(answer.tokens))
    return (
        f"On average one is worth {worth:.2f} of a fresh one ({REPETITION}); {low:.2f} to "
        f"{high:.2f} with R*_D of {AS_GOOD[0]:g} to {AS_GOOD[1]:g}, which fit its runs as well."
    )


def _schedule(answer: Answer) -> list[str]:
    """Return what the planned schedule changes about the law's loss.

    Source: Porian et al. 2024, arXiv:2406.19146, panels c to e: at 2.56e19 FLOPs on RefinedWeb the
    optimal loss is 2.983 with a cosine to the end of the run and 3.095 at a constant rate.
    """
    if not undecayed(answer):
        return []
    return [
        "The loss is that of runs at a constant learning rate; the decay planned here should end "
        "lower (by 0.11 nat at 2.56e19 FLOPs, Porian et al.)."
    ]


def undecayed(answer: Answer) -> bool:
    """Return whether the loss is that of a constant learning rate, and the plan decays its own."""
    found = answer.optimum
    if found is None or found.loss is None:
        return False
    constant = found.law.preset.schedule.startswith("constant")
    return constant and answer.run.schedule not in (None, "constant")


def _foreign(answer: Answer) -> list[str]:
    if answer.optimum is None:
        return []
    several = [each.own.law.preset for each in answer.members] or [answer.optimum.law.preset]
    return [line for preset in several for line in _foreign_to(preset, answer.ladder)]


def _foreign_to(preset: LawPreset, ladder: Ladder) -> list[str]:
    out = []
    vocab, length = ladder.vocab, ladder.seq_len
    if preset.vocab is None and "loss" not in preset.purpose:
        pass  # without losses there is nothing to compare
    elif preset.vocab is None:
        out.append(f"{preset.name} states no vocabulary: its losses compare with nobody's.")
    elif not 1 / VOCABULARY < vocab / preset.vocab < VOCABULARY:
        out.append(
            f"{preset.name} was fitted with a vocabulary of {preset.vocab:,}, yours has "
            f"{vocab:,}: its loss per token is not yours."
        )
    if preset.seq_len and length >= 4 * preset.seq_len:
        out.append(
            f"{preset.name} was fitted on sequences of {preset.seq_len:,}. Attention over "
            f"{length:,} is counted here, what longer sequences do to the loss is not."
        )
    return out


def _lent(answer: Answer) -> list[str]:
    surface = answer.surface
    if surface is None or answer.optimum is None or not surface.lent:
        return []
    name = "A consensus" if answer.members else answer.optimum.law.name
    return [
        f"{name} knows only the best size. What other sizes cost is the "
        f"curvature of {surface.law.name}, moved to that optimum."
    ]


def _unknown(answer: Answer) -> list[str]:
    found = answer.optimum
    if found is None:
        return []
    if answer.members:
        names = [each.own.law.name for each in answer.members if each.own.law.draws is None]
        verb = "has" if len(names) == 1 else "have"
        listed = " and ".join(names)
        return [f"{listed} {verb} no published uncertainty: one size each in the pool."] * bool(
            names
        )
    if found.law.draws is None:
        return [f"{found.law.name} has no published uncertainty."]
    out = []
    if found.per_token.draws is None:
        out.append("Some of the law's draws leave the ladder, so no interval can be given.")
    elif answer.likely is not None and _off(answer.likely):
        out.append(
            f"The interval of the size reaches beyond the shapes of {answer.ladder.name}; there it "
            "is extrapolated from the last of them."
        )
    if answer.flops.bounds is not None:
        out.append(
            f"The interval of the budget is that of the MFU; {LEVEL:.0%} intervals of size, "
            "tokens and loss carry it along, spread evenly."
        )
    return out


def _off(found: Optimum) -> bool:
    """Whether an end of the interval of the size lies beyond the ladder."""
    first, last = found.ladder.curve.log_flops[[0, -1]]
    ends = found.per_token.interval(LEVEL)
    return ends is not None and (math.log(ends[0]) < first or math.log(ends[1]) > last)


def _rules(answer: Answer) -> list[str]:
    """Return one line for all rules that were stretched, by the fact that stretches them most."""
    far: dict[str, tuple[float, str]] = {}
    for name, value in answer.recipe.figures().items():
        for fact, factor in value.outside.items():
            if factor >= STRETCHED and factor > far.get(name, (0.0, ""))[0]:
                far[name] = (factor, fact)
    if not far:
        return []
    listed = ", ".join(
        f"{name.replace('_', ' ')} ({times(factor)} in {fact})"
        for name, (factor, fact) in far.items()
    )
    return [f"Beyond the tested range of its rule: {listed}."]
