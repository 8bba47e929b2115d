"""The sessions in transcripts/ against RabbitMQ; pytest collects them on a memory bus by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from ion import Container, connect
from ion.testing.transcripts import Transcript, replay, start

TRANSCRIPTS = sorted((Path(__file__).parent / "transcripts").glob("*.transcript"))


def test_there_are_some():
    assert len(TRANSCRIPTS) >= 4


@pytest.mark.amqp
@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
async def test_a_session_over_rabbitmq(path, amqp_url):
    async with Container(amqp_url, sysname="ion") as container:
        await start(container, Transcript(path).start)
        async with connect(amqp_url, sysname="ion") as connection:
            await replay(path, connection, container.id)
