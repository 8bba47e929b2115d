"""Private RabbitMQ, PostgreSQL and Redis servers for tests: real parts, on free ports.

Each has a data folder and ports of its own, can be stopped, killed, suspended and started again on
the same data and ports, and is gone when the test run is, however that ends.
"""

from __future__ import annotations

from ion.testing.servers.postgres import PostgresServer
from ion.testing.servers.private import PrivateServer
from ion.testing.servers.rabbitmq import RabbitServer
from ion.testing.servers.redis import RedisServer

__all__ = ["PostgresServer", "PrivateServer", "RabbitServer", "RedisServer"]
