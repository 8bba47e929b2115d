"""Which answer is whose: a device may answer after who asked has given up. Pure.

A device answers in the order in which it was asked, and says what it answers: ``RATE,5,OK``. It may
also lose a question, or its answer; or set something to what comes next to what was asked for.
"""

from __future__ import annotations

from collections import deque

MOST = 16  # questions without an answer that are remembered
COMPLAINT = "ERROR"  # it has not understood a question, and cannot say which


class ReplyCorrelator:
    """The questions to one device, one at a time.

    :ivar likely: the answer that may be that of the question of now, or of one before.
    """

    def __init__(self) -> None:
        self.likely: list[str] | None = None
        self._asked: tuple[str, str] | None = None
        self._is_answered = False
        self._owed: deque[tuple[str, str]] = deque(maxlen=MOST)

    def ask(self, name: str, value: str) -> None:
        """Begin with a question.

        :param value: what it is to be set to; "": it is asked for, and any value is an answer.
        """
        self._asked, self.likely, self._is_answered = (name, value), None, False

    def hear(self, words: list[str]) -> list[str] | None:
        """Take an answer; return what it says where it is surely that of the question of now."""
        if self._asked is None or self._is_answered:
            self._is_late(words)
            return None
        name, value = self._asked
        if words[0] not in (name, COMPLAINT):
            self._is_late(words)
            return None
        is_mine = bool(value) and _same(words, self._asked)
        if not is_mine and self._is_late(words):
            if not value or words[0] == COMPLAINT:  # what was set otherwise answers another one
                self.likely = words[1:]
            return None
        self._is_answered = True
        return words[1:]

    def end(self) -> None:
        """Ask no more; where there was no answer, not even a likely one, that may still come."""
        if self._asked is not None and not self._is_answered and self.likely is None:
            self._owed.append(self._asked)
        self._asked = self.likely = None

    def _is_late(self, words: list[str]) -> bool:
        """Return whether it may answer a question before, which is owed no more then."""
        for asked in self._owed:
            is_of = words[0] == asked[0] and (not asked[1] or _same(words, asked))
            if is_of or words[0] == COMPLAINT:
                self._owed.remove(asked)
                return True
        return False


def _same(words: list[str], asked: tuple[str, str]) -> bool:
    """Return whether an answer is about what was asked, in the same words or as the same number."""
    said = ",".join(words[1:-1])
    if said == asked[1]:
        return True
    try:
        return float(said) == float(asked[1])
    except ValueError:
        return False
