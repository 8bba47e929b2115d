"""A pipeline of Redis: one timer for all that it sends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from ion.base.errors import Unavailable
from ion.stores.redis.link import Command, Reply, packed
from ion.stores.redis.pipeline import Pipeline

TIMEOUT = 0.05


class _Link:
    """Answers at once, but for ``HANG``."""

    async def exchange(self, commands: Sequence[Command]) -> list[Reply]:
        if commands[0][0] == b"HANG":
            await asyncio.Event().wait()
        return [command[0] for command in commands]

    async def close(self) -> None:
        pass


async def test_the_timer_of_an_earlier_call_is_not_that_of_a_later_one() -> None:
    loop = asyncio.get_running_loop()
    pipeline = Pipeline(_Link(), "here", TIMEOUT)
    assert await pipeline.command(b"FIRST") == b"FIRST"  # sets the timer
    await asyncio.sleep(TIMEOUT / 2)
    for _ in range(2):
        begun = loop.time()
        with pytest.raises(Unavailable, match="in time"):
            await pipeline.command(b"HANG")
        assert loop.time() - begun > TIMEOUT * 0.9  # its own time, not what the first had left
        assert await pipeline.command(b"AFTER") == b"AFTER"
    await pipeline.close()
    with pytest.raises(Unavailable, match="not open"):
        await pipeline.command(b"LATE")


def test_commands_travel_whatever_bytes_they_hold() -> None:
    found = packed([[b"SET", b"", b"a\r\n$1\0"], [b"PING"]])
    assert found == b"*3\r\n$3\r\nSET\r\n$0\r\n\r\n$6\r\na\r\n$1\0\r\n*1\r\n$4\r\nPING\r\n"
