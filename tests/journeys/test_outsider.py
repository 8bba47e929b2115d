"""Somebody with a login at the broker, a plain client, and bad intentions: nothing of it is done.

What policy and identity keep out here, they do without signed messages; what only those keep out,
tests/process/command/test_signed.py shows.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aio_pika
import msgspec
import pytest

from ion import Container, Operator, Process, Service
from ion.process.events import Event
from ion.process.identity import acting
from ion.process.identity.issuer import Issuer
from ion.services.datastore.client import DatastoreClient
from tests.process.policy.policed import SYSNAME, call, policed, token, write

pytestmark = [pytest.mark.amqp, pytest.mark.timeout(120)]
RULES = (
    "{allow: [vault.put, safe.put, datastore.*], to: [OPERATOR]}",
    "{allow: '@events/Event.Spill.*', to: [OPERATOR]}",
)
encode = msgspec.msgpack.encode
_ids = itertools.count(1)


class Spill(Event):
    """Something was spilt."""


class Vault(Service, name="vault", delivery="effectively-once"):
    """Keeps what it is told, and hears of events."""

    def __init__(self) -> None:
        self.done: list[Any] = []
        self.queues: list[str] = []
        self.is_open = asyncio.Event()
        self.is_open.set()

    async def on_activate(self) -> None:
        for name in (None, "shared"):
            made = await self.subscribe_events(Spill, self.on_spill, name=name)
            self.queues.append(made.queue)

    async def op_put(self, what: str) -> str:
        self.done.append(what)
        await self.is_open.wait()
        return what

    async def on_spill(self, event: Spill) -> None:
        self.done.append(event.origin)


class Safe(Process, name="safe"):
    """Is reached by its pid alone."""

    async def op_put(self, what: str) -> str:
        raise AssertionError(what)


class Outsider:
    """A plain aio-pika client with a queue of its own, that hears all that goes over the bus."""

    def __init__(self, channel: aio_pika.abc.AbstractChannel) -> None:
        self._channel = channel
        self.answers: dict[str, Any] = {}
        self.seen: list[aio_pika.abc.AbstractIncomingMessage] = []

    async def open(self) -> None:
        self.own = await self._channel.declare_queue(exclusive=True)
        await self.own.consume(self._answered, no_ack=True)
        ear = await self._channel.declare_queue(exclusive=True)
        await ear.bind(await self._channel.get_exchange(f"{SYSNAME}.xs"), "#")
        await ear.consume(self._saw, no_ack=True)

    async def _answered(self, message: aio_pika.abc.AbstractIncomingMessage) -> None:
        assert message.correlation_id is not None
        self.answers[message.correlation_id] = msgspec.msgpack.decode(message.body)

    async def _saw(self, message: aio_pika.abc.AbstractIncomingMessage) -> None:
        self.seen.append(message)

    async def send(self, exchange: str, key: str, op: str, body: Any, **headers: Any) -> str:
        """Send a message, and return what its answer will bear."""
        number = f"out-{next(_ids)}"
        await self.put(
            exchange,
            key,
            aio_pika.Message(
                encode(body),
                type=op,
                reply_to=self.own.name,
                correlation_id=number,
                message_id=number,
                content_type="application/msgpack",
                headers=headers,
            ),
        )
        return number

    async def put(self, exchange: str, key: str, message: aio_pika.Message) -> None:
        channel = self._channel
        to = await channel.get_exchange(exchange) if exchange else channel.default_exchange
        await to.publish(message, key, mandatory=False)

    async def refused(self, number: str) -> int:
        """Return the code that a message was refused with."""
        await until(lambda: number in self.answers)
        answer = self.answers[number]
        assert isinstance(answer, dict), answer
        return int(answer["code"])


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def outsider(url: str) -> AsyncIterator[Outsider]:
    async with await aio_pika.connect(url) as connection:
        made = Outsider(await connection.channel())
        await made.open()
        yield made


@pytest.fixture
async def container(amqp_url: str, tmp_path: Path) -> AsyncIterator[Container]:
    path = write(tmp_path / "rules.yml", *RULES)
    async with policed((amqp_url, {"store.url": "memory://"}), path) as container:
        yield container


@pytest.fixture
async def vault(container: Container) -> Vault:
    made = container.processes[await container.spawn(Vault)]
    assert isinstance(made, Vault)
    return made


def forged(container: Container) -> Iterator[Any]:
    """Give tokens that are none, or not good for this."""
    good = token(container, "ann", ["OPERATOR"])
    head, claims, signature = good.split(".")
    said = json.loads(base64.urlsafe_b64decode(claims + "=="))
    said["sub"] = "root"
    more = base64.urlsafe_b64encode(json.dumps(said).encode()).rstrip(b"=").decode()
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    stranger = Issuer.of_system(bytes(32), SYSNAME)
    yield from (None, "", "x", 5, bytearray(b"\xff"), ["a"], {"a": good}, f"{good} ", f"{good}=")
    yield from (f"{head}.{more}.{signature}", f"{none}.{more}.", f"{head}.{claims}.", claims)
    yield stranger.token("ann", ["OPERATOR"])  # of another system of the same name
    yield stranger.system_token("x.0", life=60)
    yield token(container, "ann", ["OPERATOR"], audience=["elsewhere"])
    yield token(container, "ann", ["OPERATOR"], audience=[f"{SYSNAME}/other"])
    yield token(container, "ann", ["OPERATOR"], life=-60.0)
    yield token(container, "ann", ["OPERATORS", "operator"])
    yield token(container, "ann")


SMUGGLED: list[dict[str, Any]] = [
    {},
    {"user-id": "system", "sender": "vault.0", "roles": ["OPERATOR"], "actor": "system"},
    {"protocol": "request"},
    {"protocol": "stream", "credit": 5},
    {"protocol": "conversation", "performative": "request"},
    {"receiver": "datastore", "attempt": 2, "dead-from": "test.datastore"},
    {"x-replayed-offset": 5, "replayed": "1", "x-death": [{"count": 1}]},
    {"attempt": 1_000_000, "timeout": 60_000},
    {"call-stack": ["vault.0"], "traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01"},
    {"agent-auth": "v1 00000000 1 " + "0" * 32 + " " + "0" * 64, "seal": "v1", "mac": "v1"},
    {"to": "vault", "identity": {"actor": "system"}, "Token": "x", "TOKEN": "x"},
]


async def test_nothing_is_done_for_who_shows_no_good_token(
    container: Container, vault: Vault, amqp_url: str
) -> None:
    safe = await container.spawn(Safe)
    xs, mail = f"{SYSNAME}.xs", f"{SYSNAME}.{container.id}"
    places = [
        (xs, "vault"),
        (xs, vault.id),
        (xs, safe),
        (xs, "ctl.vault"),
        (xs, f"{container.id}.0"),
    ]
    places += [("", f"{SYSNAME}.vault"), ("", f"{SYSNAME}.vault.suspect"), ("", mail)]
    async with outsider(amqp_url) as other:
        sent = []
        for (exchange, key), headers in itertools.product(places, SMUGGLED):
            op = "spawn" if key.endswith(".0") else "put"
            sent.append(await other.send(exchange, key, op, {"what": "bad"}, **headers))
        for bad in forged(container):
            sent.append(await other.send(xs, "vault", "put", {"what": "bad"}, token=bad))
            sent.append(await other.send(xs, safe, "put", {"what": "bad"}, token=bad))
        codes = {number: await other.refused(number) for number in sent}
        assert set(codes.values()) <= {400, 401, 403, 404}
    assert vault.done == []
    assert await call(container, "vault", "put", {"what": "good"}, actor="ann", roles=["OPERATOR"])
    assert vault.done == ["good"]


async def test_what_is_put_into_queues_of_subscriptions_is_believed_of_nobody(
    container: Container, vault: Vault, amqp_url: str
) -> None:
    topic = "Event.Spill._._.lab"
    event = {"path": "Event.Spill", "origin": "lab", "id": "e", "created": 1.0}
    places = [("", queue) for queue in vault.queues] + [(f"{SYSNAME}.xp.events", topic)]
    denied = container.endpoint.counts
    async with outsider(amqp_url) as other:
        before = denied["policy denied"] + denied["unauthorized"]
        sent = []
        for (exchange, key), headers in itertools.product(places, SMUGGLED):
            sent.append(await other.send(exchange, key, "Spill", event, **headers))
        for bad, (exchange, key) in itertools.product(forged(container), places):
            more = {"token": bad, "receiver": topic}
            sent.append(await other.send(exchange, key, "Spill", event, **more))
        for number in sent:
            assert await other.refused(number) in {400, 401, 403, 404}
        assert denied["policy denied"] + denied["unauthorized"] > before
    assert vault.done == []


async def test_what_was_sniffed_cannot_be_said_again_as_something_else(
    container: Container, vault: Vault, amqp_url: str
) -> None:
    """A command is good once, at its receiver; what its holder has asked is done once."""
    operator = Operator(container)
    async with (
        outsider(amqp_url) as other,
        Container(amqp_url, sysname=SYSNAME) as second,
    ):
        for _ in range(2):
            await call(container, "vault", "put", {"what": "good"}, actor="ann", roles=["OPERATOR"])
        await operator.log_level(container.id, "INFO")
        await until(lambda: len([m for m in other.seen if "agent-auth" in m.headers]) > 0)
        command = next(m for m in other.seen if "agent-auth" in m.headers and m.type == "log_level")
        puts = [m for m in other.seen if m.type == "put"]
        for node in (container.id, second.id):
            number = await again(other, command, f"{SYSNAME}.xs", f"{node}.0")
            assert await other.refused(number) in {401, 403}
        number = await again(other, command, f"{SYSNAME}.xs", f"{container.id}.0", type="drain")
        assert await other.refused(number) in {401, 403}
        number = await again(other, puts[0], f"{SYSNAME}.xs", "vault")  # token and id are ann's
        await until(lambda: number in other.answers)
    assert vault.done == ["good", "good"]


async def test_who_guesses_the_id_of_a_conversation_neither_answers_nor_cancels_it(
    container: Container, vault: Vault, amqp_url: str
) -> None:
    """Those of a container are in a row, and known to whoever has got a message of it."""
    roles = {"actor": "ann", "roles": ["OPERATOR"]}
    async with outsider(amqp_url) as other:
        await call(container, "vault", "put", {"what": "first"}, **roles)
        await until(lambda: [m for m in other.seen if m.type == "put"])
        seen = next(m for m in other.seen if m.type == "put")
        vault.is_open.clear()
        pending = asyncio.ensure_future(call(container, "vault", "put", {"what": "real"}, **roles))
        await until(lambda: vault.done == ["first", "real"])
        parts = str(seen.correlation_id).split("-")
        serial = next(n for n, part in enumerate(parts) if part.isdigit() and len(part) < 8)
        for number in range(int(parts[serial]), int(parts[serial]) + 50):
            guessed = "-".join([*parts[:serial], str(number), *parts[serial + 1 :]])
            ids = {"correlation_id": guessed, "type": "put"}
            answer = {"performative": "inform_result", "protocol": "rpc"}
            reply_to = str(seen.reply_to)
            await other.put("", reply_to, aio_pika.Message(encode("forged"), headers=answer, **ids))
            cancel = aio_pika.Message(b"", headers={"performative": "cancel"}, **ids)
            cancel.reply_to = reply_to
            await other.put(f"{SYSNAME}.xs", "ctl.vault", cancel)
            short = aio_pika.Message(encode("forged"), headers=answer, **ids)
            short.correlation_id = "-".join([*parts[:serial], str(number)])
            await other.put("", reply_to, short)
        number = await other.send(f"{SYSNAME}.xs", f"{container.id}.0", "info", {})
        await other.refused(number)
        vault.is_open.set()
        assert await pending == "real"


async def again(other: Outsider, message: Any, exchange: str, key: str, **changes: Any) -> str:
    number = f"again-{next(_ids)}"
    copy = aio_pika.Message(
        message.body,
        type=changes.get("type", message.type),
        reply_to=other.own.name,
        correlation_id=number,
        message_id=message.message_id,
        content_type=message.content_type,
        headers=dict(message.headers),
    )
    await other.put(exchange, key, copy)
    return number


async def test_blobs_and_branches_of_the_datastore_are_for_who_may(
    container: Container, amqp_url: str
) -> None:
    await container.start_app("datastore")
    ann = token(container, "ann", ["OPERATOR"])
    with acting(ann):
        blob = await DatastoreClient(container).blobs.put(b"secret", owner="ann")
    name = blob.hash
    async with outsider(amqp_url) as other:
        sent = []
        for op, content in {
            "get_blob": {"hash": name},
            "stat_blob": {"hash": name},
            "link_blob": {"hash": name, "owner": "bob"},
            "unlink_blob": {"hash": name, "owner": "ann"},
            "heads": {"repository": "x"},
            "missing": {"hashes": [b"x" * 32]},
            "fetch_blobs": {"hashes": [b"x" * 32]},
            "put_blobs": {"elements": [b"x"]},
            "pull": {"repository": "x", "origin": "vault"},
        }.items():
            for headers in SMUGGLED:
                to = f"{SYSNAME}.xs"
                sent.append(await other.send(to, "datastore", op, content, **headers))
        for number in sent:
            assert await other.refused(number) in {400, 401, 403}
    with acting(ann):
        kept = [part async for part in DatastoreClient(container).blobs.get(name)]
    assert b"".join(kept) == b"secret"
