"""Events: what has happened, told to whoever wants to hear of its type.

What an event is: ``event.py``, the types that there are in ``types.py``, their fields in
``fields.py``, and the topics they go out under in ``naming.py``.

To tell of one: ``telling.py``; without waiting for the broker ``queue.py`` for a process, and
``handing.py`` and ``logs.py`` for a container and its log. To hear of them: ``eventing.py`` and
``hearing.py`` for a process, ``expecting.py`` for who waits for one. To hear of those that were
told before: ``replaying.py``, with ``window.py`` and ``seam.py``, from the repository's
``filed.py``.
"""

from ion.process.events.event import Event

__all__ = ["Event"]
