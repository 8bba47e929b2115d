"""The request protocol, after FIPA: request; refuse, or agree, progress and a result or failure.

The participant may skip ``agree`` where it has its answer at once. Either side may cancel.
"""

from __future__ import annotations

from ion.conversation import conversation as c

REQUEST_PROTOCOL = c.Protocol(
    "request",
    [
        (c.REFUSE, c.REQUESTED, c.REFUSED),
        (c.AGREE, c.REQUESTED, c.AGREED),
        (c.PROGRESS, c.AGREED, c.AGREED),
    ],
    open=[c.REQUESTED, c.AGREED],
    answers=c.RESULTS | {c.REFUSE, c.AGREE, c.PROGRESS, c.CANCEL},
)
