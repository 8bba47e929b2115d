"""A process that has ION imported, and forks one that does something, at each order.

A new Python with ION in it takes half a second; a fork takes some milliseconds, so that a journey
can kill a thousand. It is forked itself (:mod:`tests.shell.forking`). Orders come as JSON lines on
standard input; what becomes of the children goes as JSON lines to standard output, which they
share: ``[pid, word, value]``. A child is killed when this process dies, and this process ends with
its input.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import importlib
import json
import os
import select
import signal
import sys
from typing import Any

PRELOADED = (
    "ion.public",
    "ion.messaging.amqp.transport",
    "ion.stores.postgres.datastore",
    "ion.stores.sqlite.datastore",
    "tests.journeys.faults.roles",
    "yaml",
)
_PR_SET_PDEATHSIG = 1
_FATES = os.WUNTRACED | os.WCONTINUED | os.WNOHANG


def say(word: str, value: Any = None, pid: int = 0) -> None:
    """Write one line, at once: children write to the same pipe."""
    os.write(1, json.dumps([pid or os.getpid(), word, value]).encode() + b"\n")


def main() -> None:
    """Take orders until the input ends."""
    for module in PRELOADED:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    orders = b""
    while True:
        ready, _, _ = select.select([0, woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            _reap()
        if 0 in ready:
            piece = os.read(0, 65536)
            if not piece:
                return
            *lines, orders = (orders + piece).split(b"\n")
            for line in lines:
                _fork(json.loads(line))


def _fork(order: dict[str, Any]) -> None:
    parent = os.getpid()
    pid = os.fork()
    if pid:
        say("started", order["number"], pid)
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    code = 1
    try:
        module, _, name = order["role"].partition(":")
        role = getattr(importlib.import_module(module), name)
        asyncio.run(role(**order["args"]))
        code = 0
    except BaseException as error:  # noqa: BLE001 - the test is told, whatever it is
        say("failed", f"{type(error).__name__}: {error}"[:2000])
    finally:
        sys.stderr.flush()
        os._exit(code)


def _reap() -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, _FATES)
        except ChildProcessError:
            return
        if not pid:
            return
        if os.WIFSTOPPED(status):
            say("stopped", None, pid)
        elif os.WIFCONTINUED(status):
            say("continued", None, pid)
        else:
            say("ended", os.waitstatus_to_exitcode(status), pid)


if __name__ == "__main__":
    main()
