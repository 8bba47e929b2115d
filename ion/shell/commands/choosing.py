"""The containers that a command is meant for, those that are held up and do not answer included."""

from __future__ import annotations

from ion.process.connection import Connection
from ion.shell.commands.health import gather_health
from ion.shell.commands.nodes import need_some, nodes_named
from ion.shell.commands.system import ANSWERS_WITHIN


async def containers(connection: Connection, within: float = ANSWERS_WITHIN) -> list[str]:
    """Return the ids of those that answer, and of those that they hear of and that are still there.

    :param within: seconds for all, and then for those that have not answered.
    :raises NobodyAnswered: there is none.
    :raises Unavailable: the broker is away.
    """
    there = list(await gather_health(connection.endpoint, within))
    await need_some(there, connection, within)
    return there


async def chosen(connection: Connection, word: str, within: float = ANSWERS_WITHIN) -> list[str]:
    """Return the ids of those that ``word`` means: an id, the beginning of one, or all.

    :raises ServiceNotFound: there is none such; the message lists those there are.
    :raises NobodyAnswered: there is none at all.
    :raises Unavailable: the broker is away.
    """
    return nodes_named(word, await containers(connection, within))
