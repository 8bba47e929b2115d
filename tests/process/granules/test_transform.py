"""Transforms: in order, taken off when what became of it is out, once for who comes after."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from ion import Container, Forbidden, InvalidRequest, StartError
from ion.messaging.envelope import Envelope
from ion.observe.context import current_call
from ion.process.granules import Granule, StreamDefinition, StreamPublisher, Transform
from ion.process.granules.names import POINT, end_topic
from ion.process.granules.ordered import PREFETCH
from ion.process.granules.transform import derived
from ion.process.granules.wire import MAX_NAME
from ion.process.redelivery.deadletters import peek
from tests.process.granules.places import Listener, Sensor, spawn, until


class Even(Transform):
    """Doubles the even ones, and publishes nothing for the others."""

    source, target = "raw", "even"
    definition = StreamDefinition("even", {"x": "f8"})
    delays = (0.01,)

    def __init__(self, **streams: str) -> None:
        super().__init__(**streams)
        self.tried: list[float] = []
        self.failing = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def transform(self, granule: Granule) -> Mapping[str, Any] | None:
        await self.gate.wait()
        x = float(granule["x"][0])
        self.tried.append(x)
        if self.failing:
            self.failing -= 1
            raise RuntimeError("not today")
        if x == 100:
            return {"y": [x]}
        return {"x": [2 * x]} if x % 2 == 0 else None


def test_names_behind_many_transforms_fit_into_a_message() -> None:
    name = "station-1.7-abcdefgh"
    names = [name := derived("calibrated-salinity", name) for _ in range(30)]
    assert len(set(names)) == 30
    assert max(len(each.encode()) for each in names) <= MAX_NAME
    assert derived("é" * 300, "p") != derived("é" * 300, "q")
    assert len(derived("é" * 300, "p").encode()) <= MAX_NAME


async def fill(publisher: StreamPublisher, numbers: range) -> None:
    for n in numbers:
        await publisher.publish({"x": [float(n)]}, time=float(n))
    await publisher.flush()


def values(listener: Listener) -> list[float]:
    return [float(granule["x"][0]) for granule in listener.heard]


async def test_one_stream_in_one_out(container: Container, other: Container) -> None:
    transform, listener = await spawn(container, Even), await spawn(other, Listener)
    publisher = await (await spawn(other, Sensor)).open("raw")
    subscriber = await listener.listen("even")
    transform.failing = 3
    await fill(publisher, range(40))
    await until(lambda: len(listener.heard) == 20)
    assert values(listener) == [2.0 * n for n in range(0, 40, 2)]
    assert [g.time for g in listener.heard] == [float(n) for n in range(0, 40, 2)]
    assert transform.tried[:4] == [0.0, 0.0, 0.0, 0.0]
    assert (subscriber.missed, subscriber.doubled) == (0, 0)


async def test_what_cannot_be_done_is_a_dead_letter(container: Container) -> None:
    transform, listener = await spawn(container, Even), await spawn(container, Listener)
    publisher = await (await spawn(container, Sensor)).open("raw")
    await listener.listen("even")
    await publisher.publish({"x": [100.0]})  # of which it makes what its definition does not know
    transform.failing = 0
    await container.publish("streams", "raw", {"no": "granule"})
    other = {"stream": "even", "publisher": "p", "number": 1, "time": 0.0, "fields": {}}
    await container.publish("streams", "raw", other)
    await fill(publisher, range(2, 4))
    await until(lambda: listener.heard)
    assert values(listener) == [4.0]
    key = f"sub.streams.{transform.queue_name}"
    letters: list[Any] = []
    async with asyncio.timeout(10):
        while len(letters) < 3:
            letters = await peek(container.endpoint, key, 10)
    assert sorted(letter.cause_type for letter in letters) == [
        "CodecError",
        "InvalidRequest",
        "InvalidRequest",
    ]
    assert any("came as one of 'raw'" in letter.cause for letter in letters)


async def test_a_target_that_was_deleted_begins_anew(container: Container) -> None:
    transform, listener = await spawn(container, Even), await spawn(container, Listener)
    publisher = await (await spawn(container, Sensor)).open("raw")
    await listener.listen("even")
    await fill(publisher, range(2))
    await until(lambda: len(listener.heard) == 1)
    first = transform._publisher
    await container.publish(POINT, end_topic("even"), {"stream": "even"})
    await until(lambda: first.is_closed)
    await fill(publisher, range(2, 5))
    await until(lambda: len(listener.heard) == 3)
    assert values(listener) == [0.0, 4.0, 8.0]


async def test_what_was_on_its_way_when_the_target_was_deleted_is_published_anew(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Durable subscriptions of others stay theirs, and get it."""
    transform, listener = await spawn(container, Even), await spawn(container, Listener)
    publisher = await (await spawn(container, Sensor)).open("raw")
    await listener.listen("even", name="foreign")
    publish, lost, is_deleted = container.transport.publish, list[str](), False

    def lose(exchange: str, key: str, *args: Any, **kwargs: Any) -> None:
        if key == "even" and not is_deleted:  # as where the connection goes just then
            lost.append(key)
        else:
            publish(exchange, key, *args, **kwargs)

    monkeypatch.setattr(container.transport, "publish", lose)
    await fill(publisher, range(4))
    await until(lambda: lost)  # one, or two: it waits for those of the granules that had come
    is_deleted = True
    await container.publish(POINT, end_topic("even"), {"stream": "even"})
    await fill(publisher, range(4, 7))
    await until(lambda: len(listener.heard) == 4)
    assert values(listener) == [0.0, 4.0, 8.0, 12.0]
    info = await container.transport.queue_info(transform._ordered.spec.name)
    assert info is not None
    assert info.messages == 0


