"""Tokens: what is good, what is refused, and why; whoever tampers with them gets nowhere."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import json
import secrets
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import jwt
import msgspec
import pytest

from ion.base.errors import BadRequest, ConfigurationError, Forbidden, Unauthorized, Unavailable
from ion.process.identity.crypto import Ed25519PrivateKey, Ed25519PublicKey
from ion.process.identity.ed25519 import P
from ion.process.identity.identity import Identity
from ion.process.identity.issuer import Issuer
from ion.process.identity.keys import (
    found_or_made,
    key_id,
    key_set,
    pem_of,
    public_key,
    read_key_set,
    written,
)
from ion.process.identity.revocations import Revocation, Revocations
from ion.process.identity.tokens import MAX_CHAIN, MAX_TOKEN, Limits
from ion.process.identity.verifier import Verifier

SECRET = bytes(range(32))
LIMITS = Limits("demo", leeway=10.0, max_life=3600.0)


class Clock:
    """A clock that is set by hand."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def issuer(clock: Clock) -> Issuer:
    return Issuer.of_system(SECRET, "demo", now=clock)


@pytest.fixture
def verifier(issuer: Issuer, clock: Clock) -> Verifier:
    return Verifier([issuer.public], LIMITS, size=8, now=clock)


def reason(verifier: Verifier, token: str) -> str:
    with pytest.raises(Unauthorized) as caught:
        verifier.identify(token)
    assert caught.value.code == 401
    assert caught.value.message
    return str(caught.value.details["reason"])


