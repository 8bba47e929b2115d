"""Content as plain data: what the codecs do with values that they have no form for."""

from __future__ import annotations

from typing import Any

import msgspec


def known_object(value: Any) -> Any:
    """Return what msgspec knows for what it does not: numbers of numpy by ``item``, and the like.

    :raises TypeError: it can be no content.
    """
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "shape", None) == ():
        return item()
    if isinstance(value, memoryview):
        return value.tobytes()
    message = f"a {type(value).__module__}.{type(value).__qualname__} cannot be content"
    raise TypeError(message)


def as_json_has_it(content: Any) -> Any:
    """Return content as maps with text as keys, lists, text, numbers: bytes as base64, and so on.

    :raises TypeError: there is something in it that JSON has no form for.
    :raises ValueError: likewise.
    """
    return msgspec.to_builtins(content, str_keys=True, enc_hook=known_object)
