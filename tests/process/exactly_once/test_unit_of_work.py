"""Units of work in handlers: all of it once, or nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from ion import (
    BadRequest,
    Container,
    Process,
    ReceivedContainerError,
    Service,
    StartError,
    Unavailable,
)
from ion.base.errors import Conflict, InvalidRequest, LifecycleError
from ion.process.exactly_once.conflict_retry import Contended
from ion.process.storeerrors import answering
from tests.process.delivery import Bus, config, dead_letters, is_empty, until
from tests.process.keeping import Bank, Receiver, add, eventually, known, number, store_url, unsent

__all__ = ["store_url"]


def made(bus: Bus, url: str, **more: Any) -> Container:
    """Return a container with a store, a short lease and a short ladder."""
    settings = {"store.url": url, "store.lease": 0.3, **config(bus, **more)}
    return Container(bus[0], sysname="test", config=settings)


async def spawned(container: Container, target: type[Process], **args: Any) -> Any:
    return container.processes[await container.spawn(target, args=args)]


async def sent_once(container: Container, who: str, count: int = 1) -> None:
    async def noted() -> bool:
        return await number(container, "notes", who) == count and not await unsent(container)

    await eventually(noted, "the receiver was not told, or the outbox is not empty")


async def test_writes_messages_and_answer_are_one(bus: Bus, store_url: str) -> None:
    async with made(bus, store_url) as container:
        bank, receiver = await spawned(container, Bank), await spawned(container, Receiver)
        assert await container.rpc_send("bank", "pay", {"who": "a"}) == 1
        assert await container.rpc_send("bank", "pay", {"who": "a", "how": "reply"}) == 2
        await container.send("bank", "pay", {"who": "a"})
        await sent_once(container, "a", 3)
        assert await number(container, "accounts", "a") == 3
        assert bank.begun == len(set(receiver.ids)) == 3  # sent again, it has the same id
        assert len(await known(container)) == 6


@pytest.mark.parametrize("how", ["", "reply"])
async def test_what_comes_again_is_answered_and_not_done(
    bus: Bus, store_url: str, how: str
) -> None:
    async with made(bus, store_url) as container:
        bank = await spawned(container, Bank)
        await container.spawn(Receiver)
        content = {"who": "a", "how": how}
        for _ in range(3):
            answer = await container.rpc_send("bank", "pay", content, message_id="invoice-1")
            assert answer == 1
        await container.send("bank", "pay", content, message_id="invoice-1")
        await until(lambda: bank.begun == 4)
        assert await container.rpc_send("bank", "pay", content, message_id="invoice-2") == 2
        await sent_once(container, "a", 2)
        assert await is_empty(container, "test.bank.dlq")


async def test_a_message_of_another_container_is_known_here(bus: Bus, store_url: str) -> None:
    async with made(bus, store_url) as first:
        await first.spawn(Bank)
        assert await first.rpc_send("bank", "pay", {"who": "a"}, message_id="m") == 1
    async with made(bus, store_url) as second:
        await second.spawn(Bank)
        await second.spawn(Receiver)
        assert await second.rpc_send("bank", "pay", {"who": "a"}, message_id="m") == 1
        await sent_once(second, "a")
        assert await number(second, "accounts", "a") == 1


async def test_a_block_that_raises_has_done_nothing(bus: Bus, store_url: str) -> None:
    async with made(bus, store_url) as container:
        bank = await spawned(container, Bank)
        await container.spawn(Receiver)
        with pytest.raises(ReceivedContainerError, match="broke"):
            await container.rpc_send("bank", "pay", {"who": "broke", "how": "fail"}, message_id="m")
        assert await known(container) == []
        assert await unsent(container) == 0
        assert await number(container, "accounts", "broke") == 0
        assert await container.rpc_send("bank", "pay", {"who": "broke"}, message_id="m") == 1
        await sent_once(container, "broke")
        assert bank.begun == 2


async def test_one_message_in_two_containers_at_once_is_done_once(bus: Bus, store_url: str) -> None:
    async with made(bus, store_url) as first, made(bus, store_url) as second:
        await first.spawn(Receiver)
        banks = [await spawned(first, Bank), await spawned(second, Bank)]
        same = [
            container.send("bank", "pay", {"who": "same"}, message_id="same")
            for container in (first, second)
            for _ in range(20)
        ]
        await asyncio.gather(*same)
        await until(lambda: banks[0].begun + banks[1].begun >= 2)
        await sent_once(first, "same")
        await until(lambda: not first.endpoint.calls and not second.endpoint.calls)
        assert await number(first, "accounts", "same") == 1
        assert await is_empty(first, "test.bank.dlq")


async def test_units_that_meet_are_run_again(bus: Bus, store_url: str) -> None:
    async with made(bus, store_url) as container:
        bank = await spawned(container, Bank)
        await container.spawn(Receiver)
        calls = [container.rpc_send("bank", "pay", {"who": "hot"}, timeout=60) for _ in range(20)]
        assert sorted(await asyncio.gather(*calls)) == list(range(1, 21))
        await sent_once(container, "hot", 20)
        assert bank.begun > 20
        assert bank._failed == 0
        assert await is_empty(container, "test.receiver.dlq")


async def test_a_message_is_handled_in_one_unit(bus: Bus, store_url: str) -> None:
    async with made(bus, store_url) as container:
        await container.spawn(Bank)
        with pytest.raises(ReceivedContainerError, match="one unit of work"):
            await container.rpc_send("bank", "twice")
        assert await number(container, "accounts", "first") == 1
        assert await number(container, "accounts", "second") == 0
        with pytest.raises(ReceivedContainerError, match="one unit of work"):
            await container.rpc_send("bank", "within")
        assert await number(container, "accounts", "outer") == 0
        assert await number(container, "accounts", "inner") == 0


async def test_a_unit_that_did_not_begin_leaves_the_message_to_another(
    bus: Bus, store_url: str
) -> None:
    async with made(bus, store_url) as container:
        bank = await spawned(container, Bank)
        await container.rpc_send("bank", "pay", {"who": "a"})  # what is made once is there
        bank.go_on.clear()
        assert await container.rpc_send("bank", "hurry", {"who": "a"}) == 2


async def test_a_result_that_was_lost_with_its_container_is_told_so(
    bus: Bus, store_url: str, other: Container
) -> None:
    killed = made(bus, store_url)
    await killed.start()
    bank = await spawned(killed, Bank)
    bank.go_on.clear()
    for n, how in enumerate(["", "reply"]):
        content = {"who": "a", "how": how}
        call = asyncio.ensure_future(other.rpc_send("bank", "pay", content, 30, message_id=f"{n}"))
        await asyncio.wait_for(bank.committed.wait(), 20)
        bank.committed.clear()
        if how == "reply":
            assert await call == 2
    await killed.kill()
    async with made(bus, store_url) as container:
        await container.spawn(Bank)
        for _ in range(2):
            with pytest.raises(ReceivedContainerError, match="done, once") as lost:
                await other.rpc_send("bank", "pay", {"who": "a"}, message_id="0")
            assert lost.value.type == "ResultLost"
        same = {"who": "a", "how": "reply"}
        assert await other.rpc_send("bank", "pay", same, message_id="1") == 2
        assert await number(container, "accounts", "a") == 2
    call.cancel()


class Reads(Process):
    """Works in units outside of messages, and says what it sees."""

    async def on_init(self) -> None:
        self.accounts = await self.store("accounts")
        self.things = await self.index_store("things", {"size": "int"})


async def test_a_unit_outside_of_a_message(bus: Bus, store_url: str) -> None:
    async with made(bus, store_url) as container:
        process = await spawned(container, Reads)
        await container.spawn(Receiver)
        async with process.unit_of_work("more") as uow:
            await add(uow.store("accounts"), "a")
            await uow.store("more").put("k", b"v")
            await uow.index_store("things").put("t", b"v", index={"size": 1})
            await uow.send("receiver", "note", {"what": "a"})
            assert await process.accounts.get("a") is None
            with pytest.raises(LifecycleError, match="no message"):
                await uow.reply(1)
        await sent_once(container, "a")
        assert await process.accounts.get("a") == b"1"
        uow = process.unit_of_work()
        await uow.__aenter__()
        await add(uow.store("accounts"), "a")
        await uow.send("receiver", "note", {"what": "never"})
        await process.accounts.put("a", b"7")
        with pytest.raises(Conflict):
            await uow.__aexit__(None, None, None)
        assert await process.accounts.get("a") == b"7"
        assert await unsent(container) == 0
        with pytest.raises(LifecycleError, match="begun once"):
            async with uow:  # with what it was to send before
                pass
        async with process.unit_of_work() as uow:
            with pytest.raises(InvalidRequest, match="not open"):
                uow.store("unheard")
            with pytest.raises(BadRequest):
                await uow.publish("events", "no..topic")
            with pytest.raises(BadRequest):
                await uow.send("receiver", "note", {"what": "x"}, message_id="x" * 256)


class Hears(Process):
    """Notes events in units."""

    async def on_init(self) -> None:
        await self.store("notes")
        await self.subscribe("events", "paid.#", self.heard, name="books")

    async def heard(self, what: str) -> None:
        async with self.unit_of_work() as uow:
            await add(uow.store("notes"), what)


async def test_events_go_out_and_come_in_once(bus: Bus, store_url: str) -> None:
    async with made(bus, store_url) as container:
        await container.spawn(Hears)
        process = await spawned(container, Reads)
        for _ in range(3):
            async with process.unit_of_work() as uow:
                await uow.publish("events", "paid.a", {"what": "e"}, message_id="event-1")
        await eventually(lambda: _is(container, "notes", "e", 1))
        await until(lambda: not container.endpoint.calls)
        assert await number(container, "notes", "e") == 1


async def _is(container: Container, store: str, key: str, count: int) -> bool:
    return await number(container, store, key) == count and not await unsent(container)


class Looks(Service, name="looks"):
    """Reads a key twice in one unit; before the second time, somebody writes it."""

    async def on_init(self) -> None:
        self.accounts = await self.store("accounts")

    async def op_twice(self, others: int) -> list[bytes | None]:
        async with self.unit_of_work() as uow:
            with answering():
                seen = [await uow.store("accounts").get("a")]
                if int(seen[0] or b"0") < others:
                    await add(self.accounts, "a")
                seen.append(await uow.store("accounts").get("a"))
            await uow.reply(seen)
        return seen


async def test_what_was_written_between_two_reads_is_no_failure_of_the_caller() -> None:
    config = {"store.url": "memory://"}
    async with Container("memory://", config=config) as container:
        looks = await spawned(container, Looks)
        assert await container.rpc_send("looks", "twice", {"others": 3}) == [b"3", b"3"]
        uow = looks.unit_of_work()
        await uow.__aenter__()
        assert await uow.store("accounts").get("b") is None
        await add(looks.accounts, "b")
        with pytest.raises(Conflict, match="there is a value already") as told:
            await uow.store("accounts").get("b")
        with pytest.raises(Contended):  # as what is found out at the end
            await uow.__aexit__(Conflict, told.value, None)
        assert told.value.type == "Conflict"


class Raw(Service, name="raw"):
    """Answers first, and works in a unit then, which is not the message's any more."""

    async def op_do(self, content: Any, headers: Any, msg: Any) -> None:
        await self.reply_ok(msg, "early")
        async with self.unit_of_work("accounts") as uow:
            await add(uow.store("accounts"), "late")


