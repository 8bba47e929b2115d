"""Where contents come from, and every code that an item can end with."""

from __future__ import annotations

import http.server
import json
import os
import resource
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np
import pytest

from ion import Container
from ion.services.contexts import codes
from ion.services.contexts.client import ContextsClient
from ion.services.contexts.codes import ItemError
from ion.services.contexts.draft import Meter
from ion.services.contexts.model import BundleResult, Item
from ion.services.contexts.roots import Roots
from ion.services.contexts.service import ContextsService
from ion.services.contexts.sources.dispatch import drafts_of

MIB = 1024 * 1024


class Site(http.server.BaseHTTPRequestHandler):
    """Serves ``/data/*``; ``/data/away`` leads elsewhere, ``/data/secret`` asks for a token."""

    DATA: ClassVar[bytes] = os.urandom(2 * MIB + 3)
    seen: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        self._answer(b"")

    def do_GET(self) -> None:
        self._answer(self.DATA)

    def _answer(self, data: bytes) -> None:
        self.seen.append(self.path)
        if self.path == "/data/away":
            self.send_response(302)
            self.send_header("Location", "/private/key")
            self.end_headers()
            return
        token = self.headers.get("Authorization")
        if self.path == "/data/none" or (self.path == "/data/secret" and token != "Bearer key"):
            self.send_error(404 if self.path == "/data/none" else 403)
            return
        start = int((self.headers.get("Range") or "bytes=0-").split("=")[1].rstrip("-"))
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(self.DATA) - start))
        self.end_headers()
        self.wfile.write(data[start:])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """Give the URL of a web server."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
async def contexts(tmp_path: Path, site: str) -> AsyncIterator[ContextsClient]:
    """Give a client of a service in this container, which reads below ``open`` and ``/data``."""
    (tmp_path / "open").mkdir()
    config = {"store.url": f"sqlite:///{tmp_path}/store.db"}
    async with Container("memory://", sysname="test", config=config) as container:
        roots = [str(tmp_path / "open"), f"{site}/data/", "memory://"]
        app_config = {"roots": roots, "linger": 0, "max_tag": 8 * MIB}
        await container.spawn(ContextsService, app_config=app_config)
        yield ContextsClient(container)


async def bundle(contexts: ContextsClient, src: str, dst: str = "t", **rest: Any) -> BundleResult:
    dst = dst if "::" in dst or "//" in dst or not dst else f"iowarp::{dst}"
    return await contexts.bundle([Item(src, dst, **rest)])


ROWS = [
    ("file::{open}/file", "iowarp://t", {}, codes.BAD_DESTINATION),
    ("file::{open}/file", "file::{open}/t", {}, codes.BAD_DESTINATION),
    ("file::{open}/file", "", {}, codes.BAD_DESTINATION),
    ("file::{open}/file", "iowarp::", {}, codes.BAD_PROTOCOL),
    ("file::{open}/file", "iowarp::a\nb", {}, codes.NO_TAG),
    ("file::{open}/file", "iowarp::" + "a" * 600, {}, codes.NO_TAG),
    ("{open}/file", "t", {}, codes.BAD_PROTOCOL),
    ("ftp::host/file", "t", {}, codes.BAD_PROTOCOL),
    ("s3://bucket/file", "t", {}, codes.BAD_PROTOCOL),
    ("globus::endpoint/file", "t", {}, codes.BAD_PROTOCOL),
    ("string::", "t", {"src_data": "x"}, codes.BAD_PROTOCOL),
    ("string::name", "t", {}, codes.NOT_OPENED),
    ("hdf5::", "t", {}, codes.NO_TAG),
    ("hdf5::{open}/none", "t", {}, codes.NO_PATH),
    ("hdf5::{open}/file", "t", {}, codes.NO_PATH),
    ("file::", "t", {}, codes.NO_PATH),
    ("file://{open}/file", "t", {}, codes.NO_PATH),
    ("file:///{open}/file", "t", {}, codes.NO_PATH),
    ("file::{open}/none", "t", {}, codes.MISSING),
    ("file::{open}/file/none", "t", {}, codes.MISSING),
    ("file::{open}/empty", "t", {}, codes.MISSING),
    ("file::{open}/file", "t", {"range_off": 50, "range_size": 51}, codes.BAD_RANGE),
    ("file::{open}/file", "t", {"range_off": 100}, codes.BAD_RANGE),
    ("file::{open}/file", "t", {"range_off": -1}, codes.BAD_RANGE),
    ("file::{open}/a\0b", "t", {}, codes.NOT_OPENED),
    ("file::{open}", "t", {}, codes.NOT_READ),
    ("file::{open}/pipe", "t", {}, codes.NOT_READ),
    ("file::/etc/passwd", "t", {}, codes.OUTSIDE),
    ("file::{open}/../secret", "t", {}, codes.OUTSIDE),
    ("file::{open}/link", "t", {}, codes.OUTSIDE),
    ("file::{open}/folder/secret", "t", {}, codes.OUTSIDE),
    ("hdf5::{open}/link", "t", {}, codes.OUTSIDE),
    ("file::{open}/large", "t", {}, codes.OVER_LIMIT),
    ("{site}/private/key", "t", {}, codes.OUTSIDE),
    ("{site}/data/../private/key", "t", {}, codes.OUTSIDE),
    ("{site}/data/away", "t", {}, codes.OUTSIDE),
    ("{site}/data/none", "t", {}, codes.MISSING),
    ("{site}/data/secret", "t", {"src_token": "wrong"}, codes.NOT_OPENED),
    ("memory://none", "t", {}, codes.MISSING),
]


async def test_every_code(contexts: ContextsClient, tmp_path: Path, site: str) -> None:
    place = tmp_path / "open"
    (place / "file").write_bytes(b"x" * 100)
    (place / "empty").touch()
    (tmp_path / "secret").write_bytes(b"secret")
    (place / "link").symlink_to(tmp_path / "secret")
    (place / "folder").symlink_to(tmp_path)
    (place / "large").write_bytes(bytes(8 * MIB + 1))
    os.mkfifo(place / "pipe")
    for src, dst, rest, code in ROWS:
        names = {"open": place, "site": site}
        done = await bundle(contexts, src.format(**names), dst.format(**names), **rest)
        assert done.code == code, (src, dst, rest, done.reason)
        assert done.reason
        assert "wrong" not in done.reason
    assert await contexts.list_tags() == []
    assert not any(path.is_file() for path in (tmp_path / "store.db.contexts").rglob("*"))
    assert "/private/key" not in Site.seen


async def test_ranges_and_texts(contexts: ContextsClient, tmp_path: Path) -> None:
    path = tmp_path / "open" / "file"
    path.write_bytes(data := os.urandom(3 * MIB))
    for number, (offset, size) in enumerate(
        [(0, 10), (MIB - 1, MIB + 2), (MIB, 0), (3 * MIB - 1, 1)]
    ):
        tag = f"t{number}"
        assert (
            await bundle(contexts, f"file::{path}", tag, range_off=offset, range_size=size)
        ).code == 0
        end = offset + size if size else len(data)
        found = await contexts.retrieve(tag, ".*")
        assert (
            found.data
            == data[offset:end] + f"binary<size={end - offset}, offset={offset}>".encode()
        )
    assert (await bundle(contexts, "string::note é", "n", src_data="ü")).code == 0
    assert [(each.name, each.media) for each in await contexts.query("n", ".*")] == [
        ("note é", "text")
    ]
    assert (await contexts.retrieve("n", ".*")).data == "ü".encode()


async def test_a_file_that_shrinks(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(3 * MIB))
    draft = drafts_of(Item(f"file::{path}", "iowarp::t"), Roots([str(tmp_path)]))[0]
    pieces = Meter().through(draft, 10 * MIB)
    assert len(next(pieces)) == MIB
    os.truncate(path, MIB + 10)
    with pytest.raises(ItemError, match="changed while it was read") as caught:
        list(pieces)
    assert caught.value.code == codes.NOT_READ
    path.unlink()
    path.symlink_to("/etc/passwd")  # put there after it was looked at
    with pytest.raises(ItemError) as caught:
        list(Meter().through(draft, 10 * MIB))
    assert caught.value.code == codes.NOT_OPENED


async def test_a_disk_that_is_full(contexts: ContextsClient, tmp_path: Path) -> None:
    path = tmp_path / "open" / "file"
    path.write_bytes(os.urandom(6 * MIB))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5 * MIB, before[1]))
    try:
        done = await bundle(contexts, f"file::{path}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert done.code == codes.NOT_STORED
    assert await contexts.list_tags() == []
    assert not any(each.is_file() for each in (tmp_path / "store.db.contexts").rglob("*"))
    assert (await bundle(contexts, f"file::{path}")).code == 0


async def test_urls(contexts: ContextsClient, site: str) -> None:
    import fsspec

    assert (await bundle(contexts, f"{site}/data/a.bin")).code == 0
    assert (await contexts.retrieve("t", "chunk_.*")).data == Site.DATA
    src = f"http::{site.removeprefix('http://')}/data/secret?key=1"
    assert (
        await bundle(contexts, src, "s", src_token="key", range_off=MIB, range_size=5)
    ).code == 0
    assert (await contexts.retrieve("s", "chunk_0")).data == Site.DATA[MIB : MIB + 5]
    assert (await contexts.query("s", "chunk_0"))[0].source == f"{site}/data/secret"
    with fsspec.open("memory://folder/far.bin", "wb") as file:
        file.write(b"far away")
    assert (await bundle(contexts, "memory://folder/far.bin", "f", range_off=4)).code == 0
    assert (await contexts.retrieve("f", "chunk_0")).data == b"away"


def sample(path: Path) -> dict[str, Any]:
    """Write an HDF5 file of most things that one can have."""
    arrays: dict[str, Any] = {
        "/temperature": np.random.default_rng(1).random((700, 900)),
        "/group/sub/counts": np.arange(12, dtype="int16").reshape(3, 4),
        "/scalar": np.float32(2.5),
        "/table": np.zeros(3, dtype=[("a", "i4"), ("b", "f8")]),
        "/nothing": np.zeros((0, 5), dtype="int32"),
    }
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
        file.create_dataset("/zipped", data=np.ones((50, 50)), compression="gzip", chunks=(10, 10))
        file["/texts"] = ["one", "zwei", "drüben"]
        file["/empty"] = h5py.Empty("f4")
        file["/again"] = file["/scalar"]  # one more link to the same
        file["/soft"] = h5py.SoftLink("/scalar")
        file["/far"] = h5py.ExternalLink("/etc/passwd", "/x")
        file["/temperature"].attrs["unit"] = "degC"
        file.attrs["cruise"] = np.array([1, 2])
    return arrays


async def test_hdf5(contexts: ContextsClient, tmp_path: Path) -> None:
    path = tmp_path / "open" / "run.h5"
    arrays = sample(path)
    done = await bundle(contexts, f"file::{path}", "run", format="hdf5")
    assert done.code == 0, done.reason
    tags = await contexts.list_tags()
    assert tags[0] == "run"
    assert {"run/temperature", "run/group/sub/counts", "run/texts", "run/zipped"} <= set(tags)
    assert not {"run/soft", "run/far"} & set(tags)
    assert len({"run/scalar", "run/again"} & set(tags)) == 1
    for name in ("/temperature", "/group/sub/counts", "/table"):
        found = await contexts.retrieve(f"run{name}", "chunk_.*")
        assert found.data == arrays[name].tobytes()
    assert len(await contexts.query("run/temperature", "chunk_.*")) == 4
    described = {
        "run/temperature": b"tensor<float64, 700, 900>",
        "run/group/sub/counts": b"tensor<int16, 3, 4>",
        "run/nothing": b"tensor<int32, 0, 5>",
        "run/empty": b"tensor<empty>",
        "run/table": b"tensor<unknown, 3>",
        "run/texts": b"tensor<string, 3>",
    }
    for tag, text in described.items():
        assert (await contexts.retrieve(tag, "description")).data == text
    assert (await contexts.retrieve("run/texts", "chunk_0")).data == (
        b'"one"\n"zwei"\n"dr\\u00fcben"\n'
    )
    attributes = (await contexts.retrieve("run/temperature|run", "attributes")).data or b""
    assert attributes == json.dumps({"cruise": [1, 2]}).encode() + b'{"unit": "degC"}'
    by_signature = await bundle(contexts, f"file::{path}", "signed", include=["/group/*"])
    assert by_signature.code == 0
    assert await contexts.list_tags("signed") == ["signed/group/sub/counts"]
    assert (await bundle(contexts, f"file::{path}", "raw", format="binary")).code == 0
    assert (await contexts.retrieve("raw", "chunk_.*")).data == path.read_bytes()
    few = await bundle(contexts, f"hdf5::{path}", "few", exclude=["/t*", "/g*", "/", "/z*"])
    assert few.code == 0
    assert await contexts.list_tags("few/t") == []


async def test_hdf5_whose_data_is_elsewhere(contexts: ContextsClient, tmp_path: Path) -> None:
    place = tmp_path / "open"
    layout = h5py.VirtualLayout((2,), "i4")
    layout[:] = h5py.VirtualSource("/etc/other.h5", "x", (2,))
    with h5py.File(place / "virtual.h5", "w") as file:
        file.create_virtual_dataset("x", layout)
    with h5py.File(place / "external.h5", "w") as file:
        file.create_dataset("x", (4,), "u1", external=[("/etc/passwd", 0, 4)])
    for name in ("virtual", "external"):
        done = await bundle(contexts, f"file::{place}/{name}.h5", "t")
        assert (done.code, "other files" in done.reason) == (codes.OUTSIDE, True)


async def test_a_long_row_is_read_in_parts(contexts: ContextsClient, tmp_path: Path) -> None:
    data = np.random.default_rng(2).integers(0, 100, (2, 3, 600_000), dtype="u1")
    with h5py.File(tmp_path / "open" / "wide.h5", "w") as file:
        file["x"] = data
    assert (await bundle(contexts, f"file::{tmp_path}/open/wide.h5", "w")).code == 0
    assert (await contexts.retrieve("w/x", "chunk_.*")).data == data.tobytes()


async def test_a_name_that_is_no_text(contexts: ContextsClient, tmp_path: Path) -> None:
    odd = tmp_path / "open" / os.fsdecode(b"odd\xff\n.bin")
    odd.write_bytes(b"odd")
    for name in ("one", "two"):
        (tmp_path / "open" / name).symlink_to(odd)
    (tmp_path / "open" / "plain").write_bytes(b"plain")
    assert (await bundle(contexts, f"file::{tmp_path}/open/plain")).code == 0
    for name in ("one", "two"):  # it is one file
        assert (await bundle(contexts, f"file::{tmp_path}/open/{name}")).code == 0
    names = [blob.name for blob in await contexts.query("t", ".*chunk_0")]
    assert names == ["chunk_0", "odd\\udcff\\x0a.bin/chunk_0"]


async def test_hdf5_that_is_broken_leaves_nothing(contexts: ContextsClient, tmp_path: Path) -> None:
    path = tmp_path / "open" / "run.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("good", data=np.arange(40_000.0))
        file.create_dataset(
            "wrong", data=np.arange(40_000.0), chunks=(40_000,), fletcher32=True, compression=None
        )
        offset = file["wrong"].id.get_chunk_info(0).byte_offset
    with path.open("r+b") as raw:
        raw.seek(offset)
        raw.write(b"broken!!")
    done = await bundle(contexts, f"hdf5::{path}", "run")
    assert done.code == codes.BAD_RANGE
    assert "/wrong" in done.reason
    assert await contexts.list_tags() == []
    assert not any(each.is_file() for each in (tmp_path / "store.db.contexts").rglob("*"))


def test_the_library_is_asked_for_where_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    (tmp_path / "x.h5").touch()
    with pytest.raises(ItemError, match=r"ioncore\[contexts\]") as caught:
        drafts_of(Item(f"hdf5::{tmp_path}/x.h5", "iowarp::t"), Roots([str(tmp_path)]))
    assert caught.value.code == codes.NOT_INSTALLED
