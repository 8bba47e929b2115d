"""Who has a store file: the containers of one bus."""

from __future__ import annotations

import gc
import os
import re
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from ion import Container, StartError
from ion.container.store_lock import StoreLock


@pytest.fixture
def url(tmp_path):
    (tmp_path / "ion.db").touch()
    return f"sqlite:///{tmp_path}/ion.db"


@pytest.mark.parametrize(
    ("first", "second", "fits"),
    [
        ("memory 7 a", "memory 7 b", False),
        ("memory 7 a", "rabbit@here//", False),
        ("rabbit@here//", "local ion", False),
        ("rabbit@here//", "rabbit@there//", False),
        ("rabbit@here//", "rabbit@here/lab", False),
        ("rabbit@here//", "rabbit@here//", True),
        ("rabbit@here//", "", True),  # who cannot tell is let in
        ("local ion", "local ion", True),
    ],
)
def test_those_on_one_bus_share_it_and_others_are_refused(url, first, second, fits):
    one = StoreLock.move_in(url, first)
    if fits:
        two = StoreLock.move_in(url, second)
        one.move_out()
        with pytest.raises(StartError):  # the one who is left still has it
            StoreLock.move_in(url, "memory 7 c")
        two.move_out()
    else:
        with pytest.raises(StartError, match=f"ion.db is in use by process {os.getpid()}, "):
            StoreLock.move_in(url, second)
        one.move_out()
        one.move_out()
    StoreLock.move_in(url, "memory 7 d").move_out()


def test_many_that_come_at_once_share_it_or_not(url):
    """Whoever is the first has it alone for a moment: all of its bus wait, and are let in."""
    with ThreadPoolExecutor(8) as pool:
        same = list(pool.map(lambda _: StoreLock.move_in(url, "local ion"), range(24)))
    assert None not in same


def test_one_that_has_gone_has_it_no_more_and_is_not_named(url, tmp_path):
    one = StoreLock.move_in(url, "memory 7 a")
    (tmp_path / "ion.db.bus").write_text("no number\nmemory 7 a")
    with pytest.raises(StartError, match="by another process"):
        StoreLock.move_in(url, "memory 7 b")
    one.move_out()
    assert StoreLock.move_in(url, "memory 7 b") is not None


def test_another_name_of_a_file_is_the_same_file(url, tmp_path):
    one = StoreLock.move_in(url, "memory 7 a")
    (tmp_path / "link.db").symlink_to("ion.db")
    with pytest.raises(StartError, match=r"ion\.db is in use"):
        StoreLock.move_in(f"sqlite:///{tmp_path}/link.db", "memory 7 b")
    one.move_out()


@pytest.mark.amqp
async def test_a_broker_is_known_by_its_cluster_and_virtual_host(amqp_url, url):
    container = Container(amqp_url, sysname="test", config={"store.url": url})
    container.claims_store = True
    async with container:
        await container.datastore()
        bus = container.transport.bus
        cluster, _, vhost = bus.partition("/")
        assert ("@" in cluster, vhost) == (True, amqp_url.rpartition("/")[2])
        with pytest.raises(StartError, match=re.escape(f"another one ({bus})")):
            StoreLock.move_in(url, f"{cluster}/other")
        StoreLock.move_in(url, bus).move_out()


async def test_a_guest_has_the_file_of_its_host_s_bus(url, tmp_path, monkeypatch):
    (tmp_path / "run").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    config = {"store.url": url}
    host = Container("memory://", sysname="h", config={**config, "broker.listen": "127.0.0.1:0"})
    guest = Container("local://", sysname="h", config=config)
    host.claims_store = guest.claims_store = True
    async with host, guest:
        await guest.datastore()
        with pytest.raises(StartError):  # it had been nobody's
            StoreLock.move_in(url, "memory 7 a")
        await host.datastore()


async def test_a_guest_of_another_system_s_bus_is_not_on_its_own(url, tmp_path, monkeypatch):
    """It has the name of one container, and the bus of another: it shares a file with neither."""
    (tmp_path / "run").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    listens = {"store.url": url, "broker.listen": "127.0.0.1:0"}
    of_a = Container("memory://", sysname="a", config=listens)
    of_b = Container("memory://", sysname="b", config=listens)
    guest = Container("local://b", sysname="a", config={"store.url": url})
    of_a.claims_store = of_b.claims_store = guest.claims_store = True
    async with of_a, of_b:
        async with guest:
            await guest.datastore()
            with pytest.raises(StartError, match="whose bus is another one: "):
                await of_a.datastore()
            with pytest.raises(StartError, match=f"process {os.getpid()}, of system 'a': "):
                await of_b.datastore()
        await of_b.datastore()


async def test_what_was_forked_off_and_lives_longer_does_not_have_it(url):
    container = Container("memory://", config={"store.url": url})
    container.claims_store = True
    async with container:
        await container.datastore()
        with pytest.raises(StartError):
            StoreLock.move_in(url, "memory 7 b")
        end_it = fork()
    try:
        assert StoreLock.move_in(url, "memory 7 b") is not None
    finally:
        end_it()


async def test_a_container_that_has_ended_is_not_kept_for_the_next_fork(url):
    container = Container("memory://", config={"store.url": url})
    container.claims_store = True
    async with container:
        await container.datastore()
    room = weakref.ref(container.stores)
    del container
    gc.collect()
    assert room() is None


def fork():
    """Fork off what waits; return what ends it."""
    its_end, ours = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer Pythons warn of threads
        child = os.fork()
    if not child:
        os.close(ours)
        os.read(its_end, 1)  # until the test is over, however it ends
        os._exit(0)

    def end_it():
        os.close(ours)
        os.close(its_end)
        os.waitpid(child, 0)

    return end_it


def test_what_is_no_file_has_no_tenant(tmp_path):
    for url in ("memory://", "postgresql://h/d", f"sqlite:///{tmp_path}/nowhere/x.db"):
        assert StoreLock.move_in(url, "memory 7 a") is None
