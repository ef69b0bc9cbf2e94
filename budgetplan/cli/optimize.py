"""`budgetplan optimize`: the model that a budget should buy, down to steps and learning rate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from budgetplan.cli.app import commands
from budgetplan.cli.screen import console, emit_json

_BUDGET = "Budget: state it in one way"
_SIZE = "Trade-offs"
_SHAPE = "Shapes"
_LAW = "Laws and rules"
_OUTPUT = "Output"


@commands.add("optimize")
def optimize(  # noqa: PLR0917  each parameter is an option, by name
    flops: Annotated[
        str | None,
        typer.Option("--flops", help="1e21, 1 ZFLOP, 40 PF-days.", rich_help_panel=_BUDGET),
    ] = None,
    gpus: Annotated[
        str | None,
        typer.Option("--gpus", help="Cards, as 64xH100; with --time.", rich_help_panel=_BUDGET),
    ] = None,
    time: Annotated[
        str | None, typer.Option("--time", help="3d, 36h, 1d12h.", rich_help_panel=_BUDGET)
    ] = None,
    gpu_hours: Annotated[
        str | None,
        typer.Option("--gpu-hours", help="Card-hours; with --gpu.", rich_help_panel=_BUDGET),
    ] = None,
    usd: Annotated[
        str | None, typer.Option("--usd", help="Dollars; with --gpu.", rich_help_panel=_BUDGET)
    ] = None,
    gpu: Annotated[
        str | None,
        typer.Option("--gpu", help="Card; with --flops: what it costs.", rich_help_panel=_BUDGET),
    ] = None,
    usd_per_gpu_hour: Annotated[
        str | None,
        typer.Option(
            "--usd-per-gpu-hour", help="Your price; else a list price.", rich_help_panel=_BUDGET
        ),
    ] = None,
    mfu: Annotated[
        str | None,
        typer.Option(
            "--mfu",
            help="Model FLOPs utilization, as 0.4 or 40%; else 0.4 (0.3 to 0.5) is assumed.",
            rich_help_panel=_BUDGET,
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option("--precision", help="bf16 unless given.", rich_help_panel=_BUDGET),
    ] = None,
    params: Annotated[
        str | None,
        typer.Option(
            "--params", help="Fix the size, all counted (active ones).", rich_help_panel=_SIZE
        ),
    ] = None,
    tokens: Annotated[
        str | None, typer.Option("--tokens", help="Fix the corpus.", rich_help_panel=_SIZE)
    ] = None,
    inference_tokens: Annotated[
        str | None,
        typer.Option(
            "--inference-tokens",
            help="Tokens to be served: train longer, serve cheaper.",
            rich_help_panel=_SIZE,
        ),
    ] = None,
    iso_loss: Annotated[
        bool,
        typer.Option(
            "--iso-loss", help="All sizes that reach the best loss.", rich_help_panel=_SIZE
        ),
    ] = False,
    unique_tokens: Annotated[
        str | None,
        typer.Option(
            "--unique-tokens", help="Distinct tokens at hand: they repeat.", rich_help_panel=_SIZE
        ),
    ] = None,
    family: Annotated[
        str | None,
        typer.Option(
            "--family",
            help="llama unless given; gpt2, qwen3, olmo2, porian, chinchilla.",
            rich_help_panel=_SHAPE,
        ),
    ] = None,
    ladder: Annotated[
        Path | None,
        typer.Option("--ladder", help="Your own shapes, see below.", rich_help_panel=_SHAPE),
    ] = None,
    vocab: Annotated[
        str | None,
        typer.Option(
            "--vocab",
            help="Vocabulary; auto: the family's, and which one a law recommends.",
            rich_help_panel=_SHAPE,
        ),
    ] = None,
    seq_len: Annotated[
        str | None, typer.Option("--seq-len", help="Tokens of a sequence.", rich_help_panel=_SHAPE)
    ] = None,
    head_dim: Annotated[
        str | None, typer.Option("--head-dim", help="Width of a head.", rich_help_panel=_SHAPE)
    ] = None,
    kv_heads: Annotated[
        str | None,
        typer.Option("--kv-heads", help="Heads of keys and values.", rich_help_panel=_SHAPE),
    ] = None,
    tied: Annotated[
        bool | None,
        typer.Option("--tied/--untied", help="Head and embedding.", rich_help_panel=_SHAPE),
    ] = None,
    moe: Annotated[
        str | None,
        typer.Option(
            "--moe", help="Experts, as 64:8, or with shared ones 64:6:2.", rich_help_panel=_SHAPE
        ),
    ] = None,
    multiple_of: Annotated[
        str | None,
        typer.Option("--multiple-of", help="Of which widths are.", rich_help_panel=_SHAPE),
    ] = None,
    law: Annotated[
        str | None,
        typer.Option(
            "--law",
            help="porian2024_rw_tuned unless given; several, as a,b,c: their consensus.",
            rich_help_panel=_LAW,
        ),
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="All laws side by side.", rich_help_panel=_LAW)
    ] = False,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="From Kaplan's accounting to a tuned one, step by step.",
            rich_help_panel=_LAW,
        ),
    ] = False,
    sensitivity: Annotated[
        bool,
        typer.Option(
            "--sensitivity",
            help="What if: less budget or MFU, a higher price, another law ...",
            rich_help_panel=_LAW,
        ),
    ] = False,
    rules: Annotated[
        str | None,
        typer.Option(
            "--rules", help="Families of rules to prefer, as porian.", rich_help_panel=_LAW
        ),
    ] = None,
    batch: Annotated[
        str | None,
        typer.Option("--batch", help="Fix the sequences of a step.", rich_help_panel=_LAW),
    ] = None,
    allow_unverified: Annotated[
        bool,
        typer.Option(
            "--allow-unverified",
            help="Also laws and rules that were only quoted by others.",
            rich_help_panel=_LAW,
        ),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Write the plan, as plan.yaml.", rich_help_panel=_OUTPUT
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", help="Write a page, as plan.html.", rich_help_panel=_OUTPUT),
    ] = None,
    plot: Annotated[
        bool, typer.Option("--plot", help="Draw the curves too.", rich_help_panel=_OUTPUT)
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the file.", rich_help_panel=_OUTPUT)
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="For programs.", rich_help_panel=_OUTPUT)
    ] = False,
) -> None:
    """Plan the best model for a budget: shape, tokens, steps, hyperparameters, cost.

    The budget is exact model FLOPs: every matrix product of forward and
    backward, attention over all pairs, nothing recomputed. A law decides
    size against tokens, each law in its own way of counting; the plan ends
    in a shape that can be trained, in whole steps that stay within 0.5% of
    the budget and never exceed it.

      budgetplan optimize --flops 1e21
      budgetplan optimize --gpus 64xH100 --time 3d --output plan.yaml
      budgetplan optimize --flops 1e21 --plot --report plan.html
      budgetplan optimize --usd 50000 --gpu H100 --usd-per-gpu-hour 2.5
      budgetplan optimize --flops 1e21 --compare --explain
      budgetplan optimize --flops 1e21 --law porian2024_rw_tuned,besiroglu2024
      budgetplan optimize --gpus 64xH100 --time 3d --sensitivity
      budgetplan optimize --flops 1e23 --inference-tokens 2T
      budgetplan optimize --flops 1e22 --unique-tokens 30B
      budgetplan optimize --flops 1e21 --params 1.5B
      budgetplan optimize --params 7B --tokens 2T --gpus 512xH100

    --inference-tokens keeps the training budget: of all ways to the loss
    that is reached, the plan's costs least in training and serving together
    (Sardana et al. 2023). What the compute-optimal loss would cost that way
    stands beside it.

    N* has three intervals. That of the law's own draws knows only the noise
    of its runs and is too narrow. That of the best size adds the error of
    the form, which grows with every decade of compute beyond the runs; it
    was calibrated on optima held out, and is the one to act on. The third
    holds the sizes whose loss is within 0.1% of the best.

    --law a,b,c solves each law in its own counting on the same ladder. The
    plan's size is the geometric mean of their N, all parameters, of equal
    weight; its interval that of all their draws in one pool, where a law
    without published uncertainty is one size.

    --moe EXPERTS:TOPK[:SHARED] replaces every feed-forward by experts that
    are narrower, so that those a token visits are together as wide. N then
    counts active parameters everywhere but in memory and in what is stored,
    and the laws are those of dense models.

    --ladder is a YAML list of two shapes or more, smallest to largest, each
    with the fields that differ from a plain rotary SwiGLU decoder:

      - {width: 512, layers: 8, heads: 8, ffn: 1536, vocab: 50432}
      - {width: 768, layers: 12, heads: 12, ffn: 2048, vocab: 50432}

    Keys of --json, numbers in base units, null where not known:

      plan          as in plan.yaml: version made_by asked budget spent law laws
                    stages figures notes; a figure has value unit low high
                    level origin by source outside note. Of figures,
                    optimal_params has the interval to act on, and beside it
                    are optimal_params_draws and params_within_1_permil
      smaller       list of: extra params tokens params_ratio tokens_ratio
      iso_loss      list of: params tokens flops flops_ratio loss, the sizes
                    that reach the best loss, and what they need for it
      served        null, or: params tokens flops lifetime_flops loss, of
                    the compute-optimal loss at the least lifetime
      memory        null, or: ranks micro_batch checkpointing bytes
                    smallest_ranks problem
      consensus     several laws: list of: name weight counting params
                    params_draws tokens loss excess_permil outside
      laws          --compare: list of: name counting params params_draws
                    tokens tokens_per_param loss outside reason; estimates
                    have best low high level
      accountings   --explain: the same, with words and own_params
      sensitivity   --sensitivity: list of: change (empty for the plan)
                    params tokens loss seconds usd reason
    """
    options = dict(locals())
    from budgetplan.cli.optimized.asked import question
    from budgetplan.cli.pictures.asked import apart, drawn, free
    from budgetplan.core.plan import write
    from budgetplan.plan.planner import answer
    from budgetplan.plan.report import plan

    free(report, force=force)
    apart(output, report)
    drawn(plot, as_json=as_json)
    given = dict(options)
    for name in ("report", "plot"):
        options.pop(name)
    for name in ("compare", "explain", "sensitivity", "iso_loss", "output", "force", "as_json"):
        options.pop(name)
    options["ladder"] = str(ladder) if ladder else None
    found = answer(question(options))
    made = plan(found)
    if output is not None:
        write(made, output, force=force)
    from budgetplan.plan.compare import beside

    tables = beside(found, laws=compare, explain=explain, variants=sensitivity)
    if report is not None:
        from budgetplan.cli.report.page import typed, write_page
        from budgetplan.cli.report.planned import report_of

        write_page(report_of(found, made, command=typed("optimize", given)), report)
    if as_json:
        from budgetplan.cli.optimized.programs import as_dict

        emit_json(as_dict(found, made, tables))
        return
    from budgetplan.cli.optimized.people import render

    screen = console()
    for block in render(found, made, tables, iso_loss=iso_loss):
        screen.print(block)
    if plot:
        from budgetplan.cli.pictures.asked import show
        from budgetplan.cli.pictures.planned import pictures

        show(pictures(found), screen)
    for file in (each for each in (output, report) if each is not None):
        console(stderr=True).print(f"Wrote {file}")
