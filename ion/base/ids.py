"""Make and check the names of containers, processes, conversations and messages.

A container id is ``<host>_<unix pid>_<random>`` and has no dots; a process id (pid) is
``<container id>.<n>``. The random part makes ids of a restarted container new ones.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
from collections.abc import Iterator

from ion.base.errors import ConfigurationError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*\Z")
MAX_NAME = 100


def new_container_id() -> str:
    """Return an id that no other container, past or present, has."""
    host = re.sub(r"[^A-Za-z0-9-]", "_", socket.gethostname())[:40] or "host"
    return f"{host}_{os.getpid()}_{new_mark()}"


def new_mark() -> str:
    """Return what tells one life of a container from its others: its id may be a chosen name."""
    return secrets.token_hex(4)


def secret_marks() -> Iterator[str]:
    """Give marks that nobody can guess, however many they have seen: 64 bits each."""
    while True:
        pool = secrets.token_hex(2048)  # many at once: to ask the system each time takes longer
        for start in range(0, len(pool), 16):
            yield f"-{pool[start : start + 16]}"


def checked_name(name: str, what: str) -> str:
    """Return ``name`` where it may stand as one word of a routing key.

    :param what: what it names, for the message.
    :raises ConfigurationError: it has dots, blanks or wildcards, or is empty or too long.
    """
    if isinstance(name, str) and len(name) <= MAX_NAME and _NAME.match(name):
        return name
    message = (
        f"{what} {name!r} is not a name: use letters, digits, '_' and '-' "
        f"(no dots, at most {MAX_NAME} characters)"
    )
    raise ConfigurationError(message)
