"""A content in pieces of at most one size, whatever it comes from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator

from ion.stores.blobs.source import Source


async def pieces(source: Source, size: int) -> AsyncIterator[memoryview]:
    """Iterate a content; a file is read in a thread."""
    if isinstance(source, bytes | bytearray | memoryview):
        for piece in _parts(source, size):
            yield piece
    elif isinstance(source, AsyncIterable):
        async for data in source:
            for piece in _parts(data, size):
                yield piece
    else:
        while data := await asyncio.to_thread(source.read, size):
            yield memoryview(data)


def _parts(data: bytes | bytearray | memoryview, size: int) -> list[memoryview]:
    view = memoryview(data).cast("B")
    return [view[start : start + size] for start in range(0, len(view), size)]
