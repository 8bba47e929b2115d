"""Where events are published: the topic of an event, and the patterns of who wants to hear it.

A topic is ``<path>.<sub type>.<origin type>.<origin>``, each of the last three one word: ``_``
where it is empty; what is no letter, digit, ``-`` or ``_`` is a ``_`` and two hex digits for each
byte of its UTF-8, as ``_2e`` for a dot; so is a ``_`` that could be read as such, or is last.

The broker finds who wants a type with all below it, and one sub type, origin type or origin, or
any. What is in the midst of a word no broker's pattern can match: where ``*`` stands for a part of
a text, as in ``station.*``, each event of that type comes to the subscriber, which drops others.
"""

from __future__ import annotations

import functools
import re
from typing import Any

import msgspec

from ion.base.errors import BadRequest
from ion.process.events.event import Event, is_within, path_of
from ion.process.pubsub.topics import MAX_TOPIC

POINT = "events"
_ESCAPED = re.compile(r"[^A-Za-z0-9_-]|_(?=[0-9a-f]{2})|_\Z")


def word(text: str) -> str:
    """Return a text as one word of a topic; no two texts have the same."""
    return _ESCAPED.sub(_escape, text) or "_"


def _escape(found: re.Match[str]) -> str:
    return "".join(f"_{byte:02x}" for byte in found[0].encode())


def topic_of(event: Event) -> str:
    """Return the topic of an event that has its path.

    :raises BadRequest: it has no origin, one of its texts is none, or they are too long.
    """
    texts = (event.sub_type, event.origin_type, event.origin)
    for name, text in zip(("sub_type", "origin_type", "origin"), texts, strict=True):
        _check(name, text)
    if not event.origin:
        message = f"a {event.type} has no origin: say what it has happened to, or who tells"
        raise BadRequest(message, details={"event": event.path})
    topic = f"{event.path}.{word(texts[0])}.{word(texts[1])}.{word(texts[2])}"
    if len(topic) > MAX_TOPIC:
        message = (
            f"type, sub_type, origin_type and origin of an event are {len(topic)} bytes as a "
            f"topic, and must be {MAX_TOPIC} at most: {topic:.100}..."
        )
        raise BadRequest(message, details={"event": event.path})
    return topic


def _check(name: str, text: Any) -> None:
    """Refuse what is no text that can travel, and be kept.

    :raises BadRequest: it is none.
    """
    try:
        fits = isinstance(text, str) and b"\0" not in text.encode()
    except UnicodeEncodeError:
        fits = False
    if not fits:
        message = f"{name} of an event is a text without the character 0, not {text!r:.100}"
        raise BadRequest(message)


class Selection(msgspec.Struct, frozen=True):
    """Which events are wanted: those of a type and all below it, of one origin, and so on.

    :ivar path: of the type.
    :ivar origin: None: any; ``*`` in it stands for any part of a text. So with the others.
    """

    path: str
    origin: str | None = None
    origin_type: str | None = None
    sub_type: str | None = None

    @property
    def pattern(self) -> str:
        """The broker's pattern of their topics; it may let in others, too, where ``*`` is used.

        :raises BadRequest: it is too long.
        """
        words = (self.sub_type, self.origin_type, self.origin)
        pattern = ".".join([self.path, "#", *map(_pattern_word, words)])
        if len(pattern) > MAX_TOPIC:
            message = f"no event has such a topic, which is over {MAX_TOPIC} bytes: {pattern:.100}"
            raise BadRequest(message)
        return pattern

    def takes(self, event: Event) -> bool:
        """Return whether an event is wanted."""
        return (
            is_within(event.path, self.path)
            and (self.origin is None or _matches(self.origin, event.origin))
            and (self.origin_type is None or _matches(self.origin_type, event.origin_type))
            and (self.sub_type is None or _matches(self.sub_type, event.sub_type))
        )


def selection(
    of: type[Event],
    origin: str | None = None,
    origin_type: str | None = None,
    sub_type: str | None = None,
) -> Selection:
    """Return which events are wanted.

    :raises TypeError: ``of`` is no type of event.
    :raises BadRequest: one of the others is no text.
    """
    if not (isinstance(of, type) and issubclass(of, Event)):
        message = f"{of!r} is no type of event: give ion.process.events.Event or a class below it"
        raise TypeError(message)
    for name, text in (("origin", origin), ("origin_type", origin_type), ("sub_type", sub_type)):
        if text is not None:
            _check(name, text)
    return Selection(path_of(of), origin, origin_type, sub_type)


def _pattern_word(text: str | None) -> str:
    return "*" if text is None or "*" in text else word(text)


def _matches(wanted: str, text: str) -> bool:
    return wanted == text or ("*" in wanted and _glob(wanted).match(text) is not None)


@functools.lru_cache(maxsize=1024)
def _glob(wanted: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, wanted.split("*"))) + r"\Z", re.DOTALL)
