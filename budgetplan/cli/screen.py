"""The screen: the result goes to stdout and nothing else does; all else goes to stderr."""

from __future__ import annotations

import json
import os
import re
import sys
from typing import IO, TYPE_CHECKING, Any, TextIO, cast

from budgetplan.core.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console


def console(*, stderr: bool = False) -> Console:
    """Return a console that obeys the terminal, NO_COLOR and COLUMNS.

    Into a pipe it writes plain text of 80 columns, messages to stderr unbroken, so that a path in
    them can be copied. Text is shown as it is: no [markup], no :emoji:, which a user's own names
    may look like.
    """
    from rich.console import Console

    piped = not (sys.stderr if stderr else sys.stdout).isatty()
    width = 80 if piped and "COLUMNS" not in os.environ else None
    return Console(
        stderr=stderr,
        file=None if stderr or not piped else cast(IO[str], _Trimmed(sys.stdout)),
        width=width,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=piped and stderr,
    )


class _Trimmed:
    """A stream whose lines end where their words do; tables fill theirs with blanks."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(re.sub(r" +$", "", text, flags=re.MULTILINE))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def emit_json(result: dict[str, Any]) -> None:
    """Print the result for programs: stable keys, numbers as numbers, never NaN."""
    sys.stdout.write(json.dumps(result, indent=2, allow_nan=False) + "\n")


def fail(error: UserError) -> None:
    """Tell the user what to fix."""
    from rich.text import Text

    screen = console(stderr=True)
    screen.print(Text("error: ", style="bold red") + Text(error.problem, style="default"))
    if error.remedy:
        screen.print(Text(error.remedy))


def warn(message: str) -> None:
    """Tell the user what to keep in mind, beside the result."""
    from rich.text import Text

    console(stderr=True).print(Text("note: ", style="bold yellow") + Text(message, style="default"))
