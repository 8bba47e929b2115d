"""Discovery on the bus alone: ask every container of a system what it hosts."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from ion.base.errors import CodecError, IonError, ReceivedError, ServiceNotFound
from ion.conversation import conversation as c
from ion.conversation.rpc import RPC
from ion.messaging.envelope import Envelope
from ion.process.endpoint.calls import OutgoingCall
from ion.process.endpoint.endpoint import Endpoint

QUIET = 0.15  # seconds after the last answer until no more are awaited
MAX_ANSWERS = 10_000
MAX_LISTED = 1_000_000  # processes of one container
AGENTS = "ctl.agent"


class Survey(OutgoingCall, eq=False):
    """One question to many, and their answers; over when nobody waits for more."""

    answers: list[Envelope] = msgspec.field(default_factory=list)

    def receive(self, envelope: Envelope) -> None:
        """Take one answer of many."""
        if len(self.answers) < MAX_ANSWERS:
            self.answers.append(envelope)
        self.wake()


async def survey(
    endpoint: Endpoint,
    to: str,
    op: str,
    content: Any = None,
    timeout: float = 1.0,
    extra: dict[str, Any] | None = None,
    quiet: float = QUIET,
) -> list[Any]:
    """Ask all that a routing key reaches, and return the contents of their results.

    :param timeout: seconds at most; less where no answer came for a while after the last one.
    :param extra: further headers.
    :param quiet: that while, seconds.
    :raises ReceivedError: all that have answered have failed; the first failure.
    :raises Unavailable: the broker is away.
    """
    timeout = await endpoint.writable(timeout)
    call = endpoint.begin(RPC, endpoint.id, to, op, content, timeout, kind=Survey, extra=extra)
    assert isinstance(call, Survey)
    try:
        await _settle(call, quiet)
        if call.future.done() and call.future.exception() is not None:
            call.future.result()
    except ServiceNotFound:
        return []
    finally:
        call.state = c.DONE
        endpoint.end(call)
    contents, failure = [], None
    for envelope in call.answers:
        try:
            contents.append(endpoint.content_of(envelope))
        except CodecError:
            continue
        except ReceivedError as error:  # of an older container, which has no such op, or a sick one
            failure = failure or error
    if failure is not None and not contents:
        raise failure
    return contents


async def _settle(call: Survey, quiet: float) -> None:
    """Wait until it is quiet after the last answer, or the deadline has come."""
    seen = 0
    while not call.future.done():
        try:
            async with asyncio.timeout(quiet if call.answers else None):
                await call.changed()
        except TimeoutError:
            if len(call.answers) == seen:
                return
        seen = len(call.answers)


async def gather_info(endpoint: Endpoint, timeout: float = 1.0) -> list[dict[str, Any]]:
    """Return what each container of the system tells of itself, by container id.

    Each answer is the map of ``ContainerAgent.op_info``. None answer where none runs.

    :raises Unavailable: the broker is away.
    """
    answers = await survey(endpoint, AGENTS, "info", {}, timeout)
    maps = [answer for answer in answers if isinstance(answer, dict) and "container" in answer]
    await asyncio.gather(*(_complete(endpoint, each, timeout) for each in maps))
    return sorted(maps, key=lambda answer: str(answer["container"]))


async def _complete(endpoint: Endpoint, info: dict[str, Any], timeout: float) -> None:
    """Ask a container for the processes that its answer had no room for."""
    processes = info.get("processes")
    total = info.get("total", 0)
    if not isinstance(processes, list) or not isinstance(total, int):
        return
    agent = f"{info['container']}.0"
    try:
        while len(processes) < min(total, MAX_LISTED):
            start = {"start": len(processes)}
            more = await endpoint.rpc(endpoint.id, agent, "processes", start, timeout)
            if not isinstance(more, list) or not more:
                return
            processes += more
    except IonError:  # it goes away, or is too busy: what it told before is what there is
        return