def coded(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    header, claims, signature = token.split(".")
    plain = [json.loads(base64.urlsafe_b64decode(part + "==")) for part in (header, claims)]
    return plain[0], plain[1], signature


def test_a_token_says_whose_it_is(issuer: Issuer, verifier: Verifier, clock: Clock) -> None:
    identity = verifier.identify(issuer.token("ada", ["B", "A"], claims={"lab": 4}))
    assert (identity.actor, identity.roles, identity.claims) == (
        "ada",
        frozenset("AB"),
        {"lab": 4},
    )
    assert (identity.issuer, identity.audience, identity.chain) == ("ion", ("demo",), ())
    assert (identity.issued, identity.expires) == (clock.now, clock.now + 900)
    assert identity.id == identity.root
    assert verifier.checked == 1
    assert identity.has_role("A", "C")
    assert not identity.has_role("C")


def test_no_byte_of_a_token_can_be_changed(issuer: Issuer, verifier: Verifier) -> None:
    token = issuer.token("ada", ["OPERATOR"])
    assert verifier.identify(token).actor == "ada"
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for place, letter in enumerate(token):
        others = "Aa.=\n" if letter == "." else letters[letters.index(letter) ^ 1] + ".="
        for other in others.replace(letter, ""):
            with pytest.raises(Unauthorized):
                verifier.identify(token[:place] + other + token[place + 1 :])
    for n in range(1, 64):  # the last letter has bits that a lenient reader passes over
        last = letters[letters.index(token[-1]) ^ n]
        with pytest.raises(Unauthorized):
            verifier.identify(token[:-1] + last)
    for other in (token + "=", token + "\n", " " + token, token + ".", token[:-1], token + "A"):
        assert reason(verifier, other) in ("malformed", "signature")
    assert len(verifier) == 1


def test_only_one_algorithm_is_taken(issuer: Issuer, verifier: Verifier) -> None:
    token = issuer.token("ada", ["ADMIN"])
    header, claims, signature = parts(token)
    unsigned = f"{coded({**header, 'alg': 'none'})}.{coded(claims)}."
    assert reason(verifier, unsigned) == "algorithm"
    confused = f"{coded({**header, 'alg': 'HS256'})}.{coded(claims)}"
    public = issuer.public.key.public_bytes_raw()
    mac = hmac.new(public, confused.encode(), hashlib.sha256).digest()
    assert reason(verifier, f"{confused}.{coded(mac)}") == "algorithm"
    for alg in ("eddsa", "ES256", None, 1, ["EdDSA"]):
        again = f"{coded({**header, 'alg': alg})}.{coded(claims)}.{signature}"
        assert reason(verifier, again) == "algorithm"
    for more in ({"jwk": {}}, {"jku": "https://x"}, {"crit": ["b64"], "b64": False}, {"x5c": []}):
        again = f"{coded({**header, **more})}.{coded(claims)}.{signature}"
        assert reason(verifier, again) == "malformed"


def test_what_another_key_has_signed_is_nothing(issuer: Issuer, verifier: Verifier) -> None:
    foreign = Issuer(Ed25519PrivateKey.generate(), "demo", "lab", issuer._now)
    assert reason(verifier, foreign.token("ada")) == "unknown key"
    forged = jwt.encode(
        parts(issuer.token("ada"))[1],
        Ed25519PrivateKey.generate(),
        "EdDSA",
        headers={"kid": issuer.public.id},
    )
    assert reason(verifier, forged) == "signature"
    verifier.trust([foreign.public])
    assert verifier.identify(foreign.token("ada")).actor == "ada"
    for token in (
        foreign.token("ada", ["SYSTEM"]),
        foreign.token("system"),
        Issuer(foreign._key, "demo", "ion", issuer._now).token("ada"),
        foreign.write(foreign.delegated(verifier.identify(foreign.token("ada")), "system")),
    ):
        assert reason(verifier, token) == "issuer"  # that is only the system's to say
    assert verifier.identify(issuer.token("ada", ["SYSTEM"])).issuer == "ion"
    other_system = Issuer.of_system(SECRET, "other", audience="demo", now=issuer._now)
    assert reason(verifier, other_system.token("ada")) == "unknown key"
    old, other = foreign.token("ada"), Issuer(Ed25519PrivateKey.generate(), "demo", "lab")
    assert verifier.identify(old).actor == "ada"
    verifier.trust([other.public])  # it was changed: what the old one has signed is nothing now
    assert reason(verifier, old) == "unknown key"


def test_a_key_may_be_bound_to_its_issuer(issuer: Issuer, clock: Clock) -> None:
    bound = msgspec_key(issuer, "lab")
    verifier = Verifier([bound], LIMITS, now=clock)
    assert reason(verifier, issuer.token("ada")) == "issuer"


def msgspec_key(issuer: Issuer, name: str) -> Any:
    return public_key(written(issuer.public.key), issuer=name)


def test_a_token_has_its_time(issuer: Issuer, verifier: Verifier, clock: Clock) -> None:
    token = issuer.token("ada", life=100)
    assert verifier.identify(token).actor == "ada"
    clock.now += 109
    assert verifier.identify(token).actor == "ada"  # within what clocks may differ
    clock.now += 2
    assert reason(verifier, token) == "expired"  # though it is remembered
    assert reason(Verifier([issuer.public], LIMITS, now=clock), token) == "expired"
    clock.now += 100
    later = issuer.token("ada")
    clock.now -= 11
    assert reason(verifier, later) == "early"
    clock.now += 2
    assert verifier.identify(later).actor == "ada"
    assert reason(verifier, issuer.token("ada", life=3601)) == "life"


def test_a_token_is_for_one_system(issuer: Issuer, verifier: Verifier) -> None:
    assert reason(verifier, issuer.token("ada", audience=["other"])) == "audience"
    assert reason(verifier, issuer.token("ada", audience=["demon"])) == "audience"
    narrow = verifier.identify(issuer.token("ada", audience=["demo/hello"]))
    assert narrow.audience == ("demo/hello",)
    both = issuer.token("ada", audience=["other", "demo"])
    assert verifier.identify(both).audience == ("other", "demo")


def without(name: str, claims: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in claims.items() if key != name}


BAD: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    **{
        f"without {name}": functools.partial(without, name)
        for name in ("iss", "sub", "aud", "iat", "exp", "jti")
    },
    "sub of a number": lambda c: {**c, "sub": 1},
    "sub empty": lambda c: {**c, "sub": ""},
    "sub long": lambda c: {**c, "sub": "x" * 256},
    "exp of a text": lambda c: {**c, "exp": "9999999999"},
    "exp not a number": lambda c: {**c, "exp": float("nan")},
    "exp never": lambda c: {**c, "exp": float("inf")},
    "exp true": lambda c: {**c, "exp": True},
    "nbf of a text": lambda c: {**c, "nbf": "x"},
    "roles of a text": lambda c: {**c, "roles": "ADMIN"},
    "roles of maps": lambda c: {**c, "roles": [{}]},
    "many roles": lambda c: {**c, "roles": [f"R{n}" for n in range(65)]},
    "aud of a map": lambda c: {**c, "aud": {"demo": 1}},
    "aud empty": lambda c: {**c, "aud": []},
    "act of a text": lambda c: {**c, "act": "root"},
    "act too deep": lambda c: {**c, "act": deep(MAX_CHAIN + 1)},
    "root of a list": lambda c: {**c, "root": []},
}


