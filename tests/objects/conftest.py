"""Homes of repositories, over the stores that need no server."""

from __future__ import annotations

import itertools

import pytest

from ion.objects.kept import KeptPeer
from ion.stores.opening import open_datastore

_numbers = itertools.count()


@pytest.fixture(params=["memory", "sqlite"])
async def datastore(request, tmp_path):
    number = next(_numbers)
    urls = {"memory": f"memory://o{number}", "sqlite": f"sqlite://{tmp_path}/o{number}.db"}
    found = open_datastore(urls[request.param])
    await found.open()
    yield found
    await found.close()


@pytest.fixture
async def home(datastore):
    return await KeptPeer.open(datastore)


@pytest.fixture
async def far(datastore):
    return await KeptPeer.open(datastore, "far")
