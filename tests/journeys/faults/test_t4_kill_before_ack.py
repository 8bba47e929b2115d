"""T4: a process is killed after an effect and before its ack, again and again.

Nothing is lost, each repeat says that it may be one, and no message ends as a dead letter, although
every death also puts back what the process had only been handed ahead. A process that is killed
between sending a message to the ladder and taking the original off its queue repeats it once more,
and so does one that has handled others whose acks are not out yet: there may be more repeats than
deaths, never fewer, and they are marked, too.
"""

from __future__ import annotations

from collections import Counter

import pytest

from ion import Container
from tests.journeys.faults.fleet import Keeper
from tests.journeys.faults.waiting import until

pytestmark = [pytest.mark.amqp, pytest.mark.slow]

KILLS = (10, 1000)
HOSTS = 2
PATIENCE = (60, 3600)
CONFIG = {"service.retry_delays": [0.05]}


async def test_nothing_is_lost_and_each_repeat_is_marked(fleet, amqp_url, effects, new_tally, size):
    tally = new_tally("T4 kill -9 between effect and ack")
    keys = [f"kill-{number}" for number in range(size(*KILLS))]
    args = {"effects": str(effects.path)}
    options = {"target": "Killing", "args": args, "config": CONFIG}
    async with Container(amqp_url, sysname="killed", config=CONFIG) as container:
        async with Keeper(fleet, HOSTS, amqp_url, "killed", **options) as keeper:
            await container.transport.declare_queue(container.namespace.service_queue("killing"))
            await container.transport.bind("killed.killing", "killed.xs", "killing")
            for key in keys:
                await container.send("killing", "do", {"key": key}, timeout=30)
            tally.sent = len(keys)

            async def all_twice() -> bool:
                keeper.check()
                times = Counter(effect.key for effect in effects.all())
                return all(times[key] > 1 for key in keys)

            await until(all_twice, "messages are missing", size(*PATIENCE))
        tally.effects = effects.all()
        info = await container.transport.queue_info("killed.killing.dlq")
    tally.settle(keys)
    tally.notes |= {"killed": keeper.deaths, "unmarked": len(tally.unmarked), "dead": info.messages}
    assert tally.lost == 0
    assert keeper.deaths == len(keys)
    assert len(tally.repeats) >= len(keys)
    assert tally.unmarked == []
    assert info.messages == 0
