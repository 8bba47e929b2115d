"""The datastore in Redis, or a Redis Cluster: fast, shared, as safe as ``redis.conf`` makes it.

All keys of a store are in one slot (:mod:`.layout`), and every call is one script at most
(:mod:`.scripts`), so that it is one step for all clients. Calls that wait together travel together
(:mod:`.pipeline`); a query reads its index in chunks, and decides here (:mod:`.finding`).
"""

from __future__ import annotations

from ion.base.errors import ConfigurationError

try:
    import redis.asyncio  # noqa: F401 - so that a missing one is told the same way everywhere
except ImportError as missing:
    _message = "redis:// needs redis-py: pip install 'ioncore[redis]'"
    raise ConfigurationError(_message) from missing
