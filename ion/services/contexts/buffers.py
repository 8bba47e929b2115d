"""Buffers that become bytes without being copied."""

from __future__ import annotations

from io import BytesIO


def sized(size: int) -> BytesIO:
    """Return a buffer of so many zero bytes, at its beginning.

    Nothing is written to make it: the system gives the memory when it is first filled, which a
    reading thread does without holding up others. Its ``getvalue`` gives it away as it is.
    """
    return BytesIO(bytes(size))  # nobody else has these bytes: it fills them in place
