"""The policy service: takes rules that are right, keeps them in versions, and gives them out.

Its rules are in its container's datastore; all instances on one datastore have the same. What it
gives to containers is sealed with the key of the system (:mod:`ion.process.policy.distribution`).
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from ion.base import clock
from ion.base.errors import ApplicationError, ConfigurationError, Conflict
from ion.observe.context import current_call
from ion.process.policy import distribution, reading
from ion.process.policy.decisions import Judge
from ion.process.policy.events import PolicyChanged
from ion.process.policy.facts import GivenFacts, asked_of
from ion.process.policy.interceptor import demand_rule
from ion.process.policy.model import DENY, Rules
from ion.process.service import Service
from ion.process.storeerrors import answering
from ion.services.policy.model import MAX_TEXT, NONE_YET, Given, Version
from ion.stores.store import ABSENT, Put, Store

STORE = "policy"
HEAD = "head"
ORIGIN = "policy"
MOST = 100
_encode, _decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(Version).decode


class PolicyService(Service, name="policy", version="0.1.0"):
    """Keeps the rules of the system."""

    _versions: Store
    _judge: tuple[int, Judge] = (0, Judge(Rules()))

    async def on_init(self) -> None:
        """Open the store."""
        self._versions = await self.store(str(self.app_config.get("store") or STORE))

    async def op_put(self, text: str, version: int, comment: str = "") -> Version:
        """Put new rules in force in the whole system; return them, without their text.

        Whoever asks needs a rule that allows it, or the key of the system.

        :param text: as a file of rules is written.
        :param version: the one that it comes after, 0 for none; 409 where another one is there.
        """
        demand_rule()
        rules = await _read(text)
        call = current_call.get()
        made = Version(
            version + 1,
            text,
            comment,
            call.user if call is not None else "",
            clock.now(),
            len(rules.rules),
        )
        with answering():
            await self._write(made)
        event = PolicyChanged(origin=ORIGIN, version=made.version, description=comment)
        await self.publish_event(event)
        return msgspec.structs.replace(made, text="")

    async def _write(self, made: Version) -> None:
        """Write a version and the head that is it, both or none.

        :raises Conflict: another one was made meanwhile.
        """
        entry = await self._versions.entry(HEAD)
        head = _decode(entry.value) if entry is not None else NONE_YET
        if head.version == made.version and _is_same(head, made):
            return  # this message has come again
        if head.version != made.version - 1:
            message = f"the rules are of version {head.version}, not {made.version - 1}, by now"
            raise Conflict(message, details={"version": head.version})
        value = _encode(made)
        revision = entry.revision if entry is not None else ABSENT
        await self._versions.write(
            [
                Put(_key(made.version), value, revision=ABSENT),
                Put(HEAD, value, revision=revision),
            ]
        )

    async def op_rules(self, nonce: str, have: int = 0) -> Given:
        """Return the newest rules to a container, sealed.

        :param nonce: what the seal is to be made over.
        :param have: the version that the container has; then it is not sent again.
        """
        with answering():
            head = await self._head()
        text = head.text if head.version != have else ""
        seal = distribution.sealed(self._endpoint.permission, nonce, head.version, text)
        return Given(head.version, text, seal)

    async def op_current(self) -> Version:
        """Return the rules that are in force; version 0: there are none yet."""
        with answering():
            return await self._head()

    async def op_read(self, version: int) -> Version:
        """Return a version; 404 where there is none."""
        with answering():
            value = await self._versions.get(_key(version))
        if value is None:
            message = f"there is no version {version} of the rules"
            raise ApplicationError(message, code=404, type="NotFound")
        return _decode(value)

    async def op_history(self, before: int | None = None, limit: int = 20) -> list[Version]:
        """Return versions without their texts, the newest first.

        :param before: those that are older than this one.
        :param limit: how many; at most 100.
        """
        with answering():
            newest = (await self._head()).version if before is None else before - 1
            last = max(newest - max(1, min(limit, MOST)), 0)
            keys = [_key(number) for number in range(newest, last, -1)]
            values = await self._versions.get_many(keys) if keys else {}
        found = [_decode(values[key]) for key in keys if key in values]
        return [msgspec.structs.replace(each, text="") for each in found]

    async def op_check(self, text: str) -> list[dict[str, Any]]:
        """Return what is wrong with rules, without putting them in force: as ``ioncc check``."""
        try:
            read = await asyncio.to_thread(reading.parse, _bounded(text), "rules")
        except ConfigurationError as error:
            return list(error.details["findings"])
        return [finding.as_dict() for finding in read.warnings]

    async def op_explain(
        self,
        action: str,
        actor: str = "",
        roles: list[str] | None = None,
        content: dict[str, Any] | None = None,
        claims: dict[str, Any] | None = None,
        owners: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        """Return what the rules in force decide where the default is to deny, and why.

        :param action: ``service.op``, or ``@point/topic``.
        :param owners: resource -> actor, for conditions of ownership.
        """
        with answering():
            head = await self._head()
        if self._judge[0] != head.version:
            rules = await _read(head.text) if head.version else Rules()
            self._judge = (head.version, await asyncio.to_thread(Judge, rules, DENY))
        subject = asked_of(action, actor, roles, claims)
        facts = GivenFacts(content or {}, owners or {})
        decision = self._judge[1].consider(subject, action, facts)
        return {**decision.as_dict(), "version": head.version}

    async def _head(self) -> Version:
        value = await self._versions.get(HEAD)
        return _decode(value) if value is not None else NONE_YET


def _bounded(text: str) -> str:
    """Return the text.

    :raises ApplicationError: it is over what one message holds.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_TEXT:
        message = f"the rules are over {MAX_TEXT} bytes"
        raise ApplicationError(message, code=413, type="ContentTooLarge")
    return text


async def _read(text: str) -> Rules:
    """Return the rules of a text.

    :raises ApplicationError: they are wrong; all findings are in its details.
    """
    try:
        return (await asyncio.to_thread(reading.parse, _bounded(text), "rules")).rules
    except ConfigurationError as error:
        raise ApplicationError(error.message, 400, error.type, error.details) from error


def _is_same(one: Version, other: Version) -> bool:
    return (one.text, one.comment, one.actor) == (other.text, other.comment, other.actor)


def _key(version: int) -> str:
    return f"version/{version:012}"
