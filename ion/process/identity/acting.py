"""Acting: to make some calls with another token than that of the call that is being handled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ion.observe.context import CallContext, current_call


class Acting(CallContext, eq=False, kw_only=True):
    """The call that is being handled, with another token."""

    bears: str = ""
    under: CallContext | None = None

    @property
    def token(self) -> str:
        """The token that calls bear now."""
        return self.bears

    @property
    def stack(self) -> tuple[str, ...]:
        """The calls that wait on this one, the first one first."""
        return self.under.stack if self.under is not None else ()

    @property
    def over(self) -> bool:
        """Whether it has ended; with no call around there is nobody to wait on."""
        return self.under.over if self.under is not None else True

    @property
    def entry(self) -> str:
        """Its own entry in the call stack."""
        return self.under.entry if self.under is not None else ""


@contextmanager
def acting(token: str) -> Iterator[None]:
    """Let the calls that are made in a ``with`` block bear ``token``, and no ``user-id``.

    Deadline, trace and call stack stay those of the call that is being handled. A unit of work is
    that of no message in it: begin it before.

    :param token: "": the calls are made for nobody.
    """
    under = current_call.get()
    if isinstance(under, Acting):
        under = under.under
    if under is None:
        context = Acting("", bears=token)
    else:
        told = (under.process, under.conversation, under.op, under.deadline, "", under.traceparent)
        context = Acting(*told, bears=token, under=under)
    before = current_call.set(context)
    try:
        yield
    finally:
        current_call.reset(before)
