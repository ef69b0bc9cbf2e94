"""The shell of the application: usage errors, exit codes, pipes, colour and width."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from unittest.mock import Mock

import pytest

from budgetplan import __main__
from budgetplan.cli import app, screen
from budgetplan.cli.app import commands, main
from budgetplan.core.errors import UserError, known_ones

ROOT = Path(__file__).parents[2]
Captured = pytest.CaptureFixture[str]


def run(
    *words: str, program: tuple[str, ...] = ("-m", "budgetplan"), **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the program as a shell would, both streams piped."""
    kept = {key: value for key, value in os.environ.items() if key not in {"COLUMNS", "NO_COLOR"}}
    return subprocess.run(
        [sys.executable, *program, *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=kept | environment,
    )


# --- usage errors ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "problem", "remedy"),
    [
        (["optimise"], "unknown command 'optimise'", "Did you mean optimize?"),
        (["COUNT"], "unknown command 'COUNT'", "Did you mean count?"),
        (["frobnicate"], "unknown command 'frobnicate'", known_ones(commands)),
        (["--verison"], "unknown option '--verison'", "Did you mean --version? See: budgetplan -"),
        (["-q"], "unknown option '-q'", "See: budgetplan --help"),
        (
            ["count", "gpt2", "--bath", "8"],
            "unknown option '--bath'",
            "Did you mean --batch? See: budgetplan count --help",
        ),
        (["count"], "missing argument 'TARGET'", "See: budgetplan count --help"),
        (["count", "gpt2", "--batch"], "option '--batch' requires an argument", "See: "),
        (["count", "gpt2", "gpt2"], "got unexpected extra argument", "See: budgetplan count"),
        (["count", "gpt2", "--json=yes"], "option '--json' does not take a value", "See: "),
        (["--version", "--no-such"], "unknown option '--no-such'", "See: budgetplan --help"),
    ],
)
def test_a_usage_error_is_two_lines_on_stderr(
    words: list[str], problem: str, remedy: str, capsys: Captured
) -> None:
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    first, second = err.splitlines()
    assert first.startswith(f"error: {problem}")
    assert second.startswith(remedy)


def test_without_words_it_shows_its_help(capsys: Captured) -> None:
    assert main([]) == 0
    assert "Start here:" in capsys.readouterr().out


def test_help_lists_the_commands_in_the_order_of_use(capsys: Captured) -> None:
    assert main(["-h"]) == 0
    table = capsys.readouterr().out.split("Commands:")[1].split("Options:")[0]
    listed = re.findall(r"^  (\S+) ", table, re.MULTILINE)
    known = [name for name in app.ORDER if name in app.commands]
    assert listed[: len(known)] == known
    assert sorted(listed) == sorted(app.commands)


def test_it_tells_its_version(capsys: Captured) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"budgetplan {version('budgetplan')}\n"


# --- what ends a command ---------------------------------------------------------------------


def command_that(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> list[str]:
    """Arguments that run a command which only raises."""

    def explode() -> None:
        """Raise."""
        raise error

    monkeypatch.setitem(app.commands._items, "explode", explode)
    return ["explode"]


def test_a_users_mistake_is_told_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    words = command_that(monkeypatch, UserError("[1] is no budget", "Give a [positive] one."))
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", "error: [1] is no budget\nGive a [positive] one.\n")


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError):
        main(command_that(monkeypatch, ZeroDivisionError("ours")))


def test_ctrl_c_ends_as_a_shell_expects(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    assert main(command_that(monkeypatch, KeyboardInterrupt())) == 130
    assert capsys.readouterr().out == ""


def test_ctrl_c_while_loading_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(app, "run", interrupted)
    monkeypatch.setattr(__main__, "gc", Mock())  # these tests do not end yet
    with pytest.raises(SystemExit, match="130"):
        __main__.main()


def test_findings_are_told_by_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    import typer

    assert main(command_that(monkeypatch, typer.Exit(1))) == 1
    assert main(command_that(monkeypatch, typer.Exit())) == 0


def test_a_long_problem_is_not_broken_in_a_pipe(capsys: Captured) -> None:
    """A path that is broken in two cannot be copied; a terminal still wraps it at words."""
    screen.fail(UserError("cannot read " + "x" * 200))
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_command_is_built_without_the_others() -> None:
    """The start of one command must not pay for thirteen."""
    script = (
        "import sys; from budgetplan.cli.app import build; build('presets')\n"
        "print([name for name in ('count', 'optimize') if f'budgetplan.cli.{name}' in sys.modules])"
    )
    assert run(program=("-c", script)).stdout == "[]\n"


# --- the process -----------------------------------------------------------------------------


def test_the_script_and_the_module_are_the_same_program() -> None:
    script = Path(sys.executable).parent / "budgetplan"
    module = run("--help")
    installed = subprocess.run([script, "--help"], capture_output=True, text=True, check=False)
    assert module.stdout == installed.stdout != ""
    assert run("nonsense").stderr == run("nonsense", program=(str(script),)).stderr != ""


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["count", "gpt2", "--json"]])
def test_a_reader_that_has_seen_enough_is_no_error(words: list[str]) -> None:
    """As in `budgetplan --help | head -n 1`, with a reader that is gone before the first word."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "budgetplan", *words],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        cwd=ROOT,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is full")
@pytest.mark.parametrize("words", [["count", "gpt2"], ["count", "gpt2", "--json"]])
def test_a_full_disk_is_told_without_a_traceback(words: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "budgetplan", *words],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False, cwd=ROOT,
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("error: the result could not be written: No space left")


def test_a_closed_output_is_no_error() -> None:
    command = f'"{sys.executable}" -m budgetplan count gpt2 >&-'
    done = subprocess.run(
        ["sh", "-c", command], stderr=subprocess.PIPE, text=True, check=False, cwd=ROOT
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_pipe_gets_plain_text_of_eighty_columns() -> None:
    out = run("count", "gpt2").stdout
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) <= 80


def test_columns_are_obeyed() -> None:
    for width in (50, 70, 100):
        lines = run("--help", COLUMNS=str(width)).stdout.splitlines()
        prose = [line for line in lines if not line.startswith("  budgetplan")]
        assert width - 15 < max(map(len, prose)) <= width


@pytest.mark.parametrize(("setting", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colour_is_for_terminals_that_want_it(setting: dict[str, str], coloured: bool) -> None:
    """Run under a terminal of its own; bold is no colour, so that only colours are looked for."""
    pty = "import pty, sys; sys.exit(pty.spawn([sys.executable, '-m', 'budgetplan', 'x']) >> 8)"
    done = run(program=("-c", pty), TERM="xterm-256color", **setting)
    assert "unknown command" in done.stdout
    assert ("\x1b[1;31m" in done.stdout) == coloured
    assert done.returncode == 2


def test_a_terminal_without_our_characters_is_no_error() -> None:
    done = run("count", "gpt2", PYTHONIOENCODING="ascii", PYTHONUTF8="0", LC_ALL="C")
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()


def test_json_is_never_nan(capsys: Captured) -> None:
    screen.emit_json({"a": 1.5, "b": None})
    assert capsys.readouterr().out == '{\n  "a": 1.5,\n  "b": null\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        screen.emit_json({"a": float("nan")})
