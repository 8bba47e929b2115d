"""The journal of decisions: each is logged with its reason, and counted.

What is allowed is logged at level DEBUG, what is denied at WARNING; of the same denial to the same
actor one line in ten seconds, which says how many there were.
"""

from __future__ import annotations

import logging
import time
from collections import Counter

from ion.process.policy.model import Decision, Subject

log = logging.getLogger("ion.policy")
QUIET = 10.0  # seconds
MAX_NOTED = 1_000
ALLOWED, DENIED = "policy allowed", "policy denied"


class Journal:
    """Takes note of decisions.

    :param counts: of the endpoint, which its numbers are told of with.
    :ivar is_verbose: whether what is allowed is logged, as of the last :meth:`count`.
    """

    def __init__(self, counts: Counter[str]) -> None:
        self.is_verbose = log.isEnabledFor(logging.DEBUG)
        self._counts = counts
        self._noted: dict[tuple[str, str], tuple[float, int]] = {}  # -> when, how many since

    def allow(self, subject: Subject, action: str, decision: Decision) -> None:
        """Note what was allowed; whether that is logged is for the caller to look at."""
        log.debug("allowed: %s", action, extra=_told(subject, action, decision))

    def deny(self, subject: Subject, action: str, decision: Decision) -> None:
        """Note what was denied."""
        self._counts[DENIED] += 1
        # of an event, the rest is what its sender likes: it must not make lines
        key, now = (subject.actor, action.partition("/")[0]), time.monotonic()
        before, others = self._noted.get(key, (-QUIET, 0))
        if now - before < QUIET:
            self._noted[key] = (before, others + 1)
            return
        if len(self._noted) >= MAX_NOTED:
            self._noted.clear()
        self._noted[key] = (now, 0)
        told = _told(subject, action, decision)
        if others:
            told["times"] = others + 1
        log.warning("denied: %s", action, extra=told)

    def count(self, allowed: int) -> None:
        """Add to what was allowed; see whether it is to be logged."""
        self.is_verbose = log.isEnabledFor(logging.DEBUG)
        if allowed:
            self._counts[ALLOWED] += allowed


def _told(subject: Subject, action: str, decision: Decision) -> dict[str, object]:
    told: dict[str, object] = {
        "actor": subject.actor or "anonymous",
        "roles": sorted(subject.roles),
        "action": action,
        "rule": decision.rule or None,
        "reason": decision.reason,
    }
    if subject.chain:
        told["acting"] = list(subject.chain)
    return told
