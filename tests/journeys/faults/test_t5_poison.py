"""T5: a message that kills the OS process that handles it does so a limited number of times.

Then it is a dead letter with its cause; the messages around it are handled, and none of them is
taken for another poison, though they were in the hands of the dead, too. A poison message that was
itself only in the hands of another one's victim has had an attempt counted for that, or two. And
where one kills the process that is just moving another, that other is there twice from then on.
"""

from __future__ import annotations

import asyncio

import pytest

from ion import Container
from ion.messaging import codec
from ion.testing.servers import RabbitServer
from tests.journeys.faults.fleet import Keeper
from tests.journeys.faults.waiting import until

pytestmark = [pytest.mark.amqp, pytest.mark.slow]

ATTEMPTS = 5
INNOCENTS = 40  # for each poison message
POISONS = (3, 50)
FREE = 2  # attempts that may be counted for having been in the wrong hands
HOSTS = 2
PATIENCE = (60, 3600)
CONFIG = {"service.retry_delays": [0.05], "service.attempts": ATTEMPTS}


@pytest.mark.parametrize("alone", [True, False])
async def test_it_dies_and_the_others_live(
    alone, fleet, amqp_url, rabbitmq_server, effects, new_tally, size
):
    count = 1 if alone else size(*POISONS)
    tally = new_tally(f"T5 {count} poison among others")
    poisons = [f"poison-{number}" for number in range(count)]
    keys = [key for poison in poisons for key in around(poison)]
    args = {"effects": str(effects.path)}
    options = {"target": "Killing", "args": args, "config": CONFIG}
    async with Container(amqp_url, sysname="poison", config=CONFIG) as container:
        transport = container.transport
        async with Keeper(fleet, HOSTS, amqp_url, "poison", **options) as keeper:
            await transport.declare_queue(container.namespace.service_queue("killing"))
            await transport.bind("poison.killing", "poison.xs", "killing")
            for key in keys:
                await container.send("killing", "do", {"key": key}, timeout=30)
            tally.sent = len(keys)

            async def all_dead_or_done() -> bool:
                keeper.check()
                left = await asyncio.to_thread(unsettled, rabbitmq_server, amqp_url)
                return left == 0 and {effect.key for effect in effects.all()} >= set(keys)

            await until(all_dead_or_done, "messages are missing", size(*PATIENCE))
        tally.effects = effects.all()
        letters = await dead_letters(container, "poison.killing.dlq")
    tally.dead = [key for key, _ in letters]
    tally.settle(keys)
    tally.notes |= {"killed": keeper.deaths, "unmarked": len(tally.unmarked)}
    assert set(tally.dead) == set(poisons)
    assert len(tally.dead) == 1 or not alone
    for _, headers in letters:
        assert headers["cause-type"] == "TooManyAttempts"
        assert headers["attempt"] == ATTEMPTS
        assert headers["dead-from"] == "poison.killing"
    assert tally.lost == 0
    for poison in poisons:
        tried = sum(effect.key == poison for effect in tally.effects)
        assert tried <= ATTEMPTS * tally.dead.count(poison)
        assert tried >= ATTEMPTS - (0 if alone else FREE)
    assert tally.unmarked == []


def unsettled(broker: RabbitServer, url: str) -> int:
    """Return how many messages there are, waiting or in anybody's hands, dead letters apart.

    A message that is moved is in both queues for a moment, never in none.
    """
    vhost = url.rsplit("/", 1)[1]
    found = broker.eval(
        "lists:sum([M || [{name, {resource, _, _, N}}, {messages, M}] <- "
        f'rabbit_amqqueue:info_all(<<"{vhost}">>, [name, messages]), '
        'is_integer(M), N =/= <<"poison.killing.dlq">>])'
    )
    return int(found)


def around(poison: str) -> list[str]:
    """Return the poison message in the middle of others."""
    others = [f"ok-{number}-beside-{poison}" for number in range(INNOCENTS)]
    return [*others[: INNOCENTS // 2], poison, *others[INNOCENTS // 2 :]]


async def dead_letters(container: Container, queue: str) -> list[tuple[str, dict[str, object]]]:
    """Take all dead letters; return key and headers of each."""
    found = []
    while (letter := await container.transport.get(queue, no_ack=True)) is not None:
        envelope = letter.envelope
        content = codec.decode(envelope.body, envelope.content_type)
        found.append((content["key"], envelope.headers))
    return found
