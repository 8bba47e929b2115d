"""IOWarp's interface of contexts: as its document says, from any thread, process or loop."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ion import Container
from ion.process import embedding
from ion.services.contexts import AssimilationCtx, ContextInterface

ROOT = Path(__file__).parents[3]
CLIENTS = 32
PROCESSES = 4
SEED = '''#!/usr/bin/env python3
"""Complete Python API example"""

import ion.services.contexts as cee
import os
import tempfile

# Create test file
test_file = os.path.join(tempfile.gettempdir(), "test_data.bin")
with open(test_file, 'wb') as f:
    f.write(b"Hello, IOWarp!" * 1000)

try:
    # Initialize interface (handles runtime init)
    ctx_interface = cee.ContextInterface()

    # 1. Assimilate file
    ctx = cee.AssimilationCtx(
        src=f"file::{test_file}",
        dst="iowarp::demo_tag",
        format="binary"
    )
    result = ctx_interface.context_bundle([ctx])
    print(f"Assimilation: {'Success' if result == 0 else 'Failed'}")

    # 2. Query for blobs
    blobs = ctx_interface.context_query("demo_tag", ".*", 0)
    print(f"Found {len(blobs)} blobs: {blobs}")

    # 3. Retrieve blob data
    data = ctx_interface.context_retrieve("demo_tag", ".*")
    if data:
        print(f"Retrieved {len(data[0]):,} bytes")

    # 4. Clean up
    result = ctx_interface.context_destroy(["demo_tag"])
    print(f"Cleanup: {'Success' if result == 0 else 'Failed'}")
finally:
    # Remove test file
    if os.path.exists(test_file):
        os.remove(test_file)
'''
SAID = """Assimilation: Success
Found 2 blobs: ['chunk_0', 'description']
Retrieved 14,028 bytes
Cleanup: Success
"""


def environment(folder: Path, **more: str) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("ION_")}
    here = {"XDG_DATA_HOME": str(folder / "data"), "TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}
    return {**own, **here, **more}


def program(text: str, folder: Path, *words: str, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", text, *words],
        cwd=folder,
        env=environment(folder, **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(text: str, folder: Path, *words: str, **more: str) -> tuple[int, str, str]:
    running = program(text, folder, *words, **more)
    out, err = running.communicate(timeout=100)
    return running.returncode, out, err


@pytest.fixture(scope="module")
def interface(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContextInterface]:
    """Give the interface of this process, with a container and a store of its own."""
    folder = tmp_path_factory.mktemp("contexts")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("ION_")]:
            patch.delenv(name)
        patch.setenv("ION_STORE", f"sqlite:///{folder}/ion.db")
        yield ContextInterface()
        embedding.leave()


# The document


def test_the_complete_example_prints_what_it_printed(tmp_path):
    # on a busy machine nothing is told of that, either
    said = run(SEED, tmp_path, ION_HEALTH__BLOCKED_AFTER="60")
    assert said == (0, SAID, "")


def test_what_to_assimilate_is_as_the_document_says():
    ctx = AssimilationCtx()
    assert (ctx.src, ctx.dst, ctx.format, ctx.depends_on) == ("", "", "", "")
    assert (ctx.range_off, ctx.range_size, ctx.src_token, ctx.dst_token) == (0, 0, "", "")
    full = AssimilationCtx("file::/data.bin", "iowarp::tag", "binary", "before", 1, 2, "s", "d")
    assert (full.depends_on, full.range_off, full.range_size) == ("before", 1, 2)
    assert (full.src_token, full.dst_token) == ("s", "d")
    assert repr(full) == (
        "<AssimilationCtx src='file::/data.bin' dst='iowarp::tag' format='binary'>"
    )
    ctx.range_off = 1024
    assert ctx.range_off == 1024
    with pytest.raises(TypeError, match="format"):
        AssimilationCtx(src="file::/x", dst="iowarp::x")
    for wrong in ({"src": 1}, {"range_off": -1}, {"range_size": 1.5}, {"colour": "red"}):
        given = {"src": "file::/x", "dst": "iowarp::x", "format": "", **wrong}
        with pytest.raises(TypeError):
            AssimilationCtx(**given)
    with pytest.raises(TypeError):
        ctx.range_size = -1
    with pytest.raises(AttributeError):
        ctx.colour = "red"


def test_arguments_of_another_type_are_the_only_errors_raised(interface):
    for call in (
        lambda: interface.context_bundle(["file::/x"]),
        lambda: interface.context_bundle("file::/x"),
        lambda: interface.context_query("a", None),
        lambda: interface.context_query("a", "b", -1),
        lambda: interface.context_retrieve("a", "b", 1, 1.5),
        lambda: interface.context_destroy("a"),
        lambda: interface.context_destroy(["a", 1]),
        lambda: interface.context_destroy(["\udcff"]),
        lambda: interface.context_query("\udcff", ".*"),
        lambda: AssimilationCtx("file::\udcff", "iowarp::a", "binary"),
    ):
        with pytest.raises(TypeError):
            call()


def test_results_have_the_shapes_of_the_document(interface, tmp_path):
    data = os.urandom(3 * 1024 * 1024 + 5)  # no text: bytes come back as bytes
    (tmp_path / "run.bin").write_bytes(data)
    ctx = AssimilationCtx(src=f"file::{tmp_path}/run.bin", dst="iowarp::shapes", format="binary")
    assert interface.context_bundle([]) == 0
    assert interface.context_bundle([ctx]) == 0
    chunks = ["chunk_0", "chunk_1", "chunk_2", "chunk_3"]
    assert interface.context_query("shapes", "chunk_[0-9]+", 0) == chunks
    assert interface.context_query("shap.*", ".*", 2) == chunks[:2]
    assert interface.context_query("shap", ".*") == []
    assert interface.context_query("shapes", "(") == []
    assert interface.context_retrieve("shapes", "chunk_.*") == [data]
    assert interface.context_retrieve("shapes", "chunk_.*", 3) == [data[: 3 << 20]]
    assert interface.context_retrieve("shapes", "chunk_.*", max_context_size=5 << 19) == [
        data[: 2 << 20]
    ]
    assert interface.context_retrieve("shapes", "chunk_.*", 0, 1000, batch_size=64) == []
    assert interface.context_retrieve("shapes", "nothing") == []
    assert interface.context_splice("other", "shapes", "chunk_3") == 0
    assert interface.context_retrieve("other", ".*") == [data[3 << 20 :]]
    assert interface.context_destroy(["shapes", "not there", "other"]) == 1
    assert interface.context_query(".*", ".*") == []
    assert interface.context_destroy(["shapes"]) == 1
    assert interface.context_destroy([]) == 0


def test_a_retrieval_takes_the_memory_of_what_it_gives(tmp_path):
    text = (
        "import os, resource\n"
        "import ion.services.contexts as cee\n"
        "with open('large', 'wb') as file: file.truncate(96 << 20)\n"
        "c = cee.ContextInterface()\n"
        "ctx = cee.AssimilationCtx(f'file::{os.getcwd()}/large', 'iowarp::large', 'binary')\n"
        "assert c.context_bundle([ctx]) == 0\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "assert len(c.context_retrieve('large', 'chunk_.*')[0]) == 96 << 20\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)\n"
    )
    code, out, err = run(text, tmp_path)
    assert (code, err) == (0, "")
    assert int(out) < 96 + 32, "MiB more than before"


CODES = {
    "no destination": ("file::{here}/good", "", {}, -1),
    "another destination": ("file::{here}/good", "file::x", {}, -1),
    "a destination like a URL": ("file::{here}/good", "iowarp://x", {}, -1),
    "no protocol": ("{here}/good", "iowarp::x", {}, -2),
    "an unknown protocol": ("tape::{here}/good", "iowarp::x", {}, -2),
    "an empty tag": ("file::{here}/good", "iowarp::", {}, -2),
    "a text without a name": ("string::", "iowarp::x", {"src_data": "y"}, -2),
    "HDF5 without a path": ("hdf5::", "iowarp::x", {}, -3),
    "no path": ("file::", "iowarp::x", {}, -4),
    "a source like a URL": ("file://{here}/good", "iowarp::x", {}, -4),
    "HDF5 that is none": ("hdf5::{here}/good", "iowarp::x", {}, -4),
    "a file that is missing": ("file::{here}/missing", "iowarp::x", {}, -5),
    "a range past the end": ("file::{here}/good", "iowarp::x", {"range_size": 11}, -6),
    "a text without data": ("string::name", "iowarp::x", {}, -7),
    "a directory": ("file::{here}", "iowarp::x", {}, -9),
    "what is not there to depend on": ("file::{here}/good", "iowarp::x", {"depends_on": "y"}, -11),
    "out of the roots": ("file::/etc/hostname", "iowarp::x", {}, -12),
}


@pytest.mark.parametrize("cause", CODES)
def test_codes(interface, tmp_path, caplog, cause):
    src, dst, more, code = CODES[cause]
    (tmp_path / "good").write_bytes(b"0123456789")
    ctx = AssimilationCtx(src=src.format(here=tmp_path), dst=dst, format="binary", **more)
    good = AssimilationCtx(f"file::{tmp_path}/good", "iowarp::good", "binary")
    later = AssimilationCtx(f"file::{tmp_path}/good", "iowarp::later", "binary")
    assert interface.context_bundle([good, ctx, later]) == code
    assert f"(code {code})" in caplog.text
    known = {tag for tag in ("good", "x", "later") if interface.context_destroy([tag]) == 0}
    assert known <= {"good"}, "what failed leaves nothing, and nothing after it is tried"


def test_a_store_that_fills_up_is_told_and_nothing_of_the_item_is_left(tmp_path):
    text = (
        "import os, resource\n"
        "import ion.services.contexts as cee\n"
        "with open('large', 'wb') as file: file.truncate(24 << 20)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (16 << 20, 16 << 20))\n"  # of a file, as a quota
        "c = cee.ContextInterface()\n"
        "ctx = cee.AssimilationCtx(f'file::{os.getcwd()}/large', 'iowarp::large', 'binary')\n"
        "print(c.context_bundle([ctx]), c.context_query('large', '.*'), "
        "c.context_destroy(['large']))\n"
    )
    code, out, err = run(text, tmp_path)
    assert (code, out) == (0, "-10 [] 1\n")
    assert "File too large" in err
    kept = sum(path.stat().st_size for path in (tmp_path / "data").rglob("*") if path.is_file())
    assert kept < 4 << 20


def test_without_a_system_every_call_says_so(tmp_path):
    text = (
        "import ion.services.contexts as cee\n"
        "c = cee.ContextInterface()\n"
        "ctx = cee.AssimilationCtx('file::x', 'iowarp::x', 'binary')\n"
        "print(c.context_bundle([ctx]), c.context_query('a', '.*'), "
        "c.context_retrieve('a', '.*'), c.context_destroy(['a']))"
    )
    code, out, err = run(text, tmp_path, ION_BROKER="amqp://127.0.0.1:1/")
    assert (code, out) == (0, "1 [] [] 1\n")
    assert "127.0.0.1:1" in err
    assert "Traceback" not in err


# Threads, loops and processes

WORK = """
import os, sys
from concurrent.futures import ThreadPoolExecutor
import ion.services.contexts as cee

