"""What people and programs see: tables for the first, JSON for the second.

Cells come from other containers, so control characters in them never reach the terminal.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

import msgspec

Row = Mapping[str, Any]
_GAP = "  "
WIDTH = 100  # characters of a line, where no terminal says how wide it is
_NO_BREAK = "\u00a0"  # a blank that no line ends at
NARROWEST = 40  # characters that the last column has in any case


class Table:
    """Rows under headings; the data stay at hand in ``rows``.

    :ivar columns: keys of the rows that are shown, in order; also the headings.
    :ivar rows: maps; a missing or None value is shown as ``-``.
    :ivar note: a last line, such as a count.
    """

    def __init__(self, columns: Sequence[str], rows: Sequence[Row], note: str = "") -> None:
        self.columns = tuple(columns)
        self.rows = list(rows)
        self.note = note

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return self.text()

    def cells(self) -> list[list[str]]:
        """Return the text of all cells, row by row."""
        return [[cell_text(row.get(column)) for column in self.columns] for row in self.rows]

    def text(self) -> str:
        """Return the table as plain text with blanks between the columns.

        A list in the last column that is too long for a line has a line for each of its items.
        """
        lines = [[column.upper() for column in self.columns], *self.cells()]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        start = sum(widths[:-1]) + len(_GAP) * (len(widths) - 1)
        room = max(shutil.get_terminal_size((WIDTH, 0)).columns - start, NARROWEST)
        printed: list[str] = []
        for line, row in zip(lines, [{}, *self.rows], strict=True):
            first, *more = _folded(line[-1], row.get(self.columns[-1]), room)
            cells = [*line[:-1], first]
            padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
            printed.append(_GAP.join(padded).rstrip())
            printed += [" " * start + each for each in more]
        return "\n".join([*printed, self.note] if self.note else printed)

    def show(self, file: TextIO | None = None) -> None:
        """Print the table: drawn by rich on a terminal that has it, plain elsewhere."""
        file = sys.stdout if file is None else file
        if not (file.isatty() and self._draw(file)):
            print(self.text(), file=file)

    def _draw(self, file: TextIO) -> bool:
        try:
            from rich.box import SIMPLE_HEAD
            from rich.console import Console
            from rich.table import Table as RichTable
            from rich.text import Text
        except ImportError:
            return False
        drawn = RichTable(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
        console = Console(file=file)
        rows = self.cells()
        for number, column in enumerate(self.columns):
            # the first tells which one it is, and is what people copy: the others make room for it
            longest = max((len(row[number]) for row in rows), default=0)
            whole = number == 0 and longest <= console.width // 2
            drawn.add_column(column.upper(), overflow="fold", no_wrap=whole)
        for cells in rows:
            drawn.add_row(*(Text(cell) for cell in cells))
        console.print(drawn)
        if self.note:
            console.print(Text(self.note, style="dim"))
        return True


def _folded(text: str, value: Any, room: int) -> list[str]:
    """Return the lines of a cell, one where it fits."""
    if len(text) <= room or not isinstance(value, list):
        return [text]
    lines: list[str] = []
    for item in value:
        whole = cell_text(item).replace(" ", _NO_BREAK).replace(f",{_NO_BREAK}", ", ")
        lines += textwrap.wrap(whole, room, subsequent_indent="    ", break_on_hyphens=False)
    return [line.replace(_NO_BREAK, " ") for line in lines]


def cell_text(value: Any) -> str:
    """Return ``value`` as one line of text that is safe to print."""
    if value is None or value in ("", []):
        return "-"
    if isinstance(value, list | tuple | set):
        return ", ".join(cell_text(item) for item in value)
    return printable(str(value))


def moment(seconds: float, timespec: str = "milliseconds") -> str:
    """Return a time, seconds since 1970, as text in UTC; one that no calendar has as a number."""
    try:
        told = datetime.fromtimestamp(seconds, UTC).isoformat(timespec=timespec)
    except (OverflowError, OSError, ValueError):  # of a clock, or a program, that is wrong
        return f"{seconds:g} s"
    return told.replace("+00:00", "Z")


def local_moment(seconds: Any) -> str | None:
    """Return a time as :func:`moment` does, by the clock on the wall here; None where it is none.

    :param seconds: as somebody else has sent it.
    """
    if not isinstance(seconds, int | float):
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC).astimezone().isoformat(" ", "seconds")
    except (OverflowError, OSError, ValueError):
        return f"{seconds:g} s"


def printable(text: str) -> str:
    """Return ``text`` with every control character written as an escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def to_json(value: Any, *, indent: bool = False) -> str:
    """Return ``value`` as JSON: bytes as base64, times as ISO 8601, messages of protobuf as maps,
    other things as text.
    """
    encoded = msgspec.json.encode(value, enc_hook=_plain)
    return (msgspec.json.format(encoded, indent=2) if indent else encoded).decode()


def _plain(value: Any) -> Any:
    if not hasattr(value, "DESCRIPTOR"):
        return str(value)
    from google.protobuf import json_format  # whoever has such a message has it installed

    return json_format.MessageToDict(value, preserving_proto_field_name=True)


def show_json(value: Any, file: TextIO | None = None) -> None:
    """Print ``value`` as JSON: indented on a terminal, one line elsewhere."""
    file = sys.stdout if file is None else file
    print(to_json(value, indent=file.isatty()), file=file)
