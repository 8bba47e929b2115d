"""What the words after ``call SERVICE.OP`` mean: pure functions from words to content.

A value that is JSON is taken as JSON where the op's annotation is not ``str``, else as text.
``key@file`` is what a file holds, ``key=base64:...`` bytes where the annotation is of bytes and
takes no text: what was text, or a key with an ``@``, before there were these two, still is.
What the annotations are is asked for only where it matters (:func:`needs_types`).
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from ion.base.errors import IonError

BASE64 = "base64:"
_FILE = re.compile(r"([^\W\d]\w*)@([^=]+)")
_TEXT = {"str", "None"}


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
    values = [word.partition("=")[2] for word in words]
    is_odd = any(_as_json(text) is not _NOT_JSON or text.startswith(BASE64) for text in values)
    return is_odd or bool(files_in(words))


def files_in(words: Sequence[str]) -> list[str]:
    """Return the names of the files that ``words`` stand for, each once."""
    parts = [_FILE.fullmatch(word) for word in words]
    return list(dict.fromkeys(part[2] for part in parts if part is not None))


def parse_content(
    words: Sequence[str],
    types: Mapping[str, str] | None = None,
    files: Mapping[str, bytes] | None = None,
) -> Any:
    """Return the content that ``words`` stand for; no words are an empty map.

    :param types: annotations of the op's parameters as text, where they are known.
    :param files: what is in those of :func:`files_in`; None: bytes cannot be given here.
    :raises ContentError: as :func:`check_content`; or what should be bytes, or text, is none.
    """
    if _is_whole(words):
        return _as_json(words[0])
    content: dict[str, Any] = {}
    for part in _parts(words, takes_bytes=files is not None):
        annotation = (types or {}).get(part.key)
        if files is None:
            content[part.key] = parse_value(part.text, annotation)
        elif part.is_file:
            content[part.key] = _of_file(files[part.text], part, annotation)
        elif part.text.startswith(BASE64) and _is_bytes(annotation):
            content[part.key] = _of_base64(part)
        else:
            content[part.key] = parse_value(part.text, annotation)
    return content


def check_content(words: Sequence[str]) -> None:
    """Check the form of words that may be bytes, too.

    :raises ContentError: a word is neither ``key=value`` nor ``key@file`` nor, alone, JSON; or a
        key comes twice.
    """
    if not _is_whole(words):
        list(_parts(words, takes_bytes=True))


class _Part(NamedTuple):
    """A word, parted.

    :ivar text: what stands for the value; is_file: whether it is the name of a file.
    """

    key: str
    text: str
    is_file: bool


def _parts(words: Sequence[str], *, takes_bytes: bool) -> Iterator[_Part]:
    seen = set()
    for word in words:
        file = _FILE.fullmatch(word) if takes_bytes else None
        key, equals, text = word.partition("=")
        if file is not None:
            key, text = file[1], file[2]
        elif _as_json(word) is not _NOT_JSON:
            message = (
                f"{word!r} is JSON, all of the content by itself: give all so, or as key=value"
            )
            raise ContentError(message)
        elif not equals or not key:
            message = (
                f"{word!r} is neither key=value nor JSON: write {key or 'text'}=... "
                f'or one JSON text such as \'{{"text": "you"}}\''
            )
            raise ContentError(message)
        if key in seen:
            message = f"{key!r} is given twice"
            raise ContentError(message)
        seen.add(key)
        yield _Part(key, text, file is not None)


def _is_text(annotation: str | None) -> bool:
    """Tell whether an annotation leaves nothing but text, or nothing."""
    members = {member.strip() for member in (annotation or "").split("|")}
    return "str" in members and members <= _TEXT


def _is_bytes(annotation: str | None) -> bool:
    """Tell whether an annotation takes bytes, and no text."""
    words = re.findall(r"\w+", annotation or "")
    return "bytes" in words and "str" not in words


def _of_file(content: bytes, part: _Part, annotation: str | None) -> bytes | str:
    if not _is_text(annotation):
        return content
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        message = f"{part.key!r} is to be text, and {part.text!r} is no UTF-8: {error.reason}"
        raise ContentError(message) from None


def _of_base64(part: _Part) -> bytes:
    try:
        return binascii.a2b_base64(part.text.removeprefix(BASE64), strict_mode=True)
    except ValueError as error:
        message = f"{part.key!r} is no base64 ({error}); bytes of a file: {part.key}@FILE"
        raise ContentError(message) from None


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
    if _is_text(annotation) and not isinstance(value, str | None):
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