async def test_what_comes_after_the_answer_is_not_the_messages(bus: Bus, store_url: str) -> None:
    async with made(bus, store_url) as container:
        await container.spawn(Raw)
        for n in range(2):
            assert await container.rpc_send("raw", "do", message_id="m") == "early"
            await eventually(lambda n=n: _is(container, "accounts", "late", n + 1))


class Once(Service, name="once", delivery="effectively-once"):
    """Is told by the runtime what was handled; works without units."""

    runs = 0

    async def op_do(self, n: int) -> int:
        type(self).runs += 1
        return n


async def test_effectively_once_is_so_across_containers(bus: Bus, store_url: str) -> None:
    Once.runs = 0
    for _ in range(2):
        async with made(bus, store_url) as container:
            await container.spawn(Once)
            for _ in range(2):
                assert await container.rpc_send("once", "do", {"n": 7}, message_id="m") == 7
            await container.send("once", "do", {"n": 7}, message_id="m")
    assert Once.runs == 1


async def test_ids_of_any_kind_are_known(bus: Bus, store_url: str) -> None:
    async with made(bus, store_url) as container:
        bank = await spawned(container, Bank)
        ids = ["é" * 127, "\0", " ", "a/b", "x" * 255]
        for one in ids * 2:
            await container.rpc_send("bank", "pay", {"who": "a"}, message_id=one)
        assert await number(container, "accounts", "a") == len(ids)
        assert bank.begun == 2 * len(ids)
        with pytest.raises(BadRequest):
            await container.rpc_send("bank", "pay", {"who": "a"}, message_id="x" * 256)


