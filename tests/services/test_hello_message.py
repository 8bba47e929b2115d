"""Typed messages, over each transport."""

from __future__ import annotations

import pytest

from ion import BadRequest, Container
from ion.services.hello_message.client import HelloMessageClient
from ion.services.hello_message.model import Greeting, Person


@pytest.fixture
async def client(container: Container) -> HelloMessageClient:
    await container.start_app("hello_message")
    return HelloMessageClient(container)


async def test_structures_in_and_out(client: HelloMessageClient) -> None:
    person = Person(name="Zoé", languages=["xx", "fr", "en"])
    greeting = await client.greet(person)
    assert greeting == Greeting(text="Bonjour, Zoé", language="fr", person=person)


async def test_what_was_received_can_be_sent_again(client: HelloMessageClient) -> None:
    first = await client.greet(Person(name="Ada"))
    assert first.language == "en"
    assert await client.greet(first.person) == first


@pytest.mark.parametrize(
    ("person", "named"),
    [({}, "name"), ({"name": 1}, "name"), ({"name": "x", "languages": [1]}, "languages")],
)
async def test_a_wrong_structure_is_a_400(
    client: HelloMessageClient, person: dict[str, object], named: str
) -> None:
    with pytest.raises(BadRequest, match=named):
        await client._call("greet", {"person": person})
