"""Errors: raised by the logic alone, and received over each transport."""

from __future__ import annotations

import logging

import pytest

from ion import BadRequest, Container, ReceivedApplicationError, ReceivedContainerError
from ion.services.hello_errors.client import HelloErrorsClient
from ion.services.hello_errors.model import Stranger, title_of


def test_the_logic_needs_no_message() -> None:
    assert title_of("Ada") == "Countess"
    with pytest.raises(Stranger, match="Godot") as raised:
        title_of("Godot")
    assert (raised.value.code, raised.value.type) == (404, "Stranger")


@pytest.fixture
async def client(container: Container) -> HelloErrorsClient:
    await container.start_app("hello_errors")
    return HelloErrorsClient(container)


async def test_no_error(client: HelloErrorsClient) -> None:
    assert await client.greet("Ada") == "Hello there, Countess Ada"
    assert await client.share(6, 4) == 1.5


async def test_an_application_error_arrives_whole(client: HelloErrorsClient) -> None:
    with pytest.raises(ReceivedApplicationError, match="nobody here is called 'Godot'") as raised:
        await client.greet("Godot")
    error = raised.value
    assert (error.code, error.type, error.details) == (
        404,
        "Stranger",
        {"guests": ["Ada", "Grace"]},
    )


async def test_any_other_is_a_500_logged_once_and_the_service_goes_on(
    client: HelloErrorsClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR), pytest.raises(ReceivedContainerError) as raised:
        await client.share(6, 0)
    assert (raised.value.code, raised.value.type) == (500, "ZeroDivisionError")
    assert raised.value.message == "division by zero"
    assert len(caplog.records) == 1
    assert await client.share(6, 3) == 2


async def test_a_misfit_never_reaches_the_op(client: HelloErrorsClient) -> None:
    with pytest.raises(BadRequest, match="guests"):
        await client._call("share", {"cakes": 6, "guests": "two"})
