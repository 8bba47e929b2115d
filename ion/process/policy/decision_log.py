"""The log of decisions: each is logged with its reason, and counted.

What is allowed is logged at level DEBUG, what is denied at WARNING: who, what, by which rule, and
why. Of the same denial to the same actor there is one line in ten seconds, which says how many
there were; of all denials a few in a second at most, however many actors and actions somebody has
at hand, so that nobody fills a disk by being refused.
"""

from __future__ import annotations

import logging
import time
from collections import Counter

from ion.base.token_bucket import TokenBucket
from ion.process.policy.model import Decision, Subject

log = logging.getLogger("ion.policy")
QUIET = 10.0  # seconds
MAX_NOTED = 1_000
BURST, RATE = 100, 5.0  # denials that are logged at once, and in a second after that
SHOWN = 300  # letters of a name: a token may say any
ALLOWED, DENIED = "policy allowed", "policy denied"
_LINE = "denied: %(actor)s (%(roles)s) to %(action)s: %(reason)s"
_OMITTED = "%d more denials were not logged: too many at once"


class DecisionLog:
    """Takes note of decisions.

    :param counts: of the endpoint, which its numbers are told of with.
    :ivar is_verbose: whether what is allowed is logged, as of the last :meth:`count`.
    """

    def __init__(self, counts: Counter[str]) -> None:
        self.is_verbose = log.isEnabledFor(logging.DEBUG)
        self._counts = counts
        self._noted: dict[tuple[str, str], tuple[float, int]] = {}  # -> when, how many since
        self._lines = TokenBucket(BURST, RATE, time.monotonic())
        self._omitted = 0

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
        if not self._lines.take(now):
            self._omitted += 1
            return
        told = _told(subject, action, decision)
        if others:
            told["times"] = others + 1
        shown = {name: _shown(told[name]) for name in ("actor", "roles", "action", "reason")}
        log.warning(_LINE, shown, extra=told)

    def count(self, allowed: int) -> None:
        """Add to what was allowed; see whether it is to be logged, and say what was not."""
        self.is_verbose = log.isEnabledFor(logging.DEBUG)
        if allowed:
            self._counts[ALLOWED] += allowed
        if self._omitted:
            log.warning(_OMITTED, self._omitted)
            self._omitted = 0


def _shown(value: object) -> str:
    """Return what a line shows: no line breaks, nor more than a line holds."""
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    text = "".join(letter if letter.isprintable() else "?" for letter in text[: SHOWN + 1])
    return f"{text[:SHOWN]}..." if len(text) > SHOWN else text or "no role"


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
