"""Links: two processes of which none outlives the failure of the other, as in OTP."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from ion import (
    Container,
    DownNotice,
    Forbidden,
    Process,
    ReceivedApplicationError,
    StartError,
    connect,
)
from ion.messaging import codec
from ion.messaging.envelope import Envelope


async def until(condition: Callable[[], Any]) -> None:
    """Return once a condition holds."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


class Peer(Process):
    """Notes what it hears, and links and monitors as it starts."""

    def __init__(self, link: str = "", monitor: str = "") -> None:
        self.first = link, monitor
        self.heard: list[DownNotice] = []

    async def on_init(self) -> None:
        link, monitor = self.first
        if link:
            await self.link(link)
        if monitor:
            await self.monitor(monitor)

    async def on_down(self, notice: DownNotice) -> None:
        self.heard.append(notice)


@pytest.fixture(params=["here", "elsewhere"])
def second(request: pytest.FixtureRequest, container: Container) -> Container:
    """Where the second one of a pair is: in the same container, or in another."""
    if request.param == "here":
        return container
    found: Container = request.getfixturevalue("other")
    return found


async def peer(container: Container, **args: str) -> Peer:
    process = container.processes[await container.spawn(Peer, args=args)]
    assert isinstance(process, Peer)
    return process


async def end(process: Peer, how: str) -> None:
    """Let a process end."""
    if how == "error":
        process.fail("no disk")
    elif how == "shutdown":
        await process._host.terminate_process(process.id)
    else:
        await process.terminate()
    await until(lambda: process.state == "TERMINATED")


def nothing_is_left(*containers: Container) -> bool:
    """Whether no container knows of any watch."""
    notices = [container.notices for container in containers]
    return not any(n._watching or n._watched or n._watchers for n in notices)


@pytest.mark.parametrize("who", ["the one that has linked", "the other one"])
@pytest.mark.parametrize("how", ["error", "shutdown", "normal"])
async def test_each_ends_with_the_other(
    container: Container, second: Container, who: str, how: str
) -> None:
    one, two = await peer(container), await peer(second)
    watcher = await peer(container)
    await one.link(two.id)
    dying, survivor = (one, two) if who == "the one that has linked" else (two, one)
    await watcher.monitor(survivor.id)
    await end(dying, how)
    if how == "normal":
        await watcher.unmonitor(survivor.id)
        await until(lambda: nothing_is_left(container, second))
        assert survivor.state == "ACTIVE"
        return
    await until(lambda: watcher.heard)
    notice = watcher.heard[0]
    assert notice.reason == how
    if how == "error":
        assert notice.error == f"linked process {dying.id} Peer is down: error: no disk"
    await until(lambda: nothing_is_left(container, second))


@pytest.mark.parametrize("who", ["the one that has linked", "the other one"])
async def test_either_can_undo_it(container: Container, second: Container, who: str) -> None:
    one, two = await peer(container), await peer(second)
    await one.link(two.id)
    await one.link(two.id)
    await two.link(one.id)
    remover, other = (one, two) if who == "the one that has linked" else (two, one)
    await remover.unlink(other.id)
    await remover.unlink(other.id)
    await until(lambda: nothing_is_left(container, second))
    await end(one, "error")
    assert two.state == "ACTIVE"


async def test_a_link_and_a_monitor_do_not_mind_each_other(
    container: Container, second: Container
) -> None:
    one, two, three = await peer(container), await peer(second), await peer(second)
    for other in (two, three):
        await one.monitor(other.id)
        await one.link(other.id)
        await other.monitor(one.id)
    await one.unlink(two.id)
    await end(two, "error")
    await until(lambda: one.heard)  # as it monitors it still
    assert (one.heard[0].pid, one.state) == (two.id, "ACTIVE")
    await one.unmonitor(three.id)
    await end(three, "error")
    await until(lambda: one.state == "TERMINATED")
    assert len(one.heard) == 1


