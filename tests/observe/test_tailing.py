"""Recent log records for readers from afar: bounded, masked, dropped and counted, never echoed."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import threading

import pytest

from ion.base.errors import ConfigurationError
from ion.observe import tailing
from ion.observe.context import CallContext, current_call
from ion.observe.logging import set_up
from ion.observe.tailing import Tails, keep_recent, wanted

log = logging.getLogger("test.tail")


@pytest.fixture(autouse=True)
def root():
    """The root logger as it was, afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers[:] = []
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    for name in ("aio_pika", "aiormq", "test.tail"):
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.fixture
def recent(root):
    set_up(stream=io.StringIO())
    return keep_recent()


@contextlib.asynccontextmanager
async def reading(tails, *words, recent=0, after=0, **which):
    """A reader's items, read by a task of its own, as a container's are."""
    items: asyncio.Queue = asyncio.Queue()
    credit = asyncio.Semaphore(0)

    async def read():
        async with contextlib.aclosing(
            tails.tail(wanted("box_1", *words, **which), recent, after)
        ) as batches:
            async for batch in batches:
                items.put_nowait(batch)
                await credit.acquire()

    task = asyncio.create_task(read())

    async def take():
        async with asyncio.timeout(10):
            batch = await items.get()
            credit.release()
            return batch

    take.items = items
    try:
        yield take
    finally:
        task.cancel()
        await asyncio.wait({task})


async def said(take):
    """The messages of the next batch that has any."""
    while not (batch := await take())["records"]:
        pass
    return [record["message"] for record in batch["records"]]


async def test_recent_ones_come_first_then_new_ones(recent):
    for n in range(5):
        log.info("said %d", n)
    async with reading(Tails(), recent=2) as take:
        first = await take()
        assert [record["message"] for record in first["records"]] == ["said 3", "said 4"]
        assert (first["lost"], first["last"]) == (0, 5)
        log.info("new")
        assert await said(take) == ["new"]


async def test_a_record_has_what_a_line_of_json_has(recent):
    token = current_call.set(CallContext("box_1.7", "box_1-12", "hello"))
    try:
        raise ValueError("why")
    except ValueError:
        log.exception("to %s", "amqp://guest:hunter2@host/", extra={"password": "x", "thing": {3}})
    finally:
        current_call.reset(token)
    async with reading(Tails(), recent=1) as take:
        (record,) = (await take())["records"]
    assert record.pop("time").endswith("Z")
    assert record.pop("traceback").endswith("ValueError: why")
    assert record == {
        "level": "ERROR",
        "logger": "test.tail",
        "message": "to amqp://guest:***@host/",
        "container": "box_1",
        "process": "box_1.7",
        "op": "hello",
        "conversation": "box_1-12",
        "password": "***",
        "thing": [3],
    }


async def test_only_what_is_wanted(recent):
    logging.getLogger("test.tail.below").warning("one")
    logging.getLogger("test.tailor").warning("two")
    log.info("three")
    log.error("said FOUR")
    for words, found in (
        ({"logger": "test.tail"}, ["one", "three", "said FOUR"]),
        ({"level": "warning"}, ["one", "two", "said FOUR"]),
        ({"text": "four"}, ["said FOUR"]),
    ):
        async with reading(Tails(), recent=9, **words) as take:
            assert [record["message"] for record in (await take())["records"]] == found
    with pytest.raises(ConfigurationError, match="no such log level: 'loud'"):
        wanted("box_1", "loud")


async def test_what_another_container_says_is_not_this_ones(recent):
    token = current_call.set(CallContext("box_2.1", "c", "op"))
    log.info("of another")
    current_call.reset(token)
    log.info("of nobody")
    async with reading(Tails(), recent=9) as take:
        assert await said(take) == ["of nobody"]


async def test_a_slow_reader_misses_the_oldest_and_is_told_how_many(recent, monkeypatch):
    monkeypatch.setattr(tailing, "WAITING", 10)
    async with reading(Tails()) as take:
        assert await take() == {"records": [], "lost": 0, "last": 0, "more": False}
        for n in range(25):
            log.info("said %d", n)
        batch = await take()
        while not batch["records"]:
            batch = await take()
    assert [r["message"] for r in batch["records"]] == [f"said {n}" for n in range(15, 25)]
    assert (batch["lost"], batch["last"]) == (15, 25)


