"""The front end where standard input is no terminal: statements of a script, or of a transcript.

A block ends at an empty line, as at the prompt. Input whose first statement begins with ``>>> `` is
a transcript: only what stands after its prompts is run.
"""

from __future__ import annotations

import sys
from typing import Any

from ion.shell.prompt.evaluation import Lines
from ion.shell.prompt.plain import FIRST, MORE, LineReader, format_error

_MORE = MORE.rstrip()


class PipePrompt:
    """Reads a statement when it is asked for one, so that another program may drive it."""

    def __init__(self) -> None:
        self._reader = LineReader()
        self._transcript: bool | None = None
        self._held: str | None = None

    async def read(self) -> str:
        """Return the next statement.

        :raises EOFError: there is none any more.
        """
        while True:
            text = await self._statement()
            if text.strip():
                return text

    def show(self, value: Any) -> None:
        """Print a value as Python shows it."""
        print(repr(value), flush=True)

    def fail(self, error: BaseException) -> None:
        """Print a traceback that begins at the user's line."""
        sys.stdout.flush()
        print("".join(format_error(error)), end="", file=sys.stderr)

    def interrupt(self) -> None:
        """Leave."""
        self.close()

    def close(self) -> None:
        """End a waiting ``read``."""
        self._reader.close()

    async def _statement(self) -> str:
        lines = Lines()
        kept: list[str] = []
        while True:
            try:
                line = await self._line(inside=bool(kept))
            except EOFError:
                if self._reader.closed or not kept:
                    raise
                return "\n".join(kept)  # cut off by the end: running it tells what is missing
            kept.append(line)
            whole = lines.add(line)
            if whole is not None:
                return whole

    async def _line(self, *, inside: bool) -> str:
        """Return the next line that is to be run, without its prompt.

        :param inside: it goes on with a statement.
        """
        while True:
            line = await self._raw()
            if self._transcript is None and line.strip() and not line.startswith("#"):
                self._transcript = line.startswith(FIRST)
            if not self._transcript:
                return line
            goes_on = line.startswith(_MORE)
            if inside and not goes_on:
                self._held = line
                return ""  # as the empty line that ends a block
            if goes_on if inside else line.startswith(FIRST):
                return line[len(FIRST) :]

    async def _raw(self) -> str:
        held, self._held = self._held, None
        return await self._reader.line() if held is None else held
