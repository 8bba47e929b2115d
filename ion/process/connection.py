"""A connection for scripts: what a ServiceClient needs, without a container and its processes."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from ion.base.config import load
from ion.base.errors import ConfigurationError
from ion.base.ids import new_container_id, secret_marks
from ion.base.settings import Settings
from ion.messaging.address import Namespace
from ion.messaging.interceptors import build, screen_of
from ion.messaging.opening import EMBEDDED, open_transport, scheme_of
from ion.messaging.trace import TracedTransport
from ion.messaging.transport import Transport
from ion.process.calling import Calling
from ion.process.command.permission import Permission
from ion.process.endpoint.endpoint import Endpoint
from ion.process.identity.authenticator import Authenticator
from ion.process.identity.credentials import Credentials, with_token

log = logging.getLogger(__name__)
_NOBODYS = "memory://"  # without a name it is its maker's alone, and who connects hosts nothing


class Connection(Calling):
    """One party on the bus that calls and sends, but hosts nothing."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = self._endpoint = endpoint
        self.id = self._sender = endpoint.id
        self.sysname = endpoint.namespace.sysname


@asynccontextmanager
async def connect(
    url: str | Sequence[str] | None = None,
    *,
    sysname: str | None = None,
    config: dict[str, Any] | None = None,
    token: str | None = None,
) -> AsyncIterator[Connection]:
    """Connect to a system's bus, for the time of an ``async with``.

    :param url: of the broker, or of several; ``broker.url`` of the configuration by default.
    :param sysname: the system; ``container.sysname`` of the configuration by default.
    :param token: that the calls bear, to say whose they are; ``identity.token`` of the
        configuration by default.
    :raises Unavailable: the broker is away, or refused; the message says which.
    """
    settings = with_token(load(config), token)
    namespace = Namespace(settings.container.sysname if sysname is None else sysname)
    transport = transport_for(settings, url, sysname=namespace.sysname)
    await transport.open()
    try:
        endpoint = endpoint_for(settings, transport, namespace, new_container_id())
        own = Credentials(settings.identity, endpoint, namespace.sysname)
        try:
            await own.open()
            await endpoint.open()
            yield Connection(endpoint)
        finally:
            await own.close()
            await endpoint.close()
    finally:
        await transport.close()


def transport_for(
    settings: Settings,
    url: str | Sequence[str] | None = None,
    *,
    sysname: str,
    is_host: bool = False,
) -> Transport:
    """Return the transport that the settings name, not opened yet.

    :param is_host: it is a container's: where ``broker.listen`` says so, its memory bus listens.
    :raises ConfigurationError: the URL is wrong; or it is to listen, and is a broker's.
    """
    broker = settings.broker
    urls = [url] if isinstance(url, str) else list(url or broker.urls)
    own: dict[str, Any] = {}
    if urls and scheme_of(urls[0]) in EMBEDDED:
        own = {"sysname": sysname, "listen": broker.listen if is_host else None}
        if not is_host and urls[0] == _NOBODYS:
            log.warning(
                "nobody is on the bus of this connection, %s: give the broker's URL, or set "
                "ION_BROKER; local:// is the container that listens on this machine",
                _NOBODYS,
            )
    elif is_host and broker.listen is not None:
        message = "broker.listen is for memory://: a broker is reached by its own address"
        raise ConfigurationError(message)
    transport = open_transport(
        urls,
        lean=broker.lean,
        connect_timeout=broker.connect_timeout,
        heartbeat=broker.heartbeat,
        tls=broker.tls,
        **own,
    )
    if settings.messaging.trace:
        return cast("Transport", TracedTransport(transport, Namespace(sysname)))
    return transport


def endpoint_for(
    settings: Settings, transport: Transport, namespace: Namespace, id: str
) -> Endpoint:
    """Return an endpoint with the interceptors and the permission that the settings give it.

    :raises ConfigurationError: an interceptor cannot be found or built.
    """
    messaging = settings.messaging
    endpoint = Endpoint(
        transport,
        namespace,
        id,
        rpc_timeout=messaging.rpc_timeout,
        max_content=messaging.max_content,
        clock_skew=messaging.clock_skew,
        max_waiting=messaging.max_waiting,
    )
    window, sysname = messaging.clock_skew, namespace.sysname
    endpoint.permission = Permission(settings.agent, transport, sysname, window)
    endpoint.use_inbound(build(messaging.interceptors.in_, messaging, endpoint))
    endpoint.outbound = build(messaging.interceptors.out, messaging, endpoint)
    endpoint.screen = screen_of(endpoint.inbound)
    endpoint.auth = Authenticator(settings.identity, endpoint.permission, sysname)
    if endpoint.auth.is_strict or endpoint.outbound:
        endpoint.marks = secret_marks()
    return endpoint
