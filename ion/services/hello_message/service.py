"""A service that takes and gives structures; their types are in ``model``."""

from __future__ import annotations

from ion.process.service import Service
from ion.services.hello_message.model import Greeting, Person

HELLO = {"en": "Hello there", "fr": "Bonjour", "la": "Salve"}


class HelloMessageService(Service, name="hello_message", version="0.1.0"):
    """Greets a person in the first language that both know."""

    async def op_greet(self, person: Person) -> Greeting:
        """Return a greeting; in English where no language is shared."""
        language = next((word for word in person.languages if word in HELLO), "en")
        text = f"{HELLO[language]}, {person.name}"
        return Greeting(text=text, language=language, person=person)
