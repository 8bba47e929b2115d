"""Topics: what an event is about, and the patterns of those who want to hear of it.

A topic is one to many words with dots between; a word is made of letters, digits, ``_`` and ``-``.
In a pattern ``*`` stands for one word and ``#`` for any number of them, none included.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ion.base.errors import BadRequest

MAX_TOPIC = 255  # bytes: what a routing key of AMQP holds
MAX_PATTERNS = 100
_WORD = r"[A-Za-z0-9_-]+"
_TOPIC = re.compile(rf"{_WORD}(?:\.{_WORD})*\Z")
_PATTERN = re.compile(rf"(?:{_WORD}|\*|#)(?:\.(?:{_WORD}|\*|#))*\Z")
_RULE = f"words of letters, digits, '_' and '-' with dots between, at most {MAX_TOPIC} bytes"


def addressed(point: str, topic: str) -> str:
    """Return what a signed message says that it is for: this topic, of this exchange point alone.

    No routing key of an exchange space looks so.
    """
    return f"@{point}/{topic}"


def checked_topic(topic: Any) -> str:
    """Return ``topic`` where an event may be published with it.

    :raises BadRequest: it may not; the message names it.
    """
    if _fits(topic, _TOPIC):
        return str(topic)
    message = f"topic {topic!r} is not a topic: {_RULE}"
    raise BadRequest(message, details={"topic": repr(topic)})


def checked_patterns(topics: str | Sequence[str]) -> tuple[str, ...]:
    """Return the patterns, one or several, each once.

    :raises BadRequest: none, too many, or one that is no pattern; the message names it.
    """
    patterns = (topics,) if isinstance(topics, str) else tuple(dict.fromkeys(topics))
    if not 0 < len(patterns) <= MAX_PATTERNS:
        message = f"a subscription has 1 to {MAX_PATTERNS} topics, not {len(patterns)}"
        raise BadRequest(message)
    for pattern in patterns:
        if not _fits(pattern, _PATTERN):
            message = f"topic {pattern!r} is not a pattern: {_RULE}; '*' for one, '#' for any"
            raise BadRequest(message, details={"topic": repr(pattern)})
    return patterns


def _fits(text: Any, form: re.Pattern[str]) -> bool:
    return isinstance(text, str) and len(text) <= MAX_TOPIC and form.match(text) is not None
