"""Streams of granules: published, heard, counted; what is none is refused."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import numpy as np
import pytest

from ion import CodecError, Container, ContentTooLarge, InvalidRequest, LifecycleError, connect
from ion.process.granules import Field, Granule, StreamDefinition, StreamPublisher, Transform
from ion.process.granules.granule import granule_of
from ion.process.granules.names import POINT, checked_stream, end_topic, escaped
from ion.process.granules.tracking import Tracker
from ion.process.granules.wire import Writer
from ion.testing.servers import RabbitServer
from tests.process.granules.places import Listener, Sensor, spawn, until

CTD = StreamDefinition(
    "ctd",
    {"time": "datetime64[ms]", "temp": Field("f8", unit="degC"), "raw": Field("u2", (None, 3))},
)


def ctd(n: int) -> dict[str, Any]:
    at = np.arange(n).astype("datetime64[ms]")
    return {"time": at, "temp": np.linspace(0, 1, n), "raw": np.ones((n, 3), np.uint16)}


async def test_a_stream_between_containers(container: Container, other: Container) -> None:
    listener, sensor = await spawn(other, Listener), await spawn(container, Sensor)
    subscriber = await listener.listen(definition=CTD)
    publisher = await sensor.open(definition=CTD)
    for n in range(200):
        assert await publisher.publish(ctd(n), time=1000.0 + n) == n + 1
    await publisher.flush()
    assert publisher.waiting == 0
    await until(lambda: len(listener.heard) == 200)
    assert [g.number for g in listener.heard] == list(range(1, 201))
    assert [g.time for g in listener.heard] == [1000.0 + n for n in range(200)]
    last = listener.heard[-1]
    assert (last.stream, last.publisher, last.definition, last.version) == (
        "ctd",
        publisher.id,
        "ctd",
        1,
    )
    for name, array in ctd(199).items():
        np.testing.assert_array_equal(last[name], array)
        assert last[name].dtype == array.dtype
        assert last[name].flags.aligned
        assert not last[name].flags.owndata
        assert not last[name].flags.writeable
    assert (subscriber.heard, subscriber.missed, subscriber.doubled) == (200, 0, 0)


@pytest.mark.parametrize(
    "array",
    [
        np.array([1.5, np.nan, -np.inf]),
        np.arange(6, dtype=">i4").reshape(2, 3),
        np.arange(20.0)[::3],
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.empty((0, 4), "f4"),
        np.float32(2.5),
        np.array(7, "u1"),
        np.array(["ähm", "", "ctd"]),
        np.array([b"ab", b"c"]),
        np.array(["2026-11-21T18:00", "NaT"], "datetime64[ns]"),
        np.array([1, 2], "timedelta64[s]"),
        np.array([True, False]),
        np.array([1 + 2j]),
        np.zeros((0,), "U5"),
        [[1, 2], [3, 4]],
        3.25,
    ],
)
def test_what_arrays_keep(array: Any) -> None:
    from ion.process.granules.arrays import pieces

    body = Writer("s", "p", "", 0, sparse=False).write(
        1, 2.0, pieces({"x": array, "y": array}, None)
    )
    granule = granule_of(body)
    expected = np.asarray(array)
    for name in ("x", "y"):
        found = granule[name]
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        np.testing.assert_array_equal(found, expected)
        assert found.flags.aligned
    plain = msgspec.msgpack.decode(body)  # as a client without ION reads it
    dtype, shape, skip, data = plain["fields"]["x"]
    if data:
        read = np.frombuffer(data, dtype, offset=skip).reshape(shape)
        np.testing.assert_array_equal(read, expected)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"time": [], "temp": []}, "missing: raw"),
        ({**ctd(1), "salt": [1.0]}, "salt"),
        ({**ctd(1), "temp": np.zeros(1, "f4")}, r"'temp': .*float32.* float64 and shape \(any\)"),
        ({**ctd(1), "temp": np.zeros((1, 1))}, "temp"),
        ({**ctd(1), "raw": np.zeros((1, 2), "u2")}, "raw"),
        ({**ctd(1), "raw": [[1, 2, 70_000]]}, "raw"),
        ({**ctd(1), "raw": [[1, 2, -1]]}, "raw"),
        ({**ctd(1), "raw": [[1.5, 2, 1]]}, "raw"),
        ({**ctd(1), "temp": [1.0, None]}, "temp"),
        ({**ctd(1), "temp": [[1.0], [1.0, 2.0]]}, "temp"),
        ({**ctd(1), "temp": np.array([object()])}, "temp"),
        ({**ctd(1), "temp": np.zeros(1, "f8,i4")}, "temp"),
        ({**ctd(1), "temp": ["warm"]}, "temp"),
        ({**ctd(1), "temp": [2**53 + 1]}, "temp"),
        ({**ctd(1), "temp": np.ma.masked_array([1.0], [True])}, "temp"),
        ({**ctd(1), "time": ["2026-11-21T18:00:00.0005"]}, "time"),
        ({}, "1 to"),
        ([1.0], "1 to"),
    ],
)
def test_what_a_definition_refuses(fields: Any, named: str) -> None:
    from ion.process.granules.arrays import pieces

    with pytest.raises(InvalidRequest, match=named):
        pieces(fields, CTD.fields)


def test_lists_become_what_the_definition_says() -> None:
    from ion.process.granules.arrays import pieces

    given = {"time": ["2026-11-21T18:00:00.5"], "temp": [1], "raw": [[1, 2, 65535]]}
    assert [piece[1] for piece in pieces(given, CTD.fields)] == ["<M8[ms]", "<f8", "<u2"]


@pytest.mark.parametrize(
    ("dtype", "value"), [("f4", 1e300), ("f2", 1e6), ("f4", 2**24 + 1), ("M8[ns]", "3000-01-01")]
)
def test_a_list_that_would_lose_values_is_refused(dtype: str, value: Any) -> None:
    from ion.process.granules.arrays import pieces

    with pytest.raises(InvalidRequest, match="'x'"):
        pieces({"x": [value]}, {"x": Field(dtype)})


AXES = StreamDefinition("scan", {"image": Field("f4", (None, None)), "axis": Field("f4", (4,))})


@pytest.mark.parametrize(
    ("fields", "wanted", "named"),
    [
        ({"a": [1, 2], "b": [1, 2, 3]}, None, "'b' has 3 samples, and field 'a' 2"),
        ({"a": np.zeros((2, 9)), "b": 3.5, "c": [True]}, None, "'c'"),
        ({**ctd(3), "temp": [1.0]}, CTD, "'temp'"),
        ({"a": np.zeros((2, 9)), "b": 3.5, "c": [True, False]}, None, ""),
        ({"wide": np.zeros(2, np.longdouble)}, None, "'wide': an array of float128 cannot"),
        ({"wide": np.zeros(2, np.clongdouble)}, None, "'wide'"),
        ({"image": np.zeros((7, 2), "f4"), "axis": np.zeros(4, "f4")}, AXES, ""),
        ({"a": [1], "b": [1, 2]}, StreamDefinition("r", {"a": "i8", "b": "i8"}, ragged=True), ""),
    ],
)
def test_the_fields_of_a_granule_are_of_one_length(
    fields: Any, wanted: StreamDefinition | None, named: str
) -> None:
    from ion.process.granules.arrays import pieces

    ragged = wanted is not None and wanted.ragged
    expected = None if wanted is None else wanted.fields
    if not named:
        assert len(pieces(fields, expected, ragged=ragged)) == len(fields)
        return
    with pytest.raises(InvalidRequest, match=named):
        pieces(fields, expected, ragged=ragged)


async def test_what_no_subscriber_could_read_is_not_published() -> None:
    async with Container("memory://") as container:
        sensor = await spawn(container, Sensor)
        publisher = await sensor.open()
        good: dict[str, Any] = {"x": [1.0]}
        for number in (0, -1, 2**63, True, 1.0):
            with pytest.raises(InvalidRequest, match="number"):
                await publisher.publish_as(number, good)  # type: ignore[arg-type]
        for name in ("é" * 120, "x" * 236, "\ud800"):
            with pytest.raises(InvalidRequest, match="name"):
                await publisher.publish_as(1, good, publisher=name)
            with pytest.raises(InvalidRequest, match="name"):
                await sensor.open(name=name)
        for call in (publisher.publish({"\ud800": [1.0]}), publisher.publish(good, time=10**400)):
            with pytest.raises(InvalidRequest):
                await call
        ragged = await sensor.open(definition=AXES)
        with pytest.raises(InvalidRequest, match="image"):
            await ragged.publish({"image": [[1.0], [1.0, 2.0]], "axis": [1.0] * 4})
        assert await publisher.publish_as(2**63 - 1, good, publisher="x" * 235)


def whole() -> dict[str, Any]:
    return {
        "stream": "s",
        "publisher": "p",
        "number": 1,
        "time": 0.0,
        "fields": {"x": ["<f8", [2], 0, bytes(16)]},
    }


@pytest.mark.parametrize(
    "part",
    [
        ["<f8", [2], 0, bytes(15)],
        ["<f8", [2], 1, bytes(16)],
        ["<f8", [2], -1, bytes(15)],
        ["<f8", [-2], 0, bytes(16)],
        ["<f8", [-1], 0, bytes(16)],
        ["<f8", [-1, -2], 0, bytes(16)],
        ["<f8", [2**62, 4], 0, bytes(16)],
        ["<f8", [0, 2**63], 0, b""],
        ["|O", [2], 0, bytes(16)],
        ["f8,f8", [1], 0, bytes(16)],
        ["<U0", [10**12], 0, b""],
        ["<f7", [1], 0, bytes(7)],
        ["|V8", [2], 0, bytes(16)],
        ["<f8", [1] * 100, 0, bytes(8)],
        ["<f8", "2", 0, bytes(16)],
        ["<f8", [2], 0, "text"],
        ["<f8", [2]],
    ],
)
def test_what_is_no_granule(part: Any) -> None:
    body = msgspec.msgpack.encode({**whole(), "fields": {"x": part}})
    with pytest.raises(CodecError):
        granule_of(body)


@pytest.mark.parametrize(
    "wrong",
    [
        {"publisher": ""},
        {"publisher": "p" * 1000},
        {"number": 0},
        {"number": 2**63},
        {"number": 1.5},
        {"time": float("nan")},
        {"time": float("-inf")},
        {"stream": None},
    ],
)
def test_heads_that_are_none(wrong: Any) -> None:
    with pytest.raises(CodecError):
        granule_of(msgspec.msgpack.encode({**whole(), **wrong}))


def test_truncated_bytes() -> None:
    body = msgspec.msgpack.encode(whole())
    assert granule_of(body)["x"].tolist() == [0.0, 0.0]
    for at in range(len(body)):
        with pytest.raises(CodecError):
            granule_of(body[:at])


def test_versions_of_a_definition() -> None:
    newer = msgspec.structs.replace(CTD, version=2, fields={**CTD.fields, "salt": "f8"})
    assert newer.breaks(CTD) == []
    assert CTD.breaks(newer) == ["field 'salt' is gone"]
    other = msgspec.structs.replace(CTD, fields={**CTD.fields, "temp": Field("f4", unit="K")})
    assert len(other.breaks(CTD)) == 2
    ragged = msgspec.structs.replace(CTD, version=2, ragged=True)
    assert ragged.breaks(CTD) == ["fields may be of different lengths"]
    assert CTD.breaks(ragged) == []
    again = msgspec.convert(msgspec.to_builtins(CTD), StreamDefinition)
    assert again == CTD
    for dtype in ("object", "O", "f8,f8", "f7", "V8", "datetime64", 7, "U-1", ""):
        with pytest.raises(InvalidRequest):
            Field(dtype)  # type: ignore[arg-type]
    assert {Field(t).dtype for t in (float, np.float64, np.dtype(">f8"), "float64", "<f8")} == {
        "f8"
    }  # type: ignore[arg-type]


def test_names() -> None:
    names = ["ctd", "ctd_1", "ctd-1", "a.b", "a_2eb", "a/b", "ø", "_", "__", "a_", "2e"]
    words = [escaped(checked_stream(name)) for name in names]
    assert len(set(words)) == len(names)
    assert all(word and "." not in word and word.isascii() for word in words)
    for name in ("", "x" * 200, None, 7):
        with pytest.raises(InvalidRequest):
            checked_stream(name)


def test_numbers_that_come_late_or_twice_are_not_heard() -> None:
    tracker = Tracker()
    numbers = (5, 6, 9, 8, 6, 9, 7, 7, 200, 199, 10, 201)
    heard = [n for n in numbers if tracker.is_new("p", n, sparse=False)]
    assert heard == [5, 6, 9, 200, 201]
    assert tracker.missed == 2 + 190
    assert tracker.doubled == 4  # 10 among them: too far behind to be told from one that came
    assert tracker.is_new("q", 7, sparse=True)
    assert tracker.is_new("q", 9, sparse=True)
    assert not tracker.is_new("q", 8, sparse=True)
    assert tracker.missed == 192


async def test_granules_that_are_missing_are_counted(container: Container) -> None:
    listener, sensor = await spawn(container, Listener), await spawn(container, Sensor)
    subscriber = await listener.listen()
    publisher = await sensor.open()
    for number in (1, 2, 6, 6, 2, 7):
        await publisher.publish_as(number, {"x": [number]})
    await until(lambda: len(listener.heard) == 4)
    await until(lambda: subscriber.doubled == 2)
    assert [g.number for g in listener.heard] == [1, 2, 6, 7]
    assert subscriber.missed == 3


async def test_a_script_publishes(container: Container, bus: tuple[str, Any]) -> None:
    listener = await spawn(container, Listener)
    await listener.listen(definition=CTD)
    async with connect(bus[0], sysname="test") as connection:
        for party in (connection, container):
            publisher = await StreamPublisher.open(party, "ctd", CTD)
            assert await publisher.publish(ctd(1)) == 1
            await publisher.flush()
        await until(lambda: len(listener.heard) == 2)
        await container.publish(POINT, end_topic("ctd"), {"stream": "ctd"})  # it is deleted
        await until(lambda: publisher.is_closed)
    with pytest.raises(TypeError, match="a connection publishes, not 'ctd'"):
        await StreamPublisher.open("ctd", CTD)  # type: ignore[arg-type]


async def test_a_granule_that_is_too_large(container: Container) -> None:
    sensor = await spawn(container, Sensor)
    publisher = await sensor.open()
    with pytest.raises(ContentTooLarge, match="fewer samples"):
        await publisher.publish({"x": np.zeros(600_000)})
    assert await publisher.publish({"x": [1.0]}) == 1
    await publisher.close()
    with pytest.raises(LifecycleError):
        await publisher.publish({"x": [1.0]})


async def test_a_slow_subscriber_holds_few_in_hand(container: Container) -> None:
    listener, sensor = await spawn(container, Listener), await spawn(container, Sensor)
    listener.gate.clear()
    await listener.listen(prefetch=3)
    publisher = await sensor.open()
    for n in range(100):
        await publisher.publish({"x": [n]})
    await publisher.flush()
    await until(lambda: listener.waiting == 2)  # and one at work
    listener.gate.set()
    await until(lambda: len(listener.heard) == 100)
    assert [int(g["x"][0]) for g in listener.heard] == list(range(100))


async def test_those_of_one_name_share_and_are_tried_again(
    container: Container, other: Container
) -> None:
    listeners = [await spawn(c, Listener) for c in (container, other)]
    for each in listeners:
        await each.listen(name="ledger", prefetch=1)
    sensor = await spawn(container, Sensor)
    publisher = await sensor.open()
    for n in range(40):
        await publisher.publish({"x": [n]})
    await until(lambda: sum(len(each.heard) for each in listeners) == 40)
    assert sorted(g.number for each in listeners for g in each.heard) == list(range(1, 41))
    assert all(each.heard for each in listeners)


async def test_what_is_no_granule_is_dropped_and_the_stream_goes_on(container: Container) -> None:
    listener, sensor = await spawn(container, Listener), await spawn(container, Sensor)
    await listener.listen(definition=CTD)
    await container.publish(POINT, "ctd", {"not": "a granule"})
    await container.publish(POINT, "ctd", {**whole(), "stream": "other"})
    free, publisher = await sensor.open(), await sensor.open(definition=CTD)
    await free.publish({"temp": [1.0]})
    await publisher.publish(ctd(2))
    await until(lambda: listener.heard)
    assert [g.publisher for g in listener.heard] == [publisher.id]


async def test_what_is_on_its_way_when_the_process_ends(container: Container) -> None:
    listener, sensor = await spawn(container, Listener), await spawn(container, Sensor)
    await listener.listen()
    publisher = await sensor.open(window=1000)
    for n in range(500):
        await publisher.publish({"x": [n]})
    await container.terminate_process(sensor.id)
    await until(lambda: len(listener.heard) == 500)
    assert publisher.waiting == 0
    last = await sensor.open()  # the last words of a process that has ended
    await last.publish({"x": [500]})
    await last.flush()
    await until(lambda: len(listener.heard) == 501)
    for time in (float("nan"), float("inf"), "now"):
        with pytest.raises(InvalidRequest, match="time"):
            await publisher.publish({"x": [1]}, time=time)  # type: ignore[arg-type]


async def test_a_lost_connection_loses_and_doubles_nothing(
    amqp_url: str, rabbitmq_server: RabbitServer
) -> None:
    """What the broker has not confirmed is sent again; what comes twice is dropped."""
    async with (
        Container(amqp_url, sysname="test") as one,
        Container(amqp_url, sysname="test") as two,
    ):
        sensor, listener = await spawn(one, Sensor), await spawn(two, Listener)
        transform = await spawn(two, Same)
        await listener.listen("out")
        publisher = await sensor.open("in", window=200)

        async def fill() -> None:
            for n in range(2000):
                await publisher.publish({"x": [n]}, timeout=30)
                if not n % 20:
                    await asyncio.sleep(0.001)
            await publisher.flush(30)

        filling = asyncio.create_task(fill())
        await until(lambda: transform.passed > 200)
        await asyncio.to_thread(rabbitmq_server.close_connections)
        await filling
        # The listener's own queue went with its connection: there is a gap, and nothing else.
        async with asyncio.timeout(30):
            while listener.heard[-1].number <= 2000:
                await publisher.publish({"x": [0]}, timeout=30)
                await asyncio.sleep(0.01)
        numbers = [g.number for g in listener.heard]
        assert sorted(set(numbers)) == numbers
        assert set(range(1, 2001)) <= transform.numbers


class Same(Transform):
    """Publishes what it hears."""

    source, target = "in", "out"

    def __init__(self) -> None:
        super().__init__()
        self.numbers: set[int] = set()

    @property
    def passed(self) -> int:
        return len(self.numbers)

    async def transform(self, granule: Granule) -> Any:
        self.numbers.add(granule.number)
        return granule.fields
