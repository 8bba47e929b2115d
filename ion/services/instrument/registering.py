"""An agent is entered into the resource registry, where there is one, under its own name."""

from __future__ import annotations

import logging
from typing import Any

from ion.base import clock
from ion.base.errors import Conflict, DeadlineExceeded, IonError, ServiceNotFound, Unavailable
from ion.process.process import Process
from ion.services.resource_registry.client import ResourceRegistryClient
from ion.services.resource_registry.model import Attribute

log = logging.getLogger(__name__)
TYPE = "Instrument"
ATTRIBUTES = {
    "driver": Attribute(description="dotted name of the driver's class", index=True),
    "stream": Attribute(description="where its samples go; empty: nowhere", index=True),
}
AGAIN = 2.0
TRIES = 30


async def register(agent: Process, resource: str, attributes: dict[str, Any]) -> None:
    """Enter an agent, or bring what stands there up to date; where there is no registry, do not.

    A registry that is away is asked again for a minute. Never raises for what it answers: an
    instrument works without.
    """
    client = ResourceRegistryClient(agent)
    for _ in range(TRIES):
        try:
            await _enter(client, resource, attributes)
        except ServiceNotFound:
            log.debug("%r: there is no resource registry to be entered into", agent)
        except (Unavailable, DeadlineExceeded):
            await clock.sleep(AGAIN)
            continue
        except IonError as error:
            log.warning("%r: the resource registry does not take %s: %s", agent, resource, error)
        return
    log.warning("%r: %s is not in the resource registry, which is away", agent, resource)


async def _enter(client: ResourceRegistryClient, resource: str, attributes: dict[str, Any]) -> None:
    await client.register_type(TYPE, ATTRIBUTES, description="An instrument, by its agent.")
    try:
        await client.create(TYPE, resource, attributes, id=resource)
    except Conflict:
        found = await client.read(resource)
        if found.type == TYPE and found.attributes != attributes:
            await client.update(resource, found.revision, attributes=attributes)
