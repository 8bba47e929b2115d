"""TLS: through a proxy that ends it, since the test broker speaks plain AMQP."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ion.base.errors import Unavailable
from ion.messaging.amqp.transport import AmqpTransport
from ion.messaging.envelope import Envelope
from ion.messaging.transport import QueueSpec
from tests.messaging.amqp.inbox import Inbox

pytestmark = pytest.mark.amqp


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a self-signed certificate for 127.0.0.1, its key in the same file."""
    folder = tmp_path_factory.mktemp("tls")
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    subprocess.run([*words, *subject, *files], check=True, capture_output=True)
    return folder


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


@pytest.fixture
async def tls_url(amqp_url: str, certificate: Path) -> AsyncIterator[str]:
    """Give the URL of the test's virtual host behind TLS."""
    url = urlsplit(amqp_url)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_reader, to_writer = await asyncio.open_connection(url.hostname, url.port)
        for one, other in ((reader, to_writer), (to_reader, writer)):
            task = asyncio.ensure_future(_copy(one, other))
            tasks.add(task)

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    yield f"amqps://guest:guest@127.0.0.1:{port}{url.path}"
    server.close()
    await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)


async def test_messages_go_through_tls(tls_url: str, certificate: Path) -> None:
    transport = AmqpTransport([f"{tls_url}?cafile={certificate / 'cert.pem'}"])
    await transport.open()
    inbox = Inbox()
    await transport.declare_queue(QueueSpec("q", durable=False))
    await transport.consume("q", inbox, prefetch=10)
    bodies = [b"x" * size for size in (0, 1000, 300_000, 2_000_000)]
    for body in bodies:
        await transport.publish_confirmed("", "q", Envelope("op", body), timeout=5)
    assert [d.envelope.body for d in await inbox.wait(4)] == bodies
    await transport.close()


async def test_a_certificate_that_nobody_vouches_for(tls_url: str) -> None:
    with pytest.raises(Unavailable, match=r"^TLS failed"):
        await AmqpTransport([tls_url]).open()
