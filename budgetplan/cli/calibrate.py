"""`budgetplan calibrate`: short runs that say whether a plan holds here, and revise it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from budgetplan.cli.app import commands

_WHAT = "What to find out"
_DATA = "On what"
_HOW = "How runs are made"
_OUTPUT = "Output"


@commands.add("calibrate")
def calibrate(  # noqa: PLR0917  each parameter is an option, by name
    context: typer.Context,
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[PLAN|ACTION]",
            help="plan.yaml of optimize; or status, resume, retry, collect, export, cancel.",
            show_default=False,
        ),
    ] = None,
    place: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FOLDER]", help="Of an action: the same as --folder.", show_default=False
        ),
    ] = None,
    kind: Annotated[
        str,
        typer.Option(help="Of throughput, isoflop, hyperparameters.", rich_help_panel=_WHAT),
    ] = "throughput,isoflop",
    spend: Annotated[
        str,
        typer.Option(help="Share of the budget, or FLOPs, as 1e18.", rich_help_panel=_WHAT),
    ] = "2%",
    gpu_hours: Annotated[
        float | None,
        typer.Option(help="A second limit: hours of all cards together.", rich_help_panel=_WHAT),
    ] = None,
    demo: Annotated[
        bool,
        typer.Option(
            "--demo", help="Some minutes, anywhere: tiny models, real runs.", rich_help_panel=_WHAT
        ),
    ] = False,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="Tokens or text: file, folder, pattern; repeat it. Else the Python library.",
            rich_help_panel=_DATA,
        ),
    ] = None,
    data_format: Annotated[
        str,
        typer.Option("--format", help="Of the files; else by content.", rich_help_panel=_DATA),
    ] = "auto",
    tokenizer: Annotated[
        str | None,
        typer.Option(
            help="bytes, none (the files hold tokens) or tokenizer.json.", rich_help_panel=_DATA
        ),
    ] = None,
    factory: Annotated[
        str | None,
        typer.Option(
            metavar="model.py:NAME",
            help="Your own model: a function of width and depth.",
            rich_help_panel=_DATA,
        ),
    ] = None,
    qk_norm: Annotated[
        bool,
        typer.Option("--qk-norm", help="Norms on queries and keys.", rich_help_panel=_DATA),
    ] = False,
    folder: Annotated[
        Path, typer.Option(help="Of all runs; what is in it is kept.", rich_help_panel=_HOW)
    ] = Path("calibration"),
    launcher: Annotated[
        str,
        typer.Option(help="local, torchrun or slurm.", rich_help_panel=_HOW),
    ] = "local",
    launch: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Of the launcher, as workers=4 or partition=gpu; repeat it.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Show the runs, files and commands; do nothing.", rich_help_panel=_HOW
        ),
    ] = False,
    precision: Annotated[
        str | None,
        typer.Option(
            help="bf16, fp32 ...; the plan's, and fp32 without a card.", rich_help_panel=_HOW
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of data and weights.", rich_help_panel=_HOW)] = 0,
    trainer: Annotated[
        str,
        typer.Option(
            help="real; or fake:LAW,noise=0.003 to rehearse on a known truth.",
            rich_help_panel=_HOW,
        ),
    ] = "real",
    sink: Annotated[
        list[str] | None,
        typer.Option(help="Where records go besides: tensorboard, wandb.", rich_help_panel=_HOW),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Start without asking.", rich_help_panel=_HOW)
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The revised plan; of collect and export, the CSV.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the file.", rich_help_panel=_OUTPUT)
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="For programs.", rich_help_panel=_OUTPUT)
    ] = False,
) -> None:
    """Check a plan by short training runs, chosen by what they teach, and revise it.

    Runs are designed first and shown with what they cost and what they should teach; then they are
    launched, watched, judged, and the plan is written again with every number's origin. Exit code
    1: a measurement contradicts the plan beyond its interval.

      budgetplan calibrate plan.yaml --data tokens/*.bin --spend 2%
      budgetplan calibrate plan.yaml --kind throughput --output revised.yaml
      budgetplan calibrate plan.yaml --launcher slurm --set partition=gpu --yes
      budgetplan calibrate plan.yaml --launcher slurm --dry-run
      budgetplan calibrate status calibration
      budgetplan calibrate resume calibration --spend 4%
      budgetplan calibrate export csv calibration --output runs.csv
      budgetplan calibrate --demo

    throughput measures tokens per second, MFU and memory of the planned shape, or of the largest
    that fits here. isoflop trains small models at a constant learning rate, each milestone of which
    is a smaller run, fits a law, and judges it on its largest runs before it is believed.
    hyperparameters sweeps learning rate, batch and beta2 at a small size.

    --spend is a hard stop, steps that a crash makes necessary again included, and so is
    --gpu-hours, for small runs use a card badly; resume with a larger one goes on. Ctrl-C, and
    cancel from elsewhere, let workers write checkpoints and end; workers outlive a closed terminal,
    and resume finds them. Without a terminal the progress is plain lines on stderr.

    A run is named by all that decides it: what is finished is never run again, what was interrupted
    goes on; retry lets what failed be tried again. collect (or export csv) writes the losses as a
    CSV that fit and recount read.

    What --set may say of a launcher:

      local      workers gpus threads
      torchrun   nproc_per_node gpus threads sharding
      slurm      tasks at_once partition account qos constraint reservation gres
                 gpus cpus memory time requeues poll_every warning setup python

    Keys of --json, numbers in base units, null where not known:

      designs[]     kind runs flops seconds expected[] notes
      verdicts[]    kind headline contradicts figures findings[] scores[]
                    holdout[] basin law notes
      revised       the plan, as in plan.yaml; null if nothing changed
      contradicts   whether any number of the plan is refuted
      files[]       what was written
      status:       folder allowance spent states workers runs[] remarks[]
      collect:      runs, rows, files[]
    """
    options = {name: value for name, value in locals().items() if name != "context"}
    from budgetplan.cli.calibrated.asked import ACTIONS, wish

    asked = wish(options, given=frozenset(written(context)))
    if target in ACTIONS:
        from budgetplan.cli.calibrated import actions

        code = actions.perform(target, asked)
    else:
        from budgetplan.cli.calibrated import session

        code = session.calibrate(asked)
    if code:
        raise typer.Exit(code)


def written(context: typer.Context) -> Iterator[str]:
    """Yield the names of the parameters that stand on the command line."""
    for name in context.params:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            yield name
