"""The end of ``ioncc`` takes bounded time: what does not end by itself is named, and left behind.

A task that ignores its cancellation, or a thread that does not return, would hold asyncio's and
Python's own end for ever, though the container has stopped.
"""

from __future__ import annotations

import os
import sys
import threading

TYPE_CHECKING = False  # as typing's, which takes long to load
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

GRACE = 3.0  # seconds


def end_soon(code: int, loop: AbstractEventLoop | None = None) -> threading.Timer:
    """End this OS process with ``code`` in :data:`GRACE` seconds, unless what is returned is
    cancelled before.

    :param loop: whose tasks are named, where they are what does not end.
    """
    timer = threading.Timer(GRACE, _end, (code, loop))
    timer.daemon = True
    timer.start()
    return timer


def _end(code: int, loop: AbstractEventLoop | None) -> None:
    try:
        left = ", ".join(sorted([*_tasks(loop), *_threads()])) or "something"
        print(f"ioncc: left behind, as it does not end: {left}", file=sys.stderr, flush=True)
    finally:
        os._exit(code)


def _tasks(loop: AbstractEventLoop | None) -> list[str]:
    if loop is None or loop.is_closed():
        return []
    import asyncio

    return [f"task {task.get_name()}" for task in asyncio.all_tasks(loop)]


def _threads() -> list[str]:
    here = (threading.main_thread(), threading.current_thread())
    return [f"thread {t.name}" for t in threading.enumerate() if not t.daemon and t not in here]
