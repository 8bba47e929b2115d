"""What the shell offers for policy: the rules that this container decides by, and those of the
service ``policy``.

What is asked is signed with the key of the system, as other commands of the shell are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ion.base.errors import ApplicationError
from ion.process.command.operator import Operator
from ion.shell.helpers.targets import Target
from ion.shell.render import Table, moment

if TYPE_CHECKING:
    from ion.process.calling import Calling
    from ion.services.policy.client import PolicyClient

SHOWN = 50
MORE = "there are more: give a limit"
KEEPER = "policy_keeper"
_RULE = ("id", "effect", "actions", "to", "when", "place")
_VERSION = ("version", "rules", "actor", "created", "comment")


class Policies:
    """List the rules in force here; policy.explain('hello.hello', 'ann', ['OPERATOR'])."""

    def __init__(self, place: Target) -> None:
        self._place = place

    @property
    def client(self) -> PolicyClient:
        """A client of the service ``policy``, as the system."""
        from ion.services.policy.client import PolicyClient  # few need it

        return PolicyClient(self._place.caller, as_system=True)

    async def __call__(self, limit: int = SHOWN) -> Table:
        """List the rules that this container decides by."""
        rules = await self._ask("rules", {"limit": limit + 1})
        return Table(_RULE, rules[:limit], MORE if len(rules) > limit else "")

    async def status(self) -> dict[str, Any]:
        """Tell where the rules of this container come from, and what is wrong with new ones."""
        told: dict[str, Any] = await self._ask("status", {})
        return told

    async def explain(
        self,
        action: str,
        actor: str = "",
        roles: Sequence[str] = (),
        content: Mapping[str, Any] | None = None,
        claims: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Tell what would be decided, and why; an action is 'service.op', or '@point/topic'."""
        asked = {
            "action": action,
            "actor": actor,
            "roles": [roles] if isinstance(roles, str) else list(roles),
            "content": dict(content or {}),
            "claims": dict(claims or {}),
        }
        told: dict[str, Any] = await self._ask("explain", asked)
        return told

    async def reload(self) -> dict[str, Any]:
        """Have this container look for other rules now."""
        told: dict[str, Any] = await self._ask("reload", {})
        return told

    async def history(self, limit: int = SHOWN) -> Table:
        """List the versions of the service, the newest first."""
        found = await self.client.history(limit=limit)
        rows = [
            {
                "version": each.version,
                "rules": each.rules,
                "actor": each.actor or None,
                "created": moment(each.created, "seconds"),
                "comment": each.comment or None,
            }
            for each in found
        ]
        return Table(_VERSION, rows)

    async def put(self, path: str, comment: str = "") -> int:
        """Put the rules of a file in force in the whole system; return their version."""
        text = await asyncio.to_thread(Path(path).read_text)
        client = self.client
        newest = (await client.current()).version
        return (await client.put(text, newest, comment=comment)).version

    async def _ask(self, op: str, content: dict[str, Any]) -> Any:
        info = await self._place.describe()
        keepers = [each["pid"] for each in info["processes"] if each["name"] == KEEPER]
        if not keepers:
            message = "no policy is on in this container: set policy.file, or policy.service"
            raise ApplicationError(message, code=404, type="NoPolicy")
        caller = cast("Calling", self._place.caller)
        return await Operator(caller).command(keepers[0], op, content, timeout=15.0)

    def __repr__(self) -> str:
        return "policy() lists the rules here; policy.explain('hello.hello', 'ann', ['OPERATOR'])"
