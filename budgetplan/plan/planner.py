"""Planner: from a question to the plan and all that stands beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from budgetplan.core.budget import Budget
from budgetplan.core.errors import BadValue, Infeasible
from budgetplan.core.estimate import Estimate
from budgetplan.core.run import Run
from budgetplan.core.units import show
from budgetplan.laws.law import Law, law
from budgetplan.plan.advice import Vocabulary, recommended_vocabulary
from budgetplan.plan.consensus import Member, members, pooled
from budgetplan.plan.cost import Cost, cost
from budgetplan.plan.optimum import Optimum, optimum
from budgetplan.plan.question import Question, ladder_for, laws_for
from budgetplan.plan.recipe import Recipe, recipe
from budgetplan.plan.schedule import Steps
from budgetplan.plan.shapes import Ladder, Rung
from budgetplan.plan.surface import (
    LENDER,
    TradeSurface,
    repeated,
    tolerance,
    trade_surface,
)
from budgetplan.plan.target import of_size, rung_for, target_of
from budgetplan.plan.tradeoffs import Point, best_point, served_at_loss
from budgetplan.plan.uncertainty import likely

REPETITION = "muennighoff2023_c4"  # the law that says what repeated tokens are worth
CONTRADICTION = 0.05  # size, corpus and budget may disagree by so much before it is an error


@dataclass(frozen=True, kw_only=True)
class Answer:
    """All that was found: the shape, its steps, and what it was weighed against."""

    question: Question
    ladder: Ladder
    flops: Estimate  # what may be spent
    optimum: Optimum | None  # with the law's own draws; None: it has none on this ladder
    no_optimum: str = ""  # why
    likely: Optimum | None  # the same, with intervals that have held on hold-outs
    members: tuple[Member, ...]  # of a consensus; without one there are none
    surface: TradeSurface | None  # on which the plan was made: tokens repeat if they must
    plain: TradeSurface | None  # the same, every token distinct
    target: Point | None  # the size wanted on the curve, before it became a shape
    best: Point | None  # the compute-optimal point of the surface, without repetition or serving
    rung: Rung
    steps: Steps
    recipe: Recipe
    cost: Cost | None
    loss: float | None  # of this shape and these tokens, on the surface
    rounding_permil: float | None  # loss of the shape over that of the target
    within_permil: tuple[float, float] | None  # total parameters within 1 permil of the best loss
    vocabulary: Vocabulary | None  # recommended, where that was asked for
    at_loss: Point | None  # with serving: the cheapest life at the compute-optimal loss

    @property
    def tokens(self) -> int:
        """Tokens that the plan trains on."""
        return self.steps.sequences * self.rung.architecture.seq_len

    @property
    def counted(self) -> str:
        """What N counts where no law's own convention is named."""
        return "active parameters" if self.question.moe else "all parameters"

    @property
    def spent(self) -> int:
        """Exact model FLOPs of the plan."""
        return self.steps.sequences * self.rung.sequence_flops

    @property
    def run(self) -> Run:
        """The run, with every hyperparameter that a rule gave."""
        return self.recipe.run


def answer(question: Question) -> Answer:
    """Return the plan that the question asks for.

    Raises:
        UserError: contradictory options, an unknown name, or no plan on this ladder.
    """
    question = question.checked()
    ladder = ladder_for(question)
    chosen = laws_for(question)
    for each in chosen:
        _knows_vocabulary(each, ladder)
    flops = _budget(question, ladder)
    found, why, several = _optimum(chosen, ladder, flops, question)
    surface, plain = _surfaces(found, question)
    target = target_of(question, ladder, flops, found, surface)
    rung = rung_for(question, ladder, target, surface)
    sequences = _sequences(question, rung, flops)
    recipe_of = _recipe(question, rung, sequences)
    loss = rounding = None
    if surface is not None:
        size = rung.params[surface.counting]
        loss = float(surface.loss_of(params=size, tokens=recipe_of.tokens))
        # The cost of the shape alone: same budget, tokens not rounded to whole steps.
        bare = surface.loss_of(params=size, tokens=flops.best / rung.flops_per_token)
        rounding = (float(bare) / target.loss - 1) * 1e3
    best = best_point(plain, flops=flops.best) if plain is not None else None
    serving = question.inference_tokens
    return Answer(
        question=question,
        ladder=ladder,
        flops=flops,
        optimum=found,
        no_optimum=why,
        likely=_likely(found, several),
        members=several,
        surface=surface,
        plain=plain,
        target=target,
        best=best,
        rung=rung,
        steps=recipe_of.steps,
        recipe=recipe_of,
        cost=cost(
            rung.architecture,
            flops=recipe_of.steps.sequences * rung.sequence_flops,
            batch=recipe_of.steps.batch,
            budget=question.budget,
        ),
        loss=loss,
        rounding_permil=rounding,
        within_permil=_within(plain, ladder, best, flops.best),
        vocabulary=recommended_vocabulary(rung) if question.recommend_vocab else None,
        at_loss=served_at_loss(surface, best=best, inference_tokens=serving)
        if serving and surface is not None and best is not None
        else None,
    )


