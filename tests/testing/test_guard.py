"""Nothing of a private server is left when the tests that it is for are killed."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

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


def _lives(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
