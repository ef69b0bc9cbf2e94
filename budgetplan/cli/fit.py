"""`budgetplan fit`: a scaling law from your own runs, judged before it is believed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from budgetplan.cli.app import commands
from budgetplan.cli.options import FIT, RUNS, Counting, Curves, PlannedBudget, RunsTable, Where
from budgetplan.cli.screen import console, emit_json, warn
from budgetplan.core.errors import BadValue

if TYPE_CHECKING:
    from budgetplan.laws.fit.measurements import Measurements


@commands.add("fit")
def fit(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="RUNS.csv...",
            help="Runs with a header: loss, and two of params, tokens, flops; - reads a pipe.",
            show_default=False,
        ),
    ] = None,
    *,
    counting: Counting = None,
    where: Where = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=HEADER",
            help="Read a field from this column, as loss=eval_c4.",
            rich_help_panel=RUNS,
        ),
    ] = None,
    runs_table: RunsTable = None,
    curves: Curves = False,
    method: Annotated[
        str,
        typer.Option(
            help="ensemble, posterior, chinchilla, isoflop, parabola, envelope, data-constrained or"
            " hyperparameters; --methods explains them.",
            rich_help_panel=FIT,
        ),
    ] = "ensemble",
    noise: Annotated[
        str | None,
        typer.Option(
            metavar="NOISE",
            help="Of a loss, for isoflop: constant:0.002, rising:0.002-0.05@3-7, from-runs.",
            rich_help_panel=FIT,
            show_default=False,
        ),
    ] = None,
    seq_len: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Tokens of a sequence, for hyperparameters, where the runs do not say.",
            rich_help_panel=FIT,
            show_default=False,
        ),
    ] = None,
    target: PlannedBudget = None,
    seed: Annotated[int, typer.Option(help="Of every resampling.", rich_help_panel=FIT, min=0)] = 0,
    methods: Annotated[
        bool, typer.Option("--methods", help="Explain the methods, and fit nothing.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(help="Write the law here, as law.yaml, with its draws beside it."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write a page with pictures here, as fit.html.")
    ] = None,
    plot: Annotated[bool, typer.Option("--plot", help="Draw the runs and the law too.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the output.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Fit a scaling law to your own runs, and say how far to trust it.

    The runs are one CSV, or several with the same header. Columns are known by name and unit:
    "params (M)", "tokens_b", "val_loss" and many others; exports of experiment trackers work. Runs
    that diverged, repeat or miss a number are left out and named.

    Every fit is judged by hold-outs first: refitted on the small runs, it predicts the large ones.

      budgetplan fit runs.csv --counting total
      budgetplan fit runs.csv --counting with_head --target 1e22 --output law.yaml
      budgetplan fit runs.csv --where data=c4 --column loss=c4_val --counting total
      budgetplan fit runs.csv --counting total --method isoflop --json
      budgetplan fit runs.csv --counting total --plot --report fit.html
      budgetplan fit sweep.csv --method hyperparameters --output own.yaml
      budgetplan calibrate collect | budgetplan fit -

    The law that --output writes is taken by optimize and predict as --law law.yaml.

    Keys of --json, numbers in base units:

      law                       the preset: form, coefficients, counting, tested ...
      method, design            the estimator; spans, condition number
      optimum[]                 flops, params, tokens, loss: best, low, high, level
      holdout[]                 factor, fitted, held_out, bias, error, covered ...
      influence[]               line, params (factor), loss (change of log)
      residuals                 of log loss: mean, deviation, worst[] of line, error
      dropped[], notes[], files[]
      hyperparameters           of a sweep: best[], laws, basins
    """
    options = dict(locals())
    from budgetplan.cli.fitted import asked, people, programs
    from budgetplan.cli.pictures.asked import apart, drawn, free
    from budgetplan.core import units

    if methods:
        return _explain(as_json)
    from datetime import UTC, datetime

    from budgetplan.laws.fit.study import study
    from budgetplan.laws.fit.write import write

    if not files:
        raise BadValue("no runs given", "Name a CSV, or see budgetplan fit --methods.")
    if method == "hyperparameters":
        asked.without_effect(
            {"--plot": plot, "--report": report, "--target": target, "--noise": noise,
             "--curves": curves, "--runs-table": runs_table},
            method=method,
        )  # fmt: skip
        return _tuned(
            asked.runs(files, counting=counting, where=where, column=column, sweep=True),
            asked.origins(files), seq_len, output, force=force, as_json=as_json,
        )  # fmt: skip
    asked.without_effect({"--seq-len": seq_len}, method=method)
    free(report, force=force)
    apart(output, report)
    drawn(plot, as_json=as_json)
    measured = asked.runs(
        files,
        counting=counting,
        where=where,
        column=column,
        runs_table=runs_table,
        curves=curves,
    )
    budget = units.flops(target, what="--target") if target else None
    found = study(
        measured,
        method=method,
        name=output.stem if output else "fitted",
        origin=", ".join(asked.origins(files)),
        year=datetime.now(UTC).year,
        target=budget,
        seed=seed,
        noise=asked.noise_of(noise),
    )
    answer = people.Answer(study=found, measured=measured, target=budget)
    written = write(found.law, output, force=force) if output else ()
    if report is not None:
        from budgetplan.cli.report.fitted import report_of
        from budgetplan.cli.report.page import typed, write_page

        write_page(report_of(answer, command=typed("fit", options)), report)
    if as_json:
        emit_json(programs.as_json(answer, files=written))
        return None
    screen = console()
    for block in people.render(answer):
        screen.print(block)
    if plot:
        from budgetplan.cli.pictures.asked import show
        from budgetplan.cli.pictures.fitted import pictures

        show(pictures(found, target=budget), screen)
    for file in (*written, *([report] if report else ())):
        warn(f"wrote {file}")
    return None


def _tuned(
    measured: Measurements,
    origins: list[str],
    seq_len: int | None,
    output: Path | None,
    *,
    force: bool,
    as_json: bool,
) -> None:
    from budgetplan.cli.fitted import tuned

    answer = tuned.answer(measured, origin=", ".join(origins), seq_len=seq_len)
    files = tuned.write(answer, output, force=force) if output else ()
    if as_json:
        emit_json(tuned.as_json(answer, files=files))
        return
    screen = console()
    for block in tuned.render(answer):
        screen.print(block)
    for file in files:
        warn(f"wrote {file}; use it: budgetplan derive --rules {file}")


def _explain(as_json: bool) -> None:
    from budgetplan.cli.fitted import people
    from budgetplan.laws.fit.methods import words

    if as_json:
        keys = ("says", "when", "wrong")
        emit_json({name: dict(zip(keys, said, strict=True)) for name, said in words().items()})
    else:
        console().print(people.methods_table())
