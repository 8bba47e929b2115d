"""The keeper: the process in each container that keeps its rules up to date, and who owns what.

It looks for other rules now and then, and at once where it hears that there are some. What it hears
it believes only as a hint: rules come from a file, or sealed from the service ``policy``; who owns
what is asked of the registry.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import Any

from ion.base.errors import ConfigurationError, IonError
from ion.process.command.operator import Operator
from ion.process.events.types import (
    ContainerRecovered,
    ResourceCreated,
    ResourceEvent,
    ResourceModified,
)
from ion.process.ops import command
from ion.process.policy import distribution
from ion.process.policy.active_rules import ActiveRules
from ion.process.policy.events import PolicyChanged, PolicyReloaded
from ion.process.policy.facts import asked_of
from ion.process.policy.model import Rule
from ion.process.process import Process

log = logging.getLogger("ion.policy")
PATIENCE = 5.0  # seconds for a call of another service
TOLD_WITHIN = 2.0
AT_ONCE = 100  # resources whose owners are asked for together
PAGE = 500
MAX_PAGES = 200
MOST = 1000  # rules in one answer


class PolicyKeeper(Process, name=distribution.KEEPER):
    """Looks after the rules of its container; there is one where the setting ``policy`` is on."""

    concurrency = 16

    def __init__(self, active_rules: ActiveRules) -> None:
        self._active_rules = active_rules
        self._hurry = asyncio.Event()
        self._looking = asyncio.Lock()  # so that older rules never come after newer ones
        self._is_away = False
        self._follows = False
        self._learns = False
        self._is_to_learn = False

    async def on_activate(self) -> None:
        """Begin to look; what changes is heard of.

        May raise: the broker is away.
        """
        active_rules = self._active_rules
        active_rules.interceptor.hints = self.id
        active_rules.owners.on_wanted = self._hurry.set
        if active_rules.settings.service:
            await self.subscribe_events(PolicyChanged, self.on_change)
        await self._follow_owners()
        self.run(self._watch(), "policy watch")

    # rules

    async def on_change(self, _: PolicyChanged) -> None:
        """Hear that the service has other rules: look at once."""
        self._hurry.set()

    async def _watch(self) -> None:
        while True:
            try:
                await self._look()
            except IonError as error:  # the broker or a service is away: the next look is soon
                log.debug("looking after policy: %s", error)
            try:
                async with asyncio.timeout(self._active_rules.settings.reload_every):
                    await self._hurry.wait()
            except TimeoutError:
                continue
            self._hurry.clear()

    async def _look(self, *, again: bool = False) -> None:
        self._active_rules.count()
        async with self._looking:
            is_new = await self._active_rules.look(again=again) or await self._fetch()
        if is_new:
            await self._tell()
        await self._follow_owners()
        await self._find_owners()

    async def _fetch(self) -> bool:
        """Take the rules of the service where they are others; return whether they are."""
        active_rules = self._active_rules
        if not active_rules.settings.service:
            return False
        nonce, have = secrets.token_hex(16), active_rules.version
        content = {"nonce": nonce, "have": have}
        try:
            operator = Operator(self)
            said = await operator.command(
                distribution.SERVICE, distribution.OP, content, timeout=PATIENCE
            )
        except IonError as error:
            self._note_away(error)
            return False
        self._is_away = False
        version, text, seal = (said.get(name) for name in ("version", "text", "seal"))
        if not isinstance(version, int) or not isinstance(text, str) or version == have:
            return False
        if not distribution.is_good(self._endpoint.permission, nonce, version, text, seal):
            log.error("rules of version %d are not taken: their seal is not good", version)
            return False
        try:
            await active_rules.take(text, version)
        except ConfigurationError as error:
            active_rules.refuse(error)
            return False
        return True

    def _note_away(self, error: IonError) -> None:
        if not self._is_away:
            self._is_away = True
            held = self._active_rules.rules.source or "none, so that nothing is allowed"
            log.warning("the policy service gives no rules: %s; in force: %s", error, held)

    async def _tell(self) -> None:
        """Say that there are other rules, where anybody can hear it."""
        active_rules = self._active_rules
        event = PolicyReloaded(
            origin=self.id.partition(".")[0],
            origin_type="Container",
            version=active_rules.version,
            source=active_rules.rules.source,
            rules=len(active_rules.rules.rules),
        )
        try:
            await self.publish_event(event, timeout=TOLD_WITHIN, confirm=False)
        except IonError as error:
            log.debug("not told of other rules: %s", error)

    # owners

    async def _follow_owners(self) -> None:
        """Hear of changes of resources, and learn whose they are, once a rule asks for owners."""
        active_rules = self._active_rules
        if self._follows or active_rules.settings.owners is None or not active_rules.uses_owners:
            return
        self._follows = True
        await self.subscribe_events(ResourceEvent, self.on_resource)
        await self.subscribe_events(
            ContainerRecovered, self.on_recovered, origin=self.id.partition(".")[0]
        )
        self._learn_anew()

    async def on_resource(self, event: ResourceEvent) -> None:
        """Hear of a resource: where its owner may be another one now, that is not known any more.

        It is asked for at once; until it is known, who owned it is refused, too.
        """
        owners = self._active_rules.owners
        if isinstance(event, ResourceCreated):
            owners.want(event.origin)
        elif isinstance(event, ResourceModified) and "owner" in event.changed:
            owners.doubt(event.origin)

    async def on_recovered(self, _: ContainerRecovered) -> None:
        """Hear that the broker was away: changes may have been missed."""
        self._active_rules.owners.clear()
        self._learn_anew()

    def _learn_anew(self) -> None:
        """Learn the owners; once more where that is being done, and once only: anybody can ask."""
        self._is_to_learn = True
        if not self._learns:
            self._learns = True
            self.run(self._learn(), "owners", own=True)

    async def _learn(self) -> None:
        try:
            while self._is_to_learn:
                self._is_to_learn = False
                await self._learn_all()
        finally:
            self._learns = False

    async def _learn_all(self) -> None:
        """Learn the owners of the resources there are, as many as are kept."""
        cursor: str | None = None
        owners, service = self._active_rules.owners, str(self._active_rules.settings.owners)
        for _ in range(MAX_PAGES):
            content, since = {"limit": PAGE, "cursor": cursor}, owners.mark
            try:
                found = await self.rpc_send(service, "find", content, PATIENCE)
            except IonError as error:
                log.debug("owners are looked up one by one: %s", error)
                return
            for resource in found.get("items", ()):
                owners.learn(resource["id"], resource.get("owner", ""), since)
            cursor = found.get("cursor")
            if cursor is None or owners.is_full:
                return

    async def _find_owners(self) -> None:
        """Ask for the owners that a decision has missed."""
        owners = self._active_rules.owners
        service = self._active_rules.settings.owners
        while service is not None and (wanted := owners.wanted(AT_ONCE)):
            since = owners.mark
            try:
                found = await self.rpc_send(service, "read_many", {"ids": wanted}, PATIENCE)
            except IonError as error:
                log.debug("the owners of %d resources are not known: %s", len(wanted), error)
                return
            for resource in found:
                owners.learn(resource["id"], resource.get("owner", ""), since)

    # what can be asked

    async def op_status(self) -> dict[str, Any]:
        """Return where the rules come from, how many there are, and what is wrong, if anything."""
        return self._active_rules.describe()

    async def op_rules(self, start: int = 0, limit: int = 100) -> list[dict[str, Any]]:
        """Return rules in force, from the ``start``-th on: id, effect, actions, to, when, place."""
        limit = max(1, min(limit, MOST))
        return [told(rule) for rule in self._active_rules.rules.rules[max(start, 0) :][:limit]]

    async def op_explain(
        self,
        action: str,
        actor: str = "",
        roles: list[str] | None = None,
        content: dict[str, Any] | None = None,
        claims: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return what would be decided, and why: ``allowed``, ``rule``, ``reason``, ``needs``.

        :param action: ``service.op``, or ``@point/topic``.
        """
        subject = asked_of(action, actor, roles, claims)
        return self._active_rules.explain(subject, action, content or {}).as_dict()

    @command
    async def op_reload(self) -> dict[str, Any]:
        """Look for other rules now; return what :meth:`op_status` does."""
        await self.reload()
        return self._active_rules.describe()

    async def reload(self) -> None:
        """Look for other rules now; what is wrong with them is logged, and changes nothing.

        :raises IonError: the broker is away.
        """
        await self._look(again=True)

    async def on_health(self) -> None:
        """Raise where there are new rules that cannot be taken.

        :raises IonError: it says what is wrong with them.
        """
        if self._active_rules.problem:
            message = (
                f"the old rules are in force, as the new are wrong: {self._active_rules.problem}"
            )
            raise IonError(message)


def told(rule: Rule) -> dict[str, Any]:
    """Return a rule for people."""
    actors = [f"actor {actor}" for actor in sorted(rule.actors)]
    return {
        "id": rule.id,
        "effect": rule.effect,
        "actions": ", ".join(rule.actions),
        "to": ", ".join([*sorted(rule.roles), *actors]),
        "when": rule.when.told() if rule.when is not None else None,
        "place": rule.place,
        "description": rule.description or None,
    }
