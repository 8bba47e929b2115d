"""Keys of one's own in place of one that all share, and changing keys while a system runs."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ion import ConfigurationError, Container, DeadlineExceeded, Operator, ReceivedError, Service
from ion.base.errors import Forbidden, Unauthorized
from ion.base.settings import AgentSettings, Settings
from ion.container.key_rotation import renew_keys
from ion.process.command import key as keys
from ion.process.command import proof, seal, signing
from ion.process.command.keyring import shared
from ion.process.command.operator import agent_of
from ion.process.identity.identity import current_identity
from ion.process.identity.trust import issuer_of

A, B = "ab" * 32, "cd" * 32
COMMAND = signing.Command("test", "c.0", "spawn", b"body")
NONCE = "0" * 32
SIGNED: dict[str, Any] = {
    "messaging.interceptors.in": ["ion.process.identity.signed:checking"],
    "messaging.interceptors.out": ["ion.process.identity.signed:signing"],
    "identity.verify": "required",
    "identity.revocations": "ask",
    "messaging.rpc_timeout": 10.0,
}


class Parties:
    """Machines, each with a private key, and with a folder of whom it believes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def settings(self, name: str, *believes: str, **more: Any) -> AgentSettings:
        """Return what a machine is given; its key is made where it has none."""
        trusted = self.folder / f"{name}.trusts"
        trusted.mkdir(exist_ok=True)
        own = AgentSettings(
            own_key_file=str(self.folder / f"{name}.key"), trusted_keys=str(trusted), **more
        )
        keys.find(own, "test")
        for old in trusted.iterdir():
            old.unlink()
        for other in believes:
            public = self.folder / f"{other}.key.pub"
            (trusted / f"{other}.pub").write_text(public.read_text())
        return own

    def key(self, name: str, *believes: str, **more: Any) -> keys.Key:
        key = keys.find(self.settings(name, *believes, **more), "test")
        assert key is not None
        return key


@pytest.fixture
def parties(tmp_path: Path) -> Parties:
    return Parties(tmp_path)


def refused(ring: Any, header: str, command: signing.Command = COMMAND) -> str:
    with pytest.raises(Forbidden) as caught:
        signing.check(ring, signing.read(header), command, 1000, 1000)
    return str(caught.value.details["reason"])


def test_each_signs_with_its_own_and_believes_whom_it_is_told_to(parties: Parties) -> None:
    ann, bob = parties.key("ann"), parties.key("bob", "ann")
    ann = parties.key("ann", "bob")
    eve = parties.key("eve", "ann", "bob")
    said = signing.sign(ann.ring, COMMAND, 1000, NONCE)
    assert said.startswith(f"v2 {ann.id} 1000 ")
    for ring in (ann.ring, bob.ring, eve.ring):
        signing.check(ring, signing.read(said), COMMAND, 1000, 1000)
    assert refused(bob.ring, signing.sign(eve.ring, COMMAND, 1000, NONCE)) == "key"
    for at in range(3, len(said) - 1):  # of the last letter, four bits stand for nothing
        other = said[:at] + ("A" if said[at] != "A" else "B") + said[at + 1 :]
        try:
            signature = signing.read(other)
        except Forbidden:
            continue
        with pytest.raises(Forbidden):
            signing.check(bob.ring, signature, COMMAND, 1000, 1000)
    words = ("test", "beat", "a", b"body")
    seal.check(bob.ring, seal.seal(ann.ring, *words), *words)
    with pytest.raises(Forbidden):
        seal.check(bob.ring, seal.seal(eve.ring, *words), *words)
    assert proof.holds(proof.proof(ann.ring, "test", "c", NONCE), bob.ring, "test", "c", NONCE)
    assert not proof.holds(proof.proof(eve.ring, "test", "c", NONCE), bob.ring, "test", "c", NONCE)
    mixed = f"v1 {ann.id} " + said.split(" ", 2)[2]
    with pytest.raises(Forbidden, match="no signature of a kind"):
        signing.read(mixed)


def test_a_system_goes_from_a_shared_key_to_own_ones_in_steps(parties: Parties) -> None:
    parties.key("bob")
    old = keys.given(A)
    first = keys.find(
        AgentSettings(key=A, trusted_keys=parties.settings("ann", "bob").trusted_keys), "test"
    )
    second = parties.key("bob", "bob", key=A)
    third = parties.key("bob", "bob")
    assert first is not None
    assert (first.ring.form, second.ring.form, third.ring.form) == ("v1", "v2", "v2")

    def heeds(one: Any, other: Any) -> bool:
        said = signing.read(signing.sign(other.ring, COMMAND, 1000, NONCE))
        try:
            signing.check(one.ring, said, COMMAND, 1000, 1000)
        except Forbidden:
            return False
        return True

    both = ((old, first), (first, second), (second, third))
    assert [heeds(*each) for each in both] == [True] * 3
    assert [heeds(other, one) for one, other in both] == [True] * 3
    assert [heeds(third, each) for each in (first, old)] == [False] * 2


