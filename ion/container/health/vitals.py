"""What processes show of themselves when they are looked at now and then, at no cost to a message.

What is found between two samples is younger than it looks: ages are true to one sampling period,
and never too high.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from ion.container.agent.reports import SlowOp
from ion.conversation.generic import GENERIC
from ion.conversation.stream import STREAM
from ion.observe import stacks
from ion.process.process import Process
from ion.process.service import Service
from ion.process.serving.incoming import WAITING, IncomingCall
from ion.process.serving.workers import Workers

log = logging.getLogger(__name__)
MAX_TOLD = 20  # slow ops that are reported
MAX_MARKS = 32  # of one mailbox
LASTING = (STREAM, GENERIC)  # conversations that have a limit of silence of their own
_FRAMES_OF_ALL = 3  # two of the worker, and Process._serve


@dataclass(slots=True)
class _Seen:
    """A call at work.

    :ivar since: when it was seen first, or had last said something.
    :ivar said: how many messages of its conversation there were then.
    """

    since: float
    said: int
    is_told: bool = False


class SlowOps:
    """The ops that have run for too long.

    :param limit: seconds; None: none is too long.
    :ivar found: as of the last sample, the longest first; at most 20.
    """

    def __init__(
        self, workers: Workers, processes: Mapping[str, Process], limit: float | None
    ) -> None:
        self._workers = workers
        self._processes = processes
        self._limit = limit
        self._seen: dict[IncomingCall, _Seen] = {}
        self.found: list[SlowOp] = []

    def sample(self, now: float) -> None:
        """Look at the calls that are at work.

        :param now: on the loop's clock.
        """
        if self._limit is None:
            return
        seen: dict[IncomingCall, _Seen] = {}
        slow: list[tuple[float, IncomingCall]] = []
        for call in self._workers.at_work():
            if call.protocol in LASTING:
                continue
            known = self._seen.get(call)
            if known is None or known.said != call.seq:
                known = _Seen(now, call.seq)
            seen[call] = known
            if now - known.since >= self._limit:
                slow.append((now - known.since, call))
        self._seen = seen
        slow.sort(key=lambda each: -each[0])
        self.found = [self._report(call, seconds) for seconds, call in slow[:MAX_TOLD]]

    def _report(self, call: IncomingCall, seconds: float) -> SlowOp:
        process = self._processes.get(call.process)
        found = SlowOp(
            pid=call.process,
            name=process.name if process is not None else "",
            service=process.service_name if isinstance(process, Service) else None,
            op=call.op,
            conversation=call.conversation,
            sender=call.sender,
            seconds=round(seconds, 3),
            stack=stacks.of_task(call.task, _FRAMES_OF_ALL) if call.task is not None else [],
        )
        seen = self._seen[call]
        if not seen.is_told:
            seen.is_told = True
            words = "op %r of %s (%s), called by %s, has run for %.1f s, and stands here:\n  %s"
            stack = "\n  ".join(found.stack)
            caller = found.sender or "nobody known"
            log.warning(words, found.op, found.name, found.pid, caller, seconds, stack)
        return found


class Waits:
    """How long the oldest message of each mailbox has waited.

    Mailboxes are queues: as long as the message that was the last one at some time still waits, all
    that came before it have waited since.

    :ivar ages: pid -> seconds, as of the last sample; of mailboxes in which something waits.
    """

    def __init__(self, processes: Mapping[str, Process]) -> None:
        self._processes = processes
        self._marks: dict[str, deque[tuple[IncomingCall, float]]] = {}
        self.ages: dict[str, float] = {}

    def sample(self, now: float) -> None:
        """Look at all mailboxes.

        :param now: on the loop's clock.
        """
        marks: dict[str, deque[tuple[IncomingCall, float]]] = {}
        for pid, process in self._processes.items():
            if process._waiting:
                kept = self._marks.get(pid) or deque()
                marks[pid] = _marked(kept, process._waiting[-1], now)
        self._marks = marks
        self.ages = {pid: now - kept[0][1] for pid, kept in marks.items()}


def _marked(
    kept: deque[tuple[IncomingCall, float]], last: IncomingCall, now: float
) -> deque[tuple[IncomingCall, float]]:
    """Return the marks of a mailbox, without those that wait no more, with one at its end."""
    while kept and not _waits(kept[0][0]):
        kept.popleft()
    if not kept or kept[-1][0] is not last:
        kept.append((last, now))
    return kept if len(kept) <= MAX_MARKS else deque(list(kept)[::2])


def _waits(call: IncomingCall) -> bool:
    return call.phase == WAITING and call.endpoint.calls.get(call.key) is call
