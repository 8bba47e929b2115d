"""Content binds to parameters by name, is checked against annotations, and errors name the key."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ion.base.errors import BadRequest, CodecError, UnsupportedContentType
from ion.messaging.envelope import JSON, MSGPACK, Envelope
from ion.process.ops import Op, op_table

pack = msgspec.msgpack.encode


@dataclass
class Point:
    """An object as others may send one that knows more."""

    x: int


class Exact(msgspec.Struct, forbid_unknown_fields=True):
    """One of which nothing may be left out."""

    x: int


class Handlers:
    """Ops of every shape."""

    async def op_hello(self, text: str = "Hi there") -> str:
        """Greet."""
        return text

    async def op_add(self, a: int, b: int = 2) -> int:
        return a + b

    async def op_options(self, a: int, *, deep: bool = False, **rest: Any) -> None: ...

    async def op_raw(self, content: Any, headers: Any, msg: Any) -> None: ...

    async def op_nothing(self) -> None: ...

    async def op_document(self, document: dict[str, Any]) -> None: ...

    async def op_point(self, point: Point) -> None: ...

    async def op_exact(self, point: Exact) -> None: ...

    async def op_number(self, x: float) -> None: ...

    async def op_blob(self, data: bytes) -> None: ...


OPS = op_table(Handlers)


def bind(op: str, content: Any, content_type: str = MSGPACK) -> Any:
    body = content if isinstance(content, bytes) else pack(content)
    return OPS[op].bind(Envelope(op, body, content_type=content_type))


@pytest.mark.parametrize(
    ("op", "content", "args", "kwargs"),
    [
        ("hello", {"text": "x"}, ("x",), {}),
        ("hello", "x", ("x",), {}),
        ("hello", {}, ("Hi there",), {}),
        ("hello", None, ("Hi there",), {}),
        ("hello", b"", ("Hi there",), {}),
        ("add", {"b": 1, "a": 5}, (5, 1), {}),
        ("add", 7, (7, 2), {}),
        ("options", {"a": 1, "deep": True, "c": 3}, (1,), {"deep": True, "c": 3}),
        ("nothing", {}, (), {}),
        ("nothing", None, (), {}),
        ("document", {"document": {"a": 1}}, ({"a": 1},), {}),
        ("number", {"x": 1}, (1.0,), {}),
        ("point", {"point": {"x": 1, "later": 2}}, (Point(1),), {}),
        ("blob", {"data": b"\x00\xff"}, (b"\x00\xff",), {}),
    ],
)
def test_content_binds(op: str, content: Any, args: Any, kwargs: Any) -> None:
    bound_args, bound_kwargs = bind(op, content)
    assert (tuple(bound_args), bound_kwargs) == (args, kwargs)


@pytest.mark.parametrize(
    ("op", "content", "named"),
    [
        ("hello", {"txt": "x"}, "txt"),
        ("hello", {"text": 1}, "text"),
        ("hello", {"text": None}, "text"),
        ("add", {}, "`a`"),
        ("add", {"a": "1"}, "`$.a`"),
        ("add", {"a": True}, "`$.a`"),
        ("add", {"a": 1.5}, "`$.a`"),
        ("nothing", {"a": 1}, "`a`"),
        ("nothing", 1, "takes no content"),
        ("document", {"a": 1}, "`a`"),
        ("options", {"c": 1}, "`a`"),
        ("exact", {"point": {"x": 1, "later": 2}}, "`later` - at `$.point`"),
        ("options", {"a": 1, "self": 2}, "'self'"),
        ("options", {"a": 1, 7: 2}, "text, not 7"),
    ],
)
def test_a_misfit_is_a_400_that_names_it(op: str, content: Any, named: str) -> None:
    with pytest.raises(BadRequest) as raised:
        bind(op, content)
    assert raised.value.code == 400
    assert named in raised.value.message


def test_json_binds_like_msgpack() -> None:
    assert bind("hello", b' {"text": "x"}', JSON)[0] == ("x",)
    assert bind("hello", b'"x"', JSON)[0] == ("x",)
    assert bind("blob", b'{"data": "AP8="}', JSON)[0] == (b"\x00\xff",)
    assert bind("add", b'{"a": 1}', "application/json; charset=utf-8")[0] == (1, 2)
    with pytest.raises(BadRequest, match="txt"):
        bind("hello", b'{"txt": 1}', JSON)


@pytest.mark.parametrize("body", [b"\xc1", b"\x81\xa4text", b"\xd9"])
def test_a_body_that_is_not_msgpack_is_a_codec_error(body: bytes) -> None:
    with pytest.raises(CodecError):
        bind("hello", body)


def test_a_body_that_is_not_json_is_a_codec_error() -> None:
    with pytest.raises(CodecError):
        bind("hello", b'{"text":', JSON)


def test_an_unknown_content_type_is_a_415_that_lists_the_known() -> None:
    with pytest.raises(UnsupportedContentType, match="application/json") as raised:
        bind("hello", b"x", "text/csv")
    assert raised.value.code == 415


@given(st.binary(max_size=64), st.sampled_from([MSGPACK, JSON]))
def test_garbage_never_raises_anything_else(body: bytes, content_type: str) -> None:
    for op in OPS.values():
        if op.raw:
            continue
        with contextlib.suppress(BadRequest, CodecError):
            op.bind(Envelope(op.name, body, content_type=content_type))


def test_an_op_must_be_async() -> None:
    class Sync:
        def op_x(self) -> None: ...

    with pytest.raises(TypeError, match="op_x must be an async method"):
        op_table(Sync)

    class Selfless:
        async def op_x() -> None: ...  # type: ignore[misc]

    with pytest.raises(TypeError, match="op_x lacks self"):
        op_table(Selfless)


def test_star_args_are_refused_at_class_creation() -> None:
    class Star:
        async def op_x(self, *things: int) -> None: ...

    with pytest.raises(TypeError, match="things"):
        op_table(Star)


def test_an_op_describes_itself() -> None:
    assert OPS["hello"].describe() == {
        "params": [{"name": "text", "type": "str", "required": False, "default": "Hi there"}],
        "doc": "Greet.",
    }
    assert OPS["raw"].raw
    assert isinstance(OPS["raw"], Op)
