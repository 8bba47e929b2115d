"""The log of what ops raise that they should not, so that no caller fills a disk with it.

The first of a kind (op, exception, place) is logged with its traceback, and again after a while.
The others have a line each, a few in a second at most. How many had none is said seconds later.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from types import TracebackType

from ion.base.token_bucket import TokenBucket

log = logging.getLogger(__name__)
AGAIN = 600.0  # seconds after which a traceback is of use again: logs are turned over
MAX_KINDS = 1000
FIRSTS, FIRSTS_RATE = 100, 1.0  # tracebacks at once, and in a second after that
LINES, LINES_RATE = 100, 5.0  # likewise of lines
TOLD_AFTER = 10.0  # seconds
TOLD = 20  # kinds
MAX_TEXT = 1000  # characters


class ErrorLog:
    """The log of one container.

    :ivar omitted: those that had no line since that was said last, by what they are.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        now = loop.time()
        self._seen: dict[tuple[str, str, str], float] = {}
        self._firsts = TokenBucket(FIRSTS, FIRSTS_RATE, now)
        self._lines = TokenBucket(LINES, LINES_RATE, now)
        self.omitted: Counter[str] = Counter()

    def note(
        self, op: str, name: str, error: BaseException, text: str, traceback: TracebackType | None
    ) -> None:
        """Log that an op of a process has failed.

        :param name: of the process.
        :param text: of the error.
        :param traceback: from the op on.
        """
        type_, now = type(error).__name__, self._loop.time()
        place = _place(traceback)
        kind = (op, type_, place)
        told = self._seen.get(kind)
        if (told is None or now - told > AGAIN) and self._firsts.take(now):
            if len(self._seen) >= MAX_KINDS:
                self._seen.clear()
            self._seen[kind] = now
            cause = (type(error), error, traceback)
            shown = text[:MAX_TEXT]
            log.error("op %r of %s failed: %s: %s", op, name, type_, shown, exc_info=cause)
        elif self._lines.take(now):
            line = "op %r of %s failed: %s: %s (at %s, as before)"
            log.error(line, op, name, type_, text[:MAX_TEXT], place)
        else:
            self._omit(f"op {op!r} of {name}: {type_} at {place}")

    def _omit(self, what: str) -> None:
        if not self.omitted:
            self._loop.call_later(TOLD_AFTER, self._tell)
        if what not in self.omitted and len(self.omitted) >= MAX_KINDS:
            what = "others"
        self.omitted[what] += 1

    def _tell(self) -> None:
        """Say how many had no line."""
        omitted, self.omitted = self.omitted, Counter()
        most = [f"{count} {what}" for what, count in omitted.most_common(TOLD)]
        rest = len(omitted) - len(most)
        words = f"{'; '.join(most)}{f'; and {rest} more kinds' if rest else ''}"
        log.error("%d more failures of ops were not logged: %s", omitted.total(), words)


def _place(traceback: TracebackType | None) -> str:
    """Return where an exception was raised, as ``file:line``."""
    if traceback is None:
        return "nowhere"
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    file = traceback.tb_frame.f_code.co_filename.replace("\\", "/").rpartition("/")[2]
    return f"{file}:{traceback.tb_lineno}"