async def test_what_is_taken_in_order_passes_the_interceptors(container: Container) -> None:
    transform, listener = await spawn(container, Even), await spawn(container, Listener)
    sensor = await spawn(container, Sensor)
    publisher = await sensor.open("raw")
    await listener.listen("even")
    seen: list[tuple[str, str]] = []

    def gate(envelope: Envelope) -> Envelope:
        call = current_call.get()
        if call is not None and call.process == transform.id and envelope.op == "granule":
            seen.append((call.process, call.topic))
            if len(seen) == 1:
                raise Forbidden("not this one")
        return envelope

    container._endpoint.use_inbound((gate,))
    await fill(publisher, range(2, 6))
    await until(lambda: listener.heard)
    assert values(listener) == [8.0]
    assert seen == [(transform.id, "raw")] * 4


async def test_when_one_ends_another_goes_on(container: Container, other: Container) -> None:
    """What the first had published and not taken off comes again, and is dropped behind it."""
    first = await spawn(container, Even)
    listener = await spawn(other, Listener)
    subscriber = await listener.listen("even")
    publisher = await (await spawn(other, Sensor)).open("raw")
    flush = first._publisher.flush
    stuck = asyncio.Event()

    async def never(timeout: float | None = None) -> None:
        await flush(timeout)
        stuck.set()
        await asyncio.Event().wait()

    first._publisher.flush = never
    await fill(publisher, range(10))
    await asyncio.wait_for(stuck.wait(), 10)
    second = await spawn(other, Even)
    await container.terminate_process(first.id, timeout=0)
    await fill(publisher, range(10, 20))
    await until(lambda: len(listener.heard) >= 10)
    await until(lambda: len(second.tried) == 20)
    await second._publisher.flush()
    await fill(publisher, range(20, 22))
    await until(lambda: values(listener)[-1] == 40.0)
    assert values(listener) == [2.0 * n for n in range(0, 22, 2)]
    assert subscriber.doubled > 0


async def test_a_transform_says_what_it_needs(container: Container) -> None:
    for streams in ({"source": "a", "target": "a"}, {"source": "", "target": "x" * 200}):
        with pytest.raises(StartError, match=r"itself|needs"):
            await container.spawn(Even, args=streams)
    with pytest.raises(InvalidRequest):
        await StreamPublisher.open(await spawn(container, Sensor), "x", window=0)
    assert np.__name__ == "numpy"


async def test_who_takes_over_begins_with_what_was_in_hand(
    container: Container, other: Container
) -> None:
    """It had begun with what is behind that: 64 granules came late at each stop in order."""
    first = await spawn(container, Even)
    first.gate.clear()
    publisher = await (await spawn(other, Sensor)).open("raw")
    await fill(publisher, range(100))
    await publisher.flush()
    await until(lambda: len(first._ordered._waiting) == PREFETCH)
    second = await spawn(other, Even)
    await container.terminate_process(first.id)
    await until(lambda: len(second.tried) == 100)
    assert second.tried == [float(n) for n in range(100)]
