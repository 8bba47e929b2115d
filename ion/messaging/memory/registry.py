"""The named brokers of this OS process: ``memory://NAME`` is one broker for all who open it.

A broker lives as long as somebody has it open.
"""

from __future__ import annotations

import asyncio
from weakref import WeakSet, WeakValueDictionary

from ion.base.errors import ConfigurationError
from ion.messaging.memory.broker import Broker
from ion.messaging.memory.session import Session


class Site:
    """A broker, the event loop that it belongs to, and who has it open.

    :ivar is_private: it has never listened for others.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.broker = Broker(loop)
        self.sessions: WeakSet[Session] = WeakSet()
        self.is_private = True

    def mend(self, exchange: str) -> None:
        """Make an exchange again that one of the sessions still counts on, with its bindings.

        Others do so with a broker over the network as soon as a publish finds it missing.
        """
        if any(session.mend(exchange) for session in self.sessions):
            for session in self.sessions:
                session.mend_bindings(exchange)


_sites: WeakValueDictionary[str, Site] = WeakValueDictionary()


def enter(name: str) -> tuple[Site, Session]:
    """Open the broker of that name (an empty one: of nobody else) in the running event loop.

    :raises ConfigurationError: the broker belongs to another event loop, which still lives.
    """
    loop = asyncio.get_running_loop()
    site = _sites.get(name) if name else None
    if site is not None and site.loop is not loop and not site.loop.is_closed():
        message = f"memory://{name} belongs to another event loop of this program"
        raise ConfigurationError(message)
    if site is None or site.loop is not loop:
        site = Site(loop)
        if name:
            _sites[name] = site
    session = Session(site.broker)
    site.sessions.add(session)
    return site, session


def leave(name: str, site: Site, session: Session) -> None:
    """End a session; the broker of nobody is dropped with all it holds."""
    session.close()
    site.sessions.discard(session)
    if not site.sessions:
        site.broker.close()
        if _sites.get(name) is site:
            del _sites[name]
