"""ION streams: granules of one field of float64 from a publisher to a subscriber.

Publishing: confirmed, with a window; hearing: the array is looked at, then the granule acked.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

import numpy as np

from benchmarks import load, role
from benchmarks.peers.ion_oneway import container
from ion import Process
from ion.process.granules import Granule, StreamDefinition, StreamPublisher, StreamSubscriber

AROUND = 160  # bytes of a granule besides its array, about: the message is of the size of others
PREFETCH = 256
DEFINITION = StreamDefinition("bench", {"x": "f8"})


class Listener(Process):
    """Counts the granules that it hears."""

    def __init__(self, o: argparse.Namespace, done: asyncio.Event) -> None:
        self.counter = load.Counter(samples(o.size) * 8, o.seconds)
        self.done = done

    async def on_activate(self) -> None:
        """Subscribe."""
        await StreamSubscriber.open(self, "bench", self.on_granule, prefetch=PREFETCH)

    async def on_granule(self, granule: Granule) -> None:
        """Count one."""
        if self.counter.take(granule["x"].data.cast("B")):
            self.done.set()


def samples(size: int) -> int:
    """Return how many float64 make a message of a size."""
    return (size - AROUND) // 8


async def sub(o: argparse.Namespace) -> Any:
    done = asyncio.Event()
    async with container(o) as host:
        pid = await host.spawn(Listener, args={"o": o, "done": done})
        role.say_ready()
        await asyncio.wait_for(done.wait(), role.PATIENCE)
        counter: load.Counter = host.processes[pid].counter  # type: ignore[attr-defined]
        rate = counter.figures()["rate"]
        role.report({"rate": rate, "mb_s": round(rate * o.size / 1e6, 2)})
        await host.kill()


async def pub(o: argparse.Namespace) -> None:
    async with container(o) as host:
        process = host.processes[await host.spawn(Process)]
        publisher = await StreamPublisher.open(
            process, "bench", DEFINITION, window=o.window, persistent=False
        )
        x = np.linspace(0.0, 1.0, samples(o.size))
        while True:
            await publisher.publish({"x": x})


if __name__ == "__main__":
    options = role.options()
    role.run({"sub": sub, "pub": pub}[options.role](options), options.loop)
