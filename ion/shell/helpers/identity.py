"""What the shell offers for who there is in a system: its actors, and whom one is taken for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ion.shell.helpers.targets import Target
from ion.shell.render import Table, moment

if TYPE_CHECKING:
    from ion.services.identity.client import IdentityClient
    from ion.services.identity.model import Actor, Kind, NewSecret, Who

SHOWN = 50
MORE = "there are more: give a limit"
_ACTOR = ("actor", "kind", "name", "roles", "enabled", "since")
_CREDENTIAL = ("id", "kind", "label", "public", "since")


class ActorsOf:
    """List the actors; actors.add(id, 'ROLE'), actors.secret(id), actors.whoami() and others.

    What administrates is signed with the key of the system, as other commands of the shell are.
    """

    def __init__(self, place: Target) -> None:
        self._place = place

    @property
    def client(self) -> IdentityClient:
        """A client of the identity service, as the system."""
        from ion.services.identity.client import IdentityClient  # few need it

        return IdentityClient(self._place.caller, as_system=True)

    async def __call__(self, kind: Kind | None = None, limit: int = SHOWN) -> Table:
        """List actors: all, or 'user' or 'service' only."""
        page = await self.client.actors(kind, limit=limit)
        return Table(_ACTOR, [_row(each) for each in page.items], MORE if page.cursor else "")

    async def whoami(self) -> Who:
        """Tell whom calls from here are taken for."""
        from ion.services.identity.client import IdentityClient  # few need it

        return await IdentityClient(self._place.caller).whoami()

    async def add(self, actor: str, *roles: str, kind: Kind = "user", name: str = "") -> Table:
        """Add an actor: actors.add('ada', 'OPERATOR')."""
        added = await self.client.add_actor(actor, kind=kind, name=name, roles=roles)
        return Table(_ACTOR, [_row(added)])

    async def secret(self, actor: str, label: str = "") -> str:
        """Make a secret for an actor, and show it this once."""
        made: NewSecret = await self.client.add_secret(actor, label)
        return made.secret

    async def key(self, actor: str, public: str, label: str = "") -> str:
        """Add a public key (Ed25519) of an actor; return its id."""
        return (await self.client.add_key(actor, public, label)).id

    async def credentials(self, actor: str) -> Table:
        """List how an actor can prove who they are."""
        rows = [
            {
                "id": each.id,
                "kind": each.kind,
                "label": each.label or None,
                "public": each.public or None,
                "since": moment(each.created, "seconds"),
            }
            for each in await self.client.credentials(actor)
        ]
        return Table(_CREDENTIAL, rows)

    async def grant(self, actor: str, *roles: str) -> Table:
        """Give an actor roles."""
        return Table(_ACTOR, [_row(await self.client.grant(actor, *roles))])

    async def withdraw(self, actor: str, *roles: str) -> Table:
        """Take roles from an actor; tokens that have them end."""
        return Table(_ACTOR, [_row(await self.client.withdraw(actor, *roles))])

    async def enable(self, actor: str, enabled: bool = True) -> Table:
        """Let an actor in, or keep them out: actors.enable('eve', False)."""
        return Table(_ACTOR, [_row(await self.client.enable(actor, enabled))])

    async def revoke(self, actor: str, reason: str = "") -> int:
        """Revoke all tokens and sessions of an actor; return how many containers have heard."""
        return await self.client.revoke(actor=actor, reason=reason)

    async def remove(self, actor: str) -> bool:
        """Remove an actor; return whether there was one."""
        return await self.client.remove_actor(actor)

    def __repr__(self) -> str:
        return "actors() lists actors; actors.add('ada', 'OPERATOR'), actors.secret('ada')"


def _row(actor: Actor) -> dict[str, Any]:
    return {
        "actor": actor.id,
        "kind": actor.kind,
        "name": actor.name or None,
        "roles": ", ".join(actor.roles) or None,
        "enabled": actor.enabled,
        "since": moment(actor.created, "seconds"),
    }
