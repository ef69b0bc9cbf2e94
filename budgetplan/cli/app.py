"""The application: every command file in this package, and what a user's mistake looks like.

Nothing heavy is imported here or at the top of a command file: torch, scipy and numpy are loaded
by the library function that a command calls.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from budgetplan.cli.help import Command, Group
from budgetplan.cli.screen import fail
from budgetplan.core.errors import BadValue, UnknownName, UserError
from budgetplan.core.registry import Registry

commands: Registry[Callable[..., None]] = Registry("command", package="budgetplan.cli")
"""Each command is a function filed under its name by its own file. Its docstring is its help: a
sentence, a blank line, then prose that flows and indented examples that stay as they are."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a disk says that has no room for the result."""
ORDER = (
    "count", "derive", "optimize", "predict", "fit", "recount", "calibrate", "check", "presets",
    "explain", "cite", "schema",
)  # fmt: skip
"""The order in which `--help` lists commands: the order of a user's day; others follow by name."""

EXAMPLES = """\
Start here:

  budgetplan count gpt2                    what one step of a model costs
  budgetplan derive gpt2 --tokens 10B      its batch, learning rate, warmup
  budgetplan optimize --flops 1e21         the model that a budget should buy

Each command explains itself: budgetplan count --help"""

UsageError: type[Exception] = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "UsageError"
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"budgetplan {version('budgetplan')}")
        raise typer.Exit


def build(wanted: str | None = None) -> Any:
    """Return the argument parser of the application, with only the wanted command if it exists."""
    app = typer.Typer(
        name="budgetplan",
        cls=Group,
        help=f"Plan the compute of a language model, and account for every FLOP.\n\n{EXAMPLES}",
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def main(
        version: Annotated[
            bool,
            typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
        ] = False,
    ) -> None:
        pass

    rank = {name: place for place, name in enumerate(ORDER)}
    names = [wanted] if wanted and commands.find(wanted) else list(commands)
    for name in sorted(names, key=lambda name: (rank.get(name, len(rank)), name)):
        command = commands[name]
        app.command(name, cls=Command, help=command.__doc__)(command)
    return typer.main.get_command(app)


def _usage(error: Any) -> UserError:
    """Return a usage error of the argument parser in the words of this project."""
    context = error.ctx
    see = f"See: {context.command_path if context else 'budgetplan'} --help"
    text = error.format_message().strip()
    if context and text.startswith("No such option"):
        known = [name for param in context.command.params for name in param.opts]
        wrong = UnknownName("option", error.option_name, known)
        guess = wrong.remedy if wrong.remedy.startswith("Did you mean") else ""
        return UserError(wrong.problem, f"{guess} {see}".strip())
    return UserError((text[:1].lower() + text[1:].rstrip(".")).replace("\n", " "), see)


def _obey(arguments: Sequence[str]) -> None:
    words = list(arguments) or ["--help"]
    name = next((word for word in words if not word.startswith("-")), None)
    parser = build(name)
    if name is not None and name not in parser.commands:
        raise UnknownName("command", name, parser.commands)
    try:
        with parser.make_context("budgetplan", words) as context:
            parser.invoke(context)
    except UsageError as error:
        raise _usage(error) from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code.

    Exit codes: 0 fine, 1 findings, 2 the user must fix something, 130 interrupted. Any exception
    that is not a `UserError` is a bug and keeps its traceback.
    """
    try:
        _obey(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
    except typer.Exit as done:
        sys.stdout.flush()
        return done.exit_code
    except UserError as error:
        fail(error)
        return 2
    except BrokenPipeError:  # the reader, as `| head`, has seen enough
        _discard()
    except OSError as error:
        if error.errno not in FULL or error.filename is not None:
            raise
        _discard()
        fail(BadValue(f"the result could not be written: {error.strerror}", "Make room for it."))
        return 2
    except SystemExit as end:  # so rich ends a program whose reader has seen enough
        if not isinstance(end.__context__, BrokenPipeError):
            raise
    except (KeyboardInterrupt, typer.Abort):
        return 130
    return 0


def _discard() -> None:
    """Send the rest of the output nowhere, so that it is not tried again at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def run() -> None:
    """Run the command line of this process and end it."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal without a character shows ?, no traceback
            stream.reconfigure(errors="replace")
    sys.exit(main())
