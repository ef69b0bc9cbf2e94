"""Tables: files of runs as rows of text: CSV, JSON lines, and what experiment trackers export."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from budgetplan.core.errors import BadValue, quoted

STANDARD_INPUT = Path("-")
MAX_BYTES = 512 * 2**20
NEEDED = "loss and two of params, tokens, flops"
_HISTORY = re.compile(r"(.+) - (\S.*)")  # Weights & Biases: "brave-sun-3 - val_loss"
_SCALARS = ("wall time", "step", "value")  # TensorBoard's download of one scalar of one run
_DOWNLOAD = re.compile(r"(?:run-)?(.+?)(?:-tag-.+)?")


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of text under headers, each with the line it ends on, from 1."""

    headers: tuple[str, ...]
    rows: list[tuple[int, list[str]]]
    delimiter: str = ","
    notes: tuple[str, ...] = ()
    series: bool = False  # steps of runs that a tracker exported: sizes are told elsewhere


def read_table(path: Path) -> Table:
    """Return the rows of a file; of standard input where it is called `-`.

    Raises:
        BadValue: the file cannot be read, is no table of text, or a row does not fit its header.
    """
    try:
        if path == STANDARD_INPUT:
            path = Path("standard input")  # as errors name it
            text = sys.stdin.buffer.read().decode("utf-8-sig")
            return _long(_parse(path, io.StringIO(text, newline="")), path)
        if path.is_dir():
            raise BadValue(f"{path} is a folder", "Name the CSV files in it.")
        if path.stat().st_size > MAX_BYTES:
            raise BadValue(f"{path} is larger than {MAX_BYTES // 2**20} MiB", "Thin it out.")
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = _parse(path, file)
    except OSError as error:
        raise BadValue(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise _not_text(path) from error
    return _long(table, path)


def _not_text(path: Path) -> BadValue:
    if "tfevents" in path.name:
        return BadValue(
            f"{path.name} is a TensorBoard event file",
            "Download its scalar as CSV from TensorBoard's page, and give --runs-table.",
        )
    return BadValue(f"{path} is not UTF-8 text", "Export the runs as CSV.")


def _parse(path: Path, file: TextIO) -> Table:
    lines = _Lines(file)
    first = next(lines, None)
    if first is None:
        raise BadValue(f"{path} is empty", f"Give a CSV with columns for {NEEDED}.")
    if "\0" in first or "tfevents" in path.name:
        raise _not_text(path)
    if first.lstrip().startswith(("{", "[")):
        return _json(path, first, lines)
    delimiter = max(",;\t", key=first.count)
    lines.again(first)
    return _csv(path, lines, delimiter)


class _Lines(Iterator[str]):
    """Lines that are neither empty nor a comment, and the number of the last one taken."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._kept: str | None = None
        self.number = 0

    def __next__(self) -> str:
        if self._kept is not None:
            line, self._kept = self._kept, None
            return line
        for line in self._file:
            self.number += 1
            if line.strip() and not line.startswith("#"):
                return line
        raise StopIteration

    def again(self, line: str) -> None:
        """Return this line once more."""
        self._kept = line


def _csv(path: Path, lines: _Lines, delimiter: str) -> Table:
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    rows: list[tuple[int, list[str]]] = []
    repeated = 0
    try:
        headers = [cell.strip() for cell in next(reader)]
        while headers and not headers[-1]:
            headers.pop()
        for found in reader:
            cells = [cell.strip() for cell in found]
            if len(cells) > len(headers) and not any(cells[len(headers) :]):
                del cells[len(headers) :]
            if cells == headers:
                repeated += 1
                continue
            if not any(cells):
                continue
            if len(cells) != len(headers):
                raise BadValue(
                    f"{path}, line {lines.number}: {len(cells)} cells under {len(headers)} headers",
                    "Quote cells that contain the delimiter.",
                )
            if any("\0" in cell for cell in cells):
                raise BadValue(f"{path} is binary, not CSV", "Export the runs as CSV.")
            rows.append((lines.number, cells))
    except csv.Error as error:
        raise BadValue(f"{path}, line {lines.number}: {error}", "Export it as CSV anew.") from error
    return Table(
        headers=tuple(headers),
        rows=rows,
        delimiter=delimiter,
        notes=(f"the header stands {repeated + 1} times in {path.name}",) if repeated else (),
    )


def _json(path: Path, first: str, lines: _Lines) -> Table:
    """Return JSON lines, or one list of objects, nested names joined by a dot."""
    found: list[tuple[int, dict[str, str]]] = []
    try:
        if first.lstrip().startswith("["):
            whole = json.loads(first + "".join(lines))
            records: Iterator[tuple[int, Any]] = enumerate(whole, start=1)
        else:
            lines.again(first)
            records = ((lines.number, json.loads(line)) for line in lines)
        for place, record in records:
            if not isinstance(record, dict):
                raise BadValue(f"{path}, line {place}: {quoted(record)} is no run", "Give objects.")
            found.append((place, dict(_flat(record))))
    except (json.JSONDecodeError, RecursionError) as error:
        raise BadValue(f"{path}, line {lines.number}: not JSON: {error}") from error
    headers = tuple(dict.fromkeys(name for _, record in found for name in record))
    rows = [(place, [record.get(name, "") for name in headers]) for place, record in found]
    return Table(headers=headers, rows=rows)


def _flat(record: dict[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    for key, value in record.items():
        name = f"{path}.{key}" if path else str(key)
        if isinstance(value, dict):
            yield from _flat(value, name)
        elif isinstance(value, str | int | float) and not isinstance(value, bool):
            yield name, str(value).strip()
        elif value is None:
            yield name, ""


def _long(table: Table, path: Path) -> Table:
    """Return a tracker's export of curves as one row for each run and step."""
    names = [header.lower() for header in table.headers]
    if sorted(names) == sorted(_SCALARS):
        step, value = names.index("step"), names.index("value")
        run = _DOWNLOAD.fullmatch(path.stem)
        name = run[1] if run else path.stem
        return Table(
            headers=("run", "step", "loss"),
            rows=[(line, [name, cells[step], cells[value]]) for line, cells in table.rows],
            delimiter=table.delimiter,
            series=True,
        )
    curves = {place: found for place, header in enumerate(table.headers)
              if (found := _HISTORY.fullmatch(header))}  # fmt: skip
    if not curves or "step" not in names:
        return table
    step = names.index("step")
    curves = {
        place: found for place, found in curves.items()
        if not found[2].endswith(("__MIN", "__MAX")) and found[2] != "_step"
    }  # fmt: skip
    metrics = dict.fromkeys(found[2] for found in curves.values())
    if len(metrics) != 1:
        raise BadValue(
            f"{path.name} has curves of {', '.join(metrics)}", "Export one metric, the loss."
        )
    rows = [
        (line, [found[1], cells[step], cells[place]])
        for line, cells in table.rows
        for place, found in curves.items()
        if cells[place]
    ]
    return Table(
        headers=("run", "step", "loss"),
        rows=rows,
        delimiter=table.delimiter,
        notes=(f"the loss is {next(iter(metrics))} of {path.name}",),
        series=True,
    )
