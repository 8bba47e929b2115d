"""What the shell offers for resources: the resource registry of the system."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ion.shell.helpers.targets import Target
from ion.shell.render import Table, moment

if TYPE_CHECKING:
    from ion.services.resource_registry.client import ResourceRegistryClient
    from ion.services.resource_registry.model import Association, Found, Resource

SHOWN = 20
MORE = "there are more: give a limit"
_RESOURCE = ("id", "type", "name", "owner", "state", "revision", "modified", "attributes")
_VERSION = ("revision", "modified", "actor", "change", "state", "name", "attributes")
_SAID = ("subject", "predicate", "object")
_WIDTH = 60


class Resources:
    """List resources; resources.show(id), .find(where), .create(type, name, ...) and others."""

    def __init__(self, place: Target) -> None:
        self._place = place

    @property
    def client(self) -> ResourceRegistryClient:
        """A client of the resource registry."""
        from ion.services.resource_registry.client import ResourceRegistryClient  # few need it

        return ResourceRegistryClient(self._place.caller)

    async def __call__(self, type: str | None = None, limit: int = SHOWN, **more: Any) -> Table:
        """List resources, of a type and those below it; also by name=, owner=, state=."""
        return _table(await self.client.find(type, limit=limit, **more))

    async def find(self, where: Any, type: str | None = None, limit: int = SHOWN) -> Table:
        """List resources by their attributes: resources.find(A("depth") > 100)."""
        return _table(await self.client.find(type, where, limit=limit))

    async def types(self) -> Table:
        """List the types of resources, those above first."""
        rows = [
            {
                "type": found.path.rstrip("/"),
                "attributes": ", ".join(_attribute(name, a) for name, a in found.every.items()),
                "life cycle": found.life_cycle or None,
                "version": found.version,
            }
            for found in await self.client.types()
        ]
        return Table(("type", "attributes", "life cycle", "version"), rows)

    async def show(self, id: str) -> Table:
        """Show a resource, all of it, and what is said of it."""
        client = self.client
        found = await client.read(id)
        said = (await client.associations(id, limit=SHOWN)).items
        said += (await client.associations(object=id, limit=SHOWN)).items
        rows = [{"what": name, "is": value} for name, value in _shown(found)]
        rows += [{"what": "said", "is": _sentence(each)} for each in said]
        return Table(("what", "is"), rows)

    async def create(self, type: str, name: str, **attributes: Any) -> Table:
        """Make a resource; return it."""
        return Table(_RESOURCE, [_row(await self.client.create(type, name, attributes))])

    async def update(self, id: str, **attributes: Any) -> Table:
        """Change attributes of a resource; None takes one away."""
        return Table(_RESOURCE, [_row(await self.client.update(id, attributes=attributes))])

    async def step(self, id: str, event: str) -> Table:
        """Let a resource take a step of its life cycle: plan, develop, announce, retire, ..."""
        return Table(_RESOURCE, [_row(await self.client.step(id, event))])

    async def history(self, id: str, limit: int = SHOWN) -> Table:
        """List the revisions of a resource, the latest first."""
        found = await self.client.history(id, limit=limit)
        return Table(_VERSION, [_row(each) for each in found.items], _note(found.cursor))

    async def associate(self, subject: str, predicate: str, object: str) -> Table:
        """Say something of two resources."""
        said = await self.client.associate(subject, predicate, object)
        return Table(_SAID, [_parts(said)])

    async def said(
        self, subject: str = "", predicate: str = "", object: str = "", limit: int = SHOWN
    ) -> Table:
        """List associations that have all parts that are given."""
        found = await self.client.associations(subject, predicate, object, limit=limit)
        return Table(_SAID, [_parts(each) for each in found.items], _note(found.cursor))

    def __repr__(self) -> str:
        return "resources() lists resources; resources.show(id), .find(A('depth') > 1), .types()"


def _table(found: Found) -> Table:
    return Table(_RESOURCE, [_row(each) for each in found.items], _note(found.cursor))


def _note(cursor: str | None) -> str:
    return "" if cursor is None else MORE


def _row(found: Resource) -> dict[str, Any]:
    attributes = ", ".join(f"{name}={value!r}" for name, value in found.attributes.items())
    short = attributes if len(attributes) <= _WIDTH else f"{attributes[: _WIDTH - 3]}..."
    return {
        "id": found.id,
        "type": found.type,
        "name": found.name,
        "owner": found.owner or None,
        "actor": found.actor or None,
        "change": found.change,
        "state": found.state,
        "revision": found.revision,
        "modified": moment(found.modified, "seconds"),
        "attributes": short or None,
    }


def _shown(found: Resource) -> list[tuple[str, Any]]:
    told = _row(found)
    names = ("id", "type", "name", "owner", "state", "revision", "change", "actor", "modified")
    rows = [(name, told[name]) for name in names]
    rows += [
        ("created", moment(found.created, "seconds")),
        ("description", found.description or None),
    ]
    return rows + [(name, repr(value)) for name, value in found.attributes.items()]


def _attribute(name: str, attribute: Any) -> str:
    marks = "!" * attribute.required + "*" * attribute.index
    return f"{name}: {attribute.kind}{marks}"


def _sentence(said: Association) -> str:
    return f"{said.subject} {said.predicate} {said.object}"


def _parts(said: Association) -> dict[str, Any]:
    return {"subject": said.subject, "predicate": said.predicate, "object": said.object}
