"""What was revoked is told to all containers at once, signed with the key of the system.

Their agents take it (op ``revoke``). Who was not there to hear hears it with the next reminder.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from ion.messaging import codec
from ion.messaging.envelope import MSGPACK
from ion.process.discovery import AGENTS, survey
from ion.process.identity.revocations import Revocation

if TYPE_CHECKING:
    from ion.process.endpoint.endpoint import Endpoint

OP = "revoke"
QUIET = 0.05  # seconds after the last answer until no more are awaited; they hear it all the same
AT_ONCE = 500  # revocations in one message


async def tell(endpoint: Endpoint, told: Sequence[Revocation], timeout: float = 5.0) -> int:
    """Tell all containers what was revoked; return how many have taken it.

    :param timeout: seconds for their answers.
    :raises Unavailable: the broker is away.
    :raises ReceivedError: none has taken it; the first failure.
    """
    count = 0
    for start in range(0, len(told), AT_ONCE):
        content = {"told": told[start : start + AT_ONCE]}
        body = codec.encode(msgspec.to_builtins(content), MSGPACK)[0]
        permission = endpoint.permission
        headers = permission.sign(AGENTS, OP, body) if permission is not None else {}
        answers = await survey(
            endpoint, AGENTS, OP, msgspec.Raw(body), timeout, headers, quiet=QUIET
        )
        count = len(answers)
    return count
