"""The table of open conversations of one endpoint, with bounded tombstones of closed ones.

A tombstone lets a late or doubled answer be recognised, counted and dropped instead of being
taken for an unknown one. The table never leaks: whoever opens a conversation closes it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

from ion.conversation.conversation import Conversation

C = TypeVar("C", bound=Conversation)
TOMBSTONES = 4096


class ConversationTable(Generic[C]):
    """Open conversations by id.

    :ivar open: id -> conversation; read it, change it only by :meth:`add` and :meth:`close`.
    :ivar late: answers that came after their conversation had ended.
    :ivar unknown: answers to conversations that this endpoint never had.
    """

    __slots__ = ("_tombstones", "late", "open", "unknown")

    def __init__(self) -> None:
        self.open: dict[str, C] = {}
        self.late = 0
        self.unknown = 0
        self._tombstones: OrderedDict[str, None] = OrderedDict()

    def add(self, conversation: C) -> None:
        """Open a conversation."""
        self.open[conversation.id] = conversation

    def close(self, conversation: C, *, answered: bool) -> None:
        """Close a conversation; leave a tombstone where its answer may still come."""
        if self.open.pop(conversation.id, None) is not None and not answered:
            self.bury(conversation.id)

    def bury(self, id: str) -> None:
        """Leave a tombstone for a closed conversation whose answer may still come."""
        self._tombstones[id] = None
        if len(self._tombstones) > TOMBSTONES:
            self._tombstones.popitem(last=False)

    def stray(self, id: str, *, ended: bool = False) -> bool:
        """Count an answer that has no open conversation; return whether it was a late one.

        :param ended: the conversation is known to be over, if not closed yet.
        """
        if ended or id in self._tombstones:
            self.late += 1
            return True
        self.unknown += 1
        return False
