"""Which containers a word on the command line means: an id, the beginning of one, or all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Sized

from ion.base.errors import DeadlineExceeded, IonError, ServiceNotFound
from ion.process.connection import Connection
from ion.process.discovery import AGENTS
from ion.process.endpoint.endpoint import Endpoint
from ion.shell import exits
from ion.shell.commandline.operate import ALL

_SHOWN = 20
_LOOK_WITHIN = 0.5  # seconds


def nodes_named(word: str, ids: Iterable[str]) -> list[str]:
    """Return those of ``ids`` that ``word`` means, in order.

    :raises ServiceNotFound: none, or more than one where one is meant; the message lists them.
    """
    there = sorted(ids)
    if word == ALL:
        return there
    return [node_named(word, there)]


def node_named(word: str, ids: Iterable[str]) -> str:
    """Return the one of ``ids`` that ``word`` means: the id itself, or one that begins so.

    :raises ServiceNotFound: none does, or several do; the message lists them.
    """
    there = sorted(ids)
    if word in there:
        return word
    found = [each for each in there if word and each.startswith(word)]
    if len(found) == 1:
        return found[0]
    if found:
        message = f"{word!r} is the beginning of {len(found)} containers: {_listed(found)}"
    else:
        message = f"there is no container {word!r}; there are {_listed(there)}"
    raise ServiceNotFound(message, type="ContainerNotFound", details={"containers": found or there})


async def need_some(ids: Sized, connection: Connection, within: float) -> None:
    """Hold that any container has answered.

    :raises NobodyAnswered: none has; the message says whether any is there nevertheless.
    """
    if ids:
        return
    message = f"no container of system {connection.sysname!r} answered within {within:g} s"
    if await _is_any_there(connection.endpoint):
        hint = (
            ", and the broker has queues of some: they are held up, or suspended, or cut off; look "
            "at their /live (health.listen), or ask `ioncc doctor`, or `ioncc health NODE` by name"
        )
    else:
        hint = ": is one running on this broker? (-s NAME chooses the system)"
    raise exits.NobodyAnswered(message + hint)


async def _is_any_there(endpoint: Endpoint) -> bool:
    """Return whether a queue takes what is for all containers."""
    try:
        await endpoint.rpc(endpoint.id, AGENTS, "ping", {}, _LOOK_WITHIN)
    except DeadlineExceeded:
        return True
    except IonError:  # nobody; or the broker is away, and there is no telling
        return False
    return True


def _listed(ids: Sequence[str]) -> str:
    shown = ", ".join(ids[:_SHOWN])
    more = len(ids) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown or "none"
