"""Health by HTTP: what orchestrators read, true while the event loop is held up."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from ion import Container, Service
from ion.base.errors import ConfigurationError, StartError
from ion.container.agent.reports import Health
from ion.container.health.httpserver import MAX_SERVED, HealthServer, checked_address
from ion.services.hello.service import HelloService

LISTENING = {"health.listen": "127.0.0.1:0", "health.look_every": 1, "health.blocked_after": 0.2}


class Page(NamedTuple):
    status: int
    kind: str
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


def get(url: str, method: str = "GET") -> Page:
    """Ask, in whatever thread."""
    request = urllib.request.Request(url, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return Page(answer.status, answer.headers["Content-Type"], answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return Page(error.code, error.headers["Content-Type"], error.read().decode())


async def ask(url: str) -> Page:
    return await asyncio.to_thread(get, url)


async def until(true: Callable[[], object], timeout: float = 30.0) -> None:
    """Return once ``true()``."""
    async with asyncio.timeout(timeout):
        while not true():
            await asyncio.sleep(0.01)


@pytest.fixture
async def container() -> AsyncIterator[Container]:
    async with Container("memory://", sysname="test", config=LISTENING) as running:
        await running.spawn(HelloService)
        await until(lambda: running.health.report().ready)
        yield running


class Blocking(Service, name="blocking"):
    async def op_ask(self, url: str) -> list[Any]:
        """Ask for health while this blocks the event loop, once that was seen."""
        end = time.monotonic() + 20
        while (live := get(f"{url}/live")).status == 200 and time.monotonic() < end:
            pass
        return [live.status, live.json, get(f"{url}/ready").json, get(f"{url}/metrics").text]


async def test_what_it_tells_of_a_container_that_is_well(container: Container) -> None:
    url = container.health.url
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url)
    live, ready, health = [await ask(f"{url}/{page}") for page in ("live", "ready", "health")]
    assert {live.kind, ready.kind, health.kind} == {"application/json"}
    assert (live.status, ready.status, health.status) == (200, 200, 200)
    assert live.json == {
        "container": container.id,
        "sysname": "test",
        "state": "ACTIVE",
        "live": True,
        "blocked": None,
    }
    assert ready.json["ready"] is True
    assert ready.json["checks"] == []
    assert set(health.json) == set(Health.__struct_fields__)
    assert all(check["ok"] for check in health.json["checks"])


async def test_it_tells_the_truth_while_the_loop_is_held_up(container: Container) -> None:
    pid = await container.spawn(Blocking)
    url = container.health.url
    status, live, ready, metrics = await container.rpc_send(
        "blocking", "ask", {"url": url}, timeout=60
    )
    assert status == 503
    assert live["live"] is False
    assert live["blocked"]["what"] == f"op 'ask' of blocking ({pid})"
    assert any("in Blocking.op_ask" in line for line in live["blocked"]["stack"])
    assert ready["ready"] is False
    assert ready["blocked"]["stack"]
    assert "held up by op 'ask'" in {c["name"]: c["message"] for c in ready["checks"]}["loop"]
    assert re.search(r"^ion_live\{.*\} 0$", metrics, re.MULTILINE)
    assert (await ask(f"{url}/live")).status == 200


async def test_not_ready_is_503_and_says_why(container: Container) -> None:
    await container.transport.delete_queue("test.hello")
    await container.health._begin_look()
    ready = await ask(f"{container.health.url}/ready")
    assert ready.status == 503
    assert [check["name"] for check in ready.json["checks"]] == ["consumers"]
    assert "test.hello: it is not there" in ready.json["checks"][0]["message"]
    assert (await ask(f"{container.health.url}/live")).status == 200
    assert (await ask(f"{container.health.url}/health")).status == 503


async def test_metrics_for_prometheus(container: Container) -> None:
    await container.rpc_send("hello", "hello")
    page = await ask(f"{container.health.url}/metrics")
    assert page.status == 200
    assert page.kind.startswith("text/plain; version=0.0.4")
    for line in (
        "ion_ready{C} 1",
        'ion_check_ok{C,check="consumers"} 1',
        'ion_check_value{C,check="consumers"} 4',
        'ion_service_handled_total{C,service="hello",version="0.1.0"} 1',
    ):
        wanted = line.replace("{C", f'{{container="{container.id}",sysname="test"')
        assert wanted in page.text.splitlines()
    assert "# TYPE ion_service_handled_total counter" in page.text


async def test_what_is_not_there_and_what_is_not_asked_for(container: Container) -> None:
    url = container.health.url
    page = await ask(f"{url}/")
    assert (page.status, page.json) == (
        404,
        {"paths": ["/health", "/live", "/metrics", "/ready"]},
    )
    assert (await ask(f"{url}/live?verbose=1")).status == 200
    assert (await asyncio.to_thread(get, f"{url}/live", "HEAD")).text == ""
    assert (await asyncio.to_thread(get, f"{url}/live", "POST")).status == 501


async def test_it_is_told_until_the_drain_is_over() -> None:
    gate, begun = asyncio.Event(), asyncio.Event()

    class Busy(Service, name="busy"):
        async def op_work(self) -> None:
            begun.set()
            await gate.wait()

    container = Container("memory://", config=LISTENING)
    await container.start()
    url = container.health.url
    await container.spawn(Busy)
    call = asyncio.create_task(container.rpc_send("busy", "work", timeout=60))
    await begun.wait()
    stopping = asyncio.create_task(container.stop())
    await until(lambda: container._stopping)
    ready = await ask(f"{url}/ready")
    assert ready.status == 503
    assert "being stopped" in ready.json["checks"][0]["message"]
    assert (await ask(f"{url}/live")).status == 200
    gate.set()
    await stopping
    await asyncio.wait({call})
    with pytest.raises(urllib.error.URLError):
        await ask(f"{url}/live")


# the door itself


def healthy() -> Health:
    return Health(container="c", live=True, ready=True)


@pytest.fixture
async def door() -> AsyncIterator[HealthServer]:
    opened = await HealthServer.open("0", healthy, lambda _: "")
    yield opened
    await opened.close()


def connected(door: HealthServer) -> socket.socket:
    where = urlsplit(door.url)
    return socket.create_connection((where.hostname or "", where.port or 0), 20)


async def test_a_report_that_fails_is_not_taken_for_health() -> None:
    def broken() -> Health:
        raise RuntimeError("dictionary changed size during iteration")

    door = await HealthServer.open("[::1]:0", broken, lambda _: "")
    page = await ask(f"{door.url}/live")
    assert page.status == 503
    assert page.json["live"] is False
    assert "dictionary changed" in page.json["error"]
    await door.close()


async def test_who_sends_slowly_is_cut_off(
    door: HealthServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ion.container.health.httpserver.WITHIN", 0.5)
    slow = [connected(door) for _ in range(3)]
    for each in slow:
        each.sendall(b"GET /live HT")
    await until(lambda: len(door._server._begun) == 3)
    for each in slow:
        assert await asyncio.to_thread(each.recv, 100) == b""
        each.close()
    await until(lambda: not door._server._begun)
    assert (await ask(f"{door.url}/live")).status == 200


async def test_probes_are_answered_among_many_that_send_half_a_request(door: HealthServer) -> None:
    slow = [connected(door) for _ in range(200)]
    for each in slow:
        each.sendall(b"GET /live HTTP/1.1\r\nHost: ")
    for _ in range(20):
        assert (await ask(f"{door.url}/ready")).status == 200
    assert len(door._server._begun) <= MAX_SERVED
    for each in slow:
        each.close()
    await until(lambda: not door._server._begun and not door._server._whole)


async def test_who_has_sent_its_request_keeps_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ion.container.health.httpserver.MAX_SERVED", 3)
    go = threading.Event()

    def report() -> Health:
        go.wait(30)
        return healthy()

    door = await HealthServer.open("0", report, lambda _: "")
    first = [connected(door) for _ in range(3)]
    for each in first:
        each.sendall(b"GET /live HTTP/1.1\r\n\r\n")
    await until(lambda: len(door._server._whole) == 3)
    with connected(door) as more:
        assert await asyncio.to_thread(more.recv, 100) == b""
    go.set()
    for each in first:
        assert (await asyncio.to_thread(each.recv, 100)).startswith(b"HTTP/1.0 200")
        each.close()
    await door.close()


@pytest.mark.parametrize(
    "request_",
    [b"\r\n", b"nonsense\r\n\r\n", b"GET " + b"/" * 70_000, b"GET /live HTTP/9.9\r\n\r\n", b"\x00"],
    ids=["empty", "nonsense", "endless", "of tomorrow", "zero"],
)
async def test_what_is_no_request_does_no_harm(door: HealthServer, request_: bytes) -> None:
    with connected(door) as client:
        await asyncio.to_thread(client.sendall, request_)
        client.shutdown(socket.SHUT_WR)
        await asyncio.to_thread(client.recv, 1000)
    assert (await ask(f"{door.url}/live")).status == 200


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("8080", ("127.0.0.1", 8080)),
        (":8080", ("127.0.0.1", 8080)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("[::1]:0", ("::1", 0)),
        ("[::]:9", ("::", 9)),
        (" localhost:1 ", ("localhost", 1)),
    ],
)
def test_addresses(text: str, where: tuple[str, int]) -> None:
    assert checked_address(text) == where


@pytest.mark.parametrize("text", ["", "localhost", "::1", "h:-1", "h:65536", "h:8o", "a:b:1"])
def test_what_is_no_address_is_said_to_be_none(text: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"health.listen .* is no address: write HOST:PORT"
    ):
        checked_address(text)


async def test_a_port_that_is_taken_fails_the_start(door: HealthServer) -> None:
    listen = door.url.removeprefix("http://")
    container = Container("memory://", config={"health.listen": listen})
    with pytest.raises(StartError, match=r"cannot listen there: Address already in use") as caught:
        await container.start()
    assert "\n" not in str(caught.value)
    assert container.state == "ERROR"
    assert not container.health._tasks.names


async def test_a_host_that_is_elsewhere_fails_the_start() -> None:
    container = Container("memory://", config={"health.listen": "192.0.2.1:0"})
    with pytest.raises(StartError, match=r"health.listen '192.0.2.1:0': cannot listen there"):
        await container.start()
