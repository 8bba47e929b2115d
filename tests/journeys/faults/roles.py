"""What the OS processes of a fleet do."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import Any

from ion import Container, IonError
from tests.journeys.faults.zygote import say

MODULE = "tests.journeys.faults.actors"
QUIET = {"logging": {"level": "CRITICAL"}}


def _told(number: int) -> asyncio.Event:
    """Return an event that is set when the signal comes."""
    event = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(number, event.set)
    return event


async def host(
    url: str,
    sysname: str,
    target: str,
    args: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
    copies: int = 1,
) -> None:
    """Host a class until SIGTERM, then drain. Says ``ready``.

    :param target: of :mod:`actors`, or its whole dotted name.
    """
    over = _told(signal.SIGTERM)
    container = Container(url, sysname=sysname, config={**QUIET, **(config or {})})
    async with container:
        for _ in range(copies):
            whole = target if ":" in target else f"{MODULE}:{target}"
            await container.spawn(whole, args=args or {})
        say("ready", container.id)
        await over.wait()


async def calls(
    url: str,
    sysname: str,
    service: str,
    op: str,
    keys: list[str],
    timeout: float,
    config: dict[str, Any] | None = None,
) -> None:
    """Connect, say ``ready``, and at the signal make one call for each key, all at once.

    Says ``call`` with (key, type of the error or "", seconds it took) at the end of each, and
    ``done`` with the number of calls that are still pending then.
    """
    go = _told(signal.SIGUSR1)
    async with Container(url, sysname=sysname, config={**QUIET, **(config or {})}) as container:
        say("ready", container.id)
        await go.wait()

        async def call(key: str) -> None:
            kind = ""
            began = time.monotonic()
            try:
                await container.rpc_send(service, op, {"key": key}, timeout)
            except IonError as error:
                kind = type(error).__name__
            say("call", [key, kind, time.monotonic() - began])

        await asyncio.gather(*(call(key) for key in keys))
        say("done", len(container.endpoint.conversations.open))
