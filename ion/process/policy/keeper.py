"""The keeper: the process in each container that keeps its rules up to date, and who owns what."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from ion.base.errors import IonError
from ion.process.ops import command
from ion.process.policy.events import PolicyReloaded
from ion.process.policy.model import Subject
from ion.process.policy.policing import Policing
from ion.process.process import Process

log = logging.getLogger("ion.policy")
PATIENCE = 5.0  # seconds for a call of another service
TOLD_WITHIN = 2.0


class PolicyKeeper(Process, name="policy_keeper"):
    """Looks after the rules of its container; there is one where the setting ``policy`` is on."""

    concurrency = 16

    def __init__(self, policing: Policing) -> None:
        self._policing = policing

    async def on_activate(self) -> None:
        """Begin to look."""
        self._policing.gate.hints = self.id
        self.run(self._watch(), "policy watch")

    async def _watch(self) -> None:
        every = self._policing.settings.reload_every
        while True:
            await asyncio.sleep(every)
            self._policing.journal.count()
            if await self._policing.look():
                await self._tell()

    async def _tell(self) -> None:
        """Say that there are other rules, where anybody can hear it."""
        policing = self._policing
        event = PolicyReloaded(
            origin=self.id.partition(".")[0],
            origin_type="Container",
            version=policing.version,
            source=policing.rules.source,
            rules=len(policing.rules.rules),
        )
        try:
            await self.publish_event(event, timeout=TOLD_WITHIN, confirm=False)
        except IonError as error:
            log.debug("not told of other rules: %s", error)

    async def op_status(self) -> dict[str, Any]:
        """Return where the rules come from, how many there are, and what is wrong, if anything."""
        return self._policing.describe()

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
        subject = Subject(actor, frozenset(roles or ()), claims or {})
        decision = self._policing.explain(subject, action, content or {})
        return {
            "allowed": decision.allowed,
            "rule": decision.rule or None,
            "reason": decision.reason,
            "needs": list(decision.needs),
        }

    @command
    async def op_reload(self) -> dict[str, Any]:
        """Read the rules again now; return what :meth:`op_status` does."""
        if await self._policing.look(again=True):
            await self._tell()
        return self._policing.describe()

    async def on_health(self) -> None:
        """Raise where there are new rules that cannot be taken.

        :raises IonError: it says what is wrong with them.
        """
        if self._policing.problem:
            message = (
                f"the rules in force are old, as the new ones are wrong: {self._policing.problem}"
            )
            raise IonError(message)
