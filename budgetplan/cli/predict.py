"""`budgetplan predict`: the loss of a run that has not been made."""

from __future__ import annotations

from typing import Annotated

import typer

from budgetplan.cli.app import commands
from budgetplan.cli.options import Target
from budgetplan.cli.screen import console, emit_json

LAWS = "besiroglu2024,muennighoff2023_c4,hoffmann2022_a3"
REPETITION = "muennighoff2023_c4"  # the law asked where tokens repeat


@commands.add("predict")
def predict(
    target: Target = None,
    *,
    params: Annotated[
        str | None, typer.Option(help="Parameters, as 1.5B.", show_default=False)
    ] = None,
    counting: Annotated[
        str | None,
        typer.Option(
            "--params-counting",
            metavar="CONVENTION",
            help="What --params counts: non_embedding, kaplan, with_head, ...; total unless given.",
        ),
    ] = None,
    tokens: Annotated[
        str | None, typer.Option(help="Training tokens, as 300B.", show_default=False)
    ] = None,
    unique_tokens: Annotated[
        str | None,
        typer.Option(
            help="Of these, distinct; asks laws that know repetition.", show_default=False
        ),
    ] = None,
    law: Annotated[
        str | None,
        typer.Option(
            metavar="LAW,...",
            help="Published laws, or a law.yaml that fit wrote; by default three published ones.",
            show_default=False,
        ),
    ] = None,
    seq_len: Annotated[
        str | None, typer.Option(help="Tokens of a sequence of TARGET.", show_default=False)
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="Constructor argument of TARGET; repeat it."
        ),
    ] = None,
    allow_unverified: Annotated[
        bool,
        typer.Option(
            "--allow-unverified", help="Take laws too whose numbers were only quoted by others."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Predict the loss of a model on so many tokens, by one law or several side by side.

    Each law counts parameters in its own way; of a TARGET all counts are exact, of --params the
    others follow by a plain shape, which is said. Losses of different laws are of different data
    and tokenizers: their spread is not an interval. The interval of a law covers the scatter of
    runs and the error of extrapolation, as held-out public runs showed them.

      budgetplan predict llama-3-8b --tokens 15T
      budgetplan predict --params 70B --tokens 1.4T --law besiroglu2024
      budgetplan predict gpt2 --tokens 9B --unique-tokens 2B
      budgetplan predict --params 1B --tokens 20B --law law.yaml --json | jq .laws

    Keys of --json, numbers in base units:

      model, tokens, unique_tokens, assumptions[]
      laws[]                    law, params (as it counts), counting,
                                loss: best, low, high, level; outside, notes[]
    """
    from budgetplan.cli.predicted.asked import predictions
    from budgetplan.cli.predicted.people import render

    answer = predictions(
        target,
        params=params,
        counting=counting,
        tokens=tokens,
        unique_tokens=unique_tokens,
        laws=(REPETITION if unique_tokens else LAWS) if law is None else law,
        seq_len=seq_len,
        settings=settings or (),
        allow_unverified=allow_unverified,
    )
    if as_json:
        emit_json(answer.as_json())
        return
    screen = console()
    for block in render(answer):
        screen.print(block)
