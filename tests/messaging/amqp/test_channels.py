"""Channels of one connection: their numbers are used again, and there are as many as agreed on."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest

from ion.base.errors import Unavailable
from ion.messaging.amqp.link import Link
from ion.messaging.amqp.transport import AmqpTransport
from ion.messaging.amqp_server.handshake import Terms
from ion.messaging.transport import QueueSpec
from tests.messaging.amqp_server.listening import listening, url_of

pytestmark = pytest.mark.amqp
MOST = 20


async def open_more(link: Link) -> None:
    for _ in range(MOST):
        await link.channel("one more", 10.0)


async def test_many_are_opened_one_after_another_and_no_more_at_once_than_agreed() -> None:
    async with listening(terms=Terms(channels=MOST)) as server:
        transport = AmqpTransport(url_of(server))
        await transport.open()
        link = transport._link
        assert link is not None
        last = await link.channel("the first", 10.0)
        for _ in range(10 * MOST):  # the next before the last is closed
            now = await link.channel("the next", 10.0)
            await last.close(10.0)
            last = now
        with pytest.raises(Unavailable, match=f"all {MOST} channels"):
            await open_more(link)
        assert not link.is_lost
        await last.close(10.0)
        await link.channel("again", 10.0)
        await transport.close()


async def test_a_question_that_is_given_up_as_it_is_refused_costs_no_connection(
    amqp_url: str,
) -> None:
    """The broker closes its channel then; it ends the connection where this side closes it, too."""
    transport = AmqpTransport(amqp_url)
    await transport.open()
    link = transport._link
    await transport.declare_queue(QueueSpec("there", exclusive=True))
    for turns in range(2, 16):
        assert await transport.queue_info("there") is not None  # by a channel that stays
        asking = asyncio.create_task(transport.queue_info("not.there", 0.03))
        for _ in range(turns):  # until the question is sent
            await asyncio.sleep(0)
        time.sleep(0.06)  # noqa: ASYNC251 - its answer and the end of its time come together
        with contextlib.suppress(Unavailable):
            assert await asking is None
        for _ in range(3):  # by channels whose numbers are used again
            assert await transport.queue_info("not.there") is None
    assert transport._link is link
    assert link is not None
    assert not link.is_lost
    await transport.close()
