"""Seals of beats and tokens: what holds, and each way in which one does not."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ion.base.errors import Forbidden
from ion.process.command import seal

KEY = bytes(range(32))
BODY = b"\x81\xa9container\xa1a"


def refusal(header: object, *parts: str, body: bytes = BODY) -> str:
    with pytest.raises(Forbidden) as caught:
        seal.check(KEY, header, *(parts or ("test", "beat", "a")), body)  # type: ignore[arg-type]
    return str(caught.value.details["reason"])


def test_what_is_sealed_holds() -> None:
    seal.check(KEY, seal.seal(KEY, "test", "beat", "a", BODY), "test", "beat", "a", BODY)


def test_another_language_would_seal_it_so() -> None:
    text = f"ion seal v1\ntest\nlease\napp\n{hashlib.sha256(BODY).hexdigest()}"
    mac = hmac.new(KEY, text.encode(), "sha256").hexdigest()
    known = hashlib.sha256(b"ion key id" + KEY).hexdigest()[:8]
    assert seal.seal(KEY, "test", "lease", "app", BODY) == f"v1 {known} {mac}"


def test_each_way_in_which_one_does_not_hold() -> None:
    good = seal.seal(KEY, "test", "beat", "a", BODY)
    assert refusal(None) == "unsealed"
    assert refusal(seal.seal(bytes(32), "test", "beat", "a", BODY)) == "key"
    assert refusal(good, body=BODY + b"x") == "altered"
    for parts in (("other", "beat", "a"), ("test", "lease", "a"), ("test", "beat", "b")):
        assert refusal(good, *parts) == "altered"


@given(st.one_of(st.none(), st.integers(), st.binary(), st.text()))
def test_anything_else_is_no_seal(header: object) -> None:
    assert refusal(header) == "unsealed"
