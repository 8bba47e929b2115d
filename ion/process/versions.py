"""Calls to a range of versions: a client says ``>=1.2,<3``, and reaches those instances that match.

Ranges are the version specifiers of Python packages (PEP 440), by the library ``packaging``. Who is
there is asked on the bus, by a ping that all instances of the service answer.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from ion.base.errors import ConfigurationError, DeadlineExceeded, ServiceNotFound
from ion.observe.context import current_call
from ion.process.calling import Calling
from ion.process.conversations.stream import StreamCall, StreamConversation
from ion.process.discovery import survey
from ion.process.endpoint.endpoint import Endpoint

FRESH = 5.0  # seconds for which a choice holds; then it is made anew, behind the calls
STALE = 60.0  # seconds after which a call waits for a new choice
ANSWERS_WITHIN = 5.0  # seconds; instances answer in milliseconds


class Instance(msgspec.Struct, frozen=True):
    """One instance of a service, as its pong tells.

    :ivar keys: the routing keys that it takes from, beside its pid.
    :ivar taking: whether it begins what it is given; not where it is being stopped.
    """

    pid: str
    version: str
    keys: list[str] = []
    taking: bool = True


def range_of(text: str) -> SpecifierSet:
    """Return the range of versions that is written so.

    :raises ConfigurationError: it is none.
    """
    try:
        found = SpecifierSet(text) if text.strip() else None
    except InvalidSpecifier:
        found = None
    if found is None:
        message = (
            f"version {text!r} is no range of versions: write '>=1.2,<3', '~=2.1' or '==2.*', or "
            "a whole number for a major version"
        )
        raise ConfigurationError(message)
    return found


def choose(service: str, there: Sequence[Instance], wanted: SpecifierSet) -> list[str]:
    """Return the keys that a call may go to, in turn; none where nothing matches. Pure.

    The highest major version that matches is called. Where all its instances match, that is their
    shared queue, else the instances that match, each by its pid.
    """
    takers = [each for each in there if each.taking]
    for major in sorted({_major(each) for each in takers}, reverse=True):
        of_it = [each for each in takers if _major(each) == major]
        matching = [each for each in of_it if _matches(each.version, wanted)]
        if not matching:
            continue
        key = f"{service}.v{major}" if major else service
        consumers = [each for each in takers if key in each.keys]
        if consumers == of_it == matching:
            return [key]
        return sorted(each.pid for each in matching)
    return []


class Ranged:
    """Stands in for a caller, and calls those instances of a service whose version is in a range.

    :param caller: a container, a process, or what ``ion.connect`` gives.
    :raises ConfigurationError: ``wanted`` is no range.
    """

    def __init__(self, caller: Calling, service: str, wanted: str) -> None:
        self._caller = caller
        self._service = service
        self._wanted = range_of(wanted)
        self._turn: Iterator[str] = iter(())
        self._made = float("-inf")  # when the choice was made, on the loop's clock
        self._looking: asyncio.Task[None] | None = None

    async def rpc_send(
        self, to: str, op: str, content: Any = None, timeout: float | None = None
    ) -> Any:
        """Call an op and return the content of its answer; see :meth:`Endpoint.rpc`.

        :raises ServiceNotFound: no instance matches; the message lists the versions there are.
        :raises IonError: otherwise, as of that.
        """
        endpoint = self._endpoint
        left = await endpoint.writable(timeout)
        end = endpoint.time() + left
        key = self._known() or await self._found(end)
        try:
            return await self._caller.rpc_send(key, op, content, self._left(end))
        except ServiceNotFound as error:
            if error.details.get("to") != key:
                raise
        self._made = float("-inf")  # it is gone: look again, once
        key = await self._found(end)
        return await self._caller.rpc_send(key, op, content, self._left(end))

    def stream(
        self,
        to: str,
        op: str,
        content: Any = None,
        timeout: float | None = None,
        credit: int = 64,
        returns: Any = Any,
    ) -> StreamConversation:
        """Ask an op that streams for its items; see :class:`StreamConversation`."""
        request = (self._caller._sender, to, op, content, timeout, credit, returns)
        return _RangedStream(self._endpoint, *request, find=self.find)

    async def find(self) -> str:
        """Return the key that the next call goes to.

        :raises ServiceNotFound: no instance matches; the message lists the versions there are.
        """
        return self._known() or await self._found(self._endpoint.time() + ANSWERS_WITHIN)

    @property
    def _endpoint(self) -> Endpoint:
        return self._caller._endpoint

    def _left(self, end: float) -> float:
        return max(end - self._endpoint.time(), 0.001)

    def _known(self) -> str:
        """Return the next key of the choice that holds, or ""; an old one is made anew."""
        age = self._endpoint.time() - self._made
        if age > STALE:
            return ""
        if age > FRESH:
            self._look()
        return next(self._turn)

    async def _found(self, end: float) -> str:
        """Make a choice, together with all who wait for one, until ``end``."""
        done, _ = await asyncio.wait({self._look()}, timeout=self._left(end))
        if not done:
            message = f"nobody has told in time which versions of {self._service!r} there are"
            raise DeadlineExceeded(message)
        done.pop().result()
        return next(self._turn)

    def _look(self) -> asyncio.Task[None]:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._choose(), name=f"versions {self._service}")
            self._looking.add_done_callback(_seen)
        return self._looking

    async def _choose(self) -> None:
        current_call.set(None)  # it is on behalf of all who call
        endpoint = self._endpoint
        key = endpoint.namespace.control_key(self._service)
        there = instances(await survey(endpoint, key, "ping", None, ANSWERS_WITHIN))
        keys = choose(self._service, there, self._wanted)
        if not keys:
            self._made = float("-inf")
            raise self._none_of(there)
        self._turn = itertools.cycle(keys)
        self._made = endpoint.time()

    def _none_of(self, there: Iterable[Instance]) -> ServiceNotFound:
        versions = sorted({each.version for each in there})
        message = (
            f"no instance of service {self._service!r} has a version {self._wanted}; there are: "
            f"{', '.join(versions) or 'none'}"
        )
        details = {"to": self._service, "version": str(self._wanted), "versions": versions}
        return ServiceNotFound(message, details=details)


class _RangedStream(StreamConversation):
    """A stream whose other side is looked for when it begins."""

    __slots__ = ("_find",)

    def __init__(self, *request: Any, find: Any) -> None:
        super().__init__(*request)
        self._find = find

    async def _begin(self) -> StreamCall:
        sender, _, op, content = self._request
        self._request = (sender, await self._find(), op, content)
        return await super()._begin()


def instances(pongs: Iterable[Any]) -> list[Instance]:
    """Return the instances that pongs tell of; what tells of none is passed over."""
    found = []
    for pong in pongs:
        try:
            found.append(msgspec.convert(pong, Instance))
        except msgspec.ValidationError:
            continue
    return sorted(found, key=lambda each: each.pid)


def _major(instance: Instance) -> int:
    first = instance.version.partition(".")[0]
    return int(first) if first.isdecimal() else 0


def _matches(version: str, wanted: SpecifierSet) -> bool:
    """Tell whether a version is in a range; a pre-release only where the range names one."""
    try:
        return wanted.contains(Version(version), prereleases=bool(wanted.prereleases))
    except InvalidVersion:
        return False


def _seen(task: asyncio.Task[None]) -> None:
    """Look at how it ended: whoever waited for it is told, and the next call looks again."""
    if not task.cancelled():
        task.exception()
