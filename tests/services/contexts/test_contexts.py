"""The contexts service on the bus: what goes in comes back, in order, whole, or not at all."""

from __future__ import annotations

import asyncio
import os
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ion import Container
from ion.base.errors import (
    BadRequest,
    Cancelled,
    CodecError,
    Conflict,
    Damaged,
    InvalidRequest,
    NotFound,
    Refused,
)
from ion.services.contexts import codes, events
from ion.services.contexts.client import ContextsClient
from ion.services.contexts.model import Item, Progress
from ion.services.contexts.service import ContextsService

MIB = 1024 * 1024


@pytest.fixture
async def contexts(
    bus: tuple[str, dict[str, object]], tmp_path: Path
) -> AsyncIterator[ContextsClient]:
    """Give a client, in a container of its own, of a service that keeps all in files and SQLite."""
    url, config = bus
    store = {"store.url": f"sqlite:///{tmp_path}/store/ion.db"}
    async with (
        Container(url, sysname="test", config={**config, **store}) as far,
        Container(url, sysname="test", config=config) as here,
    ):
        await far.spawn(ContextsService, app_config={"roots": [str(tmp_path)], "linger": 0})
        yield ContextsClient(here)


def item(path: Path, tag: str, **options: object) -> Item:
    return Item(f"file::{path}", f"iowarp::{tag}", **options)  # type: ignore[arg-type]


def made(path: Path, size: int) -> bytes:
    data = os.urandom(size)
    path.write_bytes(data)
    return data


async def names(contexts: ContextsClient, tag: str) -> list[str]:
    return [blob.name for blob in await contexts.query(tag, ".*")]


async def test_what_goes_in_comes_back(contexts: ContextsClient, tmp_path: Path) -> None:
    large, small = tmp_path / "large.bin", tmp_path / "small.bin"
    data = made(large, 12 * MIB + 7)
    made(small, 14_000)
    tag = "sea/2024::ü.+"
    done = await contexts.bundle([item(large, tag), item(small, "small")])
    assert (done.code, [each.blobs for each in done.items]) == (0, [14, 2])
    assert [each.bytes for each in done.items] == [len(data), 14_000]

    chunks = [f"chunk_{n}" for n in range(13)]
    found = await contexts.query(r"sea/2024::ü\.\+", ".*")
    assert [blob.name for blob in found] == [*chunks, "description"]
    assert {blob.tag for blob in found} == {tag}
    assert found[2].crc == zlib.crc32(data[2 * MIB : 3 * MIB])
    assert found[2].mtime == pytest.approx(large.stat().st_mtime)

    packed = await contexts.retrieve("sea.*", "chunk_.*")  # more than one answer holds
    assert packed.data == data
    assert bytes(packed[12]) == data[12 * MIB :]
    description = await contexts.retrieve("sea.*", "description")
    assert description.data == f"binary<size={len(data)}, offset=0>".encode()
    both = await contexts.retrieve("small", ".*")
    assert (both.data, both.offsets) == (small.read_bytes() + both[1], [0, 14_000])
    streamed = [(blob.name, data) async for blob, data in contexts.blobs(".*", "chunk_1[0-2]?")]
    assert [name for name, _ in streamed] == ["chunk_1", "chunk_10", "chunk_11", "chunk_12"]
    assert b"".join(found for _, found in streamed[1:]) == data[10 * MIB :]

    part = [piece async for piece in contexts.get_blob(tag, "chunk_3", MIB - 5, 100)]
    assert b"".join(part) == data[4 * MIB - 5 : 4 * MIB]
    stat = await contexts.stat(tag)
    assert (stat.blobs, stat.bytes, stat.sources) == (14, len(data), 1)
    assert await contexts.list_tags() == [tag, "small"]

    gone = await contexts.destroy([tag, "none"])
    assert (gone.code, gone.missing) == (1, ["none"])
    assert await contexts.list_tags() == ["small"]
    with pytest.raises(NotFound, match="no tag"):
        await contexts.stat(tag)
    shelf = tmp_path / "store" / "ion.db.contexts"
    async with asyncio.timeout(30):
        while any(path.is_file() for path in shelf.rglob("*")):
            await asyncio.sleep(0.02)


