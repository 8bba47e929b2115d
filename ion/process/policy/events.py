"""What is told of policy: that there are other rules."""

from __future__ import annotations

from ion.process.events.event import Event


class PolicyEvent(Event):
    """Something about rules."""


class PolicyChanged(PolicyEvent):
    """The service ``policy`` has a new version; its origin is ``policy``.

    :ivar version: of the rules that hold now.
    """

    version: int = 0


class PolicyReloaded(PolicyEvent):
    """A container, which is the origin, decides by other rules now.

    :ivar version: of the service ``policy``; 0: they are of a file.
    :ivar source: the file, or what stands for it.
    :ivar rules: how many there are.
    """

    version: int = 0
    source: str = ""
    rules: int = 0
