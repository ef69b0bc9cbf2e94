"""From the options of `derive` to the Run that is asked about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from budgetplan.core import units
from budgetplan.core.counting import COUNTINGS, Counting
from budgetplan.core.errors import BadValue, UnknownName
from budgetplan.core.run import Run

SEQ_LEN = 2048
"""Assumed for a bare number of parameters: the length at which most rules were found [tokens]."""
FEWEST_PARAMS, FEWEST_TOKENS = 1e4, 1e5
"""Below these a magnitude was forgotten: nobody derives a recipe for a model of 7 parameters."""


def model_facts(
    target: str | None,
    *,
    params: str | None,
    counting: str | None,
    usual: Counting,
    vocab: str | None,
    seq_len: str | None,
    settings: Sequence[str],
) -> tuple[str, dict[str, Any]]:
    """Return the model's title, and what is known of it as fields of Run.

    Args:
        target: a preset, a config, code; or None.
        params: a bare number of parameters; or None.
        counting: what `params` counts, where the user said so.
        usual: what it counts where not.
        vocab: of a bare number.
        seq_len: tokens of a sequence.
        settings: NAME=VALUE for the target.

    Raises:
        UserError: no model, two, or one that cannot be read.
    """
    if counting is not None and counting not in COUNTINGS:
        raise UnknownName("way to count parameters", counting, COUNTINGS)
    if (target is None) == (params is None):
        raise BadValue(
            "no model given" if target is None else "a TARGET and --params are two models",
            "Give a preset, a config.json, a model.py, or --params 1.5B.",
        )
    length = None if seq_len is None else units.count(seq_len, what="--seq-len")
    if params is None:
        assert target is not None
        if counting is not None:
            raise BadValue(
                "--params-counting has no effect on a TARGET",
                "Its parameters are counted in every way that is asked for.",
            )
        if vocab is not None:
            raise BadValue("--vocab has no effect on a TARGET", "It goes with --params.")
        return _of_target(target, seq_len=length, settings=settings)
    if settings:
        raise BadValue("--set has no effect on --params", "It goes with a TARGET.")
    number = units.quantity(params, what="--params", unit="parameter")
    not_forgotten(number, params, what="--params", fewest=FEWEST_PARAMS, example="7B")
    counting = counting or usual
    facts: dict[str, Any] = {f"params_{counting}": number, "seq_len": length or SEQ_LEN}
    if vocab is not None:
        facts["vocab"] = units.count(vocab, what="--vocab")
    return f"{units.show(number)} parameters ({counting})", facts


def _of_target(
    target: str, *, seq_len: int | None, settings: Sequence[str]
) -> tuple[str, dict[str, Any]]:
    from budgetplan.flops import load

    answer = load.count(load.Request(target=target, seq_len=seq_len, settings=tuple(settings)))
    counted = answer.count
    if not answer.tokens:
        raise BadValue(f"{target} takes no tokens: the rules are of language models")
    facts: dict[str, Any] = {
        "seq_len": counted.seq_len,
        "flops_per_token": counted.total() / counted.tokens,
    }
    if answer.architecture is not None:
        facts["architecture"] = answer.architecture
    else:
        facts |= {f"params_{name}": counted.params.counted(name) for name in COUNTINGS}
        facts["params_total"] = counted.params.total
    return answer.title, {name: value for name, value in facts.items() if value}


def spent(*, tokens: str | None, **budget: str | None) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return how long is trained, as fields of Run, and what that takes for granted.

    Args:
        tokens: as the user wrote it.
        budget: flops, gpus, time, gpu_hours, usd, gpu, mfu and precision, as the user wrote them.

    Raises:
        BadValue: neither tokens nor a budget, both, or absurd ones.
    """
    from budgetplan.cli.optimized.asked import budget as read_budget

    given = {name: text for name, text in budget.items() if text is not None}
    if "precision" in given and (tokens is not None or "flops" in given):
        which = "tokens" if tokens is not None else "flops"
        raise BadValue(f"--precision has no effect on --{which}", "It goes with --time or --usd.")
    if (tokens is None) == (not given):
        raise BadValue(
            "no tokens and no budget given: batch and learning rate depend on how long is trained"
            if tokens is None
            else f"--tokens and --{next(iter(given)).replace('_', '-')} both say how long",
            "Give --tokens 20B, --flops 1e21 or --gpus 64xH100 --time 3d.",
        )
    if tokens is not None:
        number = units.tokens(tokens)
        not_forgotten(number, tokens, what="--tokens", fewest=FEWEST_TOKENS, example="20B")
        return {"tokens": number}, ()
    for name in ("gpu", "mfu"):
        if name in given and "flops" in given:
            raise BadValue(f"--{name} has no effect on --flops", "It goes with --time or --usd.")
    money = read_budget(given).checked()
    flops = money.compute()
    if money.flops is not None:
        return {"flops": flops.best}, ()
    low, high = flops.bounds or (flops.best, flops.best)
    origin = money.mfu_origin
    article = "an" if origin == "assumed" else "a"
    span = f" ({low:.3g} to {high:.3g})" if flops.bounds else ""
    return {"flops": flops.best}, (
        f"The budget is {flops.best:.3g} FLOPs{span} at {article} {origin} MFU of {money.mfu:g}"
        f"{f' in {money.precision}' if 'precision' in given else ''}.",
    )


