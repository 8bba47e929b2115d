"""The generic protocol: request; refuse, or agree, then both sides say anything until one ends it.

The participant may skip ``agree`` where it has its answer at once.
"""

from __future__ import annotations

from ion.conversation import conversation as c

GENERIC = c.Protocol(
    "generic",
    [
        (c.AGREE, c.REQUESTED, c.OPEN),
        (c.INFORM, c.OPEN, c.OPEN),
        (c.REFUSE, [c.REQUESTED, c.OPEN], c.REFUSED),
    ],
    open=[c.REQUESTED, c.OPEN],
    answers=c.RESULTS | {c.REFUSE, c.AGREE, c.INFORM, c.CANCEL},
    says=c.RESULTS | {c.REFUSE, c.INFORM},
)
