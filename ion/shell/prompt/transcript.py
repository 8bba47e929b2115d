"""Transcripts: what was typed in a session and what it showed, as a text that can be replayed.

The format is that of doctest: ``>>> `` and ``... `` before what was typed, under it what was
shown, ``<BLANKLINE>`` for an empty line; all else is prose, and ``...`` stands for any text. What
differs from one run to the next is written as a word, ``<id>`` or ``<time>``, when it is recorded
and again when it is replayed, so that the two compare. A line ``# start: NAME ...`` says which
apps and rels the container runs that it is to be replayed against.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from ion.base.errors import ConfigurationError
from ion.shell.exits import one_line
from ion.shell.prompt.session import Outcome
from ion.shell.render import Table

_VARYING: Sequence[tuple[re.Pattern[str], str]] = (
    # ids of containers, of conversations and messages
    (re.compile(r"\b[\w-]+_\d+_[0-9a-f]{8}\b", re.ASCII), "<id>"),
    (re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b[0-9a-f]{32}\b"), "<id>"),
    (re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)?"), "<time>"),
    (re.compile(r"(?<![\w.])\d+(\.\d+)?(?= (ms|us|s|MiB)\b)"), "<n>"),
    (re.compile(r"(?<=[\w\]]):\d{4,5}\b"), ":<port>"),
)
# Whole columns of tables.
_CELLS = {"host": "<host>", "os pid": "<n>", "handled": "<n>"}
# What would be read as the next statement, or as the rest of the last one.
_PROMPTS = re.compile(r"^ *>>>|\A *\.\.\.", re.MULTILINE)


def masked(text: str, ids: Iterable[str] = ()) -> str:
    """Return ``text`` with words in place of what differs from one run to the next.

    :param ids: of containers, where they are names that somebody chose.
    """
    for name in sorted(ids, key=len, reverse=True):
        text = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", "<id>", text)
    for pattern, word in _VARYING:
        text = pattern.sub(word, text)
    return text


def written(outcome: Outcome, ids: Sequence[str] = ()) -> str:
    """Return the lines that a transcript has for an outcome, each with its end."""
    value = outcome.value
    if isinstance(value, Table):  # masked cell by cell, its columns stay straight
        outcome = replace(outcome, value=_masked_table(value, ids))
    text = _PROMPTS.sub("<prompt>", masked(outcome.text(), ids))
    lines = [line.rstrip() or "<BLANKLINE>" for line in text.splitlines()]
    return "".join(f"{line}\n" for line in lines)


def _masked_table(table: Table, ids: Sequence[str]) -> Table:
    rows = [
        {
            column: _CELLS.get(column) or masked(cell, ids)
            for column, cell in zip(table.columns, cells, strict=True)
        }
        for cells in table.cells()
    ]
    return Table(table.columns, rows, masked(table.note, ids))


def typed(statement: str) -> str:
    """Return a statement as it stands in a transcript."""
    first, *more = statement.strip("\n").split("\n")
    lines = (f">>> {first}", *(f"... {line}".rstrip() for line in more))
    return "".join(f"{line}\n" for line in lines)


class Recorder:
    """Writes a session into a new file, statement by statement.

    :param path: of the file.
    :raises ConfigurationError: there is such a file already, or it cannot be made.
    """

    def __init__(self, path: Path, *, ids: Iterable[str] = (), start: Iterable[str] = ()) -> None:
        self._ids = list(ids)
        try:
            self._file: TextIO = path.open("x", encoding="utf-8")
        except FileExistsError:
            message = f"{path} is there already: a transcript goes into a new file"
            raise ConfigurationError(message) from None
        except OSError as error:
            message = f"no transcript can be written to {path}: {one_line(error)}"
            raise ConfigurationError(message) from None
        words = " ".join(start)
        self._write("# A session of ioncc, as ion.testing.transcripts replays it.\n")
        self._write(f"# start: {words}\n" if words else "")

    def note(self, statement: str, outcome: Outcome) -> None:
        """Write what was typed, and what it showed."""
        self._write(f"\n{typed(statement)}{written(outcome, self._ids)}")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, text: str) -> None:
        self._file.write(text)
        self._file.flush()
