"""The log of what ops raise that they should not: no caller fills a disk with it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

import pytest

from ion import Container, ReceivedContainerError, Service
from ion.process.endpoint import error_log
from ion.process.endpoint.error_log import MAX_KINDS, ErrorLog


class Careless(Service, name="careless"):
    """Believes all that it is told."""

    async def op_pick(self, items: dict[str, int], key: str) -> int:
        """Return one; whoever asks for another one makes this fail."""
        return items[key]

    async def op_divide(self, by: int) -> float:
        """Divide."""
        return 1 / by


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(error_log, "TOLD_AFTER", 0.3)
    monkeypatch.setattr(error_log, "LINES_RATE", 0.01)
    return


async def test_a_caller_cannot_flood_the_log_with_what_it_asks_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(op: str, **content: object) -> None:
        with pytest.raises(ReceivedContainerError):
            await container.rpc_send("careless", op, content)

    async with Container("memory://", sysname="test") as container:
        await container.spawn(Careless)
        for n in range(300):
            await fail("pick", items={}, key=f"k{n}")
        await fail("divide", by=0)
        async with asyncio.timeout(10):
            while container.endpoint.error_log.omitted:
                await asyncio.sleep(0.01)
    said = [r for r in caplog.records if r.name == error_log.log.name]
    told = [r for r in said if r.exc_info]
    assert [r.exc_info[0] for r in told if r.exc_info] == [KeyError, ZeroDivisionError]
    lines = [r.getMessage() for r in said if " (at test_error_log.py:" in r.getMessage()]
    assert len(lines) == error_log.LINES
    assert lines[0].startswith(
        "op 'pick' of careless failed: KeyError: 'k1' (at test_error_log.py:"
    )
    counted = [re.match(r"(\d+) more failures of ops", r.getMessage()) for r in said]
    assert sum(int(match[1]) for match in counted if match) == 300 - 1 - len(lines)
    assert "op 'pick' of careless: KeyError at test_error_log.py:" in said[-1].getMessage()


async def test_what_is_kept_of_kinds_is_bounded() -> None:
    log = ErrorLog(asyncio.get_running_loop())
    for n in range(3 * MAX_KINDS):
        log.note(f"op{n}", "x", ValueError("no"), "no", None)
        log._firsts._left = 2.0  # as if it had taken long
    assert len(log._seen) <= MAX_KINDS
    for n in range(3 * MAX_KINDS):
        log._firsts._left = 0.0
        log.note(f"another{n}", "x", ValueError("no"), "no", None)
    assert len(log.omitted) <= MAX_KINDS + 1
    assert log.omitted.total() == 3 * MAX_KINDS - error_log.LINES
