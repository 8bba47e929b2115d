"""The condition of a container: its state, and what its way to the broker makes of that."""

from __future__ import annotations

import logging
import time

from ion.base import lifecycle
from ion.container.events import ContainerEvents
from ion.messaging.transport import TransportState

log = logging.getLogger(__name__)
_REASONS = {
    TransportState.BLOCKED: "the broker takes no messages: it is short of memory or disk",
    TransportState.LOST: "the connection to the broker is lost; reconnecting",
}


class Conditioned:
    """A container as far as it is in a state; see :class:`~ion.container.container.Container`."""

    id: str
    state: str
    since: float
    reason: str
    events: ContainerEvents

    def _step(self, event: str) -> None:
        self.state = lifecycle.LIFECYCLE.next_state(self.state, event)
        self.since = time.time()
        self.reason = ""

    def _on_transport(self, state: TransportState) -> None:
        """Be DEGRADED while the broker is away or takes no messages; say so once a change."""
        reason = _REASONS.get(state, "")
        if self.state == lifecycle.DEGRADED and state is TransportState.CONNECTED:
            lasted = time.time() - self.since
            self._step("recover")
            self.events.recovered(lasted)
            log.warning("container %s is ACTIVE again after %.1f s", self.id, lasted)
        elif reason and self.state in (lifecycle.ACTIVE, lifecycle.DEGRADED):
            if self.state == lifecycle.ACTIVE:
                self._step("degrade")
                self.events.degraded(reason, self.since)
            self.reason = reason
            since = time.strftime("%H:%M:%S", time.localtime(self.since))
            log.warning("container %s is DEGRADED since %s: %s", self.id, since, reason)
