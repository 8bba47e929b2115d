"""The driver: the only place that imports asyncpg, which is an optional part."""

from __future__ import annotations

from ion.base.errors import ConfigurationError

try:
    import asyncpg
except ImportError as error:
    message = "postgresql:// needs asyncpg: pip install 'ioncore[postgres]'"
    raise ConfigurationError(message) from error

__all__ = ["FOREIGN", "asyncpg"]

# All that a call of the driver raises; a TimeoutError is an OSError.
FOREIGN = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)
