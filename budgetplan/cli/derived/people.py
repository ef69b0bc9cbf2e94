"""What `budgetplan derive` shows to people: at most 80 columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from budgetplan.cli.tables import bullets, table
from budgetplan.core.units import show
from budgetplan.rules import Choice, Derived, Recipe

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

UNITS = {"batch_tokens": "tokens", "warmup_tokens": "tokens", "decay_tokens": "tokens"}
SHORT = {
    "tokens/params_with_head": "D/N",
    "tokens/params_non_embedding": "D/N",
    "batch_tokens": "batch",
    "tokens": "D",
}


def render(recipe: Recipe, *, title: str, compare: bool) -> Iterator[RenderableType]:
    """Yield the blocks of the screen, in order."""
    yield header(recipe, title=title)
    yield ""
    yield comparison(recipe) if compare else chosen(recipe)
    if marks := [*_marks(recipe)]:
        yield ""
        yield bullets(marks, mark="!", style="yellow")
    if remarks := [*_remarks(recipe, compare=compare)]:
        yield ""
        yield bullets(remarks)
    yield ""
    yield sources(recipe, compare=compare)


def header(recipe: Recipe, *, title: str) -> Text:
    """Return what is trained, on what, in how many steps."""
    from rich.text import Text

    facts = recipe.facts
    lines = Text(title, style="bold")
    if "tokens" in facts:
        lines.append(f"  on {show(facts['tokens'])} tokens")
    if "params_with_head" in facts and "tokens" in facts:
        ratio = facts["tokens"] / facts["params_with_head"]
        shown = f"{ratio:.3g}" if ratio < 999.5 else f"{ratio:,.0f}"
        lines.append(f", {shown} per parameter (N with head)")
    if "steps" in facts and "batch_sequences" in facts:
        sequences = facts["batch_sequences"]
        lines.append(
            f"\n{facts['steps']:,} steps of {sequences:,.6g} sequences of "
            f"{facts['seq_len']:,} tokens"
        )
    return lines


def number(value: float | str | None, *, field: str, digits: int = 3) -> str:
    """Return a value for people; a dot for none."""
    if value is None:
        return "·"
    if isinstance(value, str):
        return value
    if field in UNITS:
        return show(value)
    if field.startswith("adam_beta"):
        return f"{value:.4g}"
    text = f"{value:.{digits}g}"
    return text if len(text) <= 8 else f"{value:.{digits - 1}e}"


def interval(derived: Derived, *, field: str) -> str:
    """Return the interval, or a dot where none is known."""
    low, high = derived.advice.low, derived.advice.high
    if high is None:
        return "·"
    top = number(high, field=field, digits=2)
    return f"up to {top}" if low is None else f"{number(low, field=field, digits=2)} – {top}"


def times(factor: float) -> str:
    """Return a factor for people: 1.3x, 12x, 1,400x."""
    return f"{factor:.2g}x" if factor < 10 else f"{factor:,.0f}x"


def beyond(derived: Derived) -> str:
    """Return by what factor each fact lies beyond the tested range."""
    return ", ".join(
        f"{SHORT.get(name, 'N' if name.startswith('params') else name)} {times(factor)}"
        for name, factor in derived.outside.items()
    )


def chosen(recipe: Recipe) -> RenderableType:
    """Return the recipe: one line per hyperparameter, `!` where its rule was not tested."""
    made = table("", "", "value", "interval", "rule", "evidence", "")
    for words in (3, 4, 5):
        made.columns[words].justify = "left"
    for field, choice in recipe.choices.items():
        derived = choice.chosen
        value = number(choice.value, field=field)
        if derived is None:
            made.add_row(field, value, "·", "given" if choice.given else "·", "", "")
            continue
        made.add_row(
            field,
            value,
            interval(derived, field=field),
            derived.rule.family,
            derived.rule.evidence,
            "!" if derived.outside else "",
        )
    return made


def comparison(recipe: Recipe) -> RenderableType:
    """Return what every rule says of every field, with the spread between them."""
    from rich.text import Text

    made = table("", "", "best", "evidence", "beyond its tested range", wide=(3,))
    made.columns[2].justify = "left"
    for field, choice in recipe.choices.items():
        spread = choice.spread
        head = field if spread is None or spread < 1.005 else f"{field}, spread {times(spread)}"
        own = " given" if choice.given else ""
        made.add_row(
            Text(head, style="bold"),
            Text(f"{number(choice.value, field=field)}{own}", style="bold"),
        )
        for derived in choice.said:
            mark = "›" if derived is choice.chosen else " "
            kind = " (ceiling)" if derived.rule.kind == "ceiling" else ""
            quoted = "" if derived.rule.source.mark == "verified" else " *"
            made.add_row(
                f" {mark} {derived.rule.family}{kind}{quoted}",
                number(derived.advice.best, field=field),
                derived.rule.evidence,
                beyond(derived) if derived.rule.tested else _unstated(derived),
            )
        for name, facts in _silent_families(choice).items():
            made.add_row(f"   {name}", "·", "", f"needs {', '.join(facts)}")
    return made


def _unstated(derived: Derived) -> str:
    """Return a word where a paper's formula came without the range in which it was found."""
    formula = derived.rule.needs and derived.rule.evidence != "folklore"
    return "range not stated" if formula else ""


