"""The driver of receivers that talk NMEA 0183 over TCP.

It knows positions (GGA, RMC, VTG), and the sentences by which the device of
:mod:`ion.services.simulator` is set, ``$PION,RATE,5*..``; those of a maker's own look alike.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ion.base import clock
from ion.base.errors import ConfigurationError, IonError
from ion.services.instrument.driver import Driver
from ion.services.instrument.model import Capability, DeviceError, Wrong
from ion.services.instrument.nmea.correlation import ReplyCorrelator
from ion.services.instrument.nmea.link import Link
from ion.services.instrument.nmea.sentences import (
    FIELDS,
    BadSentence,
    Epochs,
    Parser,
    Unchecked,
    sentence,
)

RATE, SENTENCES, VERSION = "rate", "sentences", "version"
KNOWN = (
    "host",
    "port",
    "service",
    "silence",
    "connect_timeout",
    "answer_timeout",
    "most",
    "checksum",
)
CHECKSUMS = (REQUIRED, OPTIONAL) = ("required", "optional")
PROPRIETARY = b"$PION,"
MAX_TEXT = 60
MOSTLY = 2  # times as many as others
SETTLED = 1.0  # seconds after which a fix has no more sentences
FIXES = 3.0  # that may fail to come before the device counts as gone


class NmeaDriver(Driver):
    """Speaks NMEA 0183.

    Settings: ``host`` and ``port``, or ``service``, whose op ``address`` tells both; ``silence``,
    seconds without a good sentence after which the device counts as gone (5; the time of three
    fixes, where it was set to a rate that is slower); ``connect_timeout`` (5); ``answer_timeout``
    (2); ``most``, sentences a second that are looked at (500); ``checksum``, ``required`` or
    ``optional``: whether sentences without one are bad ones.
    """

    fields = FIELDS
    capabilities = (
        Capability(RATE, "parameter", "fixes a second", "float", writable=True),
        Capability(SENTENCES, "parameter", "which are sent: GGA+RMC+VTG", "str", writable=True),
        Capability(VERSION, "parameter", "what the device is", "str"),
        Capability("reset", "command", "set the device back to how it was when it was new"),
        Capability("fix", "command", "return the last position"),
    )

    _link: Link | None = None
    _reading: asyncio.Task[None] | None = None

    async def on_init(self) -> None:
        """Load the parser.

        :raises ConfigurationError: it is not installed, or a setting is wrong.
        """
        for key in self.settings:
            if key not in KNOWN:
                message = f"device: unknown setting {key!r} (known: {', '.join(KNOWN)})"
                raise ConfigurationError(message)
        checksum = self.settings.get("checksum", REQUIRED)
        if checksum not in CHECKSUMS:
            message = f"device: checksum is {' or '.join(CHECKSUMS)}, not {checksum!r:.80}"
            raise ConfigurationError(message)
        self._parser = Parser(needs_checksum=checksum == REQUIRED)
        self._bad, self._unchecked = 0, 0  # lines since the last good one
        self._epochs = Epochs()
        self._said = -math.inf  # when the last good sentence came
        self._asking = asyncio.Lock()
        self._answers = ReplyCorrelator()
        self._answer: asyncio.Future[list[str]] | None = None
        self._last: dict[str, float] | None = None
        self._counts = {"sentences": 0, "bad": 0, "overlong": 0, "dropped": 0}

    # connection

    async def connect(self) -> None:
        """Connect, and wait for the first good sentence.

        :raises DeviceError: nobody is there, or only says nonsense.
        """
        await self.disconnect()
        host, port = await self._address()
        silence = self._silence()
        link = Link(
            self._take,
            self._rest,
            silence=silence,
            most=int(self.settings.get("most", 500)),
            tick=min(silence / 4, 0.5),
        )
        await link.open(host, port, float(self.settings.get("connect_timeout", 5.0)))
        self._link, self._epochs, self._answers = link, Epochs(), ReplyCorrelator()
        self._bad, self._unchecked = 0, 0
        self._reading = self.run(self._read(link), "reader", own=True)
        good = asyncio.ensure_future(link.good.wait())
        try:
            await asyncio.wait({good, self._reading}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            good.cancel()
        if not link.good.is_set():
            await self.disconnect()
            message = f"{host}:{port} has said nothing sensible: {link.over}{self._heard()}"
            raise DeviceError(message)

    async def _address(self) -> tuple[str, int]:
        service = self.settings.get("service")
        if service is None:
            return str(self.settings.get("host", "127.0.0.1")), int(self.settings["port"])
        try:
            host, port = await self.rpc_send(service, "address", {}, 5.0)
        except IonError as error:
            message = f"service {service!r} does not say where the device is: {error}"
            raise DeviceError(message) from error
        return str(host), int(port)

    async def disconnect(self) -> None:
        """Close the connection."""
        reading, self._reading = self._reading, None
        link, self._link = self._link, None
        if reading is not None and not reading.done():
            reading.cancel()
            await asyncio.wait({reading})
        if link is not None:
            await link.close()
            self._tally(link)

    def _tally(self, link: Link) -> None:
        """Count what a connection has seen that is over, and answer who waits for its device."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(DeviceError("the device is gone"))
        self._counts["overlong"] += link.overlong
        self._counts["dropped"] += link.dropped

    async def _read(self, link: Link) -> None:
        reason = await link.read()
        if self._link is link and link.good.is_set():
            self._link = None
            self._tally(link)
            await link.close()
            await self.lose(reason + self._heard())

    def _heard(self) -> str:
        """Say what has come since the last good sentence, if anything."""
        if self._unchecked > MOSTLY * self._bad:  # else some that were cut off, such as by noise
            remedy = "device: {checksum: optional} takes them"
            return f" ({self._unchecked} lines without a checksum: {remedy})"
        bad = self._bad + self._unchecked
        return f" ({bad} bad lines)" if bad else ""

    async def _rest(self) -> None:
        if clock.monotonic() - self._said > SETTLED:
            self.settle()
        await self.flush(only_due=True)

    def settle(self) -> None:
        """Take the last fix, where the receiver tells of it in one sentence only."""
        sample = self._epochs.end()
        if sample is not None:
            self._keep(sample)

    # what the device says

    def _take(self, line: bytes) -> bool:
        """Take a line; return whether it is a good sentence."""
        try:
            said = self._parser.parse(line)
            now = datetime.fromtimestamp(clock.now(), UTC)
            sample = self._epochs.add(said, now)
        except BadSentence as error:
            self._counts["bad"] += 1
            if isinstance(error, Unchecked):
                self._unchecked += 1
            else:
                self._bad += 1
            return False
        self._counts["sentences"] += 1
        self._bad = self._unchecked = 0
        self._said = clock.monotonic()
        if PROPRIETARY in line:
            self._heed(line)
        if sample is not None:
            self._keep(sample)
        return True

    def _keep(self, sample: dict[str, float]) -> None:
        self._last = sample
        self.sample(sample)

    def _heed(self, line: bytes) -> None:
        """Take an answer, where one is waited for."""
        body = line[line.rfind(b"$") :].partition(b"*")[0]  # as the parser: noise may stand before
        if not body.startswith(PROPRIETARY):
            return
        answer = self._answers.hear(body.decode("ascii").split(",")[1:])
        if answer is not None and self._answer is not None and not self._answer.done():
            self._answer.set_result(answer)

    async def _ask(self, name: str, value: str = "") -> str:
        """Send a sentence of the device's own and return the value that it answers.

        :raises Wrong: a sentence cannot hold the value.
        :raises DeviceError: it is gone, says nothing in time, or says no.
        """
        line = sentence("PION", name, value)
        link, timeout = self._link, float(self.settings.get("answer_timeout", 2.0))
        if link is None:
            message = "the device is not connected"
            raise DeviceError(message)
        async with self._asking:
            self._answers.ask(name, value)
            words = await self._answer_to(link, name, line, timeout)
        if words[-1:] != ["OK"]:
            message = f"the device says no to {name} {value}"
            raise DeviceError(message)
        return ",".join(words[:-1])

    async def _answer_to(self, link: Link, name: str, line: bytes, timeout: float) -> list[str]:
        """Return the words that the device answers to what was asked; raises as :meth:`_ask`."""
        answers = self._answers
        future: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
        self._answer = future
        try:
            await link.write(line, timeout)
            async with asyncio.timeout(timeout):
                return await future
        except TimeoutError:
            if answers.likely is not None:
                return answers.likely
            message = f"the device does not answer {name}"
            raise DeviceError(message) from None
        finally:
            self._answer = None
            answers.end()

    # what is said to it

    async def get(self, name: str) -> Any:
        """Return a parameter. :raises Wrong: there is none. :raises DeviceError: see _ask."""
        if name not in (RATE, SENTENCES, VERSION):
            raise _unknown(name)
        value = await self._ask(name.upper())
        return float(value) if name == RATE else value.partition(",")[0]

    async def set(self, name: str, value: Any) -> Any:
        """Set a parameter. :raises Wrong: it cannot be. :raises DeviceError: see _ask."""
        if name == RATE and isinstance(value, int | float) and not isinstance(value, bool):
            rate = float(await self._ask("RATE", f"{value:g}"))
            self._expect(rate)
            return rate
        if name == SENTENCES and isinstance(value, str) and 0 < len(value) <= MAX_TEXT:
            return await self._ask("SENTENCES", value)
        if name in (RATE, SENTENCES):
            message = f"{name}: {value!r} is of the wrong type"
            raise Wrong(message)
        raise _unknown(name)

    async def execute(self, command: str, args: Mapping[str, Any]) -> Any:
        """Do ``reset`` or ``fix``. :raises Wrong: it is neither. :raises DeviceError: see _ask."""
        if args:
            message = f"{command} takes nothing, but got {', '.join(args)}"
            raise Wrong(message)
        if command == "fix":
            return self._last
        if command == "reset":
            await self._ask("RESET")
            self._expect(math.inf)
            return None
        raise _unknown(command)

    def _silence(self) -> float:
        return float(self.settings.get("silence", 5.0))

    def _expect(self, rate: float) -> None:
        """Bear the silence of a device that was told to say little: a few fixes of it."""
        if self._link is not None and rate > 0:
            self._link.silence = max(self._silence(), FIXES / rate)

    async def direct(self, data: bytes, wait: float) -> bytes:
        """Send bytes as they are, and return what came. :raises DeviceError: it is gone."""
        if self._link is None:
            message = "the device is not connected"
            raise DeviceError(message)
        self._link.is_raw = True
        if data:
            await self._link.write(data, float(self.settings.get("answer_timeout", 2.0)))
        await clock.sleep(wait)
        return self._link.fetch_raw() if self._link is not None else b""

    def status(self) -> dict[str, Any]:
        """Return counters: sentences, and bad, overlong and dropped lines."""
        counts = dict(self._counts)
        if self._link is not None:
            counts["overlong"] += self._link.overlong
            counts["dropped"] += self._link.dropped
        return {"connected": self._link is not None, **counts}


def _unknown(name: str) -> Wrong:
    known = ", ".join(each.name for each in NmeaDriver.capabilities)
    message = f"{name!r}: the device has no such thing (known: {known})"
    return Wrong(message)
