"""A container that dies: nothing that it acknowledged is lost, and no batch is there in part."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from ion.testing.contracts.stores.bench import LONG, listed
from tests.stores.sqlite_files import opened

ROUNDS = 200 if LONG else 20


async def _program(*arguments: str) -> tuple[int | None, str]:
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await program.communicate()
    return program.returncode, said.decode()


async def test_killed_in_the_middle_of_writing(tmp_path: Path) -> None:
    code, said = await _program("-m", "tests.stores.sqlite_crash", str(tmp_path), str(ROUNDS))
    assert code == 0, said
    assert said.startswith("fine")


async def test_two_containers_on_one_file(tmp_path: Path) -> None:
    """Two OS processes write at a time; each sees what both have written."""
    path = tmp_path / "data.db"
    program = (
        "import asyncio, sys\nfrom pathlib import Path\n"
        "from tests.stores.sqlite_files import opened\n"
        "async def main():\n"
        "    async with opened(Path(sys.argv[1])) as datastore:\n"
        "        store = await datastore.store('things')\n"
        "        for n in range(30):\n"
        "            await asyncio.gather(*(store.put(f'theirs-{n}-{i}', b'') for i in range(5)))\n"
        "asyncio.run(main())"
    )
    async with opened(path) as datastore:
        store = await datastore.store("things")
        other = asyncio.ensure_future(_program("-c", program, str(path)))
        count = 0
        while not other.done():
            await asyncio.gather(*(store.put(f"ours-{count}-{i}", b"") for i in range(5)))
            count += 1
            await asyncio.sleep(0.001)
        assert await other == (0, "")
        keys = await listed(store)
        assert sum(key.startswith("theirs") for key in keys) == 150
        assert sum(key.startswith("ours") for key in keys) == count * 5
