"""What the words after ``call SERVICE.OP`` mean: pure functions from words to content.

A value that is JSON is taken as JSON where the op's annotation is not ``str``, else as text.
What the annotations are is asked for only where it matters (:func:`needs_types`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ion.base.errors import IonError


class ContentError(IonError):
    """The words are no target or no content; the message says what to write instead."""

    default_code = 400


def split_target(target: str) -> tuple[str, str]:
    """Return service (or pid) and op; the last dot separates them.

    :raises ContentError: there is no op, or no service.
    """
    service, _, op = target.rpartition(".")
    if not service or not op:
        message = f"{target!r} names no op: write SERVICE.OP, such as hello.hello"
        raise ContentError(message)
    return service, op


def needs_types(words: Sequence[str]) -> bool:
    """Tell whether the content depends on the op's annotations."""
    if _is_whole(words):
        return False
    return any(_as_json(word.partition("=")[2]) is not _NOT_JSON for word in words)


def parse_content(words: Sequence[str], types: Mapping[str, str] | None = None) -> Any:
    """Return the content that ``words`` stand for; no words are an empty map.

    :param types: annotations of the op's parameters as text, where they are known.
    :raises ContentError: a word is neither ``key=value`` nor, alone, JSON; or a key comes twice.
    """
    if _is_whole(words):
        return _as_json(words[0])
    content: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key:
            message = (
                f"{word!r} is neither key=value nor JSON: write {key or 'text'}=... "
                f'or one JSON text such as \'{{"text": "you"}}\''
            )
            raise ContentError(message)
        if key in content:
            message = f"{key!r} is given twice"
            raise ContentError(message)
        content[key] = parse_value(text, (types or {}).get(key))
    return content


def parse_value(text: str, annotation: str | None) -> Any:
    """Return the value that ``text`` stands for at a parameter with ``annotation``.

    Where the annotation is a union with ``str``, JSON that the union cannot hold is text too, so
    that ``name=7`` reaches a ``str | None`` as ``"7"``.
    """
    if annotation == "str":
        return text
    value = _as_json(text)
    if value is _NOT_JSON:
        return text
    members = {m.strip() for m in annotation.split("|")} if annotation else set()
    if "str" in members and members <= {"str", "None"} and not isinstance(value, str | None):
        return text
    return value


_NOT_JSON = object()


def _is_whole(words: Sequence[str]) -> bool:
    return len(words) == 1 and _as_json(words[0]) is not _NOT_JSON


def _as_json(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError):  # the latter: bytes that are no UTF-8
        return _NOT_JSON