async def test_bounds_of_a_retrieval(contexts: ContextsClient, tmp_path: Path) -> None:
    data = made(tmp_path / "a", 3 * MIB)
    await contexts.bundle([item(tmp_path / "a", "a")])
    assert (await contexts.retrieve("a", "chunk_.*", 2)).data == data[: 2 * MIB]
    packed = await contexts.retrieve("a", "chunk_.*", max_size=2 * MIB + MIB // 2)
    assert packed.data == data[: 2 * MIB]
    assert (await contexts.retrieve("a", ".*", max_size=1000)).data == b""
    assert len(await contexts.retrieve("a", ".*", 0)) == 4
    assert len(await contexts.query("a", ".*", 3)) == 3
    assert await contexts.query("a", "chunk") == []  # patterns match whole names
    assert await contexts.query("a|b", "chunk_[02]") == [
        each for each in await contexts.query("a", ".*") if each.name in ("chunk_0", "chunk_2")
    ]


async def test_sources_of_one_tag_survive_and_each_replaces_its_own(
    contexts: ContextsClient, tmp_path: Path
) -> None:
    paths = [tmp_path / "x" / "data.bin", tmp_path / "y" / "data.bin", tmp_path / "b.bin"]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
    first, second, third = (
        made(path, size) for path, size in zip(paths, (MIB * 2, 9, 99), strict=True)
    )
    await contexts.bundle([item(path, "t") for path in paths])
    assert await names(contexts, "t") == [
        *("b.bin/chunk_0", "b.bin/description", "chunk_0", "chunk_1"),
        *("data.bin/chunk_0", "data.bin/description", "description"),
    ]
    made(paths[0], 10)
    await contexts.bundle([item(paths[0], "t")])
    assert (await contexts.retrieve("t", "chunk_.*|description")).data == (
        paths[0].read_bytes() + b"binary<size=10, offset=0>"
    )
    assert (await contexts.retrieve("t", "data.bin/chunk_.*")).data == second
    assert (await contexts.retrieve("t", "b.bin/chunk_.*")).data == third
    part = item(paths[2], "t", range_off=90)  # another range is another source
    assert (await contexts.bundle([part])).items[0].bytes == 9
    assert (await contexts.retrieve("t", "b.bin~2/chunk_0")).data == third[90:]
    assert len(first) == 2 * MIB


async def test_what_fails_stops_a_bundle_and_leaves_nothing(
    contexts: ContextsClient, tmp_path: Path
) -> None:
    made(tmp_path / "good", 100)
    items = [
        *(item(tmp_path / "good", f"good{n}") for n in range(3)),
        item(tmp_path / "none", "bad"),
        item(tmp_path / "good", "later"),
    ]
    done = await contexts.bundle(items)
    assert done.code == codes.MISSING
    assert [each.code for each in done.items] == [0, 0, 0, codes.MISSING, None]
    assert "no file" in done.reason
    assert await contexts.list_tags() == ["good0", "good1", "good2"]


async def test_dependencies_order_a_bundle(contexts: ContextsClient, tmp_path: Path) -> None:
    made(tmp_path / "a", 10)
    items = [
        item(tmp_path / "none", "last", depends_on="iowarp::middle"),
        item(tmp_path / "a", "middle", depends_on="first"),
        item(tmp_path / "a", "first"),
    ]
    done = await contexts.bundle(items)  # the first one fails, and comes last
    assert [each.code for each in done.items] == [codes.MISSING, 0, 0]
    stored = await contexts.bundle([item(tmp_path / "a", "next", depends_on="first")])
    assert stored.code == 0
    cycle = [item(tmp_path / "a", "p", depends_on="q"), item(tmp_path / "a", "q", depends_on="p")]
    for wrong in (cycle, [item(tmp_path / "a", "p", depends_on="nobody")]):
        done = await contexts.bundle(wrong)
        assert done.code == codes.BAD_ORDER
    assert await contexts.list_tags() == ["first", "middle", "next"]


async def test_blobs_by_hand_and_splices(contexts: ContextsClient, tmp_path: Path) -> None:
    made(tmp_path / "a", 2 * MIB)
    await contexts.bundle([item(tmp_path / "a", "a"), item(tmp_path / "a", "b")])
    long = os.urandom(3 * MIB + 1)
    entry = await contexts.put_blob("hand", "long", long)
    assert (entry.size, entry.crc) == (len(long), zlib.crc32(long))
    await contexts.put_blob("hand", "short", b"old")
    await contexts.put_blob("hand", "short", b"new")
    await contexts.put_blob("hand", "empty", b"")
    assert (await contexts.retrieve("hand", ".*")).data == long + b"new"
    with pytest.raises(Conflict, match="another source"):
        await contexts.put_blob("a", "chunk_0", b"mine")
    with pytest.raises(InvalidRequest, match="control"):
        await contexts.put_blob("a\0b", "c", b"mine")

    assert await contexts.splice("all", "a|b|hand", "chunk_1|description|long") == 5
    spliced = ["a/chunk_1", "a/description", "b/chunk_1", "b/description", "long"]
    assert await names(contexts, "all") == spliced
    await contexts.destroy(["a", "b", "hand"])
    assert (await contexts.retrieve("all", "long")).data == long
    assert (await contexts.retrieve("all", "[ab]/chunk_1")).data == (
        (tmp_path / "a").read_bytes()[MIB:] * 2
    )


async def test_patterns_that_are_none_or_would_never_end(
    contexts: ContextsClient, tmp_path: Path
) -> None:
    await contexts.put_blob("a" * 400, "b", b"data")
    for pattern in ("(", "a(?=b)", r"(a)\1", "x" * 2000, "((a{900}){900}){900}"):
        for patterns in ((pattern, ".*"), (".*", pattern)):
            with pytest.raises(InvalidRequest, match="pattern"):
                await contexts.query(*patterns)
    async with asyncio.timeout(20):
        assert await contexts.query("(a|a?)+(a*)*$b", ".*") == []
        assert len(await contexts.query("(a|a?)+(a*)*", ".*")) == 1


async def test_what_no_message_can_hold_is_an_error_as_of_any_call(
    contexts: ContextsClient,
) -> None:
    for data in (2**64, "\ud800"):
        with pytest.raises(CodecError, match="cannot be written"):
            await contexts.bundle([Item("string::a", "iowarp::a", src_data=data)])


async def test_progress_cancel_and_events(contexts: ContextsClient, tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(64 * 1024 * MIB)  # nobody waits for its end
    made(tmp_path / "a", 10)
    heard: list[Progress] = []
    begun = asyncio.Event()

    def progress(said: Progress) -> None:
        heard.append(said)
        if said.bytes > 10:
            begun.set()

    caller = contexts._caller
    expected = [
        caller.expect_event(events.TagCreated, origin="first"),  # type: ignore[attr-defined]
        caller.expect_event(events.ItemDone, origin="first"),  # type: ignore[attr-defined]
        caller.expect_event(events.BundleDone),  # type: ignore[attr-defined]
    ]
    async with expected[0] as created, expected[1] as stored, expected[2] as over:
        items = [item(tmp_path / "a", "first"), item(tmp_path / "sparse", "second")]
        task = asyncio.create_task(contexts.bundle(items, progress=progress))
        async with asyncio.timeout(60):
            await begun.wait()
        task.cancel()
        with pytest.raises((asyncio.CancelledError, Cancelled)):
            await task
        assert (await created.wait(timeout=30)).origin == "first"
        done = await over.wait(timeout=30)
        assert (done.code, done.done, done.items) == (None, 1, 2)
        assert (await stored.wait(timeout=30)).bundle == done.bundle
    assert heard[-1].item == 1
    assert heard[-1].done == 1
    assert await contexts.list_tags() == ["first"]
    shelf = tmp_path / "store" / "ion.db.contexts"
    async with asyncio.timeout(60):
        while any(path.is_file() for path in shelf.rglob("*")):
            await asyncio.sleep(0.02)


async def test_events_of_tags_long_and_short(contexts: ContextsClient) -> None:
    caller = contexts._caller
    long = "a" * 100 + "é" * 200
    async with (
        caller.expect_event(events.TagDestroyed, origin="short") as short,  # type: ignore[attr-defined]
        caller.expect_event(events.TagDestroyed, origin=events.origin_of(long)) as cut,  # type: ignore[attr-defined]
    ):
        for tag in ("short", long):
            await contexts.put_blob(tag, "b", b"x")
        await contexts.destroy([long, "short"])
        assert (await short.wait(timeout=30)).tag == "short"
        assert (await cut.wait(timeout=30)).tag == long
    assert events.origin_of(long) == "a" * 100 + "é" * 10


async def test_pages_of_names_and_a_bundle_too_large(contexts: ContextsClient) -> None:
    data = [Item(f"string::n{n}", f"iowarp::tag{n % 7}", src_data="x") for n in range(6_000)]
    assert (await contexts.bundle(data[:3000])).code == 0
    assert (await contexts.bundle(data[3000:])).code == 0
    assert len(await contexts.query(".*", ".*")) == 6_000
    assert len(await contexts.query("tag.*", "n.*", 5_500)) == 5_500
    assert len(await contexts.query("tag[0-3]", "n.*", 2)) == 2
    assert (await contexts.destroy([f"tag{n}" for n in range(1, 7)])).code == 0
    assert await contexts.list_tags() == ["tag0"]
    wrong = {"items": [{"src": "string::a", "dst": "iowarp::t", "depend_on": "b"}]}
    with pytest.raises(BadRequest, match="depend_on"):
        await contexts._caller.rpc_send("contexts", "bundle", wrong)
    with pytest.raises(Refused, match="10000"):
        await contexts.bundle([Item("s", "t")] * 10_001)


async def test_a_bundle_of_several_messages(contexts: ContextsClient) -> None:
    text = "x" * 300_000
    items = [
        Item("string::last", "iowarp::a", depends_on="b", src_data=text),
        *(Item(f"string::n{n}", "iowarp::b", src_data=text) for n in range(3)),
        Item("string::", "iowarp::c", depends_on="a"),
    ]
    done = await contexts.bundle(items)
    assert [each.code for each in done.items] == [0, 0, 0, 0, codes.BAD_PROTOCOL]
    assert done.code == codes.BAD_PROTOCOL
    assert (await contexts.stat("b")).bytes == 900_000
    cycle = [Item("string::a", f"iowarp::{n}", "", f"{1 - n}", src_data=text) for n in range(2)]
    assert (await contexts.bundle(cycle)).code == codes.BAD_ORDER


async def test_damage_is_found(contexts: ContextsClient, tmp_path: Path) -> None:
    made(tmp_path / "a", 2 * MIB)
    await contexts.bundle([item(tmp_path / "a", "a")])
    kept = next(p for p in (tmp_path / "store" / "ion.db.contexts").rglob("*") if p.is_file())
    with kept.open("r+b") as file:
        file.seek(MIB + 3)
        file.write(b"!!!!")
    for pattern in (".*", "chunk_1"):
        with pytest.raises(Exception, match="is not what it was") as caught:
            await contexts.retrieve("a", pattern)
        assert isinstance(caught.value, Damaged)
    assert (await contexts.retrieve("a", "chunk_0")).data == (tmp_path / "a").read_bytes()[:MIB]
