"""The typed client of the policy service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ion.base.errors import CodecError, ConfigurationError, ReceivedError
from ion.process.calling import Calling
from ion.process.client import ServiceClient
from ion.process.operator import Operator
from ion.process.storeerrors import heard
from ion.services.policy.model import Version


class PolicyClient(ServiceClient, service="policy"):
    """Puts rules in force in a whole system, and tells what they are."""

    async def put(
        self,
        text: str,
        version: int,
        *,
        comment: str = "",
        signed: bool = False,
        timeout: float | None = None,
    ) -> Version:
        """Put new rules in force; return their version, without the text.

        :param text: as a file of rules is written.
        :param version: the one that it comes after, 0 for none.
        :param signed: by the key of the system, rather than by the token of who calls.
        :raises Conflict: the rules are of another version by now.
        :raises ConfigurationError: they are wrong; the message says line and key.
        :raises Forbidden: no rule allows it; or there is no key to sign with.
        """
        content = {"text": text, "version": version, "comment": comment}
        with heard():
            try:
                if signed:
                    return _version(await self._signed("put", content, timeout))
                answer: Version = await self._call("put", content, timeout=timeout, returns=Version)
            except ReceivedError as error:
                if error.type != ConfigurationError.__name__:
                    raise
                raise ConfigurationError(error.message, details=error.details) from None
            return answer

    async def _signed(self, op: str, content: Any, timeout: float | None) -> Any:
        caller = self._caller
        if not isinstance(caller, Calling):
            message = f"{caller!r} cannot sign"
            raise TypeError(message)
        return await Operator(caller).command(self._to, op, content, timeout=timeout or 15.0)

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


def _version(said: Any) -> Version:
    try:
        return msgspec.convert(said, Version)
    except msgspec.ValidationError as error:
        message = f"the answer of policy.put is not what its client expects: {error}"
        raise CodecError(message) from None
