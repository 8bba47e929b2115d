"""Signatures of commands: what holds, and each way in which one does not."""

from __future__ import annotations

import hashlib
import hmac

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ion.base.errors import Forbidden
from ion.process.command import proof, signing
from ion.process.command.signing import Command, Nonces

KEY = bytes(range(32))
OTHER = bytes(32)
NONCE = "0123456789abcdef" * 2
COMMAND = Command("test", "c_1_ab.0", "spawn", b"\x81\xa6target\xa3x:Y")
NOW = 1_800_000_000_000
WINDOW = 60_000


def header(**changes: object) -> str:
    """Return the header of the command, signed with some things otherwise."""
    command = msgspec.structs.replace(
        COMMAND, **{k: v for k, v in changes.items() if hasattr(COMMAND, k)}
    )
    key, time = changes.get("key", KEY), changes.get("time", NOW)
    return signing.sign(key, command, time, str(changes.get("nonce", NONCE)))  # type: ignore[arg-type]


def refusal(text: object, now: int = NOW, command: Command = COMMAND) -> Forbidden:
    with pytest.raises(Forbidden) as caught:
        signing.check(KEY, signing.read(text), command, now, WINDOW)
    assert caught.value.code == 403
    assert caught.value.type == "Forbidden"
    return caught.value


def test_what_is_signed_holds() -> None:
    signing.check(KEY, signing.read(header()), COMMAND, NOW, WINDOW)


def test_another_language_would_sign_it_so() -> None:
    body = hashlib.sha256(COMMAND.body).hexdigest()
    text = f"ion command v1\ntest\nc_1_ab.0\nspawn\n{NOW}\n{NONCE}\n{body}"
    mac = hmac.new(KEY, text.encode(), "sha256").hexdigest()
    known = hashlib.sha256(b"ion key id" + KEY).hexdigest()[:8]
    assert header() == f"v1 {known} {NOW} {NONCE} {mac}"


def test_no_signature() -> None:
    error = refusal(None)
    assert "not signed" in error.message
    assert error.details["reason"] == "unsigned"


@pytest.mark.parametrize(
    "text",
    [
        "", "v1", "v2 " + header()[3:], header() + " ", header() + "\n", header()[:-1],
        header().upper(), 5, b"x", ["v1"], {}, header().replace("v1 ", "v1  "),
        header().replace(str(NOW), "١٢٣"),
    ],
)  # fmt: skip
def test_what_is_no_signature(text: object) -> None:
    assert refusal(text).details["reason"] == "malformed"


def test_another_key_is_told_with_both_ids_and_the_place() -> None:
    error = refusal(header(key=OTHER))
    assert error.details == {
        "reason": "key",
        "given": signing.key_id(OTHER),
        "wanted": signing.key_id(KEY),
    }
    assert all(error.details[key] in error.message for key in ("given", "wanted"))
    assert "ion/test.key" in error.message


@pytest.mark.parametrize(
    "changes",
    [
        {"sysname": "prod"},
        {"to": "c_2_cd.0"},
        {"to": "ctl.agent"},
        {"op": "terminate"},
        {"body": COMMAND.body + b"x"},
        {"body": b""},
    ],
)
def test_another_command_than_was_signed(changes: dict[str, object]) -> None:
    assert refusal(header(**changes)).details["reason"] == "altered"


def test_a_signature_that_was_put_together() -> None:
    words = header().split(" ")
    for place, value in ((2, str(NOW + 1)), (3, "f" * 32), (4, "0" * 64)):
        forged = [*words]
        forged[place] = value
        assert refusal(" ".join(forged)).details["reason"] == "altered"


@pytest.mark.parametrize(("apart", "side"), [(-75_500, "before"), (75_500, "after")])
def test_too_old_and_too_new(apart: int, side: str) -> None:
    error = refusal(header(time=NOW + apart))
    assert error.details == {"reason": "time", "apart": 75.5}
    assert f"75.5 s {side}" in error.message
    assert "clocks differ" in error.message
    signing.check(KEY, signing.read(header(time=NOW + apart)), COMMAND, NOW + apart, WINDOW)


@given(st.binary(max_size=300))
def test_no_header_of_chance_holds(data: bytes) -> None:
    refusal(data.decode("latin-1"))


def test_a_nonce_is_used_once() -> None:
    nonces, signature = Nonces(), signing.read(header())
    nonces.use(signature, NOW, WINDOW)
    for later in (0, WINDOW, 2 * WINDOW):
        with pytest.raises(Forbidden, match="given before"):
            nonces.use(signature, NOW + later, WINDOW)


def test_nonces_are_forgotten_when_no_signature_of_theirs_holds() -> None:
    nonces = Nonces()
    for number in range(100):
        ahead = signing.read(header(nonce=f"{number:032x}", time=NOW + WINDOW))
        nonces.use(ahead, NOW, WINDOW)
    assert len(nonces) == 100
    later = NOW + 2 * WINDOW + 1
    nonces.use(signing.read(header(nonce="f" * 32, time=later)), later, WINDOW)
    assert len(nonces) == 1
    refusal(header(nonce="0" * 32, time=NOW + WINDOW), now=later)


def test_nonces_are_bounded_and_none_is_forgotten_for_another() -> None:
    nonces = Nonces(limit=3)
    first = [signing.read(header(nonce=f"{number:032x}")) for number in range(4)]
    for signature in first[:3]:
        nonces.use(signature, NOW, WINDOW)
    with pytest.raises(Forbidden, match="slow down"):
        nonces.use(first[3], NOW, WINDOW)
    with pytest.raises(Forbidden, match="given before"):
        nonces.use(first[0], NOW, WINDOW)


def test_a_key_id_tells_nothing_and_a_proof_is_no_signature() -> None:
    assert signing.key_id(KEY) != hashlib.sha256(KEY).hexdigest()[:8]
    told = proof.proof(KEY, "test", "c_1_ab", NONCE)
    forged = f"v1 {signing.key_id(KEY)} {NOW} {NONCE} {told}"
    assert refusal(forged).details["reason"] == "altered"
