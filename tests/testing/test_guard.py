"""Private servers: nothing is left when the tests that they are for are killed; their ports."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ion.base.errors import StartError
from ion.testing.servers import RedisServer

CODE = """
import os, signal
from ion.testing.servers import RedisServer
server = RedisServer()
server.start()
print(server.pid, server.folder, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_server_ends_with_who_is_killed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, timeout=60, check=False
    )
    pid, folder = done.stdout.split()
    until = time.monotonic() + 20
    while _lives(pid) or Path(folder).exists():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_port_that_another_one_takes_is_given_up_for_the_next() -> None:
    server = RedisServer()
    with socket.create_server((server.host, server.port)) as other:
        server.start()
        assert server.port != other.getsockname()[1]
    port = server.port
    server.kill()
    with socket.create_server((server.host, port)), pytest.raises(StartError, match="at once"):
        server.start()  # its own one, it keeps
    server.start()
    server.close()


def _lives(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
