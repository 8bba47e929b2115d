"""The wall: what aio-pika, aiormq and the socket raise becomes our errors, without passwords.

Also keeps the libraries' own log records of our connections at DEBUG (we say it in one line of
our own), with the passwords taken out of them.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import ssl
from collections.abc import Awaitable, Coroutine
from contextvars import ContextVar
from typing import Any, TypeVar

from aiormq.exceptions import (
    AMQPError,
    ChannelAccessRefused,
    ChannelInvalidStateError,
    ChannelLockedResource,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    IncompatibleProtocolError,
    ProbableAuthenticationError,
)
from yarl import URL

from ion.base.errors import ConfigurationError, IonError, ServiceNotFound, Unavailable
from ion.messaging.amqp import refusals
from ion.messaging.amqp.tls import explained
from ion.messaging.transport import LOCKED

T = TypeVar("T")

# Begun where a scheme ends, and bounded: a frame is a long text, and its letters are no schemes.
_LOGIN = re.compile(r"://[^/@\s]{0,1000}@")
_REFUSED, _NOT_ALLOWED = 403, 530
_BROKER = "broker"  # among the details: what it said
# Why there is no connection, in a word: details["cause"] of what cannot_connect returns.
CAUSES = (LOGIN, NO_VHOST, VHOST, CLOSED, FOREIGN, TLS, NOBODY, NO_HOST, SILENT) = (
    "login",
    "no vhost",
    "vhost",
    "closed",
    "foreign",
    "tls",
    "nobody",
    "no host",
    "silent",
)
_LIBRARY_LOGGERS = ("aiormq.connection", "aiormq.channel", "aio_pika.connection")
_ERRORS: tuple[type[BaseException], ...] = (
    AMQPError,
    ChannelInvalidStateError,
    OSError,
    RuntimeError,
    ValueError,
)

is_ours: ContextVar[bool] = ContextVar("ion_amqp_connection", default=False)


def masked(text: object) -> str:
    """Return ``text`` with the login of every URL in it replaced."""
    return _LOGIN.sub("://***@", str(text))


class _Quiet(logging.Filter):
    """Masks the libraries' records, and demotes those of connections that ION looks after."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = masked(record.getMessage()), None
        if is_ours.get():
            record.levelno, record.levelname = logging.DEBUG, "DEBUG"
            record.exc_info = None
            return logging.getLogger(record.name).isEnabledFor(logging.DEBUG)
        return True


def quieten() -> None:
    """Put the filter on the libraries' loggers, once."""
    for name in _LIBRARY_LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(f, _Quiet) for f in logger.filters):
            logger.addFilter(_Quiet())


def cannot_connect(url: URL, error: BaseException, code: int, text: str) -> Unavailable:
    """Return what a failed connect means; ``details["cause"]`` is a word for it (``CAUSES``).

    :param code: of the broker's connection.close, or 0.
    :param text: its words.
    """
    cause, said = _connect_cause(url, error, code, text)
    return Unavailable(f"{said} ({_place(url)})", details={"cause": cause})


def is_ended(error: BaseException) -> bool:
    """Whether the other side has ended the connection, as far as the error of a connect tells."""
    ends = (ConnectionError, EOFError, IncompatibleProtocolError)
    return isinstance(error, ends) and not isinstance(error, ProbableAuthenticationError)


def _place(url: URL) -> str:
    return f"{url.scheme}://{url.host}:{url.port or {'amqps': 5671}.get(url.scheme, 5672)}"


def _connect_cause(url: URL, error: BaseException, code: int, text: str) -> tuple[str, str]:
    user = url.user or "guest"
    if isinstance(error, ProbableAuthenticationError) or code == _REFUSED:
        return LOGIN, f"login refused for user {user!r}"
    if code == _NOT_ALLOWED:
        vhost = url.path[1:] or "/"
        if "not found" in text:
            return NO_VHOST, f"no vhost {vhost!r} on the broker"
        if "access to vhost" in text:
            return VHOST, f"access to vhost {vhost!r} refused for user {user!r}"
    if code:
        return CLOSED, f"the broker closed the connection: {code} {masked(text)}"
    if text and not isinstance(error, ssl.SSLError):
        return FOREIGN, f"no AMQP broker is there: {masked(text)}"
    return _socket_cause(error)


