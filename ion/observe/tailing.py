"""Recent log records of this OS process, and new ones as they come, for whoever reads from afar.

Contract: nothing piles up. The recent ones are bounded in number and in bytes; who reads too slowly
misses the oldest, and is told how many. Secrets are masked as they are in the log itself. What is
logged while records are handed out is not handed out, nor is the talk of the AMQP libraries about
each frame, or a record would beget the next one for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import AsyncGenerator
from contextvars import ContextVar
from typing import Any

import msgspec

from ion.observe.logging import JsonFormatter, checked_level

KEPT = 1000  # records
KEPT_BYTES = 1_048_576
WAITING = 2000  # records for one reader
BATCH = 200
BATCH_BYTES = 262_144
MAX_RECORD = 32_768  # bytes
SIGN_OF_LIFE = 1.0  # seconds
PAUSE = 0.05  # seconds between batches: should records beget records, they do it slowly

# They tell of each frame, which is to say of each record that is handed out.
_FRAMES = ("aio_pika", "aiormq", "pamqp")
_STANDARD = ("time", "level", "logger", "message", "container", "process", "op", "conversation")


class Kept(msgspec.Struct, frozen=True):
    """One record.

    :ivar number: counted from 1, of this OS process.
    :ivar container: who speaks; "" where nobody knows.
    :ivar data: it all, as the JSON that ``--log-format json`` writes.
    """

    number: int
    level: int
    logger: str
    container: str
    data: bytes


class Wanted(msgspec.Struct, frozen=True):
    """Which records somebody wants to have.

    :ivar container: only those of that container, and those of nobody in particular.
    :ivar level: least level, as a number.
    :ivar logger: that logger and those below it; "" is all.
    :ivar text: is in message or traceback, whatever its case; "" is in all.
    """

    container: str
    level: int = logging.NOTSET
    logger: str = ""
    text: str = ""

    def takes(self, kept: Kept) -> bool:
        """Tell whether a record is one of these."""
        if kept.level < self.level or kept.container not in ("", self.container):
            return False
        if self.logger and not f"{kept.logger}.".startswith(f"{self.logger}."):
            return False
        return not self.text or self.text.casefold() in _words_of(kept)


def wanted(container: str, level: str = "", logger: str = "", text: str = "") -> Wanted:
    """Return what is wanted, with the level by its name.

    :raises ConfigurationError: no such level.
    """
    number = logging.getLevelNamesMapping()[checked_level(level)] if level else logging.NOTSET
    return Wanted(container, number, logger, text)


class Recent(logging.Handler):
    """Keeps the last records, and hands new ones to its readers; may be used from any thread."""

    def __init__(self) -> None:
        super().__init__()
        self._format = JsonFormatter()
        self._kept: deque[Kept] = deque()
        self._bytes = 0
        self._number = 0
        self._readers: list[Reader] = []

    @property
    def is_read(self) -> bool:
        """Whether it has a reader."""
        return bool(self._readers)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record; called under the handler's lock."""
        speaker = _tailing.get()
        if (speaker is not None and not speaker.is_over) or _is_of_frames(record):
            return
        try:
            fields = self._format.fields(record)
            data = _encoded(fields)
        except Exception:  # noqa: BLE001 - as all handlers of logging: no log line ends a program
            self.handleError(record)
            return
        self._number += 1
        container = str(fields.get("container", ""))
        kept = Kept(self._number, record.levelno, record.name, container, data)
        self._kept.append(kept)
        self._bytes += len(data)
        while len(self._kept) > KEPT or self._bytes > KEPT_BYTES:
            self._bytes -= len(self._kept.popleft().data)
        for reader in self._readers:
            reader.hear(kept)

    def join(self, reader: Reader, recent: int, after: int) -> None:
        """Give a reader the last ``recent`` records it wants, and from now on new ones.

        :param after: in place of the recent ones, those with a higher number; 0 for none.
        """
        with self._locked():
            if 0 < after <= self._number:
                past = [kept for kept in self._kept if kept.number > after]
                oldest = self._kept[0].number if self._kept else self._number + 1
                reader.lost += max(oldest - after - 1, 0)
                recent = len(past)
            else:
                past = list(self._kept)
            found = [kept for kept in past if reader.wanted.takes(kept)]
            for kept in found[len(found) - recent :] if recent < len(found) else found:
                reader.hear(kept)
            reader.last = self._number
            self._readers.append(reader)

    def leave(self, reader: Reader) -> None:
        """Give it no more."""
        reader.is_over = True
        with self._locked():
            self._readers = [each for each in self._readers if each is not reader]

    def _locked(self) -> threading.RLock:
        assert self.lock is not None
        return self.lock


