"""Moving versions between peers: only what is missing, in batches, and whole or not at all.

Both ways keep the invariant of :mod:`ion.objects.peer`: elements are put after all that they refer
to. So what breaks off leaves whole parts behind, which the next try does not move again; and a
branch changes last, by compare-and-set.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from ion.base.errors import Damaged
from ion.objects.element import hash_of, links_of
from ion.objects.peer import BATCH_BYTES, MAX_ASKED, Elements

DEPTH_FIRST = 64  # elements that are asked for at a time


class Moved(msgspec.Struct):
    """What a transfer has moved.

    :ivar elements: how many.
    :ivar size: bytes of these.
    :ivar questions: round trips to the far side.
    """

    elements: int = 0
    size: int = 0
    questions: int = 0

    def plus(self, other: Moved) -> Moved:
        """Return the sum of two."""
        return Moved(
            self.elements + other.elements,
            self.size + other.size,
            self.questions + other.questions,
        )


async def pull(roots: Iterable[bytes], far: Elements, near: Elements) -> Moved:
    """Bring elements, with all that they refer to, from ``far`` to ``near``.

    It goes down before it goes on, and keeps no more than what is open on the way down, so that
    memory does not grow with what is moved.

    :raises NotFound: ``far`` has not all of it.
    :raises Damaged: what came is not what was asked for.
    """
    return await _Pull(far, near).run(list(dict.fromkeys(roots)))


class _Open:
    """An element that waits for what it refers to."""

    __slots__ = ("above", "data", "name", "waits")

    def __init__(self, name: bytes, data: bytes, above: list[_Open]) -> None:
        self.name = name
        self.data = data
        self.above = above
        self.waits = 0


class _Pull:
    def __init__(self, far: Elements, near: Elements) -> None:
        self._far = far
        self._near = near
        self._ready: dict[bytes, bytes] = {}  # closed, to be put
        self._size = 0
        self._above: dict[bytes, list[_Open]] = {}  # hash that is to come -> who waits for it
        self._open: dict[bytes, _Open] = {}  # what has come, and waits itself
        self._stack: list[bytes] = []
        self.moved = Moved()

    async def run(self, roots: list[bytes]) -> Moved:
        await self._want(roots, None)
        while self._stack:
            wanted = self._stack[-DEPTH_FIRST:]
            wanted.reverse()
            for name, data in zip(wanted, await self._fetched(wanted), strict=False):
                await self._arrived(name, data)
        await self._flush()
        return self.moved

    async def _fetched(self, wanted: list[bytes]) -> list[bytes]:
        """Return elements, and take them off the stack."""
        found = await self._far.fetch(wanted)
        self.moved.questions += 1
        if not found or len(found) > len(wanted):
            message = f"{len(found)} elements came where 1 to {len(wanted)} were asked for"
            raise Damaged(message)
        for expected, data in zip(wanted, found, strict=False):
            if hash_of(data) != expected:
                message = (
                    f"element {expected.hex()} is not what its hash says: it was altered on its way"
                )
                raise Damaged(message, details={"hash": expected.hex()})
        del self._stack[len(self._stack) - len(found) :]
        return found

    async def _want(self, hashes: Sequence[bytes], parent: _Open | None) -> None:
        """Ask for what is missing of what an element refers to; settle it where nothing is."""
        missing: list[bytes] = []
        for start in range(0, len(hashes), MAX_ASKED):
            missing += await self._near.missing(hashes[start : start + MAX_ASKED])
        missing = [each for each in missing if each not in self._ready]
        if parent is not None:
            parent.waits = len(missing)
            if not missing:
                await self._settle(parent)
        for each in missing:
            waiting = self._open[each].above if each in self._open else self._above.get(each)
            if waiting is None:
                self._above[each] = waiting = []
                self._stack.append(each)
            if parent is not None:
                waiting.append(parent)

    async def _arrived(self, name: bytes, data: bytes) -> None:
        above = self._above.pop(name, [])
        self.moved.elements += 1
        self.moved.size += len(data)
        self._open[name] = one = _Open(name, data, above)
        await self._want(links_of(data), one)

    async def _settle(self, one: _Open) -> None:
        """Put an element that waits for nothing any more, and those that waited for it alone."""
        done = [one]
        while done:
            one = done.pop()
            del self._open[one.name]
            self._ready[one.name] = one.data
            self._size += len(one.data)
            if self._size >= BATCH_BYTES:
                await self._flush()
            for parent in one.above:
                parent.waits -= 1
                if not parent.waits:
                    done.append(parent)

    async def _flush(self) -> None:
        ready, self._ready, self._size = self._ready, {}, 0
        if ready:
            await self._near.offer(list(ready.values()))


async def push(roots: Iterable[bytes], near: Elements, far: Elements) -> Moved:
    """Bring elements, with all that they refer to, from ``near`` to ``far``; see :func:`pull`.

    What is missing there is found first, from the roots down, and then sent from the leaves up. The
    hashes of what is missing are kept meanwhile, and none of the contents.
    """
    work = _Push(near, far)
    await work.find(list(dict.fromkeys(roots)))
    await work.send()
    return work.moved


class _Push:
    def __init__(self, near: Elements, far: Elements) -> None:
        self._near = near
        self._far = far
        self._links: dict[bytes, list[bytes]] = {}  # what is missing there -> what it refers to
        self._asked: set[bytes] = set()
        self.moved = Moved()

    async def find(self, level: list[bytes]) -> None:
        """Find out what is missing, level by level; each element is asked for once."""
        while level:
            self._asked.update(level)
            missing: list[bytes] = []
            for start in range(0, len(level), MAX_ASKED):
                missing += await self._far.missing(level[start : start + MAX_ASKED])
                self.moved.questions += 1
            below: dict[bytes, None] = {}
            done = 0
            while done < len(missing):
                wanted = missing[done : done + MAX_ASKED]
                some = await self._near.fetch(wanted)
                for name, data in zip(wanted, some, strict=False):
                    self._links[name] = links_of(data)
                    below.update(dict.fromkeys(self._links[name]))
                done += len(some)
            level = [each for each in below if each not in self._asked]

    async def send(self) -> None:
        """Send what is missing, in batches."""
        order = list(leaves_first(self._links))
        done = 0
        while done < len(order):
            some = await self._near.fetch(order[done : done + MAX_ASKED])
            await self._far.offer(some)
            self.moved.questions += 1
            self.moved.elements += len(some)
            self.moved.size += sum(map(len, some))
            done += len(some)


def leaves_first(links: Mapping[bytes, Sequence[bytes]]) -> Iterator[bytes]:
    """Iterate the elements that have an entry, each after those of them that it refers to."""
    done: set[bytes] = set()
    stack = [(name, False) for name in reversed(list(links))]
    while stack:
        name, is_open = stack.pop()
        if is_open:
            yield name
        elif name not in done:
            done.add(name)
            stack.append((name, True))
            stack += [(each, False) for each in links[name] if each in links and each not in done]
