"""Who has a store file: one bus in memory alone, or any that are on brokers."""

from __future__ import annotations

import os

import pytest

from ion import StartError
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


def test_what_is_no_file_has_no_tenant(tmp_path):
    for url in ("memory://", "postgresql://h/d", f"sqlite:///{tmp_path}/nowhere/x.db"):
        assert Tenant.move_in(url, "memory") is None
