"""The rpc protocol: a request, then a result or a failure, within a deadline."""

from __future__ import annotations

from ion.conversation.conversation import Protocol

RPC = Protocol("rpc")