def _knows_vocabulary(law: Law, ladder: Ladder) -> None:
    """Refuse a vocabulary of another kind: a token of bytes is not a token of words."""
    known = law.preset.vocab
    if known and not 0.1 < ladder.vocab / known < 10:
        raise BadValue(
            f"law {law.name} was fitted with {known:,} tokens of vocabulary and knows nothing of "
            f"{ladder.vocab:,}: a token would not carry as much text",
            "Give a --vocab within a factor of 10, or another --law.",
        )


def _budget(question: Question, ladder: Ladder) -> Estimate:
    """Return what may be spent; size and corpus together are a budget too."""
    if question.states_budget():
        return question.budget.compute()
    assert question.params is not None and question.tokens is not None
    rung = of_size(ladder, question.params)
    return Budget(flops=rung.flops_per_token * question.tokens).compute()


def _optimum(
    laws: list[Law], ladder: Ladder, flops: Estimate, question: Question
) -> tuple[Optimum | None, str, tuple[Member, ...]]:
    """Return the optimum, why there is none, and the members of a consensus.

    Where size or corpus are fixed, its absence is no error.
    """
    try:
        found = [optimum(each, ladder, flops=flops) for each in laws]
    except Infeasible as error:
        if question.params is None and question.tokens is None:
            raise
        return None, error.problem, ()
    if len(found) == 1:
        return found[0], "", ()
    lender = law(LENDER)
    several = members(found, surfaces=[trade_surface(each, lender=lender) for each in found])
    return pooled(several)[0], "", several


def _likely(found: Optimum | None, several: tuple[Member, ...]) -> Optimum | None:
    """Return the optimum with intervals that have held on hold-outs."""
    if found is None:
        return None
    return pooled(several)[1] if several else likely(found)


def _surfaces(
    found: Optimum | None, question: Question
) -> tuple[TradeSurface | None, TradeSurface | None]:
    """Return the surface on which the plan is made, and the one without repetition."""
    if found is None:
        return None, None
    plain = trade_surface(found, lender=law(LENDER))
    if question.unique_tokens is None:
        return plain, plain
    return repeated(plain, unique=question.unique_tokens, law=law(REPETITION)), plain


def _sequences(question: Question, rung: Rung, flops: Estimate) -> float:
    """Return how many sequences the plan trains on, not rounded.

    Raises:
        BadValue: a fixed size on a fixed corpus costs something else than the budget.
    """
    length = rung.architecture.seq_len
    if question.params is None or question.tokens is None:
        return flops.best / rung.sequence_flops
    needed = rung.flops_per_token * question.tokens
    if abs(needed / flops.best - 1) > CONTRADICTION:
        raise BadValue(
            f"--params {show(question.params)} on --tokens {show(question.tokens)} costs "
            f"{show(needed)} FLOPs, the budget is {show(flops.best)}",
            "Drop one of the three: budget, --params, --tokens.",
        )
    return question.tokens / length


def _recipe(question: Question, rung: Rung, sequences: float) -> Recipe:
    """Return whole steps and every hyperparameter; the batch decides the steps, they the rest."""
    length = rung.architecture.seq_len
    facts: dict[str, Any] = {
        "architecture": rung.architecture,
        "seq_len": length,
        "tokens": sequences * length,
        "flops_per_token": rung.flops_per_token,
        "unique_tokens": question.unique_tokens,
        "inference_tokens": question.inference_tokens,
        "precision": question.budget.precision,
        "gpu": question.budget.gpu.name if question.budget.gpu else None,
        "gpus": question.budget.gpus,
    }
    return recipe(
        Run(**facts),
        sequences=sequences,
        rules=question.rules,
        batch=question.batch_sequences,
        allow_unverified=question.allow_unverified,
    )


def _within(
    surface: TradeSurface | None, ladder: Ladder, best: Point | None, flops: float
) -> tuple[float, float] | None:
    if surface is None or best is None:
        return None
    low, high = tolerance(surface, flops=flops, per_token=best.per_token)
    return float(ladder.curve.at(low, "total")), float(ladder.curve.at(high, "total"))
