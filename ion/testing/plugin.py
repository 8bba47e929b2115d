"""The pytest plugin: private servers as fixtures, and transcripts as tests.

A server starts once a session, at the first test that asks for it; each test gets a virtual host
or database of its own. A server that is not installed is an error, never a skip.

With the ini option ``ion_transcripts`` files ``*.transcript`` are collected, too
(:mod:`ion.testing.transcripts`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.register_assert_rewrite("ion.testing.contracts")

if TYPE_CHECKING:
    from ion.testing.servers import PostgresServer, RabbitServer, RedisServer
    from ion.testing.transcripts import TranscriptFile

_TRANSCRIPTS = "ion_transcripts"
pytest_plugins = ["ion.testing.blocking"]  # the fixture no_blocking


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the ini option that lets transcripts be collected."""
    parser.addini(_TRANSCRIPTS, "collect *.transcript files as tests", type="bool", default=False)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> TranscriptFile | None:
    """Collect a transcript, where the ini option says so."""
    if file_path.suffix != ".transcript" or not parent.config.getini(_TRANSCRIPTS):
        return None
    from ion.testing.transcripts import TranscriptFile

    return TranscriptFile.from_parent(parent, path=file_path)


@pytest.fixture(scope="session")
def rabbitmq_server() -> Iterator[RabbitServer]:
    """Give the session's RabbitMQ; a test that stops it must start it again."""
    from ion.testing.servers import RabbitServer

    server = RabbitServer()
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def amqp_url(rabbitmq_server: RabbitServer) -> Iterator[str]:
    """Give the URL of a virtual host of RabbitMQ that is this test's own."""
    rabbitmq_server.resume()
    rabbitmq_server.start()
    vhost = rabbitmq_server.new_vhost()
    yield rabbitmq_server.url(vhost)
    rabbitmq_server.give_back(vhost)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """Give the session's PostgreSQL; a test that stops it must start it again."""
    from ion.testing.servers import PostgresServer

    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    """Give the URL of an empty PostgreSQL database that is this test's own."""
    postgres_server.resume()
    postgres_server.start()
    return postgres_server.url(postgres_server.new_database())


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """Give the session's Redis; a test that stops it must start it again."""
    from ion.testing.servers import RedisServer

    server = RedisServer()
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """Give the URL of an empty Redis database that is this test's own."""
    redis_server.resume()
    redis_server.start()
    return redis_server.url(redis_server.new_database())
