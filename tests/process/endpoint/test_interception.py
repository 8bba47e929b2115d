"""Interceptors: which of what comes in passes which of them."""

from __future__ import annotations

import pytest

from ion import BadRequest, Container, Service


class Counter(Service, name="counter"):
    """Counts."""

    async def op_count(self, to: int):
        for number in range(to):
            yield number

    async def op_twice(self, number: int) -> int:
        return 2 * number


class Passed:
    """An interceptor that keeps what has passed it."""

    def __init__(self, *, only_requests: bool) -> None:
        self.only_requests = only_requests
        self.seen: list[str] = []

    def __call__(self, envelope):
        self.seen.append(str(envelope.headers.get("performative", "request")))
        return envelope


async def test_one_that_is_for_requests_sees_no_answers(container: Container) -> None:
    requests, everything = Passed(only_requests=True), Passed(only_requests=False)
    await container.spawn(Counter)
    container.endpoint.use_inbound((requests, everything))
    assert await container.rpc_send("counter", "twice", {"number": 4}) == 8
    items = container.stream("counter", "count", {"to": 3})
    assert [number async for number in items] == [0, 1, 2]
    assert requests.seen == ["request", "request"]
    assert len(everything.seen) > len(requests.seen) + 1
    assert "inform_result" in everything.seen


async def test_one_that_sees_answers_may_refuse_them(container: Container) -> None:
    def refuse(envelope):
        if envelope.headers.get("performative", "request") != "request":
            message = "no answers here"
            raise BadRequest(message)
        return envelope

    await container.spawn(Counter)
    container.endpoint.use_inbound((refuse,))
    with pytest.raises(BadRequest, match="no answers here"):
        await container.rpc_send("counter", "twice", {"number": 4})
