"""The stream protocol: request; refuse, or items (``inform``), then the end or a failure.

The initiator gives credit: how many items more it has room for. The participant sends no more.
Either side may cancel.
"""

from __future__ import annotations

from ion.conversation import conversation as c

STREAM = c.Protocol(
    "stream",
    [
        (c.REFUSE, c.REQUESTED, c.REFUSED),
        (c.INFORM, [c.REQUESTED, c.STREAMING], c.STREAMING),
        (c.CREDIT, c.REQUESTED, c.REQUESTED),
        (c.CREDIT, c.STREAMING, c.STREAMING),
    ],
    open=[c.REQUESTED, c.STREAMING],
    answers=c.RESULTS | {c.REFUSE, c.INFORM, c.CANCEL},
    says=frozenset({c.CREDIT}),
)
