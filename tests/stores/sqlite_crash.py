"""A program that is killed again and again while it writes to a store file.

``python -m tests.stores.sqlite_crash FOLDER ROUNDS``: each round, a child process writes (single
puts and batches, some of them on the event loop), and says what was acknowledged; it is killed, and
what is in the file is compared. Ends with ``fine`` and the number of what was acknowledged.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import warnings
from pathlib import Path

from ion.stores.store import Put
from ion.testing.contracts.stores.bench import listed
from tests.stores.sqlite_files import opened

BATCH = 7


async def write(path: Path, mark: int, name: str, callers: int) -> None:
    """Write for ever; print to ``mark`` what was acknowledged."""
    async with opened(path) as datastore:
        store = await datastore.store("things")

        async def caller(number: int) -> None:
            for n in range(1_000_000):
                key = f"{name}-{number}-{n:06}"
                if n % 3:
                    await store.put(key, os.urandom(500))
                else:
                    await store.write([Put(f"{key}.{i}", b"x" * 100) for i in range(BATCH)])
                os.write(mark, f"{key}\n".encode())

        await asyncio.gather(*(caller(number) for number in range(callers)))


def killed_while_writing(path: Path, name: str, callers: int, after: int) -> set[str]:
    """Return the keys that a child has acknowledged until it was killed."""
    reads, writes = os.pipe()
    with warnings.catch_warnings():  # 3.12 tells of threads; what is forked here uses none of them
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        os.close(reads)
        asyncio.run(write(path, writes, name, callers))
        os._exit(1)
    os.close(writes)
    said = b""
    with os.fdopen(reads, "rb", buffering=0) as pipe:
        while said.count(b"\n") < after and (more := pipe.read(65_536)):
            said += more
        os.kill(child, signal.SIGKILL)
        while more := pipe.read(65_536):
            said += more
    os.waitpid(child, 0)
    return set(said.decode().rpartition("\n")[0].split("\n"))


async def missing(path: Path, acknowledged: set[str]) -> list[str]:
    """Return what is wrong: keys that are not there, and batches of which there is a part."""
    async with opened(path) as datastore:
        there = set(await listed(await datastore.store("things"), limit=10_000))
    batches: dict[str, int] = {}
    for key in there:
        name, dot, _ = key.partition(".")
        if dot:
            batches[name] = batches.get(name, 0) + 1
    lost = [key for key in acknowledged if key not in there and key not in batches]
    return lost + [f"{name}: {count}" for name, count in batches.items() if count != BATCH]


def main(folder: Path, rounds: int) -> None:
    """Run the rounds, on one file."""
    chance = random.Random(rounds)
    path = folder / "data.db"
    acknowledged: set[str] = set()
    for turn in range(rounds):
        callers = chance.choice([1, 1, 16])
        acknowledged |= killed_while_writing(path, f"{turn}", callers, chance.randrange(1, 300))
        wrong = asyncio.run(missing(path, acknowledged))
        if wrong:
            raise SystemExit(f"round {turn}, {callers} callers: {wrong[:10]}")
    print("fine", len(acknowledged), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
