"""What the shell offers for data: the repositories of the datastore, and the attribute store.

Both ask the services of these names, wherever in the system they run.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from ion.shell.helpers.targets import Target
from ion.shell.render import Table, moment

if TYPE_CHECKING:
    from ion.objects.repository import Version
    from ion.services.attributestore.client import AttributeStoreClient
    from ion.services.attributestore.model import Row, Rows, Value
    from ion.services.datastore.client import DatastoreClient

SHOWN = 20
SHORT = 12  # digits of a hash
WIDTH = 60
MORE = "there are more: give a limit"
_VERSION = ("commit", "time", "author", "comment")


class Repositories:
    """List the repositories; repos.show(name), repos.history(name) look into one."""

    def __init__(self, place: Target) -> None:
        self._place = place

    @property
    def client(self) -> DatastoreClient:
        """A client of the datastore."""
        from ion.services.datastore.client import DatastoreClient  # few need it

        return DatastoreClient(self._place.caller)

    async def __call__(self, prefix: str = "", limit: int = SHOWN) -> Table:
        """List the repositories whose names begin with ``prefix``, and their branches."""
        client = self.client
        names = await client.repositories(prefix)
        rows = []
        for name in names[:limit]:
            branches = await client.branches(name)
            rows += [
                {"repository": name, "branch": branch, "commit": head[:SHORT]}
                for branch, head in branches.items()
            ]
        note = MORE if len(names) > limit else ""
        return Table(("repository", "branch", "commit"), rows, note)

    async def show(
        self,
        name: str,
        path: str = "",
        *,
        branch: str = "main",
        commit: str | None = None,
        at: float | None = None,
    ) -> Any:
        """Return an object, or what is at a path ('a/b') of it, in a version or as of a time."""
        steps = path.split("/") if path else ()
        client = self.client
        found = await client.checkout(name, branch=branch, commit=commit, at=at, path=steps)
        return found.value

    async def history(self, name: str, branch: str = "main", limit: int = SHOWN) -> Table:
        """List the last versions of a branch."""
        rows: list[dict[str, Any]] = []
        versions = self.client.history(name, branch=branch)
        async with aclosing(versions):  # type: ignore[type-var]
            async for version in versions:
                if len(rows) == limit:
                    return Table(_VERSION, rows, MORE)
                rows.append(_version(version))
        return Table(_VERSION, rows)

    def __repr__(self) -> str:
        return "repos() lists the repositories; repos.show(name), repos.history(name)"


class AttributeRows:
    """List shared values; attrs.get(key), attrs.put(key, value), attrs.find(where)."""

    def __init__(self, place: Target) -> None:
        self._place = place

    @property
    def client(self) -> AttributeStoreClient:
        """A client of the attribute store."""
        from ion.services.attributestore.client import AttributeStoreClient  # few need it

        return AttributeStoreClient(self._place.caller)

    async def __call__(self, prefix: str = "", limit: int = SHOWN) -> Table:
        """List values whose keys begin with ``prefix``."""
        return _table(await self.client.scan(prefix, limit=limit))

    async def find(self, where: Any, limit: int = SHOWN) -> Table:
        """List values by their attributes: attrs.find(A("depth") > 100)."""
        return _table(await self.client.query(where, limit=limit))

    async def get(self, key: str) -> Value | None:
        """Return a value, or None."""
        return await self.client.get(key)

    async def put(self, key: str, value: Value, **index: Any) -> int:
        """Keep a value with its attributes; return its revision."""
        return await self.client.put(key, value, index=index)

    async def remove(self, key: str) -> bool:
        """Remove a value; return whether there was one."""
        return await self.client.remove(key)

    def __repr__(self) -> str:
        return "attrs() lists values; attrs.get(key), attrs.put(key, value), attrs.find(where)"


def _table(rows: Rows) -> Table:
    note = "" if rows.cursor is None else MORE
    return Table(("key", "value", "attributes"), [_row(row) for row in rows.items], note)


def _version(version: Version) -> dict[str, Any]:
    told = {"author": version.author or None, "comment": version.comment or None}
    return {"commit": version.hash, "time": moment(version.time, "seconds"), **told}


def _row(row: Row) -> dict[str, Any]:
    value = row.value if isinstance(row.value, str) else repr(row.value)
    short = value if len(value) <= WIDTH else f"{value[: WIDTH - 3]}..."
    attributes = ", ".join(f"{name}={value!r}" for name, value in row.index.items())
    return {"key": row.key, "value": short, "attributes": attributes or None}
