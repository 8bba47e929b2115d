"""Cleanup: what nobody needs any more is removed from the datastore's stores, now and then.

That is elements that no branch comes from (:mod:`ion.objects.collecting`), and blobs that nobody
owns. Each stays for a *grace* first: what is being put, or is about to be linked, is safe.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from typing import Any

import msgspec

from ion.base import clock
from ion.base.errors import ConfigurationError, IonError
from ion.objects.collecting import Collected, collect
from ion.objects.kept import KeptPeer
from ion.stores.blobs.blobstore import BlobStore

log = logging.getLogger(__name__)

DAY = 86400.0
LEAST = 1.0  # seconds
SPREAD = 0.1  # of the time between two rounds: several instances do not begin together


class Tidied(msgspec.Struct, frozen=True):
    """What a round has come to.

    :ivar blobs: how many are gone.
    """

    elements: Collected
    blobs: int


class Plan(msgspec.Struct, frozen=True):
    """How often is tidied.

    :ivar every: seconds between two rounds; 0: never.
    :ivar grace: seconds that what is not needed stays.
    """

    every: float = 0.0
    grace: float = DAY


def plan_of(config: Mapping[str, Any]) -> Plan:
    """Return how often an app's ``config`` has it: ``collect``, and ``collect_grace``.

    :raises ConfigurationError: one of them is no number of seconds.
    """
    plan = Plan(config.get("collect", 0.0), config.get("collect_grace", DAY))
    for name, given in (("collect", plan.every), ("collect_grace", plan.grace)):
        if isinstance(given, bool) or not isinstance(given, int | float) or not given >= 0:
            message = f"datastore: {name}: seconds, not {given!r}"
            raise ConfigurationError(message)
    if 0 < plan.every < LEAST:
        message = f"datastore: collect: 0 (never), or at least {LEAST} s, not {plan.every}"
        raise ConfigurationError(message)
    return plan


async def tidy(home: KeptPeer, blobs: BlobStore, grace: float) -> Tidied:
    """Tidy once; what is condemned now goes in a later round.

    :raises Damaged: a branch reaches what is not there; of the elements, nothing is removed.
    :raises Unavailable: the store is away.
    """
    removed = await blobs.collect(grace)
    return Tidied(await collect(home, grace=grace, clock=clock.now), removed)


async def keep_tidy(home: KeptPeer, blobs: BlobStore, plan: Plan) -> None:
    """Tidy now and then, until this is cancelled; what fails is tried again in the next round."""
    while True:
        await clock.sleep(plan.every * random.uniform(1 - SPREAD, 1 + SPREAD))
        try:
            done = await tidy(home, blobs, plan.grace)
        except IonError as error:
            log.warning("what nobody needs could not be removed: %s", error)
            continue
        if done.blobs or done.elements.removed:
            told = (done.elements.removed, done.blobs)
            log.info("nobody needed %d elements and %d blobs: they are removed", *told)
