"""The identity service: who there is, how they prove it, and what becomes of what was revoked."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import msgspec
import pytest

from ion import (
    ConfigurationError,
    Connection,
    Container,
    Forbidden,
    IonError,
    ReceivedApplicationError,
    Service,
    StartError,
    Unauthorized,
    Unavailable,
    connect,
)
from ion.container.key_rotation import renew_keys
from ion.process.identity import acting, revocation_catch_up
from ion.process.identity.crypto import Ed25519PrivateKey
from ion.process.identity.keys import pem_of, public_key, written
from ion.process.identity.revocations import Revocation
from ion.process.identity.tokens import Limits, key_of, read
from ion.process.identity.trust import issuer_of
from ion.services.identity.client import IdentityClient, Session
from ion.services.identity.model import Grant
from ion.services.identity.proving import assertion
from ion.services.identity.service import IdentityService
from ion.services.identity.throttle import Throttle
from ion.shell.helpers.helpers import Helpers
from tests.process.delivery import until

_names = itertools.count(1)
CONFIG = {"identity.verify": "required", "store.url": "memory://", "identity.token": "system"}
OPERATOR, ADMIN = "OPERATOR", "ADMIN"


class Roles(Service, name="roles"):
    """Tells the roles of who asks."""

    async def op_of(self) -> list[str]:
        identity = self.message.identity
        return sorted(identity.roles) if identity is not None else []


@pytest.fixture(params=["memory", "amqp"])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "memory":
        return f"memory://identities-{next(_names)}"
    return str(request.getfixturevalue("amqp_url"))


@pytest.fixture
async def container(url: str) -> AsyncIterator[Container]:
    """Give a container that runs the service, and demands a token."""
    async with Container(url, sysname="test", config=CONFIG) as container:
        await container.start_app("identity")
        await container.spawn(Roles)
        yield container


@pytest.fixture
async def admin(container: Container) -> IdentityClient:
    return IdentityClient(container)


@pytest.fixture
async def ada(admin: IdentityClient) -> str:
    """Give the secret of an actor."""
    await admin.add_actor("ada", name="Ada L.", roles=[OPERATOR])
    return (await admin.add_secret("ada")).secret


@pytest.fixture
async def script(url: str, container: Container) -> AsyncIterator[Connection]:
    """Give a connection that has no token."""
    async with connect(url, sysname="test") as connection:
        yield connection


async def test_a_secret_gives_a_token_and_a_session(ada: str, script: Connection) -> None:
    client = IdentityClient(script)
    assert (await client.whoami()).actor == ""
    grant = await client.authenticate("ada", secret=ada)
    assert (grant.actor, grant.roles) == ("ada", (OPERATOR,))
    assert ada not in repr(grant)
    assert grant.token not in repr(grant)
    with acting(grant.token):
        assert await script.rpc_send("roles", "of") == [OPERATOR]
        who = await client.whoami()
        assert (who.actor, who.expires, who.verify) == ("ada", grant.expires, "required")
    again = await client.refresh(grant.refresh)
    assert again.token != grant.token
    assert again.session_expires == grant.session_expires
    fewer = await client.refresh(again.refresh, roles=[])
    assert fewer.roles == ()
    assert await client.end_session(fewer.refresh)
    assert not await client.end_session(fewer.refresh)
    with pytest.raises(Unauthorized, match="session is over"):
        await client.refresh(fewer.refresh)
    with pytest.raises(Forbidden, match="has not the roles ADMIN"):
        await client.authenticate("ada", secret=ada, roles=[ADMIN])
    once = await client.authenticate("ada", secret=ada, session=False)
    assert once.refresh == ""


async def test_a_key_proves_by_an_assertion_that_is_good_once(
    admin: IdentityClient, ada: str, script: Connection
) -> None:
    client, key = IdentityClient(script), Ed25519PrivateKey.generate()
    with pytest.raises(ReceivedApplicationError, match="private key: keep it"):
        await admin.add_key("ada", pem_of(key))
    with pytest.raises(ReceivedApplicationError, match="no public key"):
        await admin.add_key("ada", "AAAA")
    credential = await admin.add_key("ada", written(key.public_key()), "laptop")
    said = assertion(key, "ada", "test")
    assert (await client.authenticate("ada", assertion=said)).roles == (OPERATOR,)
    for wrong, why in (
        (said, "used before"),
        (assertion(Ed25519PrivateKey.generate(), "ada", "test"), "not known"),
        (assertion(key, "bob", "test"), "signs for 'ada'"),
        (assertion(key, "ada", "other"), "made for"),
        (assertion(key, "ada", "test", life=1000), "at most 300"),
        (assertion(key, "ada", "test", life=-100), "expired"),
        (assertion(key, "ada", "test")[:-4] + "AAAA", "altered"),
        ("rubbish", "no token"),
    ):
        with pytest.raises(Unauthorized, match=why):
            await client.authenticate("ada", assertion=wrong)
    with acting(said), pytest.raises(Unauthorized, match="not trusted"):
        await script.rpc_send("roles", "of")  # it is for the identity service, and no token
    await admin.remove_credential("ada", credential.id)
    with pytest.raises(Unauthorized):
        await client.authenticate("ada", assertion=assertion(key, "ada", "test"))


async def test_what_proves_nothing_gets_nothing(
    admin: IdentityClient, ada: str, script: Connection
) -> None:
    client = IdentityClient(script)
    for actor, secret in (("ada", "wrong"), ("nobody", ada), ("", ada), ("ada", "\ud800")):
        with (
            pytest.raises(IonError, match="not known")
            if secret != "\ud800"
            else pytest.raises((IonError, UnicodeError))
        ):
            await client.authenticate(actor, secret=secret)
    for both in ({}, {"secret": ada, "assertion": "x"}):
        with pytest.raises(ReceivedApplicationError, match="give a secret, or an assertion"):
            await client.authenticate("ada", **both)
    await admin.enable("ada", False)
    with pytest.raises(Unauthorized, match="disabled"):
        await client.authenticate("ada", secret=ada)
    for refresh in ("", ".", "x.y", "x" * 5000):
        with pytest.raises(Unauthorized, match="session is over"):
            await client.refresh(refresh)


async def test_a_refresh_that_comes_twice_ends_the_session(
    ada: str, script: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = IdentityClient(script)
    first = await client.authenticate("ada", secret=ada)
    second = await client.refresh(first.refresh)
    await client.refresh(first.refresh)  # its answer was lost, say
    third = await client.refresh(first.refresh)  # and that one, too
    assert third.refresh != second.refresh
    fourth = await client.refresh(third.refresh)
    for made_up in (third.session, f"{third.session}.x", f"{third.session}.x.y"):
        with pytest.raises(Unauthorized, match="never was"):
            await client.refresh(made_up)
    fifth = await client.refresh(fourth.refresh)  # what is made up has ended nothing
    with pytest.raises(Unauthorized, match="used before"):
        await client.refresh(third.refresh)  # two generations old
    with pytest.raises(Unauthorized, match="session is over"):
        await client.refresh(fifth.refresh)


async def test_a_refresh_is_tried_again_for_a_while_only(
    ada: str, script: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = IdentityClient(script)
    first = await client.authenticate("ada", secret=ada)
    second = await client.refresh(first.refresh)
    monkeypatch.setattr("ion.services.identity.tokenops.GRACE", 0.0)
    with pytest.raises(Unauthorized, match="used before"):
        await client.refresh(first.refresh)
    with pytest.raises(Unauthorized, match="session is over"):
        await client.refresh(second.refresh)
    lost = await client.authenticate("ada", secret=ada)
    monkeypatch.setattr("ion.services.identity.tokenops.GRACE", 10.0)
    given = await client.refresh(lost.refresh)
    again = await client.refresh(lost.refresh)
    with pytest.raises(Unauthorized, match="used before"):
        await client.refresh(given.refresh)  # two have the session: one of them stole it
    with pytest.raises(Unauthorized, match="session is over"):
        await client.refresh(again.refresh)


async def test_a_change_of_roles_is_seen_at_once_and_everywhere(
    url: str, admin: IdentityClient, ada: str, script: Connection
) -> None:
    config = {**CONFIG, "identity.token": None}
    async with Container(url, sysname="test", config=config) as other:
        pid = await other.spawn(Roles)
        async with Session(script, "ada", secret=ada) as session:
            old = session.grant.token
            assert await script.rpc_send(pid, "of") == [OPERATOR]
            assert (await admin.grant("ada", [ADMIN])).roles == (ADMIN, OPERATOR)
            with pytest.raises(Unauthorized, match="roles were changed"):
                await script.rpc_send(pid, "of")
            await session.renew()
            assert await script.rpc_send(pid, "of") == [ADMIN, OPERATOR]
            assert (await admin.withdraw("ada", ADMIN, "NONE")).roles == (OPERATOR,)
            with pytest.raises(Unauthorized):
                await script.rpc_send(pid, "of")
            await session.renew()
            assert await script.rpc_send(pid, "of") == [OPERATOR]
            assert await admin.revoke(token=session.grant.token, reason="lost") == 2
            with pytest.raises(Unauthorized, match="lost"):
                await script.rpc_send(pid, "of")
            await session.renew()
            await admin.enable("ada", False)
            with pytest.raises(Unauthorized):
                await session.renew()
        async with asyncio.timeout(20):  # who comes later is reminded
            await admin.enable("ada", True)
            async with Container(url, sysname="test", config=config) as late:
                pid = await late.spawn(Roles)
                await _restarted(admin)
                with acting(old):
                    while True:
                        try:
                            await script.rpc_send(pid, "of")
                        except Unauthorized:
                            break
                        await asyncio.sleep(0.01)


async def _restarted(admin: IdentityClient) -> None:
    """Let the service remind everybody now, by starting anew on what it has kept."""
    container = admin._caller
    assert isinstance(container, Container)
    await container.stop_app("identity")
    await container.start_app("identity")


async def test_only_who_may_administrates(
    admin: IdentityClient, ada: str, script: Connection
) -> None:
    client = IdentityClient(script)
    with pytest.raises(Unauthorized, match="needs a token"):
        await client.actors()
    async with Session(script, "ada", secret=ada) as session:
        for call in (
            client.add_actor("eve", roles=[ADMIN]),
            client.grant("ada", ADMIN),
            client.actors(),
            client.actor("bob"),
            client.add_secret("bob"),
            client.revoke(actor="bob"),
            client.revoke(token_id="x"),
            client.enable("bob", False),
            client.remove_actor("bob"),
            client.exchange(session.grant.token, by="root"),
        ):
            with pytest.raises(Forbidden):
                await call
        assert (await client.actor("ada")).name == "Ada L."  # oneself
        made = await client.add_secret("ada", "second")
        assert [each.label for each in await client.credentials("ada")] == ["", "second"]
        await client.remove_credential("ada", made.id)
        with pytest.raises(Unauthorized):  # which ends one's tokens
            await client.whoami()
        await admin.grant("ada", ADMIN)
        await session.renew()
        await client.add_actor("eve", kind="service")
        acting_for = await client.exchange(session.grant.token)
        with acting(acting_for.token), pytest.raises(Forbidden, match="for another"):
            await client.add_actor("mallory")
        with pytest.raises(ReceivedApplicationError, match="key of the system"):
            await client.grant("eve", "SYSTEM")


async def test_actors_are_listed_and_checked(admin: IdentityClient) -> None:
    for n in range(5):
        await admin.add_actor(f"u{n}", kind="service" if n % 2 else "user")
    page = await admin.actors(limit=3)
    assert [each.id for each in page.items] == ["u0", "u1", "u2"]
    rest = await admin.actors(limit=3, cursor=page.cursor)
    assert [each.id for each in rest.items] == ["u3", "u4"]
    assert rest.cursor is None
    assert [each.id for each in (await admin.actors("service")).items] == ["u1", "u3"]
    with pytest.raises(ReceivedApplicationError) as caught:
        await admin.add_actor("u0")
    assert caught.value.code == 409
    with pytest.raises(ReceivedApplicationError) as caught:
        await admin.actor("nobody")
    assert caught.value.code == 404
    disguised = (
        "System",
        "anonymous",
        "u1\u200b",
        "\uff55\uff11",
        "jose\u0301",
        "u\u202e1",
        "\ufb01",
    )
    for wrong in ("", "a b", "a/b", "system", "system:x", "x" * 201, "a\n", *disguised):
        with pytest.raises(ReceivedApplicationError, match="an actor's id"):
            await admin.add_actor(wrong)
    for roles in (["a b"], [""], ["é"], [f"R{n}" for n in range(65)]):
        with pytest.raises(ReceivedApplicationError):
            await admin.add_actor("x", roles=roles)
    assert await admin.remove_actor("u0")
    assert not await admin.remove_actor("u0")
    changes = [admin.grant("u1", f"R{n}") for n in range(4)]
    await asyncio.gather(*changes)  # each sees what the others did
    assert (await admin.actor("u1")).roles == ("R0", "R1", "R2", "R3")


async def test_who_acts_for_another_has_less(
    admin: IdentityClient, ada: str, script: Connection, container: Container
) -> None:
    grant = await IdentityClient(script).authenticate("ada", secret=ada)
    narrow = await admin.exchange(
        grant.token, by="mapper", roles=[], audience=["test/roles"], life=30
    )
    assert narrow.expires <= time.time() + 30.1
    with acting(narrow.token):
        assert await script.rpc_send("roles", "of") == []
        with pytest.raises(Unauthorized, match="not for 'identity'"):
            await IdentityClient(script).whoami()
    wide = await admin.exchange(grant.token, by="mapper")
    with acting(wide.token):
        assert (await IdentityClient(script).whoami()).chain == ("mapper",)
        deeper = await IdentityClient(script).exchange(wide.token)
    with acting(deeper.token):
        assert (await IdentityClient(script).whoami()).chain == ("mapper", "mapper")
    with pytest.raises(Forbidden, match="has not"):
        await admin.exchange(grant.token, roles=[ADMIN])
    with pytest.raises(Unauthorized):
        await admin.exchange(grant.token + "A")
    await admin.revoke(token=grant.token)
    with acting(wide.token), pytest.raises(Unauthorized, match="revoked"):
        await script.rpc_send("roles", "of")


async def test_what_it_signs_can_be_checked_with_its_public_keys(
    admin: IdentityClient, ada: str, script: Connection
) -> None:
    grant = await IdentityClient(script).authenticate("ada", secret=ada)
    jwk = (await IdentityClient(script).keys())["keys"][0]
    assert "d" not in jwk
    key = dataclasses.replace(public_key(jwk["x"]), is_systems=True)
    found = read(grant.token, key_of(grant.token, {jwk["kid"]: key}), Limits("test"), time.time())
    assert (found.actor, found.claims) == ("ada", {"kind": "user", "name": "Ada L."})


async def test_it_keeps_no_secret(container: Container, admin: IdentityClient, ada: str) -> None:
    pid = next(p for p, each in container.processes.items() if each.name == "identity")
    service = container.processes[pid]
    assert isinstance(service, IdentityService)
    grant = await IdentityClient(container).authenticate("ada", secret=ada)
    rows = await service.accounts._rows.scan()
    assert rows.items
    for entry in rows.items:
        for secret in (ada, grant.refresh, grant.token, grant.refresh.partition(".")[2]):
            assert secret.encode() not in entry.value + entry.key.encode()


async def test_who_gives_tokens_goes_with_the_key_of_the_system(
    amqp_url: str, tmp_path: Path
) -> None:
    """After a change of the key, nobody could log in until the service was started again."""
    file, old, new = tmp_path / "key", "ab" * 32, "cd" * 32

    def write(*keys: str) -> None:
        file.write_text("\n".join(keys))
        file.chmod(0o600)

    write(old)
    config = {**CONFIG, "agent.key_file": str(file)}
    async with Container(amqp_url, sysname="test", config=config) as container:
        await container.start_app("identity")
        await container.spawn(Roles)
        client = IdentityClient(container)
        await client.add_actor("ada", roles=[OPERATOR])
        secret = (await client.add_secret("ada")).secret
        for keys in ((old, new), (new, old), (new,)):
            write(*keys)
            await renew_keys(container, container.settings)
            grant = await client.authenticate("ada", secret=secret)
            with acting(grant.token):
                assert await container.rpc_send("roles", "of") == [OPERATOR], keys


async def test_the_key_of_the_system_makes_the_first_actor(amqp_url: str) -> None:
    config = {**CONFIG, "identity.token": None}
    async with Container(amqp_url, sysname="first", config=config) as container:
        await container.start_app("identity")
        async with connect(amqp_url, sysname="first") as connection:
            with pytest.raises(Unauthorized):
                await IdentityClient(connection).add_actor("root", roles=[ADMIN])
            system = IdentityClient(connection, as_system=True)
            assert (await system.add_actor("root", roles=[ADMIN])).roles == (ADMIN,)
            secret = (await system.add_secret("root")).secret
            async with Session(connection, "root", secret=secret):
                await IdentityClient(connection).add_actor("ada")
        heard: list[Any] = []
        transport = container.transport
        original = transport.publish

        def overheard(exchange: str, key: str, envelope: Any, **options: Any) -> Any:
            if key == "identity":
                heard.append(envelope)
            return original(exchange, key, envelope, **options)

        transport.publish = overheard  # type: ignore[method-assign]
        await IdentityClient(container, as_system=True).add_secret("root")
        stolen = heard[0].replace(correlation_id="again", message_id="again")
        original("first.xs", "identity", stolen)
        failed = container.processes[_pid(container)]
        async with asyncio.timeout(20):
            while failed._failed == 0:
                await asyncio.sleep(0.01)
        assert len(await IdentityClient(container, as_system=True).credentials("root")) == 2


def _pid(container: Container) -> str:
    return next(pid for pid, each in container.processes.items() if each.name == "identity")


def test_who_guesses_has_to_wait() -> None:
    now = [0.0]
    throttle = Throttle(lambda: now[0])
    for _ in range(6):
        throttle.check("ada")
        throttle.failed("ada")
    with pytest.raises(IonError, match="try again in 2 s") as caught:
        throttle.check("ada")
    assert caught.value.code == 429
    throttle.check("bob")
    now[0] = 2.1
    throttle.check("ada")
    for _ in range(50):
        throttle.failed("ada")
    with pytest.raises(IonError, match="60 s"):
        throttle.check("ada")
    throttle.forget("ada")
    throttle.check("ada")


async def test_a_key_file_of_its_own(tmp_path: Path) -> None:
    url = f"memory://identities-{next(_names)}"
    file = tmp_path / "issuer.pem"
    app = {"apps.identity": {"key_file": str(file)}}
    async with Container(url, sysname="test", config={**CONFIG, **app}) as container:
        await container.start_app("identity")
        await container.spawn(Roles)
        client = IdentityClient(container)
        await client.add_actor("ada", roles=[OPERATOR])
        grant = await client.authenticate("ada", secret=(await client.add_secret("ada")).secret)
        with acting(grant.token):
            assert await container.rpc_send("roles", "of") == [OPERATOR]
        assert file.stat().st_mode & 0o777 == 0o600
    for wrong in ({"token_life": 0}, {"token_life": "x"}, {"token_life": 1e6}, {"store": ""}):
        config = {**CONFIG, "apps.identity": wrong}
        async with Container(url, sysname="test", config=config) as container:
            if wrong == {"store": ""}:
                await container.start_app("identity")
                continue
            with pytest.raises((StartError, ConfigurationError), match="token_life"):
                await container.start_app("identity")


async def test_the_shell_has_words_for_it() -> None:
    config = {"store.url": "memory://"}
    async with Container("memory://", sysname="test", config=config) as container:
        await container.start_app("identity")
        actors = Helpers(container).actors
        assert (await actors.add("ada", OPERATOR, name="Ada")).rows[0]["roles"] == OPERATOR
        assert len(await actors.secret("ada", "laptop")) > 30
        key = written(Ed25519PrivateKey.generate().public_key())
        await actors.key("ada", key)
        kinds = [row["kind"] for row in (await actors.credentials("ada")).rows]
        assert kinds == ["secret", "key"]
        assert (await actors.grant("ada", "X")).rows[0]["roles"] == "OPERATOR, X"
        assert (await actors.withdraw("ada", "X")).rows[0]["roles"] == OPERATOR
        assert (await actors.enable("ada", False)).rows[0]["enabled"] is False
        assert await actors.revoke("ada") == 1
        assert [row["actor"] for row in (await actors()).rows] == ["ada"]
        assert await actors.remove("ada")
        assert (await actors.whoami()).actor == "system"
        assert "actors.add" in repr(actors)


@asynccontextmanager
async def member(url: str, **config: Any) -> AsyncIterator[Container]:
    """Give a container that hears of what is revoked by no reminder in this test."""
    async with Container(url, sysname="test", config={**CONFIG, **config}) as container:
        await container.spawn(Roles)
        yield container


def told(container: Container, actor: str) -> Any:
    """Return a token that is as good as one of the service ``identity``."""
    permission, settings = container.endpoint.permission, container.settings.identity
    issuer = issuer_of(permission, settings, "test")
    assert issuer is not None
    return issuer.token(actor, [OPERATOR])


async def asked(container: Container, token: str) -> Any:
    pid = next(pid for pid, each in container.processes.items() if each.name == "roles")
    with acting(token):
        return await container.rpc_send(pid, "of", {}, 30)


async def test_who_starts_knows_at_once_what_was_revoked_before(
    amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revocation_catch_up, "PAGE", 2)
    async with member(amqp_url) as first:
        await first.start_app("identity", config={"remind_every": 3600.0})
        admin = IdentityClient(first)
        tokens = {name: told(first, name) for name in ("ann", "bob", "eve", "fay", "joe")}
        for name in list(tokens)[:4]:
            await admin.revoke(actor=name)
        async with member(amqp_url, **{"identity.revocations": "require"}) as second:
            assert not second.endpoint.auth.waits
            for name, token in tokens.items():
                if name == "joe":
                    assert await asked(second, token) == [OPERATOR]
                    continue
                with pytest.raises(Unauthorized, match="was revoked"):
                    await asked(second, token)


async def test_who_was_cut_off_asks_what_was_revoked_meanwhile(
    rabbitmq_server: Any, amqp_url: str
) -> None:
    async with member(amqp_url) as first, member(amqp_url) as second:
        await first.start_app("identity", config={"remind_every": 3600.0})
        token = told(second, "ann")
        assert await asked(second, token) == [OPERATOR]
        service = next(p for p in first.processes.values() if isinstance(p, IdentityService))
        await service.accounts.revoke(Revocation("actor", "ann", time.time(), time.time() + 999))
        assert await asked(second, token) == [OPERATOR]  # nobody has told it
        await asyncio.to_thread(rabbitmq_server.close_connections)
        async with asyncio.timeout(30):
            while len(second.endpoint.auth._revocations) == 0:
                await asyncio.sleep(0.02)
        with pytest.raises(Unauthorized, match="was revoked"):
            await asked(second, token)


async def test_until_it_is_known_what_was_revoked_no_token_is_taken_where_it_must_be(
    amqp_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with member(amqp_url, **{"identity.revocations": "require"}) as strict:
        token = told(strict, "ann")
        with pytest.raises(Unavailable, match="not known here yet"):
            await asked(strict, token)
        assert await asked(strict, strict.endpoint.token) == ["SYSTEM"]
        assert "no token is taken: there is no service 'identity'" in caplog.text
        async with member(amqp_url) as lenient:
            assert await asked(lenient, token) == [OPERATOR]
            await lenient.start_app("identity", config={"remind_every": 3600.0})
            async with asyncio.timeout(30):
                while strict.endpoint.auth.waits:
                    await asyncio.sleep(0.02)
            assert await asked(strict, token) == [OPERATOR]


class Impostor(Service, name="identity"):
    """Says of everybody that they are revoked, or of nobody; it has not the key of the system."""

    pages: ClassVar[list[Any]] = []

    async def op_revoked(self, nonce: str, after: Any = None) -> Any:
        now = time.time()
        everything = [Revocation("actor", "ann", now + 9, now + 99)]
        body = msgspec.msgpack.encode(everything)
        permission = self._endpoint.permission
        assert permission is not None
        seal = permission.seal("revocations", repr((nonce, None, None)), body)
        self.pages.append(nonce)
        return [{"told": body}, {"told": body, "seal": seal.get("seal", "")}, "?"][
            len(self.pages) % 3
        ]


async def test_nobody_without_the_key_says_what_is_revoked(
    amqp_url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ion.container.revocation_sync.PAUSE", 0.05)
    monkeypatch.setattr("ion.container.revocation_sync.WITHIN", 0.5)
    foreign = {"agent.key": "ab" * 32, "identity.verify": "off"}
    async with Container(amqp_url, sysname="test", config=foreign) as other:
        await other.spawn(Impostor)
        async with member(amqp_url) as container:
            async with asyncio.timeout(30):
                while len(Impostor.pages) < 3:
                    await asyncio.sleep(0.02)
            assert await asked(container, told(container, "ann")) == [OPERATOR]
    assert "is not sealed with the system's key" in caplog.text


class Proving:
    """A client that takes the assertions that it is given, and no refreshing."""

    async def authenticate(self, actor: str, *, assertion: str, **_: Any) -> Grant:
        return Grant(assertion, actor, (), time.time() + 0.01)

    async def refresh(self, refresh: str) -> Grant:
        raise Unauthorized(refresh)

    async def end_session(self, refresh: str) -> None:
        """Nothing."""


async def test_a_session_outlives_a_proof_that_cannot_be_had() -> None:
    proofs = iter(["first", "", "second"])

    def prove() -> str:
        proof = next(proofs, "more")
        if not proof:
            raise OSError("the card is not in the reader")
        return proof

    caller: Any = SimpleNamespace(_endpoint=SimpleNamespace(token="before"))
    session = Session(caller, "ada", prove=prove)
    session._client = Proving()  # type: ignore[assignment]
    async with session:
        assert caller._endpoint.token == "first"
        await until(lambda: caller._endpoint.token in ("second", "more"))
    assert caller._endpoint.token == "before"
    async with session:  # once more
        assert caller._endpoint.token == "more"
    assert caller._endpoint.token == "before"
