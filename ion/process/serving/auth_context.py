"""What a call bears: the token of who it is made for, and what that was found to say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ion.observe.context import CallContext

if TYPE_CHECKING:
    from ion.process.identity.identity import Identity


class AuthContext(CallContext, eq=False, kw_only=True):
    """A call that may bear a token.

    :ivar identity: who it is made for, checked; None: nobody who is known.
    """

    identity: Identity | None = None

    @property
    def token(self) -> str:
        """The token that it came with, which the calls of its handler bear, too; or ""."""
        token = self.envelope.headers.get("token")  # type: ignore[attr-defined]
        return token if token.__class__ is str else ""
