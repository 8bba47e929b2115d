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
from ion.shell.commands.leaving import first_of, until_told
from ion.shell.commands.printing import STDERR, STDOUT, Printer
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
        reading = asyncio.create_task(_print_all(stream, printer, file, is_raw=out is not None))
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


@contextlib.contextmanager
def _opened(name: str | None) -> Iterator[int]:
    """Give a file to write to; what was in it stays until :func:`_emptied`."""
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


def _emptied(file: int) -> None:
    if file != STDOUT and stat.S_ISREG(os.fstat(file).st_mode):
        os.ftruncate(file, 0)


async def _print_all(
    stream: StreamConversation, printer: Printer, file: int, *, is_raw: bool
) -> None:
    """Print items: the next one is asked for when there is room for it; wait for the last."""
    is_first = True
    try:
        async with stream as items:
            async for item in items:
                if is_first:
                    _emptied(file)
                    is_first = False
                _print(item, printer, is_raw=is_raw)
                await printer.room()
    except IonError:  # it is told after what came before it
        await printer.room(0)
        raise
    if is_first:
        _emptied(file)
    await printer.room(0)


def _print(item: Any, printer: Printer, *, is_raw: bool) -> None:
    if is_raw and isinstance(item, bytes):
        printer.write(item)
    elif is_raw and isinstance(item, str):
        printer.write(item.encode("utf-8", "surrogateescape"))
    else:
        printer.print([to_json(item)])