async def test_what_is_kept_is_bounded_in_number_and_bytes(recent, monkeypatch):
    monkeypatch.setattr(tailing, "KEPT", 10)
    for n in range(30):
        log.info("said %d", n)
    async with reading(Tails(), recent=1000) as take:
        assert len((await take())["records"]) == 10
    monkeypatch.setattr(tailing, "KEPT", 100_000)
    monkeypatch.setattr(tailing, "KEPT_BYTES", 20_000)
    for _ in range(100):
        log.info("x" * 1000)
    async with reading(Tails(), recent=1000) as take:
        assert len((await take())["records"]) < 20


async def test_a_record_that_is_too_long_or_no_data_tells_the_most(recent, monkeypatch):
    for handler in logging.getLogger().handlers:  # the test runner's cannot pass on the third
        if type(handler).__name__ == "LogCaptureHandler":
            monkeypatch.setattr(handler, "level", logging.CRITICAL + 1)
    log.info("y" * 100_000)
    log.info("odd", extra={"thing": {(1, 2): 3}})
    log.info("sur\ud800rogate")
    async with reading(Tails(), recent=3) as take:
        long, odd, surrogate = (await take())["records"]
    assert (long["cut"], len(long["message"]) < 10_000) == (True, True)
    assert odd["message"] == "odd"
    assert surrogate["message"] == "sur\\ud800rogate"


async def test_it_goes_on_where_the_reader_was_cut_off(recent, monkeypatch):
    for n in range(6):
        log.info("said %d", n)
    async with reading(Tails(), recent=1, after=3) as take:
        assert await said(take) == ["said 3", "said 4", "said 5"]
    async with reading(Tails(), recent=1, after=99) as take:  # another OS process counted that far
        assert await said(take) == ["said 5"]
    monkeypatch.setattr(tailing, "KEPT", 2)
    log.info("said 6")
    async with reading(Tails(), after=3) as take:
        batch = await take()
    assert [r["message"] for r in batch["records"]] == ["said 5", "said 6"]
    assert batch["lost"] == 2


async def test_what_does_not_go_into_one_message_goes_into_more(recent, monkeypatch):
    monkeypatch.setattr(tailing, "BATCH", 4)
    for n in range(10):
        log.info("said %d", n)
    async with reading(Tails(), recent=10) as take:
        batches = [await take() for _ in range(3)]
    assert [len(batch["records"]) for batch in batches] == [4, 4, 2]
    assert [(batch["more"], batch["last"]) for batch in batches] == [
        (True, 4),
        (True, 8),
        (False, 10),
    ]


async def test_there_is_a_sign_of_life_where_nothing_is_said(recent, monkeypatch):
    monkeypatch.setattr(tailing, "SIGN_OF_LIFE", 0.01)
    async with reading(Tails()) as take:
        for _ in range(3):
            assert (await take())["records"] == []


async def test_handing_records_out_is_not_heard(recent):
    """One that logs whenever it hands records out would keep itself busy for ever."""
    tails = Tails()
    async with reading(tails, recent=9) as other:
        assert (await other())["records"] == []
        async with contextlib.aclosing(tails.tail(wanted("box_1"), 9)) as batches:
            await anext(batches)
            log.info("echo")
            await asyncio.to_thread(log.info, "echo of a thread")
        log.info("afterwards")
        assert await said(other) == ["afterwards"]


async def test_the_talk_about_frames_is_not_heard(recent):
    logging.getLogger("aiormq.connection").setLevel(logging.DEBUG)
    logging.getLogger("aiormq.connection").debug("Received frame")
    logging.getLogger("aiormq.connection").warning("closed")
    async with reading(Tails(), recent=9) as take:
        assert await said(take) == ["closed"]


async def test_records_of_threads_wake_the_reader(recent):
    async with reading(Tails()) as take:
        await take()
        threading.Thread(target=log.info, args=("of a thread",)).start()
        assert await said(take) == ["of a thread"]


async def test_an_end_lets_all_readers_go(recent):
    tails = Tails()
    items = [batch async for batch in _ended(tails)]
    assert len(items) >= 1
    assert len(tails) == 0


async def _ended(tails):
    async for batch in tails.tail(wanted("box_1")):
        yield batch
        tails.end()


async def test_where_nobody_set_logging_up_it_hears_while_it_is_read(root, capsys):
    root.handlers[:] = []  # pytest has put its own there meanwhile
    root.setLevel(logging.WARNING)
    log.warning("before")
    tails = Tails()
    async with reading(tails, recent=9) as take:
        assert (await take())["records"] == []
        log.warning("while")
        assert await said(take) == ["while"]
        assert len(root.handlers) == 1
    log.warning("after")
    assert root.handlers == []
    assert capsys.readouterr().err == "before\nwhile\nafter\n"


def test_to_keep_them_twice_is_to_keep_them_once(recent):
    assert keep_recent() is recent