async def test_no_transactions_no_units(redis_url: str) -> None:
    bus: Bus = ("memory://", {})
    async with made(bus, redis_url) as container:
        process = await spawned(container, Reads)
        with pytest.raises(InvalidRequest, match=r"has no transactions.*store\.url"):
            async with process.unit_of_work():
                pytest.fail("it began")
        Once.runs = 0
        await container.spawn(Once)  # needs none
        for _ in range(2):
            assert await container.rpc_send("once", "do", {"n": 1}, message_id="m") == 1
        assert Once.runs == 1


async def test_a_container_that_uses_no_store_makes_no_file(tmp_path: Path) -> None:
    bus: Bus = ("memory://", {})
    async with made(bus, f"sqlite:///{tmp_path}/folder/store.db") as container:
        await container.spawn(Process)
        assert await container.rpc_send(f"{container.id}.0", "ping") == {"pong": "pong"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("target", [Reads, Once])
async def test_a_store_that_is_away_fails_the_start_of_who_asks_for_it(
    tmp_path: Path, target: type[Process]
) -> None:
    bus: Bus = ("memory://", {})
    (tmp_path / "store.db").mkdir()
    async with made(bus, f"sqlite:///{tmp_path}/store.db") as container:
        with pytest.raises(StartError, match="a folder"):
            await container.spawn(target)
        with pytest.raises(Unavailable):
            await container.datastore()
        (tmp_path / "store.db").rmdir()
        await container.spawn(target)


async def test_a_store_by_default_is_a_file_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    async with Container("memory://", sysname="mine") as container:
        process = await spawned(container, Reads)
        await process.accounts.put("k", b"v")
        await container.spawn(Once)
        assert container.exchange._inboxes["once"].__class__.__name__ == "MemoryInbox"
    assert (tmp_path / "ion" / "mine.db").exists()
    async with Container("memory://", sysname="mine") as container:
        assert await (await (await container.datastore()).store("accounts")).get("k") == b"v"


async def test_a_second_container_is_asked_where_the_first_is_cancelled(
    bus: Bus, store_url: str
) -> None:
    """A caller that gives up in the middle leaves a message that is done, or is not."""
    async with made(bus, store_url) as container:
        await container.spawn(Bank)
        await container.spawn(Receiver)
        done = 0
        for n in range(30):
            call = asyncio.ensure_future(
                container.rpc_send("bank", "pay", {"who": "a", "how": "reply"}, message_id=f"{n}")
            )
            for _ in range(n):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            same = {"who": "a", "how": "reply"}
            assert await container.rpc_send("bank", "pay", same, message_id=f"{n}") == n + 1
            done += 1
        await sent_once(container, "a", done)
        assert (await dead_letters(container, "bank", 0)) == []
