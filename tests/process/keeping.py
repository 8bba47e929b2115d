"""What the tests of units of work share: a bank and a receiver, and looking into their stores."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest

from ion import Container, Service
from ion.process.exactly_once.message_store import INBOX, OUTBOX

STORES = ("sqlite", "postgres")


@pytest.fixture(params=STORES)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the URL of an empty store that several containers can share."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    url: str = request.getfixturevalue("postgres_url")
    return url


async def add(store: Any, key: str, amount: int = 1) -> int:
    """Add to a number that is kept as text, and return the sum."""
    total = int(await store.get(key) or b"0") + amount
    await store.put(key, str(total).encode())
    return total


class Bank(Service, name="bank"):
    """Works in units: pays, and tells the receiver of it."""

    def __init__(self) -> None:
        self.begun = 0
        self.committed = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def on_init(self) -> None:
        await self.store("accounts")

    async def op_pay(self, who: str, how: str = "", to: str = "receiver") -> int:
        self.begun += 1
        async with self.unit_of_work() as uow:
            total = await add(uow.store("accounts"), who)
            await uow.send(to, "note", {"what": who})
            if how == "reply":
                await uow.reply(total)
            if how == "fail":
                raise ValueError(who)
        self.committed.set()
        await self.go_on.wait()
        return -1 if how == "reply" else total

    async def op_twice(self) -> None:
        async with self.unit_of_work() as uow:
            await add(uow.store("accounts"), "first")
        async with self.unit_of_work() as uow:
            await add(uow.store("accounts"), "second")

    async def op_within(self) -> None:
        async with self.unit_of_work() as uow:
            await add(uow.store("accounts"), "outer")
            async with self.unit_of_work() as within:
                await add(within.store("accounts"), "inner")

    async def op_hurry(self, who: str) -> int:
        """Give up a unit that has only begun, or not even that, and pay in another one."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0), self.unit_of_work():
                await self.go_on.wait()
        self.go_on.set()
        return await self.op_pay(who)


class Receiver(Service, name="receiver"):
    """Notes in units, too, so that what comes twice counts once."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    async def on_init(self) -> None:
        await self.store("notes")

    async def op_note(self, what: str) -> None:
        self.ids.append(self.message.envelope.message_id)
        async with self.unit_of_work() as uow:
            await add(uow.store("notes"), what)


async def number(container: Container, store: str, key: str) -> int:
    """Return a number that :func:`add` has kept."""
    found = await (await (await container.datastore()).store(store)).get(key)
    return int(found or b"0")


async def unsent(container: Container) -> int:
    """Return how many messages are in the outbox."""
    outbox = await (await container.datastore()).store(OUTBOX)
    return len((await outbox.keys()).items)


async def known(container: Container) -> list[str]:
    """Return the keys of the inbox."""
    room = await container.message_store()
    assert room.inbox.name == INBOX
    return (await room.inbox.keys()).items


async def eventually(condition: Any, what: str = "it did not come") -> None:
    """Return once ``await condition()`` is true."""
    try:
        async with asyncio.timeout(20):
            while not await condition():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(what) from None
