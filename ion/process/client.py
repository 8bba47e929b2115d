"""Service clients: any op as a method, from a container, a process, a script or a test."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

import msgspec

from ion.base.errors import CodecError, ConfigurationError
from ion.base.ids import checked_name
from ion.process.conversations.stream import CREDIT, StreamConversation

if TYPE_CHECKING:
    from ion.process.calling import Calling


class Caller(Protocol):
    """What a client calls through: a container, a process, or what ``ion.connect`` gives."""

    def rpc_send(
        self, to: str, op: str, content: Any = None, timeout: float | None = None
    ) -> Coroutine[Any, Any, Any]:
        """Call an op and return the content of its answer."""

    def stream(
        self,
        to: str,
        op: str,
        content: Any = None,
        timeout: float | None = None,
        credit: int = CREDIT,
        returns: Any = Any,
    ) -> StreamConversation:
        """Ask an op that streams for its items."""


class ServiceClient:
    """A client of one service.

    ``await client.<op>(a=1, b=2)`` sends the map ``{"a": 1, "b": 2}``; a single positional argument
    is sent as it is. ``timeout=`` is the call's, in seconds, and is not sent. Any public name is an
    op's; one that cannot be written as a method, or takes a ``timeout`` itself, is called by
    ``caller.rpc_send(service, op, content)``.

    Typed clients derive from this class, name their service, and call by :meth:`_call`::

        class HelloClient(ServiceClient, service="hello"):
            async def hello(self, text: str = "Hi there", *, timeout: float | None = None) -> str:
                return await self._call("hello", {"text": text}, timeout=timeout, returns=str)

    :param service: name, or a process id.
    :param caller: a container, a process, or what ``ion.connect`` gives.
    :param version: a major version, or a range such as ``>=1.2,<3`` (see
        docs/how-to/call-a-service.md); without, the one that the plain name leads to.
    :param timeout: default deadline of this client's calls, seconds.
    :raises ConfigurationError: ``version`` is neither.
    """

    _service: ClassVar[str] = ""  # not `service`, which may be an op

    def __init_subclass__(cls, *, service: str | None = None, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if service is not None:
            cls._service = checked_name(service, "service name")

    def __init__(
        self,
        service: str | Caller,
        caller: Caller | None = None,
        *,
        version: int | str | None = None,
        timeout: float | None = None,
    ) -> None:
        if isinstance(service, str):
            name = service
        else:  # a typed client: HelloClient(container)
            name, caller = type(self)._service, service
        if caller is None or not name:
            message = "a client needs its service and a caller: ServiceClient('hello', container)"
            raise TypeError(message)
        if version is not None and version.__class__ not in (int, str):
            message = f"version must be a whole number, or text such as '>=1.2,<3', not {version!r}"
            raise ConfigurationError(message)
        self._to = f"{name}.v{version}" if isinstance(version, int) else name
        self._caller = _ranged(caller, name, version) if isinstance(version, str) else caller
        self._timeout = timeout

    async def _call(
        self,
        op: str,
        content: Any = None,
        *,
        timeout: float | None = None,
        returns: Any = Any,
    ) -> Any:
        """Call an op by name, for typed clients.

        :param returns: the type of the answer; the content is checked against it and built as it.
        :raises CodecError: the answer is not of that type.
        :raises IonError: as :meth:`Process.rpc_send`.
        """
        timeout = self._timeout if timeout is None else timeout
        result = await self._caller.rpc_send(self._to, op, content, timeout)
        if returns is Any:
            return result
        try:
            return msgspec.convert(result, returns)
        except msgspec.ValidationError as error:
            message = f"the answer of {self._to}.{op} is not what its client expects: {error}"
            raise CodecError(message) from None

    def _stream(
        self,
        op: str,
        content: Any = None,
        *,
        timeout: float | None = None,
        credit: int = CREDIT,
        returns: Any = Any,
    ) -> StreamConversation:
        """Ask an op that streams for its items, for typed clients.

        :param timeout: seconds of silence; see :class:`StreamConversation`.
        :param returns: the type of the items; each is checked against it and built as it.
        """
        timeout = self._timeout if timeout is None else timeout
        return self._caller.stream(self._to, op, content, timeout, credit, returns)

    def __getattr__(self, op: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        if op.startswith("_"):
            raise AttributeError(op)
        method = self.__dict__[op] = _method(self._caller, self._to, op, self._timeout)
        return method

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._to!r}>"


def _method(caller: Caller, to: str, op: str, usual: float | None) -> Callable[..., Any]:
    """Return what calls an op, made once: an attribute of a class with __getattr__ costs."""

    def method(
        *args: Any, timeout: float | None = usual, **content: Any
    ) -> Coroutine[Any, Any, Any]:
        if args and (content or len(args) > 1):
            message = f"{op}() takes one positional argument or keyword arguments, not both"
            raise TypeError(message)
        left = usual if timeout is None else timeout
        return caller.rpc_send(to, op, args[0] if args else content, left)

    return method


def _ranged(caller: Caller, service: str, version: str) -> Caller:
    from ion.process.versions import Ranged  # few need it

    return Ranged(cast("Calling", caller), service, version)
