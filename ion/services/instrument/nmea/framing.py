"""Bytes of a device to sentences, whatever it sends. Pure, and of bounded memory.

A sentence of NMEA 0183 has at most 82 characters; some devices exceed that, none by much. What is
longer is no sentence: it is dropped up to the next end of line, however far that is.
"""

from __future__ import annotations

MAX_LINE = 256


class LineFramer:
    """Cuts bytes into lines.

    :ivar overlong: how many lines were dropped because they were too long.
    """

    __slots__ = ("_is_dropping", "_max", "_rest", "overlong")

    def __init__(self, longest: int = MAX_LINE) -> None:
        self._max = longest
        self._rest = b""
        self._is_dropping = False
        self.overlong = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes; return the lines that they complete, without their ends, empty ones not."""
        *whole, rest = data.replace(b"\r", b"\n").split(b"\n")
        lines = []
        for piece in whole:
            line, self._rest = self._rest + piece, b""
            if self._is_dropping or len(line) > self._max:
                self.overlong += not self._is_dropping
                self._is_dropping = False
            elif line:
                lines.append(line)
        self._keep(rest)
        return lines

    def _keep(self, rest: bytes) -> None:
        if self._is_dropping:
            return
        self._rest += rest
        if len(self._rest) > self._max:
            self.overlong += 1
            self._is_dropping = True
            self._rest = b""

    @property
    def held(self) -> int:
        """How many bytes wait for the end of their line."""
        return len(self._rest)
