"""A plain process: it is called by its process id, and handles one message at a time.

Whoever spawned it knows the id, and tells it to others. Because a process handles its messages
one after another, it may keep state in its attributes without any lock.
"""

from __future__ import annotations

from ion.process.process import Process


class HelloProcess(Process):
    """Greets, and counts its greetings.

    :param greeting: what it begins each greeting with.
    """

    def __init__(self, greeting: str = "Hello there") -> None:
        self.greeting = greeting
        self.count = 0

    async def op_hello(self, text: str = "Hi there") -> str:
        """Return a greeting that repeats ``text``."""
        self.count += 1
        return f"{self.greeting}, {text}"

    async def op_count(self) -> int:
        """Return how many greetings it has given."""
        return self.count
