"""What repositories need to know of typed messages, whoever knows their types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from ion.objects.element import Typed

Conflicts = list[tuple[str, Any, Any, Any]]  # (field, base, ours, theirs)
MergeTyped = Callable[[Typed | None, Typed, Typed], tuple[Typed, Conflicts] | None]


class Types(Protocol):
    """Who knows types of messages; see :class:`~ion.objects.registry.Registry`."""

    def packed(self, value: Any) -> Any:
        """Return a message as :class:`Typed`, and what is no message as it is.

        :raises InvalidRequest: its type is not known, or it breaks a rule.
        """

    def unpacked(self, typed: Typed) -> Any:
        """Return the message, or ``typed`` itself where its type is not known.

        :raises Damaged: it is no message of that type.
        """

    def merge(
        self, base: Typed | None, ours: Typed, theirs: Typed
    ) -> tuple[Typed, Conflicts] | None:
        """Merge messages field by field; see :func:`ion.objects.merging.merge`."""
