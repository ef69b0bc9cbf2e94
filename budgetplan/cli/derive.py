"""`budgetplan derive`: the hyperparameters that published rules give a run."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from budgetplan.cli.app import commands
from budgetplan.cli.options import Target
from budgetplan.cli.screen import console, emit_json

_MODEL = "What is trained"
_OWN = "What is settled already"
_RULES = "Rules"


@commands.add("derive")
def derive(
    target: Target = None,
    *,
    params: Annotated[
        str | None,
        typer.Option("--params", help="Parameters, as 1.5B.", rich_help_panel=_MODEL),
    ] = None,
    counting: Annotated[
        str | None,
        typer.Option(
            "--params-counting",
            metavar="CONVENTION",
            help="What --params counts: total, non_embedding, kaplan, ...; with_head unless given.",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    vocab: Annotated[
        str | None,
        typer.Option("--vocab", help="Vocabulary, with --params.", rich_help_panel=_MODEL),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Constructor or config argument of TARGET; repeat it.",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    seq_len: Annotated[
        str | None,
        typer.Option(
            "--seq-len",
            help="Tokens of a sequence; the model's own, or 2048 with --params.",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    tokens: Annotated[
        str | None,
        typer.Option("--tokens", help="Training tokens, as 20B.", rich_help_panel=_MODEL),
    ] = None,
    flops: Annotated[
        str | None,
        typer.Option("--flops", help="Or a budget, as 1e21.", rich_help_panel=_MODEL),
    ] = None,
    gpus: Annotated[
        str | None,
        typer.Option("--gpus", help="Or cards, as 64xH100; with --time.", rich_help_panel=_MODEL),
    ] = None,
    time: Annotated[
        str | None, typer.Option("--time", help="3d, 36h.", rich_help_panel=_MODEL)
    ] = None,
    gpu_hours: Annotated[
        str | None,
        typer.Option("--gpu-hours", help="Or card-hours; with --gpu.", rich_help_panel=_MODEL),
    ] = None,
    usd: Annotated[
        str | None, typer.Option("--usd", help="Or dollars; with --gpu.", rich_help_panel=_MODEL)
    ] = None,
    gpu: Annotated[str | None, typer.Option("--gpu", help="Card.", rich_help_panel=_MODEL)] = None,
    mfu: Annotated[
        str | None,
        typer.Option(
            "--mfu", help="Utilization; else 0.4, in fp8 0.25 is assumed.", rich_help_panel=_MODEL
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            "--precision", help="On the cards; bf16 unless given.", rich_help_panel=_MODEL
        ),
    ] = None,
    batch_tokens: Annotated[
        str | None,
        typer.Option("--batch-tokens", help="Tokens of a step, as 0.5M.", rich_help_panel=_OWN),
    ] = None,
    learning_rate: Annotated[
        str | None, typer.Option("--lr", help="Peak learning rate.", rich_help_panel=_OWN)
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option("--loss", help="Expected loss, for rules by loss.", rich_help_panel=_OWN),
    ] = None,
    families: Annotated[
        str | None,
        typer.Option(
            "--rules",
            metavar="FAMILY,...",
            help="Whose rules to prefer, in this order.",
            rich_help_panel=_RULES,
        ),
    ] = None,
    compare: Annotated[
        bool,
        typer.Option("--compare", help="Show what every rule says.", rich_help_panel=_RULES),
    ] = False,
    allow_unverified: Annotated[
        bool,
        typer.Option(
            "--allow-unverified",
            help="Ask rules too whose numbers were only quoted by others.",
            rich_help_panel=_RULES,
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Derive batch, learning rate, warmup and the rest of AdamW from published rules.

    Papers disagree, so learning rate and batch default to the geometric mean of two rules that are
    each best on their own sweep; --compare shows all rules with their spread, --rules picks. A
    value is marked where an input leaves the range in which its rule was tested.

      budgetplan derive gpt2 --tokens 10B
      budgetplan derive --params 1.5B --tokens 30B --vocab 50k
      budgetplan derive llama-3-8b --flops 1e23 --compare
      budgetplan derive olmo-2-1b --gpus 8xH100 --time 2d
      budgetplan derive model.py --set n_layer=24 --tokens 20B --rules step-law
      budgetplan derive gpt2 --tokens 10B --batch-tokens 0.5M --json | jq .recipe

    Parameters are counted in each rule's own convention; of --params the others follow by a plain
    shape, which is said. What --params counts is with_head unless stated: the matrices of the body
    and the head, without the input embedding.

    Keys of --json, numbers in base units:

      model, facts              what is trained; what the rules were told
      steps, batch_sequences    whole numbers
      batch_multiple            the batch is rounded to so many sequences; or null
      recipe.FIELD              the value to train with; null where no rule can say
      fields.FIELD              value, given, silent.RULE (the facts it misses),
                                spread (largest over smallest, ceilings apart),
                                chosen and others[]: rule, family, kind, best,
                                low, high, interval, note, evidence, outside,
                                source
      assumptions[], warnings[]
    """
    from budgetplan.cli.derived.asked import (
        model_facts,
        own_choices,
        run_of,
        spent,
        wanted_families,
    )
    from budgetplan.rules import derive as derive_recipe

    title, model = model_facts(
        target,
        params=params,
        counting=counting,
        usual="with_head",
        vocab=vocab,
        seq_len=seq_len,
        settings=settings or (),
    )
    length, granted = spent(
        tokens=tokens,
        flops=flops,
        gpus=gpus,
        time=time,
        gpu_hours=gpu_hours,
        usd=usd,
        gpu=gpu,
        mfu=mfu,
        precision=precision,
    )
    run = run_of(
        model,
        length,
        own_choices(
            batch_tokens=batch_tokens,
            learning_rate=learning_rate,
            loss=loss,
            seq_len=model["seq_len"],
        ),
    )
    recipe = derive_recipe(
        run, families=wanted_families(families), allow_unverified=allow_unverified
    )
    recipe = dataclasses.replace(recipe, assumptions=(*granted, *recipe.assumptions))
    if as_json:
        from budgetplan.cli.derived.programs import as_dict

        emit_json(as_dict(recipe, title=title))
        return
    from budgetplan.cli.derived.people import render

    screen = console()
    for block in render(recipe, title=title, compare=compare):
        screen.print(block)
