"""The protocol object of one client: what is read and written when, signs of life, the end.

The half of a connection that knows of bytes and time; frames and their meaning are the other.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from pamqp import commands
from pamqp.base import Frame

from ion.messaging.amqp import frames as wire
from ion.messaging.amqp_server import faults, handshake
from ion.messaging.amqp_server.alarm import HELD, Alarm
from ion.messaging.amqp_server.faults import ConnectionFault
from ion.messaging.amqp_server.frames import encode
from ion.messaging.amqp_server.output import Output
from ion.messaging.memory.broker import Broker

log = logging.getLogger(__name__)

FAREWELL = 2.0  # seconds for a client to answer a close
FULL = 1 << 18  # unsent bytes from which on nothing is delivered
STUFFED = 1 << 22  # unsent bytes from which on the client is not read from
_MISSED = 2  # heartbeats after which a client is taken for dead


class House(Protocol):
    """What a connection sees of the server."""

    broker: Broker
    sysname: str
    account: handshake.Account
    terms: handshake.Terms
    alarm: Alarm
    max_message: int

    def came(self, line: ClientProtocol) -> bool:
        """Tell whether there is room for one more."""

    def left(self, line: ClientProtocol) -> None:
        """It is gone."""


class ClientProtocol(asyncio.Protocol):
    """The half of a connection below its frames.

    :ivar out: where frames are written.
    :ivar is_full: the socket takes no more for now: no deliveries.
    :ivar name: what the client calls itself.
    """

    def __init__(self, house: House) -> None:
        self._house = house
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._terms = house.terms
        self._heard = self._loop.time()
        self._released = False
        self._is_deaf = False  # it is not read from
        self._left_unsent = 0
        self._publishes = False
        self._hears_blocked = False
        self._is_blocked = False  # it was told that publishing is not wanted now
        self.out = Output(self._loop)
        self.is_full = False
        self.name = "?"

    # what the other half does

    def _read(self) -> None:
        """Take the frames that are here. Raises ConnectionFault."""
        raise NotImplementedError

    def _answered(self) -> None:
        """What was read is dealt with."""
        raise NotImplementedError

    def _heed(self) -> None:
        """Deliver, or do not: ``is_full`` has changed."""
        raise NotImplementedError

    def _say_goodbye(self, fault: ConnectionFault) -> None:
        """Close the connection over a fault."""
        raise NotImplementedError

    def _give_back(self) -> None:
        """Give back all that the client had."""
        raise NotImplementedError

    # reading and writing

    def send(self, channel: int, method: Frame) -> None:
        """Write a method."""
        self.out.put([encode(channel, method)])

    def _work(self) -> None:
        """Deal with what was read, as far as the client takes the answers."""
        try:
            self._read()
        except ConnectionFault as fault:
            self._say_goodbye(fault)
        # The wall: an error of ours ends this connection, not the server's loop.
        except Exception:
            log.exception("a connection of %s failed", self.name)
            self._say_goodbye(ConnectionFault(faults.INTERNAL_ERROR, "an error of the server"))
        self._answered()
        self.out.flush()
        if self._must_wait() and not self._is_deaf and self._transport is not None:
            self._is_deaf = True
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        """The client does not read fast enough: deliver nothing for now."""
        self.is_full = True
        self._heed()

    def resume_writing(self) -> None:
        """Deliver again; read again."""
        self.is_full = False
        self._heed()
        if self._is_deaf:
            self._loop.call_soon(self._listen_again)

    def published(self, size: int) -> None:
        """Count a message; the first one under an alarm is answered with it."""
        self._publishes = True
        self._house.alarm.published(size)
        if self._house.alarm.level and not self._is_blocked:
            self.heed_alarm()

    def heed_alarm(self) -> None:
        """Tell a client that publishes whether it may, and read from it again."""
        is_on = bool(self._house.alarm.level)
        if self._publishes and self._hears_blocked and is_on != self._is_blocked:
            self._is_blocked = is_on
            blocked = commands.Connection.Blocked(self._house.alarm.reason)
            self.send(0, blocked if is_on else commands.Connection.Unblocked())
        if self._is_deaf:
            self._loop.call_soon(self._listen_again)

    def _must_wait(self) -> bool:
        """Whether the client is not read from: it is to take its answers first, or publishes on."""
        return self._unsent() > STUFFED or self._is_held()

    def _is_held(self) -> bool:
        return self._publishes and self._house.alarm.level == HELD

    def _listen_again(self) -> None:
        stream = self._transport
        if not self._is_deaf or self._must_wait() or stream is None or stream.is_closing():
            return
        self._is_deaf = False
        self._work()  # it may have been half-way through what it had read
        if not self._is_deaf and not stream.is_closing():
            stream.resume_reading()

    # heartbeats

    def _beat_later(self) -> None:
        heartbeat = self._terms.heartbeat
        if heartbeat:
            due = self._loop.time() + heartbeat / 2
            self._timer = self._loop.call_at(due, self._beat, due)

    def _beat(self, due: float) -> None:
        now, heartbeat = self._loop.time(), self._terms.heartbeat
        if self._is_deaf and (self._is_held() or self._unsent() < self._left_unsent):
            self._heard = now  # while it is not read from, it lives if it takes its answers
        self._left_unsent = self._unsent()
        # Where this loop itself was held up, bytes may wait in the socket unread.
        is_late = now - due > heartbeat / 2
        if not is_late and now - self._heard > _MISSED * heartbeat:
            log.warning("no sign of life from %s for %.0f s: cut off", self.name, now - self._heard)
            if self._transport is not None:
                self._transport.abort()
            self._release()
            return
        if now - self.out.wrote >= heartbeat / 2 - 0.1:
            self.out.put([wire.HEARTBEAT_FRAME])
        self._beat_later()

    def _unsent(self) -> int:
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    # the end

    def shut(self, words: str) -> None:
        """Say goodbye to the client: the server stops."""
        self._say_goodbye(ConnectionFault(faults.CONNECTION_FORCED, words))
        self.out.flush()

    def cut(self) -> None:
        """End it at once."""
        if self._transport is not None:
            self._transport.abort()

    def _end(self, reason: str) -> None:
        """Write what is left, and close."""
        log.debug("connection of %s is closed: %s", self.name, reason)
        self.out.flush()
        self._release()
        if self._transport is not None:
            self._transport.close()
            self._timer = self._loop.call_later(FAREWELL, self._transport.abort)

    def _release(self) -> None:
        self._cancel_timer()
        if not self._released:
            self._released = True
            self._give_back()
            self.out.close()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
