"""The shell's words for data: repositories of the datastore, and the attribute store."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from ion import Container
from ion.services.datastore.client import DatastoreClient
from ion.shell.helpers.helpers import Helpers
from ion.stores.query import A

CONFIG = {"store.url": "memory://", "apps.attributestore": {"indices": {"depth": "float"}}}


@pytest.fixture
async def container() -> AsyncIterator[Container]:
    async with Container("memory://", config=CONFIG) as running:
        await running.start_app("datastore")
        await running.start_app("attributestore")
        yield running


async def test_repositories(container: Container) -> None:
    client = DatastoreClient(container)
    one = await client.commit("ctd", {"a/b": 1, "c": "x"}, author="ada", comment="first")
    two = await client.commit("ctd", {"a/b": 2})
    repos = Helpers(container).repos
    assert (await repos()).rows == [
        {"repository": "ctd", "branch": "main", "commit": two.hash[:12]}
    ]
    assert (await repos(limit=0)).note == "there are more: give a limit"
    assert await repos.show("ctd") == {"a": {"b": 2}, "c": "x"}
    assert await repos.show("ctd", "a/b", commit=one.hash) == 1
    told = await repos.history("ctd")
    assert [row["commit"] for row in told.rows] == [two.hash, one.hash]
    assert (told.rows[1]["author"], told.rows[1]["comment"]) == ("ada", "first")
    assert told.rows[1]["time"].endswith("Z")
    assert (await repos.history("ctd", limit=1)).note == "there are more: give a limit"


async def test_attributes(container: Container) -> None:
    attrs = Helpers(container).attrs
    assert await attrs.get("a") is None
    await attrs.put("a", "text", depth=3)
    await attrs.put("b", b"\0" * 100, depth=30.0)
    told = await attrs()
    assert [row["key"] for row in told.rows] == ["a", "b"]
    assert told.rows[0] == {"key": "a", "value": "text", "attributes": "depth=3.0"}
    assert len(told.rows[1]["value"]) == 60
    assert (await attrs(limit=1)).note == "there are more: give a limit"
    assert [row["key"] for row in (await attrs.find(A("depth") > 10)).rows] == ["b"]
    assert await attrs.remove("a")
    assert await attrs.get("a") is None


async def test_they_are_offered(container: Container) -> None:
    helpers = Helpers(container)
    told = {row["command"]: row["effect"] for row in (await helpers.info()).rows}
    assert "repos.show(name)" in told["await repos([prefix], [limit])"]
    assert "attrs.get(key)" in told["await attrs([prefix], [limit])"]
    assert set(helpers.namespace()) >= {"repos", "attrs", "A"}
    assert "repos" in repr(helpers.repos)
    assert "attrs" in repr(helpers.attrs)
