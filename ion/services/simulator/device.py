"""The simulated device: a TCP server that talks NMEA 0183 to whoever connects.

It says where it is ``rate`` times a second, and takes sentences of its own kind::

    $PION,RATE,5*20          five times a second; the answer is $PION,RATE,5,OK*..
    $PION,SENTENCES,GGA+RMC  which ones; without a value, both ask what is set
    $PION,VERSION            what it is
    $PION,RESET              as it was when it was new
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

from ion.base import clock
from ion.base.tasks import Tasks
from ion.services.simulator.faults import FaultPlan
from ion.services.simulator.model import Spell, Status
from ion.services.simulator.track import Track, checksum, sentence

log = logging.getLogger(__name__)
VERSION = "ION-GPS-1"
KINDS = ("GGA", "RMC", "VTG")
MIN_RATE, MAX_RATE = 0.01, 100.0
MAX_COMMAND = 256
DRIP = 0.01
SENDING = 5.0  # seconds until who does not read is thrown out
LISTENING = 0.2  # seconds until it is tried again to listen, where the port is taken


class SimulatedDevice:
    """One device, which any number may listen to.

    :param port: 0: any that is free.
    :param rate: fixes a second.
    :param drip: seconds between the bytes of a slow line.
    :ivar port: where it listens, once it was opened; it stays the same.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        rate: float = 1.0,
        track: Track | None = None,
        seed: int = 0,
        drip: float = DRIP,
    ) -> None:
        self.host = host
        self.port = port
        self.accepted = 0
        self.sent = 0
        self._default_rate = rate
        self._drip = drip
        self._track = track or Track()
        self._plan = FaultPlan(seed)
        self._changed = asyncio.Event()
        self._tasks = Tasks("simulator")
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._reset()

    async def open(self) -> None:
        """Listen.

        :raises OSError: the port is taken.
        """
        await self._listen()
        self._tasks.start(self._keep(), "faults")

    async def close(self) -> None:
        """Throw everybody out, and listen no more."""
        await self._deafen()
        await self._tasks.stop(0)

    def plan(self, spells: Iterable[Spell]) -> None:
        """Behave badly at times.

        :raises UnknownFault: there is no such way to.
        :raises ImpossibleSpell: one is at no time.
        """
        self._plan.plan(spells, clock.monotonic())
        self._changed.set()

    def behave(self) -> None:
        """Behave well from now on."""
        self._plan.clear()
        self._changed.set()

    def status(self) -> Status:
        """Return what it is at."""
        return Status(
            host=self.host,
            port=self.port,
            connections=len(self._writers),
            accepted=self.accepted,
            sent=self.sent,
            faults=sorted(self._faults()),
            settings={"rate": self._rate, "sentences": "+".join(self._kinds)},
        )

    def _reset(self) -> None:
        self._rate = self._default_rate
        self._kinds: tuple[str, ...] = KINDS

    def _faults(self) -> set[str]:
        return self._plan.now(clock.monotonic())

    # listening, and refusing to

    async def _keep(self) -> None:
        """Open and close the door as the spells say."""
        while True:
            self._changed.clear()
            try:
                await (self._deafen() if "refuse" in self._faults() else self._listen())
                wait = self._until_change()
            except OSError as error:
                log.warning("the simulator cannot listen at %s: %s", self.port, error)
                wait = LISTENING
            try:
                await asyncio.wait_for(self._changed.wait(), wait)
            except TimeoutError:
                continue

    def _until_change(self) -> float | None:
        now = clock.monotonic()
        change = self._plan.next_change(now)
        return None if change is None else max(change - now, 0.0) + 0.001

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(
                self._accept, self.host, self.port, limit=MAX_COMMAND
            )
            self.port = self._server.sockets[0].getsockname()[1]

    async def _deafen(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for writer in list(self._writers):
            writer.transport.abort()

    # talking

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._writers.add(writer)
        self._tasks.start(self._serve(reader, writer), f"connection {self.accepted}")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hearing = asyncio.ensure_future(self._hear(reader, writer))
        try:
            while not hearing.done():
                await self._tell(writer)
        except (OSError, TimeoutError) as error:
            log.debug("a listener is gone: %s", error)
        finally:
            hearing.cancel()
            self._writers.discard(writer)
            writer.transport.abort()

    async def _tell(self, writer: asyncio.StreamWriter) -> None:
        """Say where it is, and wait until that is to be said again."""
        fix = self._track.at(clock.now())
        said = {"GGA": fix.gga, "RMC": fix.rmc, "VTG": fix.vtg}
        for kind in self._kinds:
            await self._send(writer, said[kind]())
        faults = self._faults()
        if "close" in faults:
            await clock.sleep(0.02)  # so that what was said arrives
            raise ConnectionAbortedError
        await clock.sleep(0 if "flood" in faults else 1 / self._rate)

    async def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        faults = self._faults()
        if "silence" in faults:
            return
        for part in self._plan.spoil(data, faults):
            for piece in _drops(part) if "drip" in faults else (part,):
                writer.write(piece)
                await asyncio.wait_for(writer.drain(), SENDING)
                if "drip" in faults:
                    await clock.sleep(self._drip)
        self.sent += 1

    # being told

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                answer = self._answer(line.strip())
                if answer and "silence" not in self._faults():
                    writer.write(answer)
        except (OSError, ValueError) as error:  # gone, or too long a line
            log.debug("a listener says nothing sensible: %s", error)

    def _answer(self, line: bytes) -> bytes | None:
        body, star, check = line.removeprefix(b"$").partition(b"*")
        if not line.startswith(b"$PION,"):
            return None
        if star and check.upper() != b"%02X" % checksum(body):
            return sentence("PION,ERROR,CHECKSUM")
        name, value = (*body.decode("ascii", "replace").split(",")[1:], "")[:2]
        try:
            return sentence(f"PION,{name},{self._do(name, value)},OK")
        except (ValueError, KeyError):
            return sentence(f"PION,{name},{value},ERROR")

    def _do(self, name: str, value: str) -> Any:
        if name == "RATE":
            self._rate = _rate(value) if value else self._rate
            return f"{self._rate:g}"
        if name == "SENTENCES":
            self._kinds = _kinds(value) if value else self._kinds
            return "+".join(self._kinds)
        if name == "RESET":
            self._reset()
            return ""
        return {"VERSION": VERSION}[name]


def _drops(data: bytes) -> Iterable[bytes]:
    return (data[i : i + 1] for i in range(len(data)))


def _rate(text: str) -> float:
    rate = float(text)
    if not MIN_RATE <= rate <= MAX_RATE:
        raise ValueError(text)
    return rate


def _kinds(text: str) -> tuple[str, ...]:
    kinds = tuple(text.split("+"))
    if not kinds or set(kinds) - set(KINDS):
        raise ValueError(text)
    return kinds
