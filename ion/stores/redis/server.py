"""What a Redis server says about itself, when a datastore is opened on it."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from redis import exceptions as errors

from ion.base.errors import Damaged, NewerSchema, Unavailable
from ion.stores.redis.failures import mapped
from ion.stores.redis.layout import SCHEMA
from ion.stores.redis.link import Link
from ion.stores.redis.pipeline import Pipeline

log = logging.getLogger(__name__)


async def look_at(link: Link, where: str) -> bool:
    """Say in the log how safe data is there; return whether it is a node of a cluster.

    :raises Unavailable: it is away, or would drop what is kept in it.
    """
    try:
        (reply,) = await link.exchange([[b"INFO"]])
    except (OSError, errors.RedisError) as error:
        raise mapped(error, where) from error
    if isinstance(reply, errors.NoPermissionError):
        return False  # it says nothing to this user: the first call will show
    if isinstance(reply, Exception):
        raise mapped(reply, where) from reply
    info = _read(reply)
    policy = info.get("maxmemory_policy", "")
    if info.get("maxmemory", "0") != "0" and policy.startswith("allkeys"):
        message = (
            f"Redis at {where} drops keys where its memory is full (maxmemory-policy {policy}): "
            "a store would lose data; set maxmemory-policy noeviction"
        )
        raise Unavailable(message, details={"server": where})
    if info.get("aof_enabled") == "0":
        log.warning(
            "Redis at %s does not keep each write on its disk (appendonly no): "
            "what was put since its last snapshot is lost where it ends",
            where,
        )
    return info.get("cluster_enabled") == "1"


async def check_schema(pipeline: Pipeline, where: str, sysname: str) -> None:
    """Take note of this release's schema where there is none.

    :raises Unavailable: it cannot be read, or written.
    :raises NewerSchema: there is a newer one.
    :raises Damaged: there is something else.
    """
    key = f"{{{sysname}}}:schema".encode()
    found = await pipeline.command(b"GET", key)
    if found is None:
        await pipeline.command(b"SET", key, b"%d" % SCHEMA, b"NX")
        found = await pipeline.command(b"GET", key)
    try:
        version = int(found)
    except (TypeError, ValueError):
        message = f"{key.decode()} in Redis at {where} is no version of a schema: {found!r:.50}"
        raise Damaged(message, details={"server": where}) from None
    if version > SCHEMA:
        message = (
            f"the data of system {sysname!r} in Redis at {where} is of schema {version}, and this "
            f"release knows {SCHEMA}: install a newer ION"
        )
        raise NewerSchema(message, details={"server": where, "schema": version})


def _read(info: bytes) -> Mapping[str, str]:
    lines = info.decode("utf-8", "replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)
