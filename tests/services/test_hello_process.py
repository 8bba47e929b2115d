"""A process called by its id."""

from __future__ import annotations

import pytest

from ion import Container, ProcessNotFound
from ion.services.hello_process.client import HelloProcessClient
from ion.services.hello_process.process import HelloProcess


async def test_two_callers_of_one_process(container: Container, other: Container) -> None:
    pid = await container.spawn(HelloProcess, args={"greeting": "Salve"})
    near, far = HelloProcessClient(pid, container), HelloProcessClient(pid, other)
    assert await near.hello("near") == "Salve, near"
    assert await far.hello("far") == "Salve, far"
    assert await far.count() == 2


async def test_one_that_is_gone(container: Container) -> None:
    pid = await container.spawn(HelloProcess)
    await container.terminate_process(pid)
    with pytest.raises(ProcessNotFound):
        await HelloProcessClient(pid, container).hello()


async def test_its_app(container: Container) -> None:
    await container.start_app("hello_process", args={"greeting": "Ave"})
    (pid,) = container.apps["hello_process"].pids
    assert await HelloProcessClient(pid, container).hello("you") == "Ave, you"