def own_choices(
    *, batch_tokens: str | None, learning_rate: str | None, loss: str | None, seq_len: int
) -> dict[str, Any]:
    """Return what the user has settled, as fields of Run, the batch in whole sequences.

    Raises:
        BadValue: a value cannot be read, or is absurd.
    """
    own: dict[str, Any] = {}
    if batch_tokens is not None:
        asked = units.quantity(
            batch_tokens, what="--batch-tokens", unit="token", examples="0.5M or 524288"
        )
        if asked < seq_len:
            raise BadValue(
                f"--batch-tokens: {batch_tokens} is less than one sequence of {seq_len:,} tokens",
                "Batches are counted in tokens, over all cards, not in sequences.",
            )
        own["batch_tokens"] = float(round(asked / seq_len) * seq_len)
    if learning_rate is not None:
        own["learning_rate"] = units.quantity(learning_rate, what="--lr", examples="3e-4")
        if own["learning_rate"] >= 1:
            raise BadValue(f"--lr: {learning_rate} diverges at once", "Write it like 3e-4.")
    if loss is not None:
        own["loss"] = units.quantity(loss, what="--loss", examples="2.7 [nats/token]")
    return own


def not_forgotten(number: float, text: str, *, what: str, fewest: float, example: str) -> None:
    """Refuse a number so small that its magnitude was left out.

    Raises:
        BadValue: it is below `fewest`.
    """
    if number < fewest:
        raise BadValue(
            f"{what}: {text} is fewer than any language model has use for",
            f"Was a magnitude forgotten? Write it like {example}.",
        )


def run_of(*parts: dict[str, Any]) -> Run:
    """Return the run made of these fields."""
    return Run.model_validate({name: value for part in parts for name, value in part.items()})


def wanted_families(text: str | None) -> tuple[str, ...]:
    """Return the families of rules to prefer, in order.

    Raises:
        BadValue: the option names none.
    """
    if text is None:
        return ()
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise BadValue("--rules names no family", "Write it like --rules porian,step-law.")
    return tuple(_own(name) if name.endswith((".yaml", ".yml")) else name for name in names)


def _own(name: str) -> str:
    """File the user's own power laws, as fit writes them, and return the name of their family.

    Raises:
        BadValue: there is no such file, or the family's name is taken.
        BadPreset: the file is no family of rules.
    """
    from pathlib import Path

    from budgetplan.rules import power_law, rules

    path = Path(name)
    if not path.is_file():
        raise BadValue(f"no rules in {name}", "fit --method hyperparameters --output writes them.")
    if any(rule.family == path.stem for rule in rules.values()):
        raise BadValue(f"--rules {name}: a family {path.stem} is there", "Rename the file.")
    return power_law.adopt(path)
