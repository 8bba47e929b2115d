"""What travels with a call: who runs, for which conversation, until when, for whom, in which trace.

The context is one context variable, set by the runtime for each message in the task that handles
it; a handler's own calls read it, so that deadline, identity, trace and call stack go with them.
"""

from __future__ import annotations

from collections.abc import Awaitable
from contextvars import ContextVar
from typing import TypeVar

import msgspec

T = TypeVar("T")


class CallContext(msgspec.Struct, eq=False, dict=False):
    """The call that is being handled.

    :ivar process: pid of the process that handles it.
    :ivar conversation: its conversation id, or "".
    :ivar op: the operation.
    :ivar deadline: on the loop's clock, seconds; 0.0 = none.
    :ivar user: identity on whose behalf, or "".
    :ivar traceparent: W3C trace context, or "".
    """

    process: str
    conversation: str = ""
    op: str = ""
    deadline: float = 0.0
    user: str = ""
    traceparent: str = ""

    @property
    def token(self) -> str:
        """The token of who it is made for, or ""."""
        return ""

    @property
    def stack(self) -> tuple[str, ...]:
        """The calls that wait on this one, the first one first."""
        return ()

    @property
    def over(self) -> bool:
        """Whether it has ended, though something that it began goes on."""
        return False

    @property
    def entry(self) -> str:
        """What stands for this call in the stack of the calls that it makes."""
        return f"{self.process} .{self.op}"


current_call: ContextVar[CallContext | None] = ContextVar("ion_call", default=None)


async def on_nobodys_behalf(work: Awaitable[T]) -> T:
    """Await ``work`` as part of no call; to be run in a task of its own.

    What it sends has no part in deadline, identity, trace and call stack of who has asked for it.
    """
    current_call.set(None)
    return await work


# Set where a container starts: what runs in the background on its behalf speaks in its name.
current_container: ContextVar[str] = ContextVar("ion_container", default="")
