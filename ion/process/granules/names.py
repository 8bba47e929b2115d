"""Names of streams, and the topics that they are published under."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from ion.base.errors import InvalidRequest

POINT = "streams"  # the exchange point
OP = "granule"  # the `type` of a message with a granule
END = "end"  # last word of the topic by which publishers are told that a stream is deleted
MAX_NAME = 80  # bytes, escaped
_PLAIN = re.compile(rb"[A-Za-z0-9-]")


def checked_stream(name: Any) -> str:
    """Return the name of a stream: any text, but not an empty or a long one.

    :raises InvalidRequest: it is none.
    """
    if isinstance(name, str) and name and len(escaped(name)) <= MAX_NAME:
        return name
    message = f"a stream's name is a text of 1 to {MAX_NAME} bytes, not {name!r:.80}"
    raise InvalidRequest(message, details={"stream": str(name)[:80]})


def escaped(name: str) -> str:
    """Return a name as one word of a topic.

    Letters, digits and ``-`` stay, ``_`` is ``__``, and any other byte of its UTF-8 is ``_`` and
    two hexadecimal digits; so no two names have one topic.
    """
    data = name.encode("utf-8", "surrogatepass")
    return "".join(_escaped(data[at : at + 1]) for at in range(len(data)))


def end_topic(name: str) -> str:
    """Return the topic by which publishers of a stream hear that it is deleted."""
    return f"{escaped(name)}.{END}"


def store_of(name: str) -> str:
    """Return the name of the store that the granules of a stream are kept in."""
    return f"granules_{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


def _escaped(byte: bytes) -> str:
    if _PLAIN.match(byte):
        return byte.decode()
    return "__" if byte == b"_" else f"_{byte.hex()}"
