"""`budgetplan count`: what one step of a model costs, exactly."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from budgetplan.cli.app import commands
from budgetplan.cli.screen import console, emit_json
from budgetplan.core import units
from budgetplan.core.errors import BadValue, UnknownName, UserError

SECTIONS = ("parts", "params", "families", "modules", "conventions", "formulas", "memory")
DEFAULT_SECTIONS = ("parts", "params", "modules", "conventions", "memory")

_MODEL = "What to count"
_SIZE = "Size of a step"
_MEMORY = "Memory"
_OUTPUT = "Output"


@commands.add("count")
def count(  # noqa: PLR0917  each parameter is an option, by name
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="model.py, model.py:name, package.module:name, config.json, its folder, a preset",
            show_default=False,
        ),
    ],
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Constructor or config argument; repeat it.",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="SPEC",
            help="An input of forward, see above; repeat it.",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    trace: Annotated[
        bool,
        typer.Option(
            "--trace",
            help="Run a config.json through transformers even where a formula is known.",
            rich_help_panel=_MODEL,
        ),
    ] = False,
    register: Annotated[
        list[Path] | None,
        typer.Option(
            "--register",
            metavar="FILE",
            help="Python file that registers FLOP formulas of operators.",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    allow_uncounted: Annotated[
        bool,
        typer.Option(
            "--allow-uncounted",
            help="Count operators without a formula as zero, and list them.",
            rich_help_panel=_MODEL,
        ),
    ] = False,
    dtype: Annotated[
        str | None,
        typer.Option("--dtype", help="Number format of the model.", rich_help_panel=_MODEL),
    ] = None,
    batch: Annotated[
        str, typer.Option("--batch", help="Sequences of one step.", rich_help_panel=_SIZE)
    ] = "1",
    seq_len: Annotated[
        str | None,
        typer.Option(
            "--seq-len",
            help="Tokens of one sequence; the model's own context length unless given.",
            rich_help_panel=_SIZE,
        ),
    ] = None,
    image_size: Annotated[
        str | None,
        typer.Option("--image-size", help="Pixels along a side.", rich_help_panel=_SIZE),
    ] = None,
    backward: Annotated[
        bool,
        typer.Option(
            "--backward/--no-backward", help="Count the backward pass.", rich_help_panel=_SIZE
        ),
    ] = True,
    tokens: Annotated[
        str | None,
        typer.Option(
            "--tokens",
            help="Of a whole run: its FLOPs, and with --gpu its hours, money and energy.",
            rich_help_panel=_SIZE,
        ),
    ] = None,
    mfu: Annotated[
        str | None,
        typer.Option(
            "--mfu", help="Of that run, as 40%; else what is usual.", rich_help_panel=_SIZE
        ),
    ] = None,
    gpu: Annotated[
        str | None,
        typer.Option(
            "--gpu",
            help="Card whose memory is filled, and that trains --tokens.",
            rich_help_panel=_MEMORY,
        ),
    ] = None,
    micro_batch: Annotated[
        str,
        typer.Option("--micro-batch", help="Sequences per rank and pass.", rich_help_panel=_MEMORY),
    ] = "1",
    ranks: Annotated[
        str,
        typer.Option("--ranks", help="Ranks that share the model (FSDP).", rich_help_panel=_MEMORY),
    ] = "1",
    optimizer: Annotated[
        str, typer.Option("--optimizer", help="Optimizer.", rich_help_panel=_MEMORY)
    ] = "adamw",
    precision: Annotated[
        str, typer.Option("--precision", help="Format of products.", rich_help_panel=_MEMORY)
    ] = "bf16",
    checkpointing: Annotated[
        str | None,
        typer.Option(
            "--checkpointing",
            help="none, selective or full; full also counts the recomputed FLOPs of a formula.",
            rich_help_panel=_MEMORY,
            show_default=False,
        ),
    ] = None,
    show: Annotated[
        str | None,
        typer.Option(
            "--show",
            metavar="SECTIONS",
            help=f"Any of {', '.join(SECTIONS)}, or all. Memory of code is measured where it is "
            "named here, or with --gpu.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    depth: Annotated[
        int | None,
        typer.Option(
            "--depth",
            min=0,
            help="Levels of the module tree; 2 on screen.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="For programs.", rich_help_panel=_OUTPUT)
    ] = False,
    traceback: Annotated[
        bool,
        typer.Option(
            "--traceback",
            help="Show where the model's own code failed.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False,
) -> None:
    """Count the FLOPs, parameters and memory of one training step, exactly.

    FLOPs are 2 per multiply-add, of matrix products, attention, convolutions
    and scans. The headline is dense: every query-key pair counts, as in
    torch's FlopCounterMode and in PaLM. Beside it stands the causal count, of
    the pairs that the mask lets through.

    A preset or a config.json of a known family is counted by formula, without
    torch. Code runs on the meta device: nothing is allocated, so that a model
    of any size counts on a laptop. Of your file the import, the constructor
    and one forward and backward pass are executed, and nothing else. Nothing
    is downloaded, no remote code is run; what the file prints goes to stderr.

      budgetplan count llama-3-8b
      budgetplan count model.py --set n_layer=24 --batch 8
      budgetplan count net.py:ViT --input 'x=float32[batch,3,384,384]'
      budgetplan count checkpoint/ --trace --depth 3
      budgetplan count llama-3-8b --gpu H100 --ranks 64 --show memory
      budgetplan count llama-3-8b --tokens 15T --gpu H100 --mfu 40%
      budgetplan count gpt2 --json | jq .flops.total

    Inputs are told from the model; --input states one where they cannot be:
    a shape, and how it is filled (zeros, ones, causal, arange), or a value.
    model.py may define example_inputs(batch, seq_len) instead.

      --input 'x=float32[batch,seq,512]'     sizes may be batch and seq
      --input 'mask=bool[seq,seq] causal'    a lower triangle
      --input 'start_pos=0'

    An operator without a formula stops the count. Register one in model.py,
    or in a file of its own given by --register:

      from budgetplan.flops.ops import register_formula
      @register_formula("mylib::scan")
      def scan(x, weight, *, out):
          return 2 * x.numel() * weight.shape[0]

    Keys of --json: integers in FLOPs, parameters and bytes, but for those
    marked n (any number), t (text) and ? (may be null).

      target(t) title(t) method(t: trace, formula)
      step           batch seq_len(?) tokens(?)
      flops          forward backward total useful recompute hardware
                     per_token(n?) per_sequence(n) per_step
                     (total is dense, useful is causal)
      parts          embedding body attention head, each with
                     forward backward total useful
      params         total active embedding head head_matrix non_embedding
                     tied(true, false)
      families       forward and backward FLOPs by operator family
      modules        list of: path(t) depth times params
                     forward backward recompute useful
      conventions    list of: name(t) flops_per_token(n?) of_dense(n?)
                     of_causal(n?) gaps(n, by part) formula(t) remark(t)
                     source(t)
      memory(?)      recipe optimizer precision gpu left_free ranks; by
                     checkpointing:
                     parameters gradients optimizer_states copies
                     activations logits block total micro_batch seq_len;
                     largest_micro_batch, a list; assumptions
      run(?)         of --tokens: tokens, flops and useful (n), gpu(t?), and by
                     value, low, high: mfu gpu_hours usd energy [J] (n?)
      inputs notes uncounted    lists of text
    """
    from budgetplan.cli.counted.memory import memory_of, question
    from budgetplan.flops import load

    sections = DEFAULT_SECTIONS if show is None else _sections(show)
    asked = question(
        gpu=gpu,
        micro_batch=units.count(micro_batch, what="--micro-batch"),
        ranks=units.count(ranks, what="--ranks"),
        optimizer=optimizer,
        precision=precision,
        checkpointing=checkpointing,
    )
    measured = gpu is not None or (show is not None and "memory" in sections)
    if measured and not backward:
        if gpu is not None or show != "all":
            option = "--gpu" if gpu is not None else "--show memory"
            raise BadValue(
                f"{option} plans the memory of training, --no-backward leaves training out",
                "Keep one of them.",
            )
        measured = False
    _refuse_without_run(tokens, mfu=mfu, gpu=gpu, backward=backward)
    request = load.Request(
        target=target,
        batch=units.count(batch, what="--batch"),
        seq_len=None if seq_len is None else units.count(seq_len, what="--seq-len"),
        settings=tuple(settings or ()),
        inputs=tuple(inputs or ()),
        image_size=None if image_size is None else units.count(image_size, what="--image-size"),
        dtype=dtype,
        backward=backward,
        checkpointing=checkpointing == "full",
        allow_uncounted=allow_uncounted,
        trace=trace,
        register=tuple(register or ()),
        training=asked.training if measured else None,
        micro_batch=asked.micro_batch,
        card=asked.card,
    )
    try:
        answer = load.count(request)
    except UserError as error:
        if traceback and error.__cause__ is not None:
            _print_traceback(error.__cause__)
        raise
    run = None
    if tokens is not None:
        from budgetplan.cli.counted.whole_run import whole_run
        from budgetplan.cli.optimized.asked import share

        run = whole_run(
            answer, tokens=units.count(tokens, what="--tokens"), gpu=asked.card,
            precision=precision, mfu=None if mfu is None else share(mfu),
        )  # fmt: skip
    told = backward and (as_json or "memory" in sections)
    memory = memory_of(answer, asked) if told else None
    if as_json:
        from budgetplan.cli.counted.programs import as_dict

        emit_json(as_dict(answer, memory, run, depth=depth))
        return
    from budgetplan.cli.counted.people import render

    screen = console()
    shown = 2 if depth is None else depth
    for block in render(answer, memory, run, sections=sections, depth=shown):
        screen.print(block)


def _refuse_without_run(
    tokens: str | None, *, mfu: str | None, gpu: str | None, backward: bool
) -> None:
    """Raise BadValue for an option of a whole run that would have no effect."""
    if mfu is not None and (tokens is None or gpu is None):
        raise BadValue(
            "--mfu turns the FLOPs of a run into hours of a card",
            "Add --tokens 15T and --gpu H100, or leave it out.",
        )
    if tokens is not None and not backward:
        raise BadValue("--tokens is a training run, --no-backward leaves training out", "Keep one.")


def _sections(text: str) -> tuple[str, ...]:
    """Return the sections named, in their own order.

    Raises:
        BadValue: none is named.
        UnknownName: there is no such section.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise BadValue("--show: no section named", f"Known: {', '.join(SECTIONS)}, all.")
    if "all" in names:
        return SECTIONS
    for name in names:
        if name not in SECTIONS:
            raise UnknownName("section", name, (*SECTIONS, "all"))
    return tuple(section for section in SECTIONS if section in names)


def _print_traceback(error: BaseException) -> None:
    import traceback

    sys.stderr.write("".join(traceback.format_exception(error)))
