"""TLS to a RabbitMQ that has TLS listeners: what goes through, and what is said where none does."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ion import Container
from ion.base.errors import ConfigurationError, Unavailable
from ion.base.settings import BrokerTlsSettings
from ion.messaging.amqp.transport import AmqpTransport
from ion.messaging.envelope import Envelope
from ion.messaging.transport import QueueSpec
from ion.testing.servers import RabbitServer
from ion.testing.servers.private import free_port
from tests.messaging.amqp.authority import DAY, Authority
from tests.messaging.amqp.inbox import Inbox
from tests.shell.doctoring import diagnose

pytestmark = pytest.mark.amqp
Listen = Callable[..., int]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Give the authority that vouches for the broker."""
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def listen(rabbitmq_server: RabbitServer, authority: Authority) -> Listen:
    """Give what opens a TLS listener of the broker and returns its port."""

    def start(certificate: Path, *more: str) -> int:
        port = free_port()
        files = [f'{key}, "{certificate}"' for key in ("certfile", "keyfile")]
        told = ["cacertfile, " + f'"{authority.ca}"', *files, *more]
        options = ", ".join(f"{{{each}}}" for each in told)
        call = f'rabbit_networking:start_ssl_listener({{"127.0.0.1", {port}}}, [{options}], 2)'
        rabbitmq_server.eval(call)
        return port

    return start


@pytest.fixture(scope="module")
def port(listen: Listen, authority: Authority) -> int:
    """Give the port of a listener with a good certificate."""
    return listen(authority.vouch("broker"))


@pytest.fixture(scope="module")
def mutual(listen: Listen, authority: Authority) -> int:
    """Give the port of a listener that asks for a certificate."""
    return listen(authority.vouch("asking"), "verify, verify_peer", "fail_if_no_peer_cert, true")


def at(amqp_url: str, port: int, query: str = "") -> str:
    """Return a URL with TLS."""
    return f"amqps://guest:guest@127.0.0.1:{port}{urlsplit(amqp_url).path}?{query}"


async def refused(url: str, **settings: object) -> str:
    """Return what is said where there is no connection."""
    tls = BrokerTlsSettings(**settings)  # type: ignore[arg-type]
    with pytest.raises(Unavailable) as caught:
        await AmqpTransport([url], tls=tls).open()
    assert caught.value.details["cause"] == "tls"
    assert caught.value.message.startswith("TLS failed: ")
    return caught.value.message


@pytest.mark.parametrize("lean", [True, False], ids=["lean", "plain"])
async def test_messages_go_through_tls(
    amqp_url: str, port: int, authority: Authority, lean: bool
) -> None:
    transport = AmqpTransport([at(amqp_url, port, f"cafile={authority.ca}")], lean=lean)
    await transport.open()
    inbox = Inbox()
    await transport.declare_queue(QueueSpec("q"))
    await transport.consume("q", inbox, prefetch=10)
    bodies = [b"x" * size for size in (0, 1000, 300_000, 2_000_000)]
    for body in bodies:
        await transport.publish_confirmed("", "q", Envelope("op", body), timeout=15)
    assert [d.envelope.body for d in await inbox.wait(4)] == bodies
    assert "cafile" not in transport.broker
    await transport.close()


async def test_by_settings_with_a_certificate_of_this_side(
    amqp_url: str, mutual: int, authority: Authority, rabbitmq_server: RabbitServer
) -> None:
    """And the connection is made again with them."""
    own = str(authority.vouch("own"))
    config = {
        "broker.tls.ca_file": str(authority.ca),
        "broker.tls.cert_file": own,
        "broker.tls.server_name": "127.0.0.1",
    }
    async with Container(at(amqp_url, mutual), sysname="tls", config=config) as container:
        await container.start_app("hello")
        assert await container.rpc_send("hello", "hello", {"text": "a"}) == "Hello there, a"
        lost = asyncio.Event()
        container.transport.on_state(lambda state: lost.set())
        rabbitmq_server.close_connections()
        await asyncio.wait_for(lost.wait(), 30)
        await container.transport.wait_connected(30)
        assert await container.rpc_send("hello", "hello", {"text": "b"}) == "Hello there, b"


