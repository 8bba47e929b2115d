"""The typed client of the hello_message service."""

from __future__ import annotations

from ion.process.client import ServiceClient
from ion.services.hello_message.model import Greeting, Person


class HelloMessageClient(ServiceClient, service="hello_message"):
    """Calls the hello_message service with structures, and gives structures back."""

    async def greet(self, person: Person, *, timeout: float | None = None) -> Greeting:
        """Return a greeting in a language of the person's.

        :raises BadRequest: the person is not as it must be; the message names the key.
        """
        content = {"person": person}
        answer: Greeting = await self._call("greet", content, timeout=timeout, returns=Greeting)
        return answer