def deep(depth: int) -> dict[str, Any]:
    return {"sub": "a"} if depth == 1 else {"sub": "a", "act": deep(depth - 1)}


@pytest.mark.parametrize("name", BAD)
def test_claims_are_checked_though_they_are_signed(
    name: str, issuer: Issuer, verifier: Verifier
) -> None:
    claims = BAD[name](parts(issuer.token("ada"))[1])
    token = jwt.encode(claims, issuer._key, "EdDSA", headers={"kid": issuer.public.id})
    assert reason(verifier, token) in ("claims", "malformed", "audience", "early")
    assert len(verifier) == 0


def test_rubbish_is_refused_and_costs_little(issuer: Issuer, verifier: Verifier) -> None:
    for text in ("", ".", "..", "a.b.c", "a.b", "ü.ü.ü", "\0" * 100, "e30.e30.", "W10.W10.W10"):
        assert reason(verifier, text) in ("malformed", "algorithm")
    assert reason(verifier, "x" * (MAX_TOKEN + 1)) == "oversized"
    header = coded(b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}")
    assert reason(verifier, f"{header[:8000]}.e30.AA") == "malformed"
    with pytest.raises(BadRequest, match="over 8192"):
        issuer.token("ada", claims={"x": "y" * MAX_TOKEN})
    with pytest.raises(BadRequest, match="own"):
        issuer.token("ada", claims={"roles": ["ADMIN"]})
    for actor in ("", "x" * 256):
        with pytest.raises(BadRequest):
            issuer.token(actor)


def test_what_was_checked_is_remembered_and_bounded(
    issuer: Issuer, verifier: Verifier, clock: Clock
) -> None:
    many = [issuer.token(f"a{n}") for n in range(20)]
    for token in many * 2:
        verifier.identify(token)
    assert len(verifier) == 8
    before = verifier.checked
    for _ in range(100):
        verifier.identify(many[-1])
    assert verifier.checked == before
    for n in range(20):  # what is refused takes no room from what is good
        with pytest.raises(Unauthorized):
            verifier.identify(f"{many[-1]}{n}")
    assert len(verifier) == 8


def test_to_refuse_costs_little_however_much_comes(
    issuer: Issuer, verifier: Verifier, clock: Clock
) -> None:
    """Who uses one on that has expired, and who sends ever new ones that are forged."""
    old, good = issuer.token("ada", life=1.0), issuer.token("ada")
    assert verifier.identify(good).actor == "ada"
    clock.now += 30
    before = verifier.checked
    for _ in range(100):
        assert reason(verifier, old) == "expired"
    assert verifier.checked == before + 1
    clock.now -= 25  # it is set back: what was refused is looked at again, then as before
    assert verifier.identify(old).actor == "ada"
    clock.now += 25
    head, claims, _ = good.split(".")
    before, refusals = verifier.checked, Counter[int]()
    for number in range(2500):
        with pytest.raises((Unauthorized, Unavailable)) as caught:
            verifier.identify(f"{head}.{claims}.{coded(number.to_bytes(64, 'big'))}")
        refusals[caught.value.code] += 1
    assert refusals == {401: 1000, 503: 1500}
    assert verifier.checked == before + 1000
    assert len(verifier._refusals) <= 512
    assert verifier.identify(good).actor == "ada"  # what is known does not suffer
    new = issuer.token("bob")
    with pytest.raises(Unavailable, match="try again"):
        verifier.identify(new)
    clock.now += 1
    assert verifier.identify(new).actor == "bob"


