"""The listener of a memory bus: its server, and the runtime file by which others find it."""

from __future__ import annotations

import asyncio
import logging
import secrets

from ion.messaging import runtime_file
from ion.messaging.amqp_server.handshake import Account
from ion.messaging.amqp_server.server import Server, checked_address
from ion.messaging.memory.broker import Broker

log = logging.getLogger(__name__)

USER = "ion"


class Listener:
    """An open door; :meth:`open` makes one."""

    def __init__(self, server: Server, where: runtime_file.Runtime) -> None:
        self._server = server
        self._where = where

    @classmethod
    async def open(cls, broker: Broker, address: str, sysname: str) -> Listener:
        """Listen, and let others on this machine know.

        :param address: ``HOST:PORT`` of loopback; port 0: any free one.
        :raises ConfigurationError: it is no such address.
        :raises StartError: the port is taken, or another container listens for the system.
        """
        host, port = checked_address(address)
        account = Account(USER, secrets.token_urlsafe(24))
        server = Server(broker, account, sysname=sysname, host=host, port=port)
        await server.start()
        try:
            where = await asyncio.to_thread(runtime_file.claim, sysname, _url(server))
        except BaseException:
            await server.close()
            raise
        log.info("system %r listens on %s:%d, as %s says", sysname, host, server.port, where.path)
        return cls(server, where)

    async def close(self) -> None:
        """Be found no more, say goodbye to who is connected. Never raises."""
        await asyncio.to_thread(runtime_file.release, self._where)
        await self._server.close()


def _url(server: Server) -> str:
    host = f"[{server.host}]" if ":" in server.host else server.host
    return f"amqp://{server.account.user}:{server.account.password}@{host}:{server.port}/"
