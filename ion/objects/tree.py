"""An object as one works on it: a version, and changes of it that nobody else sees yet."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from ion.base.errors import InvalidRequest, NotFound
from ion.objects.editing import Anew, Below, Edit, Path, Put, Removed, Set, add, edited, steps
from ion.objects.element import MAX_DEPTH, Typed
from ion.objects.freezing import Sink
from ion.objects.merging import Conflict
from ion.objects.thawing import NOTHING, Get, is_map, lookup, map_entries, thaw
from ion.objects.types import Types


class Tree:
    """A map with text for keys, and within it anything that can be kept.

    It is read as it is needed: what nobody looks at is not read. Paths are ``"a/b"``, or
    ``("a", "b")`` where a key has a slash; an item of a list is its index.

    :param root: frozen map that it begins with.
    :param parents: the commits that the next one comes from.
    :param types: of the messages in it; see :class:`~ion.objects.repository.Repository`.
    :ivar branch: that it was checked out of.
    :ivar conflicts: of a merge, that are to be decided before it is committed.
    """

    def __init__(
        self,
        root: Any,
        get: Get,
        *,
        parents: tuple[bytes, ...] = (),
        branch: str = "",
        types: Types | None = None,
    ) -> None:
        self.root = root
        self.parents = parents
        self.branch = branch
        self._get = get
        self._types = types
        self._versions: dict[tuple[Path, str], int] = {}  # of types of messages that were read
        self.conflicts: list[Conflict] = []
        self._changes = Below({})

    @property
    def is_changed(self) -> bool:
        """Whether there are changes that were not committed."""
        return bool(self._changes.changes)

    # reading

    async def get(self, path: str | Path, default: Any = None) -> Any:
        """Return the value at a path, whole, or ``default`` where there is none."""
        found = await self._find(steps(path))
        return default if found is NOTHING else self._unpacked(found, steps(path))

    async def has(self, path: str | Path) -> bool:
        """Return whether there is a value at a path."""
        return await self._look(steps(path)) is not NOTHING

    async def keys(self, path: str | Path = ()) -> list[str]:
        """Return the keys of the map at a path, by default of all, in order.

        :raises NotFound: there is nothing.
        :raises InvalidRequest: it is no map.
        """
        found = self._changes if not path else await self._look(steps(path))
        if found is NOTHING:
            message = f"there is no {'/'.join(steps(path))!r}"
            raise NotFound(message)
        if isinstance(found, Set) and isinstance(found.value, dict):
            return sorted(found.value)
        base = await self._base(found, steps(path) if path else ())
        if isinstance(found, Set) or not await is_map(base, self._get):
            message = f"{'/'.join(steps(path))!r} is no map: it has no keys"
            raise InvalidRequest(message)
        changes = found.changes if isinstance(found, Below) else {}
        names = [entry.key async for entry in map_entries(base, self._get)]
        kept = {name for name in names if not isinstance(changes.get(name), Removed)}
        added = {name for name, change in changes.items() if not isinstance(change, Removed)}
        return sorted(kept | added)

    async def items(self, path: str | Path = ()) -> AsyncIterator[tuple[str, Any]]:
        """Iterate keys and values of the map at a path, in order; one value is read at a time."""
        above = steps(path) if path else ()
        for key in await self.keys(path):
            yield key, self._unpacked(await self._find((*above, key)), (*above, key))

    async def value(self) -> dict[str, Any]:
        """Return all of it."""
        return {key: value async for key, value in self.items()}

    # changing

    def set(self, path: str | Path, value: Any) -> None:
        """Put a value at a path; maps on the way are made. It may have messages, of types known.

        :raises InvalidRequest: the path is none, or leads through what is set and no map. What
            cannot be kept is found out at the commit.
        """
        add(self._changes, steps(path), Set(self._packed(value, steps(path))))

    def remove(self, path: str | Path, *, is_sure: bool = True) -> None:
        """Remove what is at a path; that it is there is found out at the commit.

        :param is_sure: False: it need not be there.
        """
        add(self._changes, steps(path), Removed(is_sure))

    def apply(self, changes: Below) -> None:
        """Take frozen changes, as a merge has them."""
        _apply(self._changes, changes, ())

    def forget(self) -> None:
        """Drop all changes."""
        self._changes = Below({})

    async def frozen(self, sink: Sink) -> Any:
        """Return the frozen map with the changes in it.

        :raises InvalidRequest: a value is no plain data, or a change leads into what is no map.
        :raises NotFound: what was to be removed is not there.
        """
        if not self.is_changed:
            return self.root
        return await edited(self.root, self._changes, self._get, sink)

    # helpers

    def _packed(self, value: Any, path: Path) -> Any:
        if self._types is None or len(path) > MAX_DEPTH:  # which is refused when it is kept
            return value
        if isinstance(value, dict):
            return {key: self._packed(each, (*path, key)) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self._packed(each, (*path, str(n))) for n, each in enumerate(value)]
        packed = self._types.packed(value)
        if isinstance(packed, Typed):  # what a newer release has written stays of its version
            version = self._versions.get((path, packed.name), 0)
            return Typed(packed.name, max(version, packed.version), packed.data)
        return packed

    def _unpacked(self, value: Any, path: Path) -> Any:
        if self._types is None:
            return value
        if isinstance(value, dict):
            return {key: self._unpacked(each, (*path, key)) for key, each in value.items()}
        if isinstance(value, list):
            return [self._unpacked(each, (*path, str(n))) for n, each in enumerate(value)]
        if isinstance(value, Typed):
            self._versions[path, value.name] = value.version
            return self._types.unpacked(value)
        return value

    async def _find(self, path: Path) -> Any:
        """Return the value at a path, with the changes in it; NOTHING where there is none."""
        found = await self._look(path)
        if found is NOTHING:
            return NOTHING
        if isinstance(found, Set):
            return found.value
        if isinstance(found, Put):
            return await thaw(found.frozen, self._get)
        if isinstance(found, Below):
            return {key: await self._find((*path, key)) for key in await self.keys(path)}
        return await thaw(found, self._get)

    async def _look(self, path: Path) -> Any:
        """Return the change at a path, else what is kept there, frozen; or NOTHING."""
        node: Edit = self._changes
        for depth, step in enumerate(path):
            if isinstance(node, Set):
                return _within(node.value, path[depth:])
            if isinstance(node, Put):
                return await self._below(node.frozen, path[depth:])
            if isinstance(node, Removed):
                return NOTHING
            below = node.changes.get(step)
            if below is None:
                if isinstance(node, Anew):
                    return await self._below(node.frozen, path[depth:])
                return await self._frozen(path)
            node = below
        return NOTHING if isinstance(node, Removed) else node

    async def _base(self, found: Any, path: Path) -> Any:
        """Return what is frozen at a path below the changes found there."""
        if isinstance(found, Anew | Put):
            return found.frozen
        if isinstance(found, Below):
            kept = await self._frozen(path)
            return {} if kept is NOTHING else kept
        return found

    async def _frozen(self, path: Path) -> Any:
        """Return what is kept at a path, without the changes."""
        return await self._below(self.root, path)

    async def _below(self, frozen: Any, path: Path) -> Any:
        for step in path:
            frozen = await lookup(frozen, step, self._get)
            if frozen is NOTHING:
                return NOTHING
        return frozen


def _within(value: Any, path: Path) -> Any:
    """Return the change that says what is at a path of a value that was set."""
    for step in path:
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list | tuple) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return NOTHING
    return Set(value)


def _apply(root: Below, changes: Below, above: Path) -> None:
    for key, change in changes.changes.items():
        if isinstance(change, Below):
            _apply(root, change, (*above, key))
        else:
            add(root, (*above, key), change)
