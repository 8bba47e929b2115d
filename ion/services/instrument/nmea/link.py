"""The line to a device that talks lines: TCP, read in bounded pieces, with a limit to its silence.

Whatever comes, no more than a few KB of it is held, and the loop is never kept for long: a piece is
at most 4 KB, and of lines that come faster than ``most`` a second the rest is dropped unread.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from socket import SO_RCVBUF, SOL_SOCKET

from ion.base import clock
from ion.services.instrument.model import DeviceError
from ion.services.instrument.nmea.framing import LineFramer

PIECE = 4096
BREATH = 0.005  # seconds between two pieces of a flood: what is not read slows the device down
KEPT_RAW = 65_536  # bytes of direct access that nobody has fetched
CLOSING = 1.0


class Link:
    """One connection; made anew for each.

    :param take: is given each line; returns whether it was any good.
    :param rest: awaited after each piece, and at least each ``tick`` seconds.
    :param silence: seconds without any good line after which the device counts as gone.
    :param most: lines a second that are looked at.
    :ivar dropped: lines that were not looked at.
    :ivar silence: as given; it may be changed.
    :ivar over: why it is over; "": it is not.
    :ivar is_raw: whether bytes are kept for direct access, too.
    """

    def __init__(
        self,
        take: Callable[[bytes], bool],
        rest: Callable[[], Awaitable[None]],
        *,
        silence: float,
        most: int = 500,
        tick: float = 0.5,
    ) -> None:
        self._take = take
        self._rest = rest
        self.silence = silence
        self._most = most
        self._tick = tick
        self._lines = LineFramer()
        self._writer: asyncio.StreamWriter | None = None
        self._reader: asyncio.StreamReader
        self._heard = 0.0  # when the last good line came
        self._second, self._in_second = 0, 0
        self._raw = bytearray()
        self.good = asyncio.Event()
        self.dropped = 0
        self.over = ""
        self.is_raw = False

    async def open(self, host: str, port: int, timeout: float) -> None:
        """Connect. :raises DeviceError: nobody is there."""
        try:
            async with asyncio.timeout(timeout):
                pair = await asyncio.open_connection(host, port, limit=PIECE)
        except (OSError, TimeoutError) as error:
            why = str(error) or f"no answer in {timeout:g} s"
            message = f"nothing to connect to at {host}:{port}: {why}"
            raise DeviceError(message) from error
        self._reader, self._writer = pair
        # What a device sends faster than it is read waits in the device, and not here, to be old.
        self._writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_RCVBUF, 16 * PIECE)
        self._heard = clock.monotonic()

    async def read(self) -> str:
        """Read until the device is gone; return why it is."""
        self.over = await self._read()
        return self.over

    async def _read(self) -> str:
        try:
            while True:
                data = await self._piece()
                if data == b"":
                    return "the device has closed the connection"
                if data is not None:
                    self._feed(data)
                elif clock.monotonic() - self._heard > self.silence:
                    return f"no good line for {self.silence:g} s"
                await self._pause()
        except OSError as error:
            return f"the connection broke: {error}"

    async def _piece(self) -> bytes | None:
        """Return some bytes; b"" at the end, None where there are none for a while."""
        if clock.monotonic() - self._heard > self.silence:
            return None  # what comes is no good
        reading = asyncio.ensure_future(self._reader.read(PIECE))
        try:
            done, _ = await asyncio.wait({reading}, timeout=self._tick)
        finally:
            if not reading.done():
                reading.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await reading
        return reading.result() if done else None

    async def _pause(self) -> None:
        """Let others have a turn; time that they take is not the device's silence."""
        before = clock.monotonic()
        await self._rest()
        await asyncio.sleep(BREATH if self._in_second > self._most else 0)
        took = clock.monotonic() - before
        if took > self._tick:
            self._heard += took

    def _feed(self, data: bytes) -> None:
        if self.is_raw:
            self._raw += data
            del self._raw[:-KEPT_RAW]
        now = clock.monotonic()
        if int(now) != self._second:
            self._second, self._in_second = int(now), 0
        for line in self._lines.feed(data):
            self._in_second += 1
            if self._in_second > self._most:
                self.dropped += 1
            elif self._take(line):
                self._heard = now
                self.good.set()

    @property
    def overlong(self) -> int:
        """How many lines had no end where one should have been."""
        return self._lines.overlong

    async def write(self, data: bytes, timeout: float) -> None:
        """Send bytes. :raises DeviceError: the device is gone, or does not take them."""
        writer = self._writer
        if writer is None or writer.is_closing():
            message = "the device is not connected"
            raise DeviceError(message)
        try:
            async with asyncio.timeout(timeout):
                writer.write(data)
                await writer.drain()
        except (OSError, TimeoutError) as error:
            message = f"the device does not take what is sent: {str(error) or 'it does not read'}"
            raise DeviceError(message) from error

    def fetch_raw(self) -> bytes:
        """Return the bytes that came since the last time, at most the last 64 KB."""
        data = bytes(self._raw)
        self._raw.clear()
        return data

    async def close(self) -> None:
        """Close the connection."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        writer.close()
        try:
            async with asyncio.timeout(CLOSING):
                await writer.wait_closed()
        except (OSError, TimeoutError):
            writer.transport.abort()