class Reader:
    """Who reads: records wait here until they are taken; of too many, the oldest are dropped.

    :ivar lost: how many were dropped since it was last asked.
    :ivar last: number of the last record that has come by, wanted or not.
    :ivar is_over: whether it has left.
    """

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.lost = 0
        self.last = 0
        self.is_over = False
        self._lock = threading.Lock()
        self._waiting: deque[Kept] = deque()
        self._loop = asyncio.get_running_loop()
        self._come = asyncio.Event()
        self._is_told = False

    def hear(self, kept: Kept) -> None:
        """Take a record, in any thread."""
        is_wanted = self.wanted.takes(kept)
        with self._lock:
            self.last = kept.number
            if not is_wanted:
                return
            if len(self._waiting) >= WAITING:
                self._waiting.popleft()
                self.lost += 1
            self._waiting.append(kept)
            is_told, self._is_told = self._is_told, True
        if not is_told and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._come.set)

    async def batch(self) -> dict[str, Any]:
        """Return what has come, at the latest after a second; see :func:`tail`."""
        if not self._waiting and not self._come.is_set():
            with contextlib.suppress(TimeoutError):  # an empty one is a sign of life
                async with asyncio.timeout(SIGN_OF_LIFE):
                    await self._come.wait()
        self._come.clear()
        return self.take()

    def take(self) -> dict[str, Any]:
        """Return what has come, as much as goes into one message."""
        found: list[bytes] = []
        size = 0
        with self._lock:
            self._is_told = False
            while self._waiting and len(found) < BATCH and size < BATCH_BYTES:
                found.append(self._waiting.popleft().data)
                size += len(found[-1])
            lost, self.lost = self.lost, 0
            more = bool(self._waiting)
            last = self._waiting[0].number - 1 if more else self.last
        own = {"container": self.wanted.container}
        records = [{**msgspec.json.decode(data), **own} for data in found]
        return {"records": records, "lost": lost, "last": last, "more": more}

    def end(self) -> None:
        """Have :meth:`batch` return now."""
        self._come.set()


# On whose behalf a record is logged, where that is to hand records to a reader.
_tailing: ContextVar[Reader | None] = ContextVar("ion_tailing", default=None)


def keep_recent() -> Recent:
    """Keep the recent records of this OS process from now on; for programs, not for libraries."""
    found = _recent()
    if found is None:
        found = Recent()
        logging.getLogger().addHandler(found)
    return found


class Tails:
    """Those who read the log of one container.

    :ivar ended: whether it gives no more.
    """

    def __init__(self) -> None:
        self.ended = False
        self._readers: set[Reader] = set()

    def __len__(self) -> int:
        return len(self._readers)

    async def tail(
        self, wanted: Wanted, recent: int = 0, after: int = 0
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Give recent records, then new ones, until :meth:`end`.

        Each item is a map: ``records`` (maps as of ``--log-format json``), ``lost`` (how many were
        dropped before them), ``last`` (for ``after``) and ``more`` (whether others wait already).
        The first comes at once, the next within a second, even where there is nothing to tell.
        """
        source = _recent()
        passing = source is None
        if source is None:  # nobody has set up: it listens for as long as there is a reader
            source = _Passing()
            logging.getLogger().addHandler(source)
        reader = Reader(wanted)
        self._readers.add(reader)
        _tailing.set(reader)
        try:
            source.join(reader, recent, after)
            yield reader.take()
            while not self.ended:
                await asyncio.sleep(PAUSE)
                yield await reader.batch()
        finally:
            self._readers.discard(reader)
            source.leave(reader)
            if passing and not source.is_read:
                logging.getLogger().removeHandler(source)

    def end(self) -> None:
        """Let all of them end, with what has come."""
        self.ended = True
        for reader in self._readers:
            reader.end()


class _Passing(Recent):
    """One that is there only while it is read. It leaves the last resort of logging in place."""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record, and show it where it would be shown without this handler."""
        super().emit(record)
        last = logging.lastResort
        alone = all(isinstance(handler, _Passing) for handler in logging.getLogger().handlers)
        if alone and last is not None and record.levelno >= last.level:
            last.handle(record)


def _recent() -> Recent | None:
    handlers = logging.getLogger().handlers
    return next((each for each in handlers if isinstance(each, Recent)), None)


def _is_of_frames(record: logging.LogRecord) -> bool:
    return record.levelno < logging.INFO and record.name.partition(".")[0] in _FRAMES


def _encoded(fields: dict[str, Any]) -> bytes:
    """Return a record as JSON; of one that is too long, or cannot be encoded, what tells most."""
    try:
        data = msgspec.json.encode(fields, enc_hook=str)
    except (TypeError, ValueError, RecursionError, OverflowError):
        data = b""
    if 0 < len(data) <= MAX_RECORD:
        return data
    short = {name: _cut(fields[name], MAX_RECORD // 8) for name in _STANDARD if name in fields}
    if "traceback" in fields:
        short["traceback"] = _end_of(fields["traceback"], MAX_RECORD // 4)
    return msgspec.json.encode({**short, "cut": True})


def _cut(value: Any, size: int) -> str:
    text = str(value).encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= size else f"{text[:size]}..."


def _end_of(text: str, size: int) -> str:
    return text if len(text) <= size else f"...{_cut(text[-size:], size)}"


def _words_of(kept: Kept) -> str:
    fields = msgspec.json.decode(kept.data)
    return f"{fields.get('message', '')}\n{fields.get('traceback', '')}".casefold()
