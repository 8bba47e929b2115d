"""Whose a call is: what arrives is checked, and travels on, on the memory bus and on RabbitMQ."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ion import (
    Container,
    IonError,
    Operator,
    Process,
    Service,
    Unauthorized,
    Unavailable,
    connect,
)
from ion.base.config import read
from ion.base.errors import ConfigurationError
from ion.base.settings import IdentitySettings, Settings
from ion.container.key_rotation import renew_keys
from ion.container.revocation_sync import RevocationSync
from ion.messaging.envelope import Envelope
from ion.messaging.transport import TransportState
from ion.observe.context import current_call
from ion.process.events import Event
from ion.process.identity import acting, current_identity
from ion.process.identity.issuer import Issuer
from ion.process.identity.revocations import Revocation
from ion.process.identity.trust import issuer_of
from ion.process.redelivery import deadletters
from ion.shell.commandline.options import parse
from ion.shell.commands.config import said
from tests.process.delivery import until

_names = itertools.count(1)
Bus = tuple[str, dict[str, Any]]


@pytest.fixture(params=["memory", "amqp"])
def bus(request: pytest.FixtureRequest) -> Bus:
    if request.param == "memory":
        return f"memory://identity-{next(_names)}", {}
    return request.getfixturevalue("amqp_url"), {}


class Teller(Service, name="teller"):
    """Tells whose its calls are."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    async def on_init(self) -> None:
        await self.subscribe("news", "#", self.on_news)

    def told(self) -> str:
        call = current_call.get()
        assert call is not None
        return f"{current_identity()}/{call.user}"

    async def op_who(self) -> str:
        return self.told()

    async def op_note(self) -> None:
        self.heard.append(self.told())

    async def on_news(self, content: Any) -> None:
        self.heard.append(self.told())

    async def op_items(self):
        yield self.told()


class Between(Service, name="between"):
    """Asks others, in the name of who has asked it."""

    async def op_ask(self) -> list[str]:
        told = [await self.rpc_send("teller", "who")]
        told += [item async for item in self.stream("teller", "items")]
        await self.send("teller", "note")
        await self.publish("news", "a.b", "x")
        return told

    async def op_own(self, token: str) -> list[str]:
        with acting(token):
            told = [await self.rpc_send("teller", "who")]
        return [*told, await self.rpc_send("teller", "who")]

    async def op_later(self) -> None:
        self.run(self.send("teller", "note"))
        self.run(self.send("teller", "note"), own=True)
        await self.spawn_child(Begun)


class Begun(Process):
    """Is spawned by a call, and sends when it starts."""

    async def on_activate(self) -> None:
        await self.send("teller", "note")


def issuer(container: Container) -> Issuer:
    found = issuer_of(container.endpoint.permission, container.settings.identity, "test")
    assert found is not None
    return found


@pytest.fixture
async def far(bus: Bus) -> AsyncIterator[Container]:
    """Give a container that only asks, so that all goes over the bus."""
    url, config = bus
    async with Container(url, sysname="test", config={**config, "identity.verify": "hint"}) as far:
        await far.spawn(Between)
        yield far


def strict(bus: Bus, verify: str, **more: Any) -> Container:
    config = {**bus[1], "identity.verify": verify, **more}
    return Container(bus[0], sysname="test", config=config)


