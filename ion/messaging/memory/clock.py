"""The clock that the broker is given: an asyncio event loop is one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Timer(Protocol):
    """A call that is due later."""

    def cancel(self) -> None:
        """Do not call."""


class Clock(Protocol):
    """What the broker needs of time."""

    def time(self) -> float:
        """Return the monotonic time in seconds."""

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any) -> Timer:
        """Call at that time."""

    def call_soon(self, callback: Callable[..., Any], *args: Any) -> Timer:
        """Call after the present call."""
