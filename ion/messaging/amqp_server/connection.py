"""One client's connection: greeting, login, channels, and what is given back at its end.

Nothing that a client sends reaches beyond its connection: what is wrong with it closes the channel
or the connection, an error of ours the connection. However it ends, what it had is given back.
"""

from __future__ import annotations

import asyncio
import logging
from typing import cast

from pamqp import commands
from pamqp.base import Frame

from ion.messaging.amqp import frames as wire
from ion.messaging.amqp_server import faults, handshake
from ion.messaging.amqp_server.channel import Channel
from ion.messaging.amqp_server.client_protocol import FAREWELL, FULL, ClientProtocol, House
from ion.messaging.amqp_server.faults import ChannelFault, ConnectionFault
from ion.messaging.amqp_server.frames import GREETING, FrameReader, decode, ids_of
from ion.messaging.amqp_server.publishing import Publisher
from ion.messaging.memory.session import Session

log = logging.getLogger(__name__)

HANDSHAKE = 10.0  # seconds until a client must have logged in


class Connection(ClientProtocol):
    """One connection; see :class:`~ion.messaging.amqp_server.host.Host` for its attributes."""

    def __init__(self, house: House) -> None:
        super().__init__(house)
        self._reader = FrameReader(handshake.MIN_FRAME * 2)
        self._expected: type[Frame] | None = None  # the next step of the login; None: it is done
        self._greeted = False
        self._closing = False  # we said goodbye, and wait for the answer
        self._channels: dict[int, Channel] = {}
        self._confirming: dict[Publisher, None] = {}
        self.broker = house.broker
        self.session = Session(house.broker)
        self.frame_max = house.terms.frame_max
        self.max_message = house.max_message
        self.user = house.account.user
        self.hears_cancel = False

    # asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the greeting."""
        self._transport = stream = cast("asyncio.Transport", transport)
        if not self._house.came(self):
            stream.abort()
            return
        stream.set_write_buffer_limits(high=FULL)
        self.out.attach(stream)
        self._timer = self._loop.call_later(HANDSHAKE, self._end, "no login in time")

    def data_received(self, data: bytes) -> None:
        """Take what came, then write what it led to."""
        self._heard = self._loop.time()
        self._reader.feed(data)
        self._work()

    def eof_received(self) -> bool:
        """The client has ended its half: so do we ours."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Give back all that the client had."""
        self._release()
        self._house.left(self)
        log.debug("connection of %s ended: %s", self.name, exc or "closed")

    # host

    def confirm_later(self, publisher: Publisher) -> None:
        """Let ``publisher`` confirm once what was read is dealt with."""
        self._confirming[publisher] = None

    def _answered(self) -> None:
        for publisher in self._confirming:
            publisher.write_confirms()
        self._confirming.clear()

    def _heed(self) -> None:
        for channel in list(self._channels.values()):
            channel.outgoing.heed()

    # frames in

    def _read(self) -> None:
        if not self._greeted and not self._greet():
            return
        while not self._released and not self._must_wait():
            frame = self._reader.next()
            if frame is None:
                break
            self._frame(*frame)

    def _greet(self) -> bool:
        greeting = self._reader.take(len(GREETING))
        if greeting is None:
            return False
        if greeting != GREETING:
            log.debug("somebody who does not speak AMQP 0-9-1 was turned away")
            self.out.put([GREETING])
            self._end("no AMQP 0-9-1")
            return False
        self._greeted = True
        self.send(0, handshake.start(self._house.sysname))
        self._expected = commands.Connection.StartOk
        return True

    def _frame(self, kind: int, number: int, payload: bytes) -> None:
        if kind == wire.HEARTBEAT:
            if number:
                raise ConnectionFault(faults.FRAME_ERROR, "a heartbeat on a channel")
        elif self._closing:
            self._last_words(kind, number, payload)
        elif number == 0 or self._expected is not None:
            if kind != wire.METHOD or number:
                raise ConnectionFault(faults.UNEXPECTED_FRAME, "no method, or not on channel 0")
            self._own_method(decode(payload))
        else:
            self._channel_frame(kind, number, payload)

    def _own_method(self, method: Frame) -> None:
        """Take a method of the connection itself."""
        if isinstance(method, commands.Connection.Close):
            self._answered()
            self.send(0, commands.Connection.CloseOk())
            self._end("closed by the client")
        elif self._expected is None or not isinstance(method, self._expected):
            raise ConnectionFault(faults.COMMAND_INVALID, f"{method.name} was not expected now")
        elif isinstance(method, commands.Connection.StartOk):
            self._log_in(method)
        elif isinstance(method, commands.Connection.TuneOk):
            self._terms = self._house.terms.agreed(method)
            self.frame_max = self._reader.limit = self._terms.frame_max
            self._expected = commands.Connection.Open
        elif isinstance(method, commands.Connection.Open):
            self._open(method)

    def _log_in(self, method: commands.Connection.StartOk) -> None:
        properties = method.client_properties
        self.name = str((properties or {}).get("connection_name", "a client"))[:100]
        if self._house.account.admits(method):
            self._hears_blocked = handshake.capability(properties, "connection.blocked")
            self.hears_cancel = handshake.capability(properties, "consumer_cancel_notify")
            self._expected = commands.Connection.TuneOk
            self.send(0, self._house.terms.tune())
            return
        log.warning("a login to the memory bus was refused: wrong user or password")
        words = f"Login was refused using authentication mechanism {method.mechanism}"
        if handshake.capability(properties, "authentication_failure_close"):
            raise ConnectionFault(faults.ACCESS_REFUSED, words)
        self._end("login refused")

    def _open(self, method: commands.Connection.Open) -> None:
        if method.virtual_host != "/":
            words = f"vhost {method.virtual_host} not found"
            raise ConnectionFault(faults.NOT_ALLOWED, words)
        self._expected = None
        self._cancel_timer()
        self.send(0, commands.Connection.OpenOk())
        self._beat_later()
        log.debug("connection of %s opened", self.name)

    def _channel_frame(self, kind: int, number: int, payload: bytes) -> None:
        channel = self._channels.get(number)
        own = ids_of(payload) if kind == wire.METHOD else (0, 0)
        if own[0] == commands.Channel.frame_id and own != _FLOW:
            self._channel_method(number, channel, decode(payload))
            return
        if channel is None:
            raise ConnectionFault(faults.CHANNEL_ERROR, "expected 'channel.open'")
        if channel.closing:
            return
        try:
            channel.take(kind, payload)
        except ChannelFault as fault:
            self._close_channel(number, channel, fault, own if kind == wire.METHOD else _PUBLISH)

    def _channel_method(self, number: int, channel: Channel | None, method: Frame) -> None:
        """Take a method that opens or closes a channel."""
        if isinstance(method, commands.Channel.Open):
            if channel is not None:
                raise ConnectionFault(faults.CHANNEL_ERROR, "second 'channel.open' seen")
            if number > self._terms.channels:
                words = f"channel {number} is over the {self._terms.channels} agreed on"
                raise ConnectionFault(faults.NOT_ALLOWED, words)
            self._channels[number] = Channel(number, self)
            self.send(number, commands.Channel.OpenOk())
            return
        if channel is None:
            raise ConnectionFault(faults.CHANNEL_ERROR, "expected 'channel.open'")
        if isinstance(method, commands.Channel.Close):
            if not channel.closing:
                channel.close()
            del self._channels[number]
            self.send(number, commands.Channel.CloseOk())
        elif isinstance(method, commands.Channel.CloseOk) and channel.closing:
            del self._channels[number]
        else:
            raise ConnectionFault(faults.COMMAND_INVALID, f"{method.name} was not expected now")

    def _close_channel(
        self, number: int, channel: Channel, fault: ChannelFault, method: tuple[int, int]
    ) -> None:
        log.debug("channel %d of %s closed: %s", number, self.name, fault.text)
        channel.closing = True
        self._confirming.pop(channel.publisher, None)
        channel.close()
        self.send(number, commands.Channel.Close(fault.code, fault.text, *method))

    def _last_words(self, kind: int, number: int, payload: bytes) -> None:
        """Wait for the answer to our goodbye; nothing else counts any more."""
        if kind != wire.METHOD or number or ids_of(payload)[0] != commands.Connection.frame_id:
            return
        method = decode(payload)
        if isinstance(method, commands.Connection.Close):
            self.send(0, commands.Connection.CloseOk())
        if isinstance(method, commands.Connection.Close | commands.Connection.CloseOk):
            self._end("closed")

    # the end

    def _say_goodbye(self, fault: ConnectionFault) -> None:
        """Close the connection over a fault, and give the client a moment to answer."""
        if self._closing or self._released:
            return
        level = logging.DEBUG if fault.code == faults.CONNECTION_FORCED else logging.WARNING
        log.log(level, "connection of %s closed: %s", self.name, fault.text)
        self._closing = True
        if not self._greeted:
            self._end("closed")
            return
        self._give_back()
        self.send(0, commands.Connection.Close(fault.code, fault.text, 0, 0))
        self._cancel_timer()
        self._timer = self._loop.call_later(FAREWELL, self._end, "it did not answer our goodbye")

    def _give_back(self) -> None:
        """Give back consumers, unsettled messages and exclusive queues; none goes to another of
        this connection's channels.
        """
        for channel in self._channels.values():
            channel.outgoing.stop()
        for channel in self._channels.values():
            channel.close()
        self._channels.clear()
        self.session.close()


_FLOW = (commands.Channel.frame_id, 20)
_PUBLISH = (wire.BASIC, 40)