def test_files_that_cannot_be(parties: Parties, tmp_path: Path) -> None:
    settings = parties.settings("ann", "ann")
    trusted = Path(str(settings.trusted_keys))
    own = Path(str(settings.own_key_file))
    assert stat.S_IMODE(own.stat().st_mode) == 0o600

    def said(settings: AgentSettings = settings) -> str:
        with pytest.raises(ConfigurationError) as caught:
            keys.find_or_make(settings, "test")
        return caught.value.message

    assert "needs agent.trusted_keys" in said(AgentSettings(own_key_file=str(own)))
    assert "is no folder" in said(AgentSettings(own_key_file=str(own), trusted_keys=str(own)))
    gone = AgentSettings(
        own_key_file=str(own), trusted_keys=str(trusted), key_file=str(tmp_path / "gone")
    )
    assert "there is no key file" in said(gone)
    assert not (tmp_path / "gone").exists()
    other = trusted / "other.pub"
    spoil: list[tuple[Callable[[], Any], str]] = [
        (lambda: other.write_text("junk"), "no public key"),
        (lambda: other.write_bytes((trusted / "ann.pub").read_bytes()), "have the same key"),
        (lambda: other.write_text("A" * 43), "small order"),
        (lambda: other.chmod(0o666), "chmod go-w"),
        (lambda: (other.unlink(), os.mkfifo(other)), "is no file"),
        (lambda: (other.unlink(), trusted.chmod(0o777)), "chmod go-w"),
        (lambda: (trusted.chmod(0o755), own.chmod(0o644)), "chmod 600"),
        (lambda: (own.chmod(0o600), own.write_text("junk")), "no private key"),
    ]
    for do, why in spoil:
        do()
        assert why in said(), why


class Teller(Service, name="teller"):
    """Tells whose its calls are."""

    async def op_who(self) -> str:
        return str(current_identity())


def test_the_public_key_beside_a_private_one_is_of_that_one(parties: Parties) -> None:
    private, public = (parties.folder / name for name in ("ann.key", "ann.key.pub"))
    old, held = parties.key("ann"), public.read_text()
    private.unlink()  # it is changed
    before = os.umask(0o002)
    try:
        new = parties.key("ann")
    finally:
        os.umask(before)
    assert new.id != old.id
    assert public.read_text() != held
    assert parties.key("bob", "ann").ring.knows(new.id)  # others cannot write it
    assert stat.S_IMODE(public.stat().st_mode) == 0o644
    assert parties.key("ann").id == new.id
    public.unlink()
    public.mkdir()  # nothing can be written there: it is taken from elsewhere
    assert parties.key("ann").id == new.id
    assert sorted(each.name for each in parties.folder.glob(".*")) == []


def with_keys(agent: AgentSettings) -> Settings:
    return Settings(agent=agent)


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.01)


def told(agent: AgentSettings) -> dict[str, Any]:
    names = ("key", "key_file", "own_key_file", "trusted_keys")
    values = {f"agent.{name}": getattr(agent, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


@pytest.mark.amqp
async def test_who_lost_its_key_is_not_believed_any_more_and_the_others_go_on(
    parties: Parties, amqp_url: str
) -> None:
    for name in ("ann", "bob", "eve"):
        parties.settings(name)
    given = {name: parties.settings(name, "ann", "bob", "eve") for name in ("ann", "bob")}
    given["eve"] = parties.settings("eve", "ann", "bob")

    def container(name: str) -> Container:
        return Container(amqp_url, sysname="test", config={**SIGNED, **told(given[name])})

    async with container("ann") as ann, container("bob") as bob, container("eve") as eve:
        await ann.spawn(Teller)
        for each in (bob, eve):
            assert await each.rpc_send("teller", "who") == "system"
            await Operator(each).log_level(ann.id, "INFO")
            await until(lambda each=each: ann.heartbeat.members.find(each.id))
            assert ann.heartbeat.members.find(each.id).is_sealed
        issuer = issuer_of(eve.endpoint.permission, eve.settings.identity, "test")
        assert issuer is not None
        stolen = issuer.token("root", ["ADMIN"], life=3600)
        assert ann.endpoint.auth.identify(stolen).actor == "root"
        for name, each in (("ann", ann), ("bob", bob)):
            await renew_keys(each, with_keys(parties.settings(name, "ann", "bob")))
        with pytest.raises(Unauthorized, match="not trusted here"):
            ann.endpoint.auth.identify(stolen)
        assert await bob.rpc_send("teller", "who") == "system"
        refusal = (ReceivedError, DeadlineExceeded)
        with pytest.raises(refusal, match="is signed with key"):
            await eve.rpc_send("teller", "who", {}, 2)
        body = {"level": "DEBUG", "logger": ""}
        with pytest.raises(refusal):
            await Operator(eve).command(agent_of(ann.id), "log_level", body, timeout=2)
        wrong = AgentSettings(own_key_file=given["ann"].own_key_file, trusted_keys="/nowhere")
        with pytest.raises(ConfigurationError):
            await renew_keys(ann, with_keys(wrong))
        assert await bob.rpc_send("teller", "who") == "system"


@pytest.mark.amqp
async def test_a_shared_key_is_changed_without_a_pause(amqp_url: str, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("one", "two")]

    def write(file: Path, *lines: str) -> AgentSettings:
        file.write_text("\n".join(lines))
        file.chmod(0o600)
        return AgentSettings(key_file=str(file))

    one, two = (
        Container(amqp_url, sysname="test", config={**SIGNED, **told(write(file, A))})
        for file in files
    )
    async with one, two:
        await one.spawn(Teller)
        for lines in ((A, B), (B, A), (B,)):
            for container, file in ((two, files[1]), (one, files[0])):
                await renew_keys(container, with_keys(write(file, *lines)))
                assert await two.rpc_send("teller", "who") == "system", lines
                await Operator(two).log_level(one.id, "INFO")
        assert one.endpoint.permission is not None
        assert one.endpoint.permission.key == keys.given(B, f"the key file {files[0]}")
        assert one.endpoint.permission.ring() is shared(bytes.fromhex(B))
        assert one.endpoint.counts["unsigned"] == 0
        old = Container(amqp_url, sysname="test", config={**SIGNED, "agent.key": A})
        async with old:
            with pytest.raises((ReceivedError, DeadlineExceeded), match="is signed with key"):
                await old.rpc_send("teller", "who", {}, 2)
