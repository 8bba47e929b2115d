"""The shell's words for resources."""

from __future__ import annotations

from ion import Container
from ion.services.resource_registry.client import ResourceRegistryClient
from ion.services.resource_registry.model import Attribute
from ion.shell.helpers.helpers import Helpers
from ion.stores.query import A


async def test_resources() -> None:
    async with Container("memory://", config={"store.url": "memory://"}) as container:
        await container.start_app("resource_registry")
        client = ResourceRegistryClient(container)
        depth = Attribute("float", required=True, index=True)
        await client.register_type("Device", {"depth": depth, "note": Attribute()})
        await client.register_type("Site")
        await client.register_predicate("hasDevice")
        helpers = Helpers(container)
        resources = helpers.resources
        types = (await resources.types()).rows
        assert {"type": "Device", "attributes": "depth: float!*, note: str"}.items() <= types[
            1
        ].items()
        made = (await resources.create("Device", "d", depth=3, note="x" * 99)).rows[0]
        assert (made["state"], made["revision"]) == ("DRAFT_PRIVATE", 1)
        assert len(made["attributes"]) == 60
        site = (await resources.create("Site", "s")).rows[0]["id"]
        await resources.associate(site, "hasDevice", made["id"])
        await resources.update(made["id"], depth=4, note=None)
        assert (await resources.step(made["id"], "plan")).rows[0]["state"] == "PLANNED_PRIVATE"
        told = await resources.history(made["id"])
        assert [row["change"] for row in told.rows] == ["plan", "update", "create"]
        assert (await resources.history(made["id"], limit=1)).note == "there are more: give a limit"
        assert [row["name"] for row in (await resources()).rows] in (["d", "s"], ["s", "d"])
        assert [row["name"] for row in (await resources(state="PLANNED")).rows] == ["d"]
        assert [row["id"] for row in (await resources.find(A("depth") > 3)).rows] == [made["id"]]
        shown = [(row["what"], row["is"]) for row in (await resources.show(made["id"])).rows]
        assert ("depth", "4.0") in shown
        assert ("said", f"{site} hasDevice {made['id']}") in shown
        assert len((await resources.said(predicate="hasDevice")).rows) == 1
        assert "resources" in helpers.namespace()
        assert "resources.show(id)" in repr(resources)
        told = await helpers.info()
        assert any("resources.show(id)" in row["effect"] for row in told.rows)