async def test_a_token_travels_with_all_that_a_call_begins(bus: Bus, far: Container) -> None:
    async with strict(bus, "required") as container:
        pid = await container.spawn(Teller)
        teller = container.processes[pid]
        assert isinstance(teller, Teller)
        token = issuer(container).token("ada", ["OPERATOR"])
        async with connect(bus[0], sysname="test", token=token) as connection:
            assert await connection.rpc_send("between", "ask") == ["ada/ada", "ada/ada"]
            assert await connection.rpc_send(pid, "who") == "ada/ada"
            assert await connection.request("teller", "who") == "ada/ada"
            await until(lambda: len(teller.heard) == 2)
            assert teller.heard == ["ada/ada"] * 2
            identity = container.endpoint.auth.identify(token)
            narrow = issuer(container).delegated(identity, "between", audience=["test/teller"])
            other = issuer(container).write(narrow)
            told = await connection.rpc_send("between", "own", {"token": other})
            assert told == ["between for ada/ada", "ada/ada"]
            wrong = issuer(container).delegated(identity, "between", audience=["test/other"])
            text = issuer(container).write(wrong)
            with pytest.raises(IonError, match="made for test/other, not for 'teller'"):
                await connection.rpc_send("between", "own", {"token": text})
            # what is begun on nobody's behalf bears the container's own token: it has none
            await connection.rpc_send("between", "later")
            await until(lambda: container.endpoint.counts["unauthorized"] == 3)
            await until(lambda: len(teller.heard) == 3)  # and the other one speaks for her still
            assert teller.heard == ["ada/ada"] * 3


@pytest.mark.parametrize("verify", ["off", "hint", "present", "required"])
async def test_the_setting_says_what_is_asked_of_a_call(bus: Bus, verify: str) -> None:
    async with strict(bus, verify) as container:
        await container.spawn(Teller)
        good = issuer(container).token("ada")
        bad = Issuer.of_system(b"another key of a system" * 2, "test").token("ada")
        told: dict[str, Any] = {}
        for name, token in (("none", None), ("good", good), ("bad", bad), ("system", "system")):
            async with connect(bus[0], sysname="test", token=token) as connection:
                headers = {"user-id": "eve"} if token is None else None
                call = connection.endpoint.rpc(
                    connection.id, "teller", "who", {}, None, extra=headers
                )
                try:
                    told[name] = await call
                except Unauthorized as error:
                    told[name] = error.details["reason"]
        known = {"good": "ada/ada", "bad": "unknown key", "system": "system/system"}
        assert (
            told
            == {
                "off": {"none": "None/eve", "good": "None/", "bad": "None/", "system": "None/"},
                "hint": {"none": "None/eve", **known},
                "present": {"none": "None/", **known},
                "required": {"none": "missing", **known},
            }[verify]
        )


async def test_what_is_signed_as_a_command_is_the_systems(bus: Bus) -> None:
    async with strict(bus, "required") as container:
        pid = await container.spawn(Teller)
        if not bus[0].startswith("memory"):
            operator = Operator(container)
            with acting(""):
                assert await operator.command(pid, "who") == "system/system"
                node = container.id
                assert await operator.log_level(node, "warning", "ion.some") == "WARNING"
        with acting(""), pytest.raises(Unauthorized):
            await container.rpc_send(pid, "who")
        envelope = Envelope(
            "who", b"\x80", reply_to=container.endpoint.reply_queue, headers={"agent-auth": "v1 x"}
        )
        before = container.endpoint.counts["unauthorized"]
        container.transport.publish("test.xs", pid, envelope)
        await until(lambda: container.endpoint.counts["unauthorized"] == before + 1)


async def test_headers_may_hold_anything(bus: Bus) -> None:
    async with strict(bus, "hint") as container:
        await container.spawn(Teller)
        for token in (1, b"\xff", "", ["a"], {"a": 1}, True, "x" * 9000):
            with pytest.raises(Unauthorized):
                await container.endpoint.rpc("", "teller", "who", {}, 5, extra={"token": token})
        token = issuer(container).token("ada")
        told = await container.endpoint.rpc("", "teller", "who", {}, 5, extra={"token": token})
        assert told == "ada/ada"


async def test_one_way_it_is_a_dead_letter_that_says_why(bus: Bus) -> None:
    async with strict(bus, "required") as container:
        await container.spawn(Teller)
        with acting(issuer(container).token("ada")[:-6] + "AAAAAA"):
            await container.send("teller", "note")
        letters: list[Any] = []
        async with asyncio.timeout(20):
            while not letters:
                letters = await deadletters.peek(container.endpoint, "teller", 10)
                await asyncio.sleep(0.01)
        assert letters[0].cause_type == "Unauthorized"
        assert "altered, or forged" in letters[0].cause
        await deadletters.purge(container.endpoint, "teller")


