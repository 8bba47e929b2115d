"""Names of streams, and the topics that they are published under."""

from __future__ import annotations

import contextlib
import hashlib
from typing import Any

from ion.base.errors import InvalidRequest
from ion.process.events.topics import word

POINT = "streams"  # the exchange point
OP = "granule"  # the `type` of a message with a granule
END = "end"  # last word of the topic by which publishers are told that a stream is deleted
MAX_NAME = 80  # bytes, escaped


def checked_stream(name: Any) -> str:
    """Return the name of a stream: any text, but not an empty or a long one.

    :raises InvalidRequest: it is none.
    """
    with contextlib.suppress(UnicodeEncodeError):
        if isinstance(name, str) and name and len(escaped(name)) <= MAX_NAME:
            return name
    message = f"a stream's name is a text of 1 to {MAX_NAME} bytes, not {name!r:.80}"
    raise InvalidRequest(message, details={"stream": ascii(name)[:80]})


def escaped(name: str) -> str:
    """Return a name as one word of a topic, as those of events are written; no two have the same.

    Letters, digits, ``-`` and ``_`` stay, and any other byte of its UTF-8 is ``_`` and two
    hexadecimal digits (and so is a ``_`` that would be read as one of these).
    """
    return word(name)


def end_topic(name: str) -> str:
    """Return the topic by which publishers of a stream hear that it is deleted."""
    return f"{escaped(name)}.{END}"


def store_of(name: str) -> str:
    """Return the name of the store that the granules of a stream are kept in."""
    return f"granules_{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"