async def test_the_doctor_goes_the_same_way(
    amqp_url: str, mutual: int, authority: Authority
) -> None:
    own, url = authority.vouch("doctor"), at(amqp_url, mutual)
    settings = [f"broker.tls.ca_file={authority.ca}", f"broker.tls.cert_file={own}"]
    assert "broker-tls" not in (await diagnose(url, settings=settings)).codes
    without = await diagnose(url, settings=settings[:1])
    assert "asks for a certificate of this side" in without.one("broker-tls")[0]
    missing = await diagnose(url, settings=["broker.tls.ca_file=/nowhere.pem"])
    assert "no file" in missing.one("broker-tls")[0]


async def test_what_is_wrong_is_said(
    amqp_url: str, port: int, mutual: int, authority: Authority, listen: Listen, tmp_path: Path
) -> None:
    ca = f"cafile={authority.ca}"
    assert "nobody that is trusted here vouches" in await refused(at(amqp_url, port))
    stranger = Authority(tmp_path, "stranger")
    assert "broker.tls.ca_file" in await refused(at(amqp_url, port), ca_file=str(stranger.ca))
    old = listen(authority.vouch("old", ends=-DAY))
    assert "has expired" in await refused(at(amqp_url, old, ca))
    elsewhere = listen(authority.vouch("elsewhere", host="broker.example"))
    assert "is for another host" in await refused(at(amqp_url, elsewhere, ca))
    assert "is for another host" in await refused(
        at(amqp_url, port, ca), server_name="broker.example"
    )
    assert "asks for a certificate of this side" in await refused(at(amqp_url, mutual, ca))
    foreign = at(amqp_url, mutual, f"{ca}&certfile={stranger.vouch('me')}")
    assert "who vouches for this side's certificate" in await refused(foreign)
    assert "no TLS is spoken there" in await refused(
        amqp_url.replace("amqp://", "amqps://"), verify=False
    )
    # and with the right name, or unverified, where that is asked for
    for query in (f"{ca}&server_name=broker.example", "verify=verify_none"):
        transport = AmqpTransport([at(amqp_url, elsewhere, query)])
        await transport.open()
        await transport.close()


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("cafile=/nowhere.pem", "broker.tls.ca_file: there is no file '/nowhere.pem'"),
        ("cafile={junk}", "cannot be read as certificates in PEM"),
        ("cafile={empty}", "cannot be read as certificates in PEM"),
        ("certfile={junk}", "cannot be used"),
        ("keyfile={junk}", "without a certificate"),
        ("cafile={pipe}", "ca_file: '.*pipe' cannot be read: it is a pipe, socket or device"),
        ("certfile={locked}&keyfile={pipe}", "key_file: '.*pipe' cannot be read: it is a pipe"),
        ("cafile={huge}", "ca_file: '.*huge' is over 4194304 bytes"),
        ("certfile={huge}", "cert_file: '.*huge' is over 4194304 bytes"),
        ("certfile={locked}", "has a password"),
        ("verify=perhaps", "verify_peer or verify_none"),
    ],
)
async def test_files_that_cannot_be(tmp_path: Path, query: str, said: str) -> None:
    from cryptography.hazmat.primitives import serialization as s

    junk = tmp_path / "junk.pem"
    junk.write_text("no certificate")
    locked = Authority(tmp_path).vouch("locked")
    key = s.load_pem_private_key(locked.read_bytes(), None)
    words = (s.Encoding.PEM, s.PrivateFormat.PKCS8, s.BestAvailableEncryption(b"secret"))
    certificate = locked.read_bytes().partition(b"-----BEGIN CERT")
    locked.write_bytes(key.private_bytes(*words) + b"".join(certificate[1:]))
    pipe, huge, empty = (tmp_path / name for name in ("pipe", "huge", "empty"))
    empty.touch()
    os.mkfifo(pipe)  # that nobody writes to
    with huge.open("wb") as file:
        file.truncate(1 << 40)
    files = {"junk": junk, "locked": locked, "pipe": pipe, "huge": huge, "empty": empty}
    url = f"amqps://127.0.0.1:1/?{query.format(**files)}"
    with pytest.raises(ConfigurationError, match=said):
        await AmqpTransport([url]).open()


async def test_a_broker_that_ends_it_at_once(authority: Authority) -> None:
    """So it looks where its alert is lost: it does not want what this side has shown, or not."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority.vouch("curt"))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    said = await refused(f"amqps://127.0.0.1:{port}/?cafile={authority.ca}")
    assert "ended the connection before it said anything" in said
    server.close()
