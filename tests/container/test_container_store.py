"""What a container does where its store keeps it waiting."""

from __future__ import annotations

import asyncio
import socket

import pytest

from ion import Container
from ion.container import container_store


@pytest.mark.parametrize("scheme", ["postgresql", "redis"])
async def test_a_container_ends_while_its_store_is_being_opened(scheme, monkeypatch):
    """The store takes the connection, and says nothing."""
    monkeypatch.setattr(container_store, "_LAST_MOMENT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"{scheme}://127.0.0.1:{deaf.getsockname()[1]}/0"
        config = {"store.url": url, "store.timeout": 600.0}
        async with Container("memory://", sysname="test", config=config) as container:
            opening = asyncio.ensure_future(container.datastore())
            deaf.settimeout(30)
            connection, _ = await asyncio.to_thread(deaf.accept)
        connection.close()
        await asyncio.wait({opening}, timeout=30)
        assert opening.done()
