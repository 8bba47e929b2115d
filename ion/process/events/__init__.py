"""Events: what has happened, told to whoever wants to hear of its type.

What an event is: :mod:`.event`, the types that there are in :mod:`.types`, their fields in
:mod:`.fields`, and the topics they go out under in :mod:`.topics`.

To tell of one: :mod:`.publishing`; without waiting for the broker :mod:`.queue` for a process, and
:mod:`.background_publisher` and :mod:`.logs` for a container and its log. To hear of them:
:mod:`.subscription` and :mod:`.ops` for a process, :mod:`.expecting` for who waits for one. To hear
of those that were told before: :mod:`.replaying`, with :mod:`.window` and :mod:`.deduplication`, of
what the repository keeps (:mod:`.repository`).
"""

from ion.process.events.event import Event

__all__ = ["Event"]