def _silent_families(choice: Choice) -> dict[str, tuple[str, ...]]:
    tail = "-" + choice.field.replace("_", "-")
    return {name.removesuffix(tail): facts for name, facts in choice.silent.items()}


def _remarks(recipe: Recipe, *, compare: bool) -> Iterator[str]:
    yield from recipe.assumptions
    if recipe.batch_multiple:
        best = recipe["batch_tokens"].chosen
        assert best is not None and not isinstance(best.advice.best, str)
        yield (
            f"batch_tokens is {best.advice.best:,.0f} rounded to a multiple of "
            f"{recipe.batch_multiple} sequences."
        )
    if compare:
        return
    meanings: dict[str, list[str]] = {}
    for field, choice in recipe.choices.items():
        if choice.chosen and choice.chosen.advice.interval:
            meanings.setdefault(choice.chosen.advice.interval, []).append(field)
    for meaning, fields in meanings.items():
        yield f"Interval of {', '.join(fields)}: {meaning}."
    for field, choice in recipe.choices.items():
        if choice.chosen and choice.chosen.advice.note:
            yield f"{field}: {choice.chosen.advice.note}."


def _marks(recipe: Recipe) -> Iterator[str]:
    """Yield what `!` stands for, and what the recipe warns of."""
    beyonds: dict[tuple[str, str], list[str]] = {}
    for field, choice in recipe.choices.items():
        if choice.chosen and choice.chosen.outside:
            key = choice.chosen.rule.family, beyond(choice.chosen)
            beyonds.setdefault(key, []).append(field)
        elif choice.value is None:
            missing = sorted({fact for facts in choice.silent.values() for fact in facts})
            yield f"{field}: no rule can say without {' or '.join(missing)}."
    for (family, factors), fields in beyonds.items():
        yield f"{', '.join(fields)}: beyond the tested range of {family} by {factors}."
    yield from recipe.warnings


def sources(recipe: Recipe, *, compare: bool) -> Text:
    """Return where the numbers come from: of the rules taken, or of all that spoke."""
    from rich.text import Text

    named: dict[str, dict[str, None]] = {}
    quoted = False
    for choice in recipe.choices.values():
        said = choice.said if compare else ((choice.chosen,) if choice.chosen else ())
        for derived in said:
            source = derived.rule.source
            first, comma, _ = source.authors.partition(",")
            who = f"{first}{' et al.' * bool(comma)} {source.year}" if first else source.title
            quoted = quoted or source.mark != "verified"
            named.setdefault(derived.rule.family, {})[f"{who}, {source.identifier}"] = None
    lines = [f"{family}: {'; '.join(where)}" for family, where in named.items()]
    if quoted and compare:
        lines.append("* unverified: the numbers were quoted by others")
    lines.append("Each rule in full: budgetplan explain porian-learning-rate")
    return Text("\n".join(lines), style="dim")
