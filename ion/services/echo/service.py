"""A service that says what it was told, in the two forms that an op can have.

Parameters with annotations are bound from the content and checked: the usual form. Parameters
named exactly ``content, headers, msg`` get the raw parts, whatever was sent, and the op may
answer by itself, before it is done.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from typing import Any

from ion.process.service import Service
from ion.process.serving.incoming import IncomingCall


class EchoService(Service, name="echo", version="0.1.0"):
    """Says what it was told."""

    async def op_rot13(self, text: str) -> str:
        """Return ``text`` with each letter moved by half the alphabet; twice gives it back."""
        return codecs.encode(text, "rot13")

    async def op_echo(self, content: Any, headers: Mapping[str, Any], msg: IncomingCall) -> None:
        """Answer with the content as it came, and with who sent it in which content type."""
        about = {"sender": msg.sender, "content_type": headers["content-type"]}
        await self.reply_ok(msg, {"content": content, **about})
