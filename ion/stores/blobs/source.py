"""What a blob may come from."""

from __future__ import annotations

import io
from collections.abc import AsyncIterable
from typing import Any, BinaryIO

Source = bytes | bytearray | memoryview | BinaryIO | AsyncIterable[bytes]


def checked_source(source: Any) -> Source:
    """Return what a blob comes from.

    :raises TypeError: it is nothing that bytes are read from.
    """
    is_known = isinstance(source, bytes | bytearray | memoryview | AsyncIterable)
    is_file = hasattr(source, "read") and not isinstance(source, io.TextIOBase)
    if is_known or is_file:
        return source  # type: ignore[no-any-return]
    message = (
        "a blob is put from bytes, a file that was opened for reading bytes, or an async iterable "
        f"of bytes, not from {source!r:.100}"
    )
    raise TypeError(message)
