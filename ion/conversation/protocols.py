"""All protocols, by the name that stands in the header ``protocol``."""

from __future__ import annotations

from collections.abc import Mapping

from ion.conversation.conversation import Protocol
from ion.conversation.generic import GENERIC
from ion.conversation.oneway import ONE_WAY
from ion.conversation.request import REQUEST_PROTOCOL
from ion.conversation.rpc import RPC
from ion.conversation.stream import STREAM

PROTOCOLS: Mapping[str, Protocol] = {
    protocol.name: protocol for protocol in (RPC, REQUEST_PROTOCOL, STREAM, GENERIC, ONE_WAY)
}