async def test_a_normal_end_of_what_is_linked_and_monitored_is_heard(
    container: Container, second: Container
) -> None:
    one, two = await peer(container), await peer(second)
    await one.link(two.id)
    await two.monitor(one.id)
    await end(one, "normal")
    await until(lambda: two.heard)
    assert (two.heard[0].reason, two.state) == ("normal", "ACTIVE")


async def test_a_chain_ends_to_its_last(container: Container, other: Container) -> None:
    chain = [await peer((container, other)[n % 2]) for n in range(6)]
    for one, two in itertools.pairwise(chain):
        await two.link(one.id)
    await end(chain[2], "error")
    await until(lambda: all(each.state == "TERMINATED" for each in chain))
    await until(lambda: nothing_is_left(container, other))


async def test_with_oneself_there_is_nothing_to_link(container: Container) -> None:
    one = await peer(container)
    await one.link(one.id)
    await one.unlink(one.id)
    assert nothing_is_left(container)


async def test_who_links_with_nobody_fails(container: Container, other: Container) -> None:
    for pid in (f"{container.id}.99", f"{other.id}.99", "nowhere.1"):
        one = await peer(container)
        watcher = await peer(container, monitor=one.id)
        await one.link(pid)
        await until(lambda watcher=watcher: watcher.heard)  # type: ignore[misc]
        assert watcher.heard[0].error == f"linked process {pid}  is down: no such process"
    await until(lambda: nothing_is_left(container, other))


async def test_what_is_done_while_it_starts_holds(container: Container, second: Container) -> None:
    one = await peer(second)
    two = await peer(container, link=one.id)
    watcher = await peer(container, monitor=f"{container.id}.99")
    await until(lambda: watcher.heard)
    assert watcher.heard[0].reason == "no such process"
    await end(one, "shutdown")
    await until(lambda: two.state == "TERMINATED")
    with pytest.raises(StartError, match=r"linked process nowhere\.1 .* no such process"):
        await container.spawn(Peer, args={"link": "nowhere.1"})
    await until(lambda: nothing_is_left(container, second))


async def test_who_ends_while_it_links_does_not_leave_half_a_link() -> None:
    name = "memory://links-half"
    async with Container(name) as one, Container(name) as two:
        for steps in range(40):
            first, last = await peer(one), await peer(two)
            linking = asyncio.create_task(first.link(last.id))
            for _ in range(steps):
                await asyncio.sleep(0)
            first.fail("too early")
            await linking
            if steps:  # else it had failed before it began to link
                await until(lambda last=last: last.state == "TERMINATED")  # type: ignore[misc]
            await until(lambda: nothing_is_left(one, two))


async def test_a_link_that_is_given_up_is_undone() -> None:
    name = "memory://links-given-up"
    async with Container(name) as one, Container(name) as two:
        for steps in range(1, 40):
            first, last = await peer(one), await peer(two)
            linking = asyncio.create_task(first.link(last.id))
            for _ in range(steps):
                await asyncio.sleep(0)
            is_made = linking.done()
            linking.cancel()
            await asyncio.wait({linking})
            if is_made:
                await first.unlink(last.id)
            await until(lambda: nothing_is_left(one, two))
            await end(first, "error")
            assert last.state == "ACTIVE"


async def test_a_lost_container_ends_those_that_are_linked_into_it() -> None:
    name = "memory://links-lost"
    async with Container(name) as one, Container(name) as two:
        here, there = await peer(one), await peer(two)
        watcher = await peer(one, monitor=here.id)
        await there.link(here.id)
        one.notices.lost(two.id)
        await until(lambda: watcher.heard)
        assert watcher.heard[0].error == f"linked process {there.id}  is down: lost"


