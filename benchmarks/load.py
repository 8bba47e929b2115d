"""Closed-loop load: keep N calls under way for a while, and say how fast they came back.

The same three measurements for every peer: 1, 64 and 256 calls under way. Rates are calls per
second; p50 and p99 are microseconds from issuing a call to having its answer; ``cpu_us`` is the
CPU time of the calling OS process a call.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

WINDOWS = (1, 64, 256)
Figures = dict[str, float]
clock = time.perf_counter


def figures(samples: list[float], elapsed: float, cpu: float) -> Figures:
    """Return rate and percentiles of ``samples`` (seconds each), measured in ``elapsed``."""
    samples.sort()
    count = len(samples)
    if not count:
        message = "no call finished within the measurement"
        raise RuntimeError(message)
    return {
        "rate": round(count / elapsed, 1),
        "p50_us": round(samples[count // 2] * 1e6, 1),
        "p99_us": round(samples[count * 99 // 100] * 1e6, 1),
        "cpu_us": round(cpu * 1e6 / count, 2),
    }


async def _caller(
    call: Callable[[], Awaitable[Any]],
    end: float,
    least: int,
    samples: list[float],
    last: list[float],
) -> None:
    begun = clock()
    while True:
        await call()
        now = clock()
        if now > end and len(samples) >= least:
            return
        samples.append(now - begun)
        last[0] = now
        begun = now


async def measure(call: Callable[[], Awaitable[Any]], window: int, seconds: float) -> Figures:
    """Run ``window`` callers, each awaiting one call after another, for ``seconds``.

    A slow peer gets longer: until at least ``window`` calls have finished.
    """
    samples: list[float] = []
    begun, cpu = clock(), time.process_time()
    last = [begun]
    callers = (_caller(call, begun + seconds, window, samples, last) for _ in range(window))
    await asyncio.gather(*callers)
    return figures(samples, last[0] - begun, time.process_time() - cpu)


async def measure_all(
    call: Callable[[], Awaitable[Any]], seconds: float, windows: Iterable[int] = WINDOWS
) -> dict[str, Figures]:
    """Warm up, then measure each window; the keys are the windows."""
    await measure(call, 8, seconds / 4)
    return {str(window): await measure(call, window, seconds) for window in windows}


def measure_futures(
    issue: Callable[[], Any], collect: Callable[[Any], Any], window: int, seconds: float
) -> Figures:
    """Do the same with a blocking client that hands out futures: the oldest is awaited first.

    :param issue: starts a call and returns its future.
    :param collect: blocks until that future has its answer.
    """
    samples: list[float] = []
    begun, cpu = clock(), time.process_time()
    end = last = begun
    end += seconds
    under_way = deque((clock(), issue()) for _ in range(window))
    while under_way:
        issued, future = under_way.popleft()
        collect(future)
        now = clock()
        if now <= end or len(samples) < window:
            samples.append(now - issued)
            last = now
            under_way.append((now, issue()))
    return figures(samples, last - begun, time.process_time() - cpu)


def measure_all_futures(
    issue: Callable[[], Any],
    collect: Callable[[Any], Any],
    seconds: float,
    windows: Iterable[int] = WINDOWS,
) -> dict[str, Figures]:
    """Warm up, then measure each window with :func:`measure_futures`."""
    measure_futures(issue, collect, 8, seconds / 4)
    return {str(window): measure_futures(issue, collect, window, seconds) for window in windows}


class Counter:
    """Count what a consumer receives: from a moment after the first message, for ``seconds``."""

    WARM_UP = 0.25

    def __init__(self, size: int, seconds: float) -> None:
        self.size = size
        self.seconds = seconds
        self.count = 0
        self.first = self.begun = self.ended = 0.0
        self.done = False

    def take(self, body: bytes) -> bool:
        """Count one message; return whether the measurement is over."""
        if len(body) != self.size:
            message = f"a message of {len(body)} bytes, {self.size} expected"
            raise ValueError(message)
        now = clock()
        if not self.first:
            self.first = now
        elif not self.begun:
            self.begun = now if now - self.first >= self.WARM_UP else 0.0
        elif not self.done:
            self.count += 1
            self.ended = now
            self.done = now - self.begun >= self.seconds
        return self.done

    def figures(self) -> Figures:
        """Return messages and megabytes per second."""
        rate = self.count / (self.ended - self.begun)
        return {"rate": round(rate, 1), "mb_s": round(rate * self.size / 1e6, 2)}
