"""Trace context: the ``traceparent`` header of W3C Trace Context, read and made.

Contract: pure text; a header that is not what it must be is as good as none, never an error, since
it comes from outside and decides nothing. Source: https://www.w3.org/TR/trace-context/ (level 1).
"""

from __future__ import annotations

import random
import re
from typing import NamedTuple

_HEADER = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})"
    r"-(?P<flags>[0-9a-f]{2})(?P<rest>-.*)?",
    re.DOTALL,
)
_SAMPLED = 1


class TraceContext(NamedTuple):
    """Where in which trace something happens.

    :param trace_id: 32 hexadecimal digits, the same all through the trace.
    :param span_id: 16 hexadecimal digits: the caller's span.
    :param sampled: whether the trace is recorded.
    """

    trace_id: str
    span_id: str
    sampled: bool = True

    @property
    def header(self) -> str:
        """The ``traceparent`` header."""
        return f"00-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"

    def child(self) -> TraceContext:
        """Return the context of a new span of the same trace."""
        return TraceContext(self.trace_id, _new_id(64), self.sampled)


def new_trace(*, sampled: bool = True) -> TraceContext:
    """Return the context of the first span of a new trace."""
    return TraceContext(_new_id(128), _new_id(64), sampled)


def parse(header: object) -> TraceContext | None:
    """Return what a ``traceparent`` header says, or None where it says nothing valid.

    A version to come is read as far as we know it, as the recommendation asks.
    """
    match = _HEADER.fullmatch(header) if isinstance(header, str) else None
    if match is None or match["version"] == "ff":
        return None
    if match["version"] == "00" and match["rest"]:
        return None
    if not int(match["trace"], 16) or not int(match["span"], 16):
        return None
    return TraceContext(match["trace"], match["span"], bool(int(match["flags"], 16) & _SAMPLED))


def child_header(header: str) -> str:
    """Return the header to send on from within a call that came with ``header``.

    "" where there was none, or no valid one.
    """
    if not header:
        return ""
    context = parse(header)
    return context.child().header if context is not None else ""


def _new_id(bits: int) -> str:
    value = random.getrandbits(bits) or 1  # zero is the one id that is not allowed
    return f"{value:0{bits // 4}x}"
