"""Who has a store file: one bus in memory alone, or any that are on brokers."""

from __future__ import annotations

import gc
import os
import warnings
import weakref

import pytest

from ion import Container, StartError
from ion.container.tenant import Tenant


@pytest.fixture
def url(tmp_path):
    (tmp_path / "ion.db").touch()
    return f"sqlite:///{tmp_path}/ion.db"


@pytest.mark.parametrize(
    ("first", "second", "fits"),
    [
        ("memory", "memory", False),
        ("memory", "amqp", False),
        ("amqps", "memory", False),
        ("amqp", "amqp", True),
        ("memory", "local", True),
    ],
)
def test_a_bus_in_memory_has_it_alone_and_brokers_share_it(url, first, second, fits):
    one = Tenant.move_in(url, first)
    if fits:
        Tenant.move_in(url, second)
    else:
        with pytest.raises(StartError, match=f"ion.db is in use by process {os.getpid()}, "):
            Tenant.move_in(url, second)
        one.move_out()
        one.move_out()
        Tenant.move_in(url, second).move_out()


def test_one_that_has_gone_has_it_no_more_and_is_not_named(url, tmp_path):
    one = Tenant.move_in(url, "memory")
    (tmp_path / "ion.db.bus").write_text("no number")
    with pytest.raises(StartError, match="by another process"):
        Tenant.move_in(url, "memory")
    one.move_out()
    assert Tenant.move_in(url, "memory") is not None


def test_another_name_of_a_file_is_the_same_file(url, tmp_path):
    Tenant.move_in(url, "memory")
    (tmp_path / "link.db").symlink_to("ion.db")
    with pytest.raises(StartError, match=r"ion\.db is in use"):
        Tenant.move_in(f"sqlite:///{tmp_path}/link.db", "memory")


async def test_what_was_forked_off_and_lives_longer_does_not_have_it(url):
    container = Container("memory://", config={"store.url": url})
    container.claims_store = True
    async with container:
        await container.datastore()
        with pytest.raises(StartError):
            Tenant.move_in(url, "memory")
        end_it = fork()
    try:
        assert Tenant.move_in(url, "memory") is not None
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
        assert Tenant.move_in(url, "memory") is None
