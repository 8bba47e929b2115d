"""The runtime file: believed only where it is the user's alone, replaced where it is stale."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ion.base.errors import ConfigurationError, StartError, Unavailable
from ion.messaging import runtime_file
from ion.messaging.amqp_server.server import checked_address


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    own = tmp_path / "run"
    own.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(own))
    return own / "ion"


@pytest.fixture
def port():
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def url(port: int) -> str:
    return f"amqp://ion:secret@127.0.0.1:{port}/"


def write(folder: Path, port: int, pid: int, mode: int = 0o600) -> Path:
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / "s.json"
    path.write_text(json.dumps({"url": url(port), "pid": pid}))
    path.chmod(mode)
    return path


def dead_pid() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_what_is_claimed_is_found_until_it_is_released(folder, port):
    claimed = runtime_file.claim("s", url(port))
    assert runtime_file.find("s") == claimed
    assert (claimed.url, claimed.pid, claimed.path) == (url(port), os.getpid(), folder / "s.json")
    assert stat.S_IMODE(claimed.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert "secret" not in repr(claimed)
    with pytest.raises(Unavailable):
        runtime_file.find("other")
    runtime_file.release(claimed)
    runtime_file.release(claimed)
    with pytest.raises(Unavailable, match="--listen"):
        runtime_file.find("s")
    assert sorted(path.name for path in folder.iterdir()) == ["s.lock"]


def test_one_listens_for_a_system(port):
    runtime_file.claim("s", url(port))
    with pytest.raises(StartError, match=f"process {os.getpid()} listens"):
        runtime_file.claim("s", url(port))
    runtime_file.claim("other", url(port))


def test_of_many_that_find_a_stale_file_one_gets_it(folder, port):
    write(folder, 1, dead_pid())
    won, lost = [], []

    def claim() -> None:
        try:
            won.append(runtime_file.claim("s", url(port)))
        except StartError as error:
            lost.append(error)

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (len(won), len(lost)) == (1, 7)


def test_a_file_of_somebody_who_is_gone_is_replaced(folder, port):
    pid = dead_pid()
    write(folder, port, pid)
    with pytest.raises(Unavailable, match=f"process {pid}, is gone"):
        runtime_file.find("s")
    assert runtime_file.claim("s", url(port)).pid == os.getpid()


def test_a_file_where_nobody_listens_is_replaced(folder, port):
    with socket.create_server(("127.0.0.1", 0)) as other:
        free = other.getsockname()[1]
    write(folder, free, os.getpid())
    assert runtime_file.claim("s", url(port)).url == url(port)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"url": 1, "pid": 2}', '{"url": "x", "pid": 1}']
)
def test_a_file_that_is_not_whole_is_none(folder, port, text):
    write(folder, port, os.getpid()).write_text(text)
    with pytest.raises(Unavailable, match="--listen"):
        runtime_file.find("s")
    runtime_file.claim("s", url(port))


@pytest.mark.parametrize("mode", [0o644, 0o620, 0o606])
def test_a_file_that_others_can_touch_is_not_believed(folder, port, mode):
    write(folder, port, os.getpid(), mode)
    with pytest.raises(Unavailable, match="not this user's alone"):
        runtime_file.find("s")
    with pytest.raises(StartError, match="not this user's alone"):
        runtime_file.claim("s", url(port))


def test_a_link_is_not_followed(folder, port, tmp_path):
    path = write(folder, port, os.getpid())
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Unavailable, match="cannot be read"):
        runtime_file.find("s")


def test_a_folder_that_others_can_touch_is_not_used(folder, port):
    write(folder, port, os.getpid())
    folder.chmod(0o755)
    with pytest.raises(Unavailable, match="--listen"):
        runtime_file.find("s")
    with pytest.raises(StartError, match="0700"):
        runtime_file.claim("s", url(port))


def test_another_ones_file_is_not_removed(folder, port):
    claimed = runtime_file.claim("s", url(port))
    path = write(folder, port, 1)
    runtime_file.release(claimed)
    assert path.exists()


@pytest.mark.parametrize("given", ["", "relative", "/nowhere", "/"])
def test_without_a_good_runtime_folder_there_is_another(
    given, port, tmp_path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("XDG_RUNTIME_DIR", given)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    claimed = runtime_file.claim("s", url(port))
    try:
        standard = Path(f"/run/user/{os.getuid()}/ion")
        assert claimed.path.parent in {tmp_path / f"ion-{os.getuid()}", standard}
        assert runtime_file.find("s") == claimed
    finally:
        runtime_file.release(claimed)


def test_a_name_leads_nowhere_else():
    with pytest.raises(ConfigurationError):
        runtime_file.find("../s")


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("127.0.0.1:5672", ("127.0.0.1", 5672)),
        ("127.0.0.1", ("127.0.0.1", 0)),
        ("127.1.2.3:1", ("127.1.2.3", 1)),
        (":5672", ("127.0.0.1", 5672)),
        ("5672", ("127.0.0.1", 5672)),
        ("localhost:1", ("localhost", 1)),
        ("[::1]:1", ("::1", 1)),
        ("[::1]", ("::1", 0)),
        ("::1", ("::1", 0)),
    ],
)
def test_where_a_bus_may_listen(text, where):
    assert checked_address(text) == where


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.0:1",
        "::",
        "[::]:1",
        "10.0.0.1",
        "example.org:1",
        "localhost:x",
        "127.0.0.1:65536",
        "?",
    ],
)
def test_where_it_may_not(text):
    with pytest.raises(ConfigurationError, match=r"broker\.listen"):
        checked_address(text)