def test_what_was_revoked_is_refused(issuer: Issuer, verifier: Verifier, clock: Clock) -> None:
    ada, bob = issuer.token("ada"), issuer.token("bob")
    by_id = verifier.identify(bob)
    derived = issuer.write(issuer.delegated(verifier.identify(ada), "mapper"))
    verifier.identify(derived)
    clock.now += 1
    verifier.revoke([Revocation("actor", "ada", clock.now, clock.now + 99, "left")])
    assert reason(verifier, ada) == "revoked"
    assert reason(verifier, derived) == "revoked"  # what it was derived to goes with it
    assert verifier.identify(bob).actor == "bob"
    clock.now += 0.001
    assert verifier.identify(issuer.token("ada")).actor == "ada"  # a new one is good
    clock.now += 1
    child = issuer.write(issuer.delegated(by_id, "mapper"))
    assert verifier.identify(child).actor == "bob"
    verifier.revoke([Revocation("token", by_id.id, clock.now, clock.now + 99)])
    assert reason(verifier, bob) == reason(verifier, child) == "revoked"
    acting = issuer.write(issuer.delegated(verifier.identify(issuer.token("eve")), "mapper"))
    assert verifier.identify(acting).chain == ("mapper",)
    verifier.revoke([Revocation("actor", "mapper", clock.now, clock.now + 99)])
    assert reason(verifier, acting) == "revoked"


def test_what_is_revoked_is_forgotten_when_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ion.process.identity.revocations.MAX_REVOCATIONS", 10)
    known = Revocations()
    told = [Revocation("token", f"t{n}", 0.0, 100.0 + n) for n in range(20)]
    assert len(known.learn(told, 1.0)) == 20
    assert len(known) == 10
    assert {each.name for each in known.all(1.0)} == {f"t{n}" for n in range(10, 20)}
    assert known.learn(told[15:], 1.0) == []  # said before
    known.learn([Revocation("actor", "x", 115.0, 200.0)], 115.0)
    assert len(known) == 5  # t16 to t19, and x
    for n in range(100):  # said anew, it is known once, and until the end that was said last
        known.learn([Revocation("actor", "x", 116.0 + n, 316.0 - n)], 115.0)
    assert len(known) == 5
    assert len(known._ends) <= 20
    assert len(known.learn([Revocation("actor", "y", 118.0, 130.0)], 117.5)) == 1
    assert {each.name for each in known.all(117.5)} == {"t18", "t19", "x", "y"}


def test_to_learn_of_one_costs_little_where_many_are_known() -> None:
    known = Revocations()
    known.learn([Revocation("token", f"t{n}", 0.0, 1e6 + n) for n in range(100_000)], 1.0)
    began = time.process_time()
    for n in range(1_000):  # each took 134 ms when all were looked at
        known.learn([Revocation("actor", f"a{n}", 1.0, 2e6)], 1.0)
    assert time.process_time() - began < 5.0
    assert len(known) == 100_000
    assert all(known.of(Identity(actor=f"a{n}", id="t")) for n in range(1_000))


def test_who_acts_for_another_has_no_more_than_they(
    issuer: Issuer, verifier: Verifier, clock: Clock
) -> None:
    origin = verifier.identify(issuer.token("ada", ["A", "B"], life=300))
    one = issuer.delegated(origin, "mapper", roles=["A"], audience=["demo/store"], life=999)
    read = verifier.identify(issuer.write(one))
    assert (read.actor, read.chain, read.roles) == ("ada", ("mapper",), frozenset("A"))
    assert (read.audience, read.expires) == (("demo/store",), origin.expires)
    assert read.root == origin.id != read.id
    assert str(read) == "mapper for ada"
    two = verifier.identify(issuer.write(issuer.delegated(read, "reducer", life=10)))
    assert (two.chain, two.expires) == (("reducer", "mapper"), clock.now + 10)
    assert parts(issuer.write(two))[1]["act"] == {"sub": "reducer", "act": {"sub": "mapper"}}
    for wrong in ({"roles": ["B"]}, {"audience": ["demo"]}, {"audience": ["demo/other"]}):
        with pytest.raises(Forbidden):
            issuer.delegated(read, "x", **wrong)  # type: ignore[arg-type]
    with pytest.raises(Forbidden):
        issuer.delegated(read, "x", audience=[])
    deepest: Identity = origin
    for n in range(MAX_CHAIN):
        deepest = issuer.delegated(deepest, f"s{n}")
    assert verifier.identify(issuer.write(deepest)).chain[0] == f"s{MAX_CHAIN - 1}"
    with pytest.raises(Forbidden, match="at most"):
        issuer.delegated(deepest, "one more")


