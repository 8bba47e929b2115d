"""The hello service: one op."""

from __future__ import annotations

from ion.process.service import Service


class HelloService(Service, name="hello", version="0.1.0"):
    """Greets."""

    async def op_hello(self, text: str = "Hi there") -> str:
        """Return a greeting that repeats ``text``."""
        return f"Hello there, {text}"