async def test_nobody_is_linked_from_a_container_with_another_key(amqp_url: str) -> None:
    keys = ["1" * 64, "2" * 64]
    async with (
        Container(amqp_url, sysname="test", config={"agent.key": keys[0]}) as one,
        Container(amqp_url, sysname="test", config={"agent.key": keys[1]}) as two,
    ):
        here, there = await peer(one), await peer(two)
        with pytest.raises(Forbidden, match="give both sides the same key file"):
            await here.link(there.id)
        assert nothing_is_left(two)
        await end(here, "error")
        assert there.state == "ACTIVE"


async def tell(by: Container, to: Container, notice: DownNotice, watcher: str) -> None:
    """Send a notice as anybody can who reaches the broker."""
    body = codec.encode({"notice": notice, "watchers": [watcher]})[0]
    xs, agent = by.endpoint.namespace.xs, f"{to.id}.0"
    await by.transport.publish_confirmed(xs, agent, Envelope("down", body), timeout=5)


@pytest.mark.amqp
async def test_an_end_that_anybody_can_tell_of_is_looked_into(
    amqp_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        Container(amqp_url, sysname="forged") as one,
        Container(amqp_url, sysname="forged") as other,
    ):
        linked, watched = await peer(one), await peer(other)
        await linked.link(watched.id)
        counts = one.endpoint.counts
        await tell(other, one, DownNotice(watched.id, "Peer", "error", "forged"), linked.id)
        await until(lambda: counts["ends that were none"])
        assert (linked.state, watched.state) == ("ACTIVE", "ACTIVE")
        assert f"says that {watched.id} has ended; it lives" in caplog.text
        await tell(other, one, DownNotice("nobody.7", "", "error"), linked.id)
        assert other.endpoint.permission is not None
        other.endpoint.permission.key = None  # what it tells is not signed any more, and true
        await end(watched, "error")
        await until(lambda: linked.state == "TERMINATED")
        await until(lambda: not one.notices._doubted)
        assert "nobody.7" not in caplog.text


@pytest.mark.amqp
async def test_an_end_that_is_told_by_who_has_the_key_is_believed_at_once(
    amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        Container(amqp_url, sysname="forged") as one,
        Container(amqp_url, sysname="forged") as other,
    ):
        linked, watched = await peer(one), await peer(other)
        await linked.link(watched.id)
        asked: list[object] = []
        monkeypatch.setattr(one.notices, "claimed", lambda *args: asked.append(args))
        await end(watched, "error")
        await until(lambda: linked.state == "TERMINATED")
        assert asked == []


@pytest.mark.amqp
async def test_a_stranger_undoes_nothing_and_fills_nothing(
    amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ion.container.membership.notices.MAX_GUESTS", 3)
    async with (
        Container(amqp_url, sysname="forged") as one,
        Container(amqp_url, sysname="forged") as other,
        connect(amqp_url, sysname="forged") as stranger,
    ):
        watcher, linked, watched = await peer(one), await peer(one), await peer(other)
        await watcher.monitor(watched.id)
        await linked.link(watched.id)
        agent = f"{other.id}.0"

        async def ask(op: str, **content: str) -> Any:
            return await stranger.rpc_send(agent, op, {"pid": watched.id, **content})

        await ask("unmonitor", watcher=watcher.id)
        await ask("unlink", other=linked.id)
        assert other.endpoint.counts["links that strangers would undo"] == 1
        for n in range(3):
            assert await ask("monitor", watcher=f"guest.{n}") is True
        assert await ask("monitor", watcher="guest.1") is True
        with pytest.raises(ReceivedApplicationError, match="watch processes here already"):
            await ask("monitor", watcher="guest.3")
        await ask("unmonitor", watcher="guest.1")
        with pytest.raises(ReceivedApplicationError, match="at most 200 letters"):
            await ask("monitor", watcher="x" * 300)
        assert await ask("monitor", watcher="guest.3") is True
        await end(watched, "error")
        await until(lambda: watcher.heard and linked.state == "TERMINATED")
        assert not other.notices._guests
        await until(lambda: nothing_is_left(one, other))