def work(number):
    tag, path = f"client_{number}", f"client_{number}.bin"
    data = b"%06d" % number * 50_000
    with open(path, "wb") as file:
        file.write(data)
    ctx = cee.AssimilationCtx(f"file::{os.path.abspath(path)}", f"iowarp::{tag}", "binary")
    api = cee.ContextInterface()
    assert api.context_bundle([ctx]) == 0
    assert api.context_query(tag, ".*") == ["chunk_0", "description"], number
    assert api.context_retrieve(tag, "chunk_.*") == [data], number
    assert api.context_destroy([tag]) == 0
    assert api.context_bundle([ctx]) == 0
    return number

first, count = map(int, sys.argv[1:])
with ThreadPoolExecutor(count) as pool:
    assert list(pool.map(work, range(first, first + count))) == list(range(first, first + count))
print("good")
"""


def test_32_threads_lose_and_mix_nothing(interface, tmp_path):
    def work(number: int) -> bytes:
        api, tag = ContextInterface(), f"thread_{number}"
        path = tmp_path / tag
        path.write_bytes(b"%06d" % number * 30_000)
        assert api.context_bundle([AssimilationCtx(f"file::{path}", f"iowarp::{tag}", "")]) == 0
        assert api.context_query(tag, ".*") == ["chunk_0", "description"]
        return api.context_retrieve(tag, "chunk_0")[0]

    with ThreadPoolExecutor(CLIENTS) as pool:
        got = list(pool.map(work, range(CLIENTS)))
    assert got == [b"%06d" % number * 30_000 for number in range(CLIENTS)]
    tags = [f"thread_{number}" for number in range(CLIENTS)]
    assert interface.context_query("thread_.*", "chunk_.*") == ["chunk_0"] * CLIENTS
    assert interface.context_destroy(tags) == 0
    assert sum(thread.name == "ion embedded" for thread in threading.enumerate()) == 1


@pytest.mark.amqp
async def test_32_clients_in_4_processes_on_one_broker(amqp_url, tmp_path):
    config = {"store.url": f"sqlite:///{tmp_path}/store/ion.db"}
    config["apps"] = {"contexts": {"roots": [str(tmp_path)]}}
    async with Container(amqp_url, sysname="many", config=config) as container:
        await container.start_app("contexts")
        each = CLIENTS // PROCESSES
        environ = {"ION_BROKER": amqp_url, "ION_SYSNAME": "many"}
        programs = [
            program(WORK, tmp_path, str(each * number), str(each), **environ)
            for number in range(PROCESSES)
        ]
        for running in programs:
            said = await asyncio.to_thread(running.communicate, timeout=100)
            assert (running.returncode, *said) == (0, "good\n", "")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ION_BROKER", amqp_url)
            patch.setenv("ION_SYSNAME", "many")
            embedding.leave()
            try:
                found = await asyncio.to_thread(
                    lambda: ContextInterface().context_retrieve(".*", "chunk_.*", 0)
                )
            finally:
                await asyncio.to_thread(embedding.leave)
    pieces = [found[0][at : at + 300_000] for at in range(0, len(found[0]), 300_000)]
    assert sorted(pieces) == [b"%06d" % number * 50_000 for number in range(CLIENTS)]


async def test_it_may_be_used_where_a_loop_runs(interface):
    assert interface.context_query("nothing", ".*") == []


def test_ctrl_c_cancels_the_call_that_waits_and_no_more(tmp_path):
    text = (
        "import asyncio, os, signal, sys\n"
        "import ion.services.contexts as cee\n"
        "from ion.process import embedding\n"
        "async def wait():\n"
        "    print('waiting', flush=True)\n"
        "    try:\n"
        "        await asyncio.sleep(60)\n"
        "    finally:\n"
        "        print('cancelled', flush=True)\n"
        "api = cee.ContextInterface()\n"
        "try:\n"
        "    embedding.party('contexts').call(wait())\n"
        "except KeyboardInterrupt:\n"
        "    print(api.context_query('a', '.*'), api.context_destroy(['a']), flush=True)\n"
    )
    running = program(text, tmp_path)
    assert running.stdout is not None
    assert running.stdout.readline() == "waiting\n"
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (0, "cancelled\n[] 1\n")
    assert "Traceback" not in err


def test_a_forked_process_has_one_of_its_own_and_an_idle_thread_keeps_nobody(tmp_path):
    text = (
        "import os, sys, threading\n"
        "import ion.services.contexts as cee\n"
        "with open('a', 'wb') as file: file.write(b'a' * 100_000)\n"
        "api = cee.ContextInterface()\n"
        "ctx = cee.AssimilationCtx(f'file::{os.getcwd()}/a', 'iowarp::a', 'binary')\n"
        "assert api.context_bundle([ctx]) == 0\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    assert api.context_retrieve('a', 'chunk_0') == [b'a' * 100_000]\n"
        "    assert api.context_destroy(['a']) == 0\n"
        "    sys.exit(7)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7\n"
        "assert api.context_query('a', '.*') == []\n"
        "assert api.context_bundle([ctx]) == 0\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        "sys.exit(3)\n"
    )
    code, out, err = run(text, tmp_path)
    assert (code, out, err) == (3, "", "")
    again = (
        "import ion.services.contexts as c; print(c.ContextInterface().context_query('a', '.*'))"
    )
    assert run(again, tmp_path) == (0, "['chunk_0', 'description']\n", "")


def test_threads_work_on_after_the_main_one_and_idle_pools_keep_nobody(tmp_path):
    text = (
        "import threading\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "import ion.services.contexts as cee\n"
        "api = cee.ContextInterface()\n"
        "def late():\n"
        "    ctx = cee.AssimilationCtx('string::a', 'iowarp::late', '', src_data='text')\n"
        "    print(api.context_bundle([ctx]), api.context_retrieve('late', 'a'), flush=True)\n"
        "ThreadPoolExecutor(2).submit(api.context_query, 'a', '.*').result()\n"
        "thread = threading.Thread(target=late)\n"
        "threading.Timer(0.2, thread.start).start()\n"
    )
    assert run(text, tmp_path) == (0, "0 [b'text']\n", "")
