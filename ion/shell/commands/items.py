"""``ioncc call`` of an op that streams: its items as they come, each a line of JSON.

Contract: who reads them sets the pace, and the op at the other side waits with it. Whatever ends
this side (a signal, a reader that leaves) closes the op's generator, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from collections.abc import Iterator
from typing import Any

from ion.base.errors import IonError
from ion.process.conversations.stream import StreamConversation
from ion.shell import exits
from ion.shell.commands.printing import STDERR, STDOUT, Printer
from ion.shell.commands.signals import first_of, until_told
from ion.shell.render import to_json

STANDARD = "-"  # standard input, or output
LAST_WORDS = 1.0  # seconds for what is left to be printed when it is told to end
BY_SIGNAL = 128  # and its number: an exit code, as shells have it


async def show_items(stream: StreamConversation, out: str | None) -> int:
    """Print the items of a stream until the last one; return the exit code.

    :param out: the file that they are written to, bytes and text as they are; None: they are
        printed as JSON.
    :raises IonError: the stream ended with it, after the items before it; or no such file can be
        written.
    :raises OSError: nothing can be written any more.
    """
    with _opened(out) as file, until_told() as told:
        printer = Printer((file, STDERR))
        items = _Items(printer, file, is_raw=out is not None)
        reading = asyncio.create_task(_print_all(stream, items))
        over = asyncio.Event()
        reading.add_done_callback(lambda _: over.set())
        try:
            await first_of(told, printer.broken, over)
        finally:
            reading.cancel()
            await asyncio.wait([reading])
            await printer.close(LAST_WORDS)
    if printer.error is not None:
        raise printer.error
    if reading.cancelled():
        return BY_SIGNAL + told.number
    reading.result()
    return exits.OK


class _Items:
    """Writes items; a file has what was in it until there is something to write, or the end."""

    def __init__(self, printer: Printer, file: int, *, is_raw: bool) -> None:
        self.printer = printer
        self._file = file
        self._is_raw = is_raw
        self._has_begun = False

    def put(self, item: Any) -> None:
        """Write an item; never waits."""
        self.begin()
        if self._is_raw and isinstance(item, bytes):
            self.printer.write(item)
        elif self._is_raw and isinstance(item, str):
            self.printer.write(item.encode("utf-8", "surrogateescape"))
        else:
            self.printer.print([to_json(item)])

    def begin(self) -> None:
        """Empty the file, once."""
        if self._has_begun:
            return
        self._has_begun = True
        if self._file != STDOUT and stat.S_ISREG(os.fstat(self._file).st_mode):
            os.ftruncate(self._file, 0)


async def _print_all(stream: StreamConversation, items: _Items) -> None:
    """Print the items: the next one is asked for when there is room for it; wait for the last."""
    try:
        async with stream:
            async for item in stream:
                items.put(item)
                await items.printer.room()
    except IonError:  # it is told after what came before it
        await items.printer.room(0)
        raise
    items.begin()
    await items.printer.room(0)


@contextlib.contextmanager
def _opened(name: str | None) -> Iterator[int]:
    """Give a file to write to."""
    if name is None or name == STANDARD:
        yield STDOUT
        return
    try:
        file = os.open(name, os.O_WRONLY | os.O_CREAT, 0o666)
    except OSError as error:
        message = f"the items cannot be written to {name!r}: {error.strerror}"
        raise IonError(message) from error
    try:
        yield file
    finally:
        os.close(file)