def test_keys_are_kept_for_their_owner_alone(tmp_path: Any) -> None:
    path = tmp_path / "deep" / "issuer.pem"
    key = found_or_made(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert found_or_made(path).private_bytes_raw() == key.private_bytes_raw()
    path.chmod(0o640)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        found_or_made(path)
    path.chmod(0o600)
    path.write_text("nonsense")
    with pytest.raises(ConfigurationError, match="holds no private key"):
        found_or_made(path)


def test_public_keys_are_read_from_settings_and_sets(tmp_path: Any) -> None:
    key = Ed25519PrivateKey.generate()
    text = written(key.public_key())
    assert public_key(text).id == key_id(key.public_key()) == public_key(f" {text}\n").id
    for wrong in ("", "x", secrets.token_urlsafe(31), pem_of(key), "-----BEGIN PUBLIC KEY-----"):
        with pytest.raises(ConfigurationError, match="no public key"):
            public_key(wrong)
    path = tmp_path / "keys.json"
    path.write_text(json.dumps(key_set([key.public_key()])))
    assert [each.id for each in read_key_set(path)] == [key_id(key.public_key())]
    path.chmod(0o666)
    with pytest.raises(ConfigurationError, match="can be written by others: chmod go-w"):
        read_key_set(path)
    path.chmod(0o644)
    jwk = key_set([key.public_key()])["keys"][0]
    for wrong in (
        "",
        "[]",
        "{",
        '{"keys": 1}',
        '{"keys": [1]}',
        json.dumps({"keys": [{**jwk, "kty": "RSA"}]}),
        json.dumps({"keys": [{**jwk, "d": "secret"}]}),
        json.dumps({"keys": [{**jwk, "x": "short"}]}),
    ):
        path.write_text(wrong)
        with pytest.raises(ConfigurationError):
            read_key_set(path)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_key_set(tmp_path / "absent")


def test_an_identity_is_data() -> None:
    identity = Identity(actor="ada", roles=frozenset("A"))
    assert msgspec.structs.replace(identity, actor="bob").roles == {"A"}


SMALL = (  # all points whose order divides 8, each in the one way that it is written
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
)


def test_a_key_that_anybody_can_sign_for_is_none() -> None:
    """With the neutral point as "public key", one signature is good for every message."""
    neutral = Ed25519PublicKey.from_public_bytes(bytes.fromhex(SMALL[0]))
    for message in (b"pay", b"pay more"):
        neutral.verify(bytes.fromhex(SMALL[0]) + bytes(32), message)  # raises InvalidSignature
    for raw in map(bytes.fromhex, SMALL):
        with pytest.raises(ConfigurationError, match="of small order"):
            public_key(base64.urlsafe_b64encode(raw).decode())
        signed = bytes([*raw[:31], raw[31] ^ 0x80])
        with pytest.raises(ConfigurationError, match=r"of small order|in the one way"):
            public_key(base64.urlsafe_b64encode(signed).decode())
    for y in (0, 1, 18):  # above P the same point could be written once more
        with pytest.raises(ConfigurationError, match="in the one way"):
            public_key(base64.urlsafe_b64encode((P + y).to_bytes(32, "little")).decode())
    for _ in range(20):
        raw = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
        assert public_key(base64.urlsafe_b64encode(raw).decode()).key.public_bytes_raw() == raw
