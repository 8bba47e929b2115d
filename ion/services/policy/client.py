"""The typed client of the policy service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import msgspec

from ion.base.errors import CodecError, ConfigurationError, ReceivedError
from ion.process.client import Caller, ServiceClient
from ion.process.command.operator import Operator
from ion.process.storeerrors import heard
from ion.services.policy.model import Version

if TYPE_CHECKING:
    from ion.process.calling import Calling

PATIENCE = 15.0  # seconds


class PolicyClient(ServiceClient, service="policy"):
    """Puts rules in force in a whole system, and tells what they are.

    All calls raise :class:`~ion.base.errors.Forbidden` where no rule allows them.

    :param caller: a container, a process, or what ``ion.connect`` gives.
    :param as_system: sign what is asked for with the key of the system, which may do everything.
    """

    def __init__(
        self, caller: Caller, *, as_system: bool = False, timeout: float | None = None
    ) -> None:
        super().__init__(caller, timeout=timeout)
        self._operator = Operator(cast("Calling", caller)) if as_system else None

    async def put(
        self, text: str, version: int, *, comment: str = "", timeout: float | None = None
    ) -> Version:
        """Put new rules in force; return their version, without the text.

        :param text: as a file of rules is written.
        :param version: the one that it comes after, 0 for none.
        :raises Conflict: the rules are of another version by now.
        :raises ConfigurationError: they are wrong; the message says line and key.
        """
        content = {"text": text, "version": version, "comment": comment}
        with heard():
            try:
                answer: Version = await self._call("put", content, timeout=timeout, returns=Version)
            except ReceivedError as error:
                if error.type != ConfigurationError.__name__:
                    raise
                raise ConfigurationError(error.message, details=error.details) from None
            return answer

    async def current(self, *, timeout: float | None = None) -> Version:
        """Return the rules in force; version 0: there are none yet."""
        answer: Version = await self._call("current", {}, timeout=timeout, returns=Version)
        return answer

    async def read(self, version: int, *, timeout: float | None = None) -> Version:
        """Return a version.

        :raises NotFound: there is none.
        """
        with heard():
            content = {"version": version}
            answer: Version = await self._call("read", content, timeout=timeout, returns=Version)
            return answer

    async def history(
        self, *, before: int | None = None, limit: int = 20, timeout: float | None = None
    ) -> list[Version]:
        """Return versions without their texts, the newest first.

        :param before: those that are older than this one.
        """
        content = {"before": before, "limit": limit}
        answer: list[Version] = await self._call(
            "history", content, timeout=timeout, returns=list[Version]
        )
        return answer

    async def check(self, text: str, *, timeout: float | None = None) -> list[dict[str, Any]]:
        """Return what is wrong with rules: file, line, key, severity and message of each."""
        answer: list[dict[str, Any]] = await self._call("check", {"text": text}, timeout=timeout)
        return answer

    async def explain(
        self,
        action: str,
        *,
        actor: str = "",
        roles: Sequence[str] = (),
        content: Mapping[str, Any] | None = None,
        claims: Mapping[str, Any] | None = None,
        owners: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Return what the rules in force decide, and why.

        :param action: ``service.op``, or ``@point/topic``.
        """
        asked = {
            "action": action,
            "actor": actor,
            "roles": list(roles),
            "content": dict(content or {}),
            "claims": dict(claims or {}),
            "owners": dict(owners or {}),
        }
        answer: dict[str, Any] = await self._call("explain", asked, timeout=timeout)
        return answer

    async def _call(
        self, op: str, content: Any = None, *, timeout: float | None = None, returns: Any = Any
    ) -> Any:
        if self._operator is None:
            return await super()._call(op, content, timeout=timeout, returns=returns)
        timeout = timeout or self._timeout or PATIENCE
        said = await self._operator.command(self._to, op, content, timeout=timeout)
        try:
            return msgspec.convert(said, returns)
        except msgspec.ValidationError as error:
            message = f"the answer of {self._to}.{op} is not what its client expects: {error}"
            raise CodecError(message) from None