async def test_a_token_in_an_answer_means_nothing(bus: Bus) -> None:
    async with strict(bus, "required", **{"identity.token": "system"}) as container:
        queue = await _foreign_service(container)
        assert await container.rpc_send("foreign", "x") == {"fine": True}
        await container.transport.delete_queue(queue)


async def _foreign_service(container: Container) -> str:
    from ion.messaging.codec import encode
    from ion.messaging.transport import Delivery

    transport = container.transport
    spec = container.namespace.reply_queue("foreign")
    await transport.declare_queue(spec)
    await transport.bind(spec.name, "test.xs", "foreign")

    def answer(delivery: Delivery) -> None:
        asked = delivery.envelope
        headers = {"performative": "inform_result", "token": "rubbish", "user-id": "root"}
        body, _ = encode({"fine": True}, asked.content_type)
        reply = Envelope("x", body, correlation_id=asked.correlation_id, headers=headers)
        transport.publish("", asked.reply_to, reply)

    await transport.consume(spec.name, answer, prefetch=10, no_ack=True)
    return spec.name


async def test_a_file_gives_the_token_and_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ion.process.identity.credentials.LOOK_EVERY", 0.02)
    path = tmp_path / "token"
    url = f"memory://identity-{next(_names)}"
    async with strict((url, {}), "required") as container:
        await container.spawn(Teller)
        path.write_text(issuer(container).token("ada") + "\n")
        config = {"identity.token_file": str(path)}
        async with connect(url, sysname="test", config=config) as connection:
            assert await connection.rpc_send("teller", "who") == "ada/ada"
            path.write_text("")  # half written: the one before goes on
            await asyncio.sleep(0.1)
            assert await connection.rpc_send("teller", "who") == "ada/ada"
            path.write_text(issuer(container).token("bob"))
            async with asyncio.timeout(20):
                while await connection.rpc_send("teller", "who") != "bob/bob":
                    await asyncio.sleep(0.01)
    path.unlink()
    with pytest.raises(IonError, match="cannot be read"):
        async with connect(url, sysname="test", config=config):
            pass


async def test_trusted_keys_of_the_settings(tmp_path: Path) -> None:
    from ion.base.errors import ConfigurationError
    from ion.process.identity.crypto import Ed25519PrivateKey
    from ion.process.identity.keys import written

    key = Ed25519PrivateKey.generate()
    url = f"memory://identity-{next(_names)}"
    keys = {"identity.keys": [written(key.public_key())]}
    async with strict((url, keys), "required") as container:
        await container.spawn(Teller)
        token = Issuer(key, "test", "https://elsewhere").token("ada")
        async with connect(url, sysname="test", token=token) as connection:
            assert await connection.rpc_send("teller", "who") == "ada/ada"
    with pytest.raises(ConfigurationError, match="no public key"):
        async with strict((url, {"identity.keys": ["x"]}), "hint"):
            pass


async def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from ion.base.errors import ConfigurationError

    def absent(*_: Any) -> None:
        message = "tokens need PyJWT and cryptography: pip install 'ioncore[identity]'"
        raise ConfigurationError(message)

    monkeypatch.setattr("ion.process.identity.trust.verifier_of", absent)
    url = f"memory://identity-{next(_names)}"
    async with strict((url, {}), "hint") as container:
        await container.spawn(Teller)
        assert await container.rpc_send("teller", "who") == "None/"
        with acting("a.b.c"), pytest.raises(Unauthorized, match=r"ioncore\[identity\]"):
            await container.rpc_send("teller", "who")
    with pytest.raises(ConfigurationError, match="pip install"):
        async with strict((url, {}), "present"):
            pass
    assert "a.b.c" not in caplog.text


