"""The protocol ``none``: one message, no answer; over for the participant when it was handled.

It walks the same machine as an rpc, at the participant's end alone.
"""

from __future__ import annotations

from ion.conversation.conversation import Protocol

ONE_WAY = Protocol("none", answers=frozenset())