def _socket_cause(error: BaseException) -> tuple[str, str]:
    cause = error if isinstance(error, TimeoutError) else error.__cause__ or error
    if isinstance(cause, ssl.SSLError):
        return TLS, f"TLS failed: {masked(explained(cause))}"
    if isinstance(cause, ConnectionRefusedError):
        return NOBODY, "connection refused: no broker is listening"
    if isinstance(cause, socket.gaierror):
        return NO_HOST, f"no such host: {cause.strerror}"
    if isinstance(cause, TimeoutError):
        return SILENT, "no answer from the broker in time"
    return CLOSED, f"no connection to the broker: {masked(cause) or type(cause).__name__}"


def channel_error(what: str, error: BaseException) -> IonError:
    """Return what an error of a channel means, and what to do next; ``what`` was being tried.

    Where the broker has refused, ``details["broker"]`` has its own words.
    """
    words = masked(_words(error))
    text, told = f"{what}: {words}", {_BROKER: words}
    if isinstance(error, ChannelNotFoundEntity):
        return ServiceNotFound(text)
    if isinstance(error, ChannelPreconditionFailed):
        return ConfigurationError(f"{what}: {refusals.differs(words) or words}", details=told)
    if isinstance(error, ValueError):
        return ConfigurationError(text)
    if isinstance(error, ChannelLockedResource):
        return Unavailable(f"{what}: {LOCKED}", details={"locked": True, **told})
    if isinstance(error, ChannelAccessRefused):
        meant = refusals.denied(what, words) or words
        return Unavailable(f"{what}: {meant}", details={"refused": True, **told})
    return Unavailable(text)


def words_of(error: IonError) -> str:
    """Return what the broker itself said where it refused, without what is to be done about it."""
    return str(error.details.get(_BROKER) or error.message)


def is_locked(error: IonError) -> bool:
    """Whether the error says that a queue is exclusive to another connection."""
    return bool(error.details.get("locked"))


def is_refused(error: IonError) -> bool:
    """Whether the error says that the user has no permission for it."""
    return bool(error.details.get("refused"))


def _words(error: BaseException) -> str:
    words = " ".join(str(arg) for arg in error.args if arg)
    return words or type(error).__name__


class Waits:
    """The calls that wait for an answer on one connection; when it is lost, they end at once.

    aiormq wakes its callers then, but on Python 3.11 not all of them: one that is about to wait
    for its answer sleeps on until its own timeout.
    """

    __slots__ = ("_limits", "ended")

    def __init__(self) -> None:
        self._limits: set[asyncio.Timeout] = set()
        self.ended = False

    def add(self, limit: asyncio.Timeout) -> None:
        """A call begins, with its limit of time."""
        self._limits.add(limit)
        if self.ended:
            self._end(limit)

    def discard(self, limit: asyncio.Timeout) -> None:
        """The call is over."""
        self._limits.discard(limit)

    def end(self) -> None:
        """The connection is lost."""
        self.ended = True
        for limit in self._limits:
            self._end(limit)

    def _end(self, limit: asyncio.Timeout) -> None:
        if not limit.expired():
            limit.reschedule(asyncio.get_running_loop().time())


def begun(call: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Begin a call that is not cut off with whoever awaits it: what it raises may go unheard."""
    task = asyncio.get_running_loop().create_task(call)
    task.add_done_callback(_hear)
    return task


def _hear(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()


def no_answer(what: str, timeout: float) -> Unavailable:
    """Return what to raise where the broker has not answered in time."""
    return Unavailable(f"{what}: no answer of the broker within {timeout:g} s")


async def guarded(
    what: str, call: Awaitable[T], timeout: float | None, waits: Waits | None = None
) -> T:
    """Await ``call`` of a library; its errors become ours.

    :param waits: of the connection that the answer is to come by.
    :raises IonError: as :func:`channel_error` says; Unavailable after ``timeout`` seconds.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task is not None else 0
    try:
        return await _translated(what, call, timeout, waits)
    finally:
        # aiormq waits with asyncio.wait_for, which on Python 3.11 loses a cancellation that comes
        # together with the result.
        if task is not None and task.cancelling() > before:
            raise asyncio.CancelledError


async def _translated(
    what: str, call: Awaitable[T], timeout: float | None, waits: Waits | None
) -> T:
    try:
        async with asyncio.timeout(timeout) as limit:
            if waits is None:
                return await call
            waits.add(limit)
            try:
                return await call
            finally:
                waits.discard(limit)
    except TimeoutError:
        if waits is not None and waits.ended:
            message = f"{what}: the connection was lost"
            raise Unavailable(message) from None
        raise no_answer(what, timeout or 0.0) from None
    except asyncio.CancelledError:
        # aiormq cancels its waiters when the connection breaks; that is not our cancellation.
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        message = f"{what}: the connection was lost"
        raise Unavailable(message) from None
    except _ERRORS as error:
        raise channel_error(what, error) from error