async def test_a_process_may_be_asked_who_asks(bus: Bus) -> None:
    class Asked(Process):
        async def op_roles(self) -> list[str]:
            identity = self.message.identity
            return sorted(identity.roles) if identity is not None else []

    async with strict(bus, "present") as container:
        pid = await container.spawn(Asked)
        with acting(""):
            assert await container.rpc_send(pid, "roles") == []
        assert await container.rpc_send(pid, "roles") == ["SYSTEM"]  # its own
        with acting(issuer(container).token("ada", ["B", "A"])):
            assert await container.rpc_send(pid, "roles") == ["A", "B"]


async def test_a_shell_bears_the_token_that_it_is_given(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("x")
    given = said(parse(["ps", "--token-file", str(path)]))
    settings = read(options=given, environ={"ION_TOKEN": "other"}, directory=tmp_path).settings
    assert (settings.identity.token, settings.identity.token_file) == (None, str(path))
    told = read(environ={"ION_TOKEN": "sesame"}, directory=tmp_path)
    assert told.settings.identity.token == "sesame"
    assert "sesame" not in f"{told.as_dict()} {list(told.explanations())}"


async def test_what_nobody_would_say_again_waits_until_tokens_can_be_judged(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Live events, and what is sent to a process, were dropped; who awaits an answer is told."""
    async with strict(bus, "required") as container:
        pid = await container.spawn(Teller)
        teller, desk = container.processes[pid], container.endpoint.auth
        assert isinstance(teller, Teller)
        party = container.processes[await container.spawn(Process)]
        tokens = [issuer(container).token(name) for name in ("ann", "eve")]
        async with party.expect_event(Event, origin="real") as expected:
            desk.waits = True
            for token in tokens:
                with acting(token):
                    await party.send(pid, "note")
                    await party.publish("news", "a.b", "x")
                    await party.publish_event(Event(origin="real"))
                    with pytest.raises(Unavailable, match="not known here yet"):
                        await party.rpc_send(pid, "who")
            await until(lambda: len(teller._begun()) == 4 and len(expected._listener._held) == 2)
            assert await party.rpc_send(pid, "who", {}, 5) == "system/system"  # the system's own
            assert teller.heard == []
            now = time.time()
            desk.revoke([Revocation("actor", "eve", now + 1, now + 99)])
            desk.waits = False
            await expected.wait(timeout=20)
            await until(lambda: teller.heard == ["ann/ann"] * 2)
            await until(lambda: not teller._begun())
            assert expected._heard.empty()
        monkeypatch.setattr("ion.process.identity.authenticator.PATIENCE", 0.05)
        desk.waits = True
        counts = container.endpoint.counts
        before = counts["dead-lettered"]
        with acting(tokens[0]):
            await party.send(pid, "note")
        await until(lambda: counts["dead-lettered"] == before + 1)
        assert teller.heard == ["ann/ann"] * 2


async def test_messages_wait_also_after_the_broker_was_away_for_long() -> None:
    """It is not the time without a broker that is waited, but that for an answer."""
    bus = f"memory://identity-{next(_names)}", {}
    async with strict(bus, "required", **{"identity.revocations": "require"}) as container:
        pid = await container.spawn(Teller)
        teller, desk = container.processes[pid], container.endpoint.auth
        assert isinstance(teller, Teller)
        party = container.processes[await container.spawn(Process)]
        desk._unknown_since -= 3600
        sync = RevocationSync(container)
        sync._was_away = True
        sync._on_state(TransportState.CONNECTED)
        with acting(issuer(container).token("ann")):
            await party.send(pid, "note")
        assert await party.rpc_send(pid, "who", {}, 20) == "system/system"
        assert teller._begun()
        assert teller.heard == []
        desk.waits = False
        await until(lambda: teller.heard == ["ann/ann"])
        await sync.close()


async def test_keys_that_are_wrong_change_nothing_where_none_was_needed_before() -> None:
    async with Container("memory://", sysname="test") as container:
        wrong = Settings(identity=IdentitySettings(keys=["junk"]))
        with pytest.raises(ConfigurationError, match="no public key"):
            await renew_keys(container, wrong)
        token = issuer(container).token("ann")
        assert container.endpoint.auth.identify(token).actor == "ann"
