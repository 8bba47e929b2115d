"""What both sides hold, and the registry's side of finding it.

Each resource is a ``CTD``, which is a ``Device``: found by its ``serial`` (one has it), by its
``model`` (20 have it, strewn), and in order from a ``depth`` on.

The registry is asked as a program asks it: by its typed client, over the memory bus, in one OS
process; so encoding, delivery and validation on both ways are in its figures.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any, Protocol

from benchmarks.stores.turns import BARE, ION, Call
from ion import Container
from ion.services.resource_registry.client import ResourceRegistryClient
from ion.services.resource_registry.model import Attribute, Resource
from ion.services.resource_registry.service import ResourceRegistryService
from ion.services.resource_registry.stores import RegistryStores, encode, resource_index
from ion.stores.query import A
from ion.stores.store import Put

FOUND = 20  # resources of one model, and of a page
BATCH = 2000
NOW = 1.8e9
ATTRIBUTES = {
    "serial": Attribute(required=True, index=True),
    "model": Attribute(required=True, index=True),
    "depth": Attribute("float", default=0.0, index=True, unit="m"),
    "calibration": Attribute("map"),
}


def resources(count: int) -> Iterator[Resource]:
    """Give resources as the registry keeps them."""
    ids = random.Random(7)
    for n in range(count):
        attributes = {
            "serial": serial(n),
            "model": model(n, count),
            "depth": n / 8,
            "calibration": {"gain": 1.25, "offset": -0.5, "unit": "dbar", "at": "2027-01-31"},
        }
        yield Resource(
            f"{ids.getrandbits(128):032x}",
            "CTD",
            f"ctd {n}",
            attributes,
            owner=f"actor-{n % 100}",
            maturity="DEPLOYED",
            availability="AVAILABLE",
            created=NOW + n,
            modified=NOW + n,
        )


def serial(n: int) -> str:
    """Return what one has."""
    return f"SN-{n:08}"


def model(n: int, count: int) -> str:
    """Return what some have."""
    return f"model-{n % models(count):06}"


def models(count: int) -> int:
    """Return how many there are."""
    return max(count // FOUND, 1)


class Side(Protocol):
    """One of the two; each call gives the resources, with their attributes as Python objects."""

    def by_serial(self, serial: str) -> Awaitable[Sequence[Any]]: ...
    def by_model(self, model: str) -> Awaitable[Sequence[Any]]: ...
    def page(self, least: float) -> Awaitable[Sequence[Any]]: ...
    async def fill(self, count: int) -> None: ...


class Registry:
    """ION's side."""

    def __init__(
        self, container: Container, home: RegistryStores, client: ResourceRegistryClient
    ) -> None:
        self.container = container
        self._stores = home
        self._client = client

    async def by_serial(self, serial: str) -> Sequence[Any]:
        return (await self._client.find("Device", A("serial") == serial, limit=FOUND)).items

    async def by_model(self, model: str) -> Sequence[Any]:
        return (await self._client.find("Device", A("model") == model, limit=FOUND)).items

    async def page(self, least: float) -> Sequence[Any]:
        where = A("depth") >= least
        return (await self._client.find("Device", where, order=["depth"], limit=FOUND)).items

    async def fill(self, count: int) -> None:
        """Write what ``create_many`` would, without its events and owners."""
        schema = await self._stores.schema("CTD")
        every = resources(count)
        while some := list(islice(every, BATCH)):
            puts = [Put(r.id, encode(r), index=resource_index(r, schema)) for r in some]
            await self._stores.resources.write(puts)


@asynccontextmanager
async def registry(url: str) -> AsyncIterator[Registry]:
    """Run a registry on a store."""
    async with Container("memory://", sysname="bench", config={"store.url": url}) as container:
        pid = await container.spawn(ResourceRegistryService)
        client = ResourceRegistryClient(container)
        await client.register_type("Device", ATTRIBUTES)
        await client.register_type("CTD", parent="Device")
        process: Any = container.processes[pid]
        yield Registry(container, process._stores, client)


def workload(ion: Side, bare: Side, count: int) -> dict[str, dict[str, Call]]:
    """Return what is measured: name -> calls of both sides, which ask for something else each."""
    draw = random.Random(11)

    def both(make: Any) -> dict[str, Call]:
        return {ION: make(ion), BARE: make(bare)}

    return {
        "serial": both(lambda s: lambda: s.by_serial(serial(draw.randrange(count)))),
        "model": both(lambda s: lambda: s.by_model(model(draw.randrange(count), count))),
        "page": both(lambda s: lambda: s.page(draw.randrange(max(count - FOUND, 1)) / 8)),
    }


async def check(ion: Side, bare: Side, count: int) -> None:
    """Refuse to measure sides that do not find the same.

    :raises ValueError: they do not.
    """
    for n in range(0, count, max(count // 5, 1)):
        pairs = [
            (await ion.by_serial(serial(n)), await bare.by_serial(serial(n)), 1),
            (await ion.by_model(model(n, count)), await bare.by_model(model(n, count)), FOUND),
            (await ion.page(n / 8), await bare.page(n / 8), min(FOUND, count - n)),
        ]
        for ours, theirs, wanted in pairs:
            found = [(r.id, r.name, r.attributes) for r in ours]
            same = [(r["id"], r["name"], r["attributes"]) for r in theirs]
            if found != same or len(found) != wanted:
                message = f"not the same is found: {len(found)} and {len(same)}, not {wanted}"
                raise ValueError(message)
