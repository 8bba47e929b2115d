"""Where a thread, or a task, is now: its stack as lines of text, the innermost last.

A line is ``file:line, in function: code``. A stack has at most :data:`MAX_LINES` of them; of a
deeper one, the innermost. Nothing here runs code of what it looks at.
"""

from __future__ import annotations

import asyncio
import gc
import linecache
import sys
import types
from collections.abc import Iterator
from itertools import islice
from typing import Any

MAX_LINES = 40
_MAX_DEPTH = 1000  # how far a chain of awaits is followed

_SUSPENDED = (types.CoroutineType, types.GeneratorType, types.AsyncGeneratorType)
_FRAMES = ("cr_frame", "gi_frame", "ag_frame")
_AWAITED = ("cr_await", "gi_yieldfrom", "ag_await")
_IMPORTING = "<frozen importlib"
_LOOP_FILE = asyncio.events.__file__  # its Handle._run calls all that a loop runs


def of_thread(ident: int) -> list[str]:
    """Return the stack of a thread of this OS process; empty where there is none of that number.

    Of the thread of an event loop, only what the loop has called; of imports, the files that
    import, and not the frames between. May be asked from any thread.
    """
    frame = sys._current_frames().get(ident)
    callers = islice(_callers(frame), _MAX_DEPTH)
    frames = [each for each in callers if not each.f_code.co_filename.startswith(_IMPORTING)]
    lines = [_line(frame.f_code, frame.f_lineno) for frame in frames[:MAX_LINES]]
    return lines[::-1]


def of_task(task: asyncio.Task[Any], skip: int = 0) -> list[str]:
    """Return where a task waits, through all that it awaits, other tasks included.

    To be called on the task's own event loop, of a task that does not run now.

    :param skip: how many of the outermost frames are left out.
    """
    frames = islice(_awaiting(task), skip, _MAX_DEPTH)
    return [_line(frame.f_code, frame.f_lineno) for frame in frames][-MAX_LINES:]


def _callers(frame: types.FrameType | None) -> Iterator[types.FrameType]:
    while frame is not None and frame.f_code.co_filename != _LOOP_FILE:
        yield frame
        frame = frame.f_back


def _awaiting(task: asyncio.Task[Any]) -> Iterator[types.FrameType]:
    """Give the frames of a task, and of what it awaits, from without to within."""
    seen = {id(task)}
    awaited: Any = task.get_coro()
    while awaited is not None:
        frame = _first(awaited, _FRAMES)
        if frame is not None:
            yield frame
        awaited = _inner(awaited, frame)
        if isinstance(awaited, asyncio.Task):
            if id(awaited) in seen:
                return
            seen.add(id(awaited))
            awaited = awaited.get_coro()


def _inner(awaited: Any, frame: types.FrameType | None) -> Any:
    """Return what a coroutine awaits: another one, or a task; None where it is neither."""
    inner = _first(awaited, _AWAITED)
    if inner is None or isinstance(inner, _SUSPENDED):
        return inner
    # What stands between (the awaitable of an asynchronous generator, the iterator of a future) is
    # known to the garbage collector only.
    for found in gc.get_referents(inner):
        if isinstance(found, _SUSPENDED):
            return found
        if isinstance(found, asyncio.Future):
            return _working(found) or _waited_for(frame)
    return None


def _working(future: asyncio.Future[Any]) -> asyncio.Task[Any] | None:
    """Return the task that gives a future its result, where that can be told."""
    for found in (future, *getattr(future, "_children", ())):  # those of asyncio.gather
        if isinstance(found, asyncio.Task) and not found.done():
            return found
    return None


def _waited_for(frame: types.FrameType | None) -> asyncio.Task[Any] | None:
    """Return the task behind ``asyncio.wait_for``, which awaits a future of its own (3.11)."""
    if frame is None or frame.f_code is not asyncio.wait_for.__code__:
        return None
    task = frame.f_locals.get("fut")
    return task if isinstance(task, asyncio.Task) and not task.done() else None


def _first(owner: Any, names: tuple[str, ...]) -> Any:
    return next(
        (found for name in names if (found := getattr(owner, name, None)) is not None), None
    )


def _line(code: types.CodeType, number: int) -> str:
    text = linecache.getline(code.co_filename, number).strip()
    return f"{code.co_filename}:{number}, in {code.co_qualname}" + (f": {text}" if text else "")
