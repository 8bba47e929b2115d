"""A container is killed while it assimilates: what was entered is there, and of the rest nothing.

Its store is an SQLite file, and its contents are files beside that.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

from ion import Container
from ion.services.contexts.client import ContextsClient
from ion.services.contexts.model import Item
from ion.services.contexts.service import ContextsService
from tests.journeys.faults.fleet import PATIENCE, ROOT

MIB = 1024 * 1024
BUNDLE = """
import asyncio, sys
from ion import Container
from ion.services.contexts.client import ContextsClient
from ion.services.contexts.model import Item
from ion.services.contexts.service import ContextsService

async def main(folder):
    config = {"store.url": f"sqlite:///{folder}/ion.db"}
    async with Container("memory://", sysname="kills", config=config) as container:
        await container.spawn(ContextsService, app_config={"roots": [folder]})
        names = ["small", "large", "endless", "later"]
        items = [Item(f"file::{folder}/{name}", f"iowarp::{name}") for name in names]
        await ContextsClient(container).bundle(items)

asyncio.run(main(sys.argv[1]))
"""


async def test_killed_in_mid_bundle(tmp_path: Path) -> None:
    large = os.urandom(3 * MIB)
    (tmp_path / "small").write_bytes(b"small")
    (tmp_path / "large").write_bytes(large)
    (tmp_path / "later").write_bytes(b"later")
    with (tmp_path / "endless").open("wb") as file:
        file.truncate(64 * 1024 * MIB)
    shelf = tmp_path / "ion.db.contexts"
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", BUNDLE, str(tmp_path)),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(PATIENCE):
            while sum(size > 3 * MIB for size in sizes(shelf)) == 0:
                assert running.returncode is None
                await asyncio.sleep(0.005)
    finally:
        running.send_signal(signal.SIGKILL)
        await running.wait()
    assert len(sizes(shelf)) == 2

    config = {"store.url": f"sqlite:///{tmp_path}/ion.db"}
    async with Container("memory://", sysname="kills", config=config) as container:
        app_config = {"roots": [str(tmp_path)], "abandoned": 0.2, "sweep": 0.1}
        await container.spawn(ContextsService, app_config=app_config)
        contexts = ContextsClient(container)
        assert await contexts.list_tags() == ["large", "small"]
        assert (await contexts.retrieve(".*", "chunk_.*")).data == large + b"small"
        async with asyncio.timeout(PATIENCE):
            while sizes(shelf) != [3 * MIB]:
                await asyncio.sleep(0.02)
        again = [Item(f"file::{tmp_path}/{name}", f"iowarp::{name}") for name in ("large", "later")]
        assert (await contexts.bundle(again)).code == 0
        assert (await contexts.retrieve("large", "chunk_.*")).data == large


def sizes(shelf: Path) -> list[int]:
    """Return the sizes of the contents on the shelf."""
    found = []
    for path in shelf.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # it is being removed
            if path.is_file():
                found.append(path.stat().st_size)
    return found
