"""What the tests of objects share: homes over stores, values of any form, and counting peers."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

from ion.objects.element import Reference, Typed
from ion.objects.freezing import Sink, freeze
from ion.objects.kept import KeptPeer
from ion.objects.thawing import NOTHING, thaw
from ion.stores.opening import open_datastore

_numbers = itertools.count()

ATOMS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    | st.binary(max_size=20)
    | st.builds(Typed, st.sampled_from(["a.b", "c"]), st.integers(1, 9), st.binary(max_size=2000))
    | st.builds(Reference, st.sampled_from(["r", "s"]))
)
KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8) | st.sampled_from(
    [f"k{n}" for n in range(12)]
)
# Large ones are made from a few numbers, or drawing them would take all the time.
LARGE = (
    st.integers(1000, 5000).map(lambda n: "é" * n)
    | st.integers(1000, 300_000).map(bytes)
    | st.integers(100, 3000).map(lambda n: [i * i for i in range(n)])
    | st.integers(300, 3000).map(lambda n: [0] * n)
    | st.integers(100, 3000).map(lambda n: {f"{i * 7919 % n}": i for i in range(n)})
)
VALUES = st.recursive(
    ATOMS | LARGE,
    lambda below: st.lists(below, max_size=5) | st.dictionaries(KEYS, below, max_size=5),
    max_leaves=12,
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=6)


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end; what Hypothesis calls many times is no coroutine itself."""
    return asyncio.run(work)


async def memory_home() -> KeptPeer:
    """Return a home in memory, of its own."""
    datastore = open_datastore(f"memory://objects-{next(_numbers)}")
    await datastore.open()
    return await KeptPeer.open(datastore)


class Shelf:
    """Elements in a dict: the least that freezing and thawing need."""

    def __init__(self) -> None:
        self.kept: dict[bytes, bytes] = {}

    async def keep(self, elements: Mapping[bytes, bytes]) -> None:
        self.kept.update(elements)

    async def get(self, hash: bytes) -> bytes:
        return self.kept[hash]

    async def freeze(self, value: Any) -> Any:
        sink = Sink(self)
        frozen = await freeze(value, sink)
        await sink.flush()
        return frozen

    async def thaw(self, frozen: Any) -> Any:
        return NOTHING if frozen is NOTHING else await thaw(frozen, self.get)


class Wire:
    """A peer behind a wire that counts, and breaks where it is told to.

    :ivar left: calls until it breaks; None: it does not.
    """

    def __init__(self, peer: KeptPeer, left: int | None = None) -> None:
        self.peer = peer
        self.left = left
        self.calls: list[str] = []
        self.fetched: list[bytes] = []
        self.offered = 0

    def _count(self, name: str) -> None:
        if self.left is not None:
            if not self.left:
                raise ConnectionError(f"cut off at {name}")
            self.left -= 1
        self.calls.append(name)

    async def missing(self, hashes: Sequence[bytes]) -> list[bytes]:
        self._count("missing")
        return await self.peer.missing(hashes)

    async def fetch(self, hashes: Sequence[bytes]) -> list[bytes]:
        self._count("fetch")
        found = await self.peer.fetch(hashes)
        self.fetched += hashes[: len(found)]
        return found

    async def offer(self, elements: Sequence[bytes]) -> None:
        self._count("offer")
        await self.peer.offer(elements)
        self.offered += len(elements)

    async def heads(self, repository: str) -> Mapping[str, bytes]:
        self._count("heads")
        return await self.peer.heads(repository)

    async def set_head(
        self, repository: str, branch: str, expected: bytes | None, commit: bytes
    ) -> None:
        self._count("set_head")
        await self.peer.set_head(repository, branch, expected, commit)


class Slow:
    """A store where others have a turn before and after each call, as over a wire."""

    def __init__(self, store: Any, chance: random.Random) -> None:
        self._store = store
        self._chance = chance

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any, **kwargs: Any) -> Any:
            for _ in range(self._chance.randrange(4)):
                await asyncio.sleep(0)
            result = await getattr(self._store, name)(*args, **kwargs)
            for _ in range(self._chance.randrange(4)):
                await asyncio.sleep(0)
            return result

        return call
