"""A terminal that is drawn anew again and again, as ``top`` does it.

Written with the few control sequences that every terminal of today has; it looks the same with and
without rich.
"""

from __future__ import annotations

import asyncio
import os
import sys
import termios
import tty
from collections.abc import Sequence
from typing import Any, Self

_ENTER = "\x1b[?1049h\x1b[?25l"  # another screen, and no cursor
_LEAVE = "\x1b[?25h\x1b[?1049l"
_HOME = "\x1b[H"
_REST_OF_LINE = "\x1b[K"
_REST = "\x1b[J"
_QUIT = b"qQ\x03"


def can_draw() -> bool:
    """Tell whether standard output is a terminal that can be drawn on."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


class Screen:
    """Standard output, for the time of a ``with``; on leaving, it is as it was.

    :param told: set when somebody types q.
    """

    def __init__(self, told: asyncio.Event) -> None:
        self._told = told
        self._before: list[Any] | None = None
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> Self:
        if sys.stdin.isatty():
            self._before = termios.tcgetattr(sys.stdin)
            tty.setcbreak(sys.stdin, termios.TCSANOW)
            self._loop.add_reader(sys.stdin.fileno(), self._typed)
        _write(_ENTER)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            self._loop.remove_reader(sys.stdin.fileno())
            termios.tcsetattr(sys.stdin, termios.TCSANOW, self._before)
        _write(_LEAVE)

    @property
    def height(self) -> int:
        """How many lines it has."""
        return os.get_terminal_size(sys.stdout.fileno()).lines

    def draw(self, lines: Sequence[str]) -> None:
        """Show these lines and nothing else; what does not fit is cut off."""
        size = os.get_terminal_size(sys.stdout.fileno())
        shown = [f"{line[: size.columns]}{_REST_OF_LINE}" for line in lines[: size.lines]]
        _write(_HOME + "\r\n".join(shown) + _REST)

    def _typed(self) -> None:
        keys = os.read(sys.stdin.fileno(), 1024)
        if not keys or any(key in _QUIT for key in keys):
            self._told.set()


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
