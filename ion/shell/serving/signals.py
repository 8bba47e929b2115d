"""What signals do to a container: the first drains it, the second ends it at once.

They are SIGINT, SIGTERM and SIGHUP. To who serves without a terminal, SIGHUP does not say that it
is gone, but asks for a reload, as of all daemons. Where it is ignored (nohup), it stays so.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
import types
from collections.abc import Callable

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# One wish may arrive twice: `timeout` signals the whole group and make forwards what it gets.
SAME_WISH = 0.5  # seconds


class StopSignals:
    """Handlers for the time of a ``with`` block; to be used on the main thread.

    Handlers of the interpreter, not of the loop: they act even where the loop is busy or stuck.

    :param reloads: whether SIGHUP asks for a reload where there is no terminal.
    :ivar stopping: set by the first signal, or by :meth:`stop`.
    :ivar reloading: set by a SIGHUP that asks for a reload.
    """

    def __init__(self, *, reloads: bool = False) -> None:
        self.stopping = asyncio.Event()
        self.reloading = asyncio.Event()
        self._reloads = reloads and not (sys.stdin is not None and sys.stdin.isatty())
        self._loop = asyncio.get_running_loop()
        self._on_interrupt: Callable[[], bool] | None = None
        self._before: dict[signal.Signals, object] = {}
        self._asked_at: float | None = None

    def __enter__(self) -> StopSignals:
        for number in SIGNALS:
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def stop(self) -> None:
        """Ask for the drain as a signal does; thread-safe."""
        self._asked_at = time.monotonic()
        self._loop.call_soon_threadsafe(self.stopping.set)

    def ask_first(self, on_interrupt: Callable[[], bool] | None) -> None:
        """Give SIGINT to ``on_interrupt`` first; where it returns True, nothing else happens."""
        self._on_interrupt = on_interrupt

    def _handle(self, number: int, _frame: types.FrameType | None) -> None:
        if number == signal.SIGHUP and self._reloads:
            self._loop.call_soon_threadsafe(self.reloading.set)
            return
        if self._asked_at is None:
            first = self._on_interrupt if number == signal.SIGINT else None
            if first is None or not first():
                self.stop()
        elif time.monotonic() - self._asked_at > SAME_WISH:
            sys.stderr.flush()
            os._exit(128 + number)
