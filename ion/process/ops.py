"""Ops: the methods ``op_<name>`` of a process class, compiled to a table at class creation.

Content that is a map binds to the parameters by name, other content to the first one; values are
checked against the annotations without coercion. msgspec does both in one pass over the bytes.
A handler whose parameters are exactly ``content, headers, msg`` receives the raw parts.
A handler marked with :func:`command` is called only for who has the key of the system.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec.structs import astuple

from ion.base.errors import BadRequest, CodecError
from ion.messaging import codec
from ion.messaging.envelope import JSON, MSGPACK, Envelope
from ion.process.command.authorization import demand
from ion.process.conversations import streaming

PREFIX = "op_"
RAW_PARAMETERS = ("content", "headers", "msg")
Arguments = tuple[list[Any] | tuple[Any, ...], dict[str, Any]]
_NONE: dict[str, Any] = {}  # never changed
_NO_ARGUMENTS: Arguments = ((), _NONE)
# Of the first byte of content in msgpack, whether it begins a map.
_IS_MAP = [0x80 <= first <= 0x8F or first in (0xDE, 0xDF) for first in range(256)]  # noqa: PLR2004
_MARK = "ion_command"
_NEVER_COPIED = (type(None), bool, int, float, str, bytes)
Handler = TypeVar("Handler", bound=Callable[..., Any])


def command(handler: Handler) -> Handler:
    """Mark an op as a command: a message without the system's signature is answered 403.

    For ops of processes that are called by their pid, as agents and supervisors are: what a
    signature was used for is known to one container only.
    """
    setattr(handler, _MARK, True)
    return handler


class Parameter(msgspec.Struct, frozen=True):
    """One parameter of an op, as ``ioncc services`` and clients see it."""

    name: str
    type: str
    required: bool
    default: Any = None


class Op:
    """One op: how to bind content to its handler.

    :ivar name: without the prefix.
    :ivar method: the plain function; called as ``method(process, *args, **kwargs)``, and awaited.
    :ivar raw: whether it takes ``content, headers, msg``.
    :ivar streams: whether it is an async generator, whose items go out as a stream.
    :cvar is_command: whether it is called only for who has the key of the system.
    """

    is_command = False

    __slots__ = (
        "_extra",
        "_first",
        "_first_hint",
        "_json",
        "_keyword",
        "_msgpack",
        "_own",
        "_struct",
        "method",
        "name",
        "parameters",
        "raw",
        "streams",
    )

    def __init__(self, name: str, method: Callable[..., Any], owner: str) -> None:
        self.name = name
        self.streams = _is_generator(method)
        self.method = streaming.served(method) if self.streams else method
        parameters = list(inspect.signature(method).parameters.values())
        signature = parameters[1:]
        self._own = [p.name for p in parameters[:1] if p.kind is not p.POSITIONAL_ONLY]
        self.raw = tuple(p.name for p in signature) == RAW_PARAMETERS
        hints = {} if self.raw else _hints(method, owner)
        self._extra = any(p.kind is p.VAR_KEYWORD for p in signature)
        named = [p for p in signature if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
        if not self.raw:
            _check_signature(signature, f"{owner}.{method.__name__}")
        self._keyword = tuple(p.name for p in named if p.kind is p.KEYWORD_ONLY)
        self._first = named[0].name if named else None
        self.parameters = tuple(_described(p, hints.get(p.name, Any)) for p in named)
        where = f"{owner}.{method.__name__}"
        self._struct = None if self.raw else _struct(name, named, hints, not self._extra, where)
        self._first_hint = hints.get(self._first, Any) if self._first else None
        self._msgpack: codec.Decode | None = None
        self._json: codec.Decode | None = None
        if self._struct is not None and not self._extra:
            self._msgpack = msgspec.msgpack.Decoder(self._struct, dec_hook=_foreign).decode
            self._json = msgspec.json.Decoder(self._struct, dec_hook=_foreign).decode

    @property
    def doc(self) -> str:
        """First line of the handler's docstring."""
        return (inspect.getdoc(self.method) or "").partition("\n")[0]

    def describe(self) -> dict[str, Any]:
        """Return parameters and first line of the docstring as plain data."""
        params = [msgspec.to_builtins(p) for p in self.parameters]
        told: dict[str, Any] = {"params": params, "doc": self.doc}
        if self.streams:
            told["streams"] = True
        if self.is_command:
            told["command"] = True
        return told

    def bind(self, envelope: Envelope) -> Arguments:
        """Return the handler's positional and keyword arguments for a message.

        :raises BadRequest: unknown key, missing or mistyped value; the message names it.
        :raises CodecError: the body is not what its content type says.
        :raises UnsupportedContentType: nobody here can read it.
        """
        body = envelope.body
        content_type = envelope.content_type
        if not body:
            return self._from_data({})
        try:
            if content_type == MSGPACK or not content_type:
                if self._msgpack is not None and _IS_MAP[body[0]]:
                    struct = self._msgpack(body)
                    return self._arguments(struct) if self._keyword else (astuple(struct), _NONE)
            elif content_type == JSON and self._json is not None and body.lstrip()[:1] == b"{":
                return self._arguments(self._json(body))
        except msgspec.ValidationError as error:
            raise self._refused(error) from None
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            message = f"content is not {content_type or MSGPACK}: {error}"
            raise CodecError(message) from None
        return self._from_data(codec.decode(body, content_type))

    def _from_data(self, content: Any) -> Arguments:
        if hasattr(content, "ListFields"):
            return self._from_protobuf(content)
        if content is None:
            content = {}
        if self._struct is None:
            return _NO_ARGUMENTS
        if not isinstance(content, dict):
            if self._first is None:
                message = f"op {self.name!r} takes no content, but got {type(content).__name__}"
                raise BadRequest(message)
            content = {self._first: content}
        extra: dict[str, Any] = {}
        if self._extra:
            known = {p.name for p in self.parameters}
            extra = {key: value for key, value in content.items() if key not in known}
            content = {key: value for key, value in content.items() if key in known}
            self._check_keys(extra)
        try:
            struct = msgspec.convert(content, self._struct, dec_hook=_foreign)
        except msgspec.ValidationError as error:
            raise self._refused(error) from None
        args, kwargs = self._arguments(struct)
        return args, ({**kwargs, **extra} if extra else kwargs)

    def _check_keys(self, extra: Mapping[Any, Any]) -> None:
        """Refuse what cannot be the name of a ``**`` argument: no text, or that of the process."""
        for key in extra:
            if not isinstance(key, str):
                message = f"op {self.name!r}: the keys of its content are text, not {key!r:.100}"
            elif key in self._own:
                message = f"op {self.name!r}: its content cannot have a key {key!r}"
            else:
                continue
            raise BadRequest(message, details={"op": self.name})

    def _from_protobuf(self, message: Any) -> Arguments:
        """Bind a protobuf message whole to a first parameter of its class, else by its fields."""
        if self._first_hint in (type(message), Any):
            return (message,), {}
        from ion.messaging.protobuf import fields_of

        return self._from_data(fields_of(message))

    def _arguments(self, struct: Any) -> Arguments:
        values = astuple(struct)
        if not self._keyword:
            return values, _NONE
        cut = len(values) - len(self._keyword)
        return values[:cut], dict(zip(self._keyword, values[cut:], strict=True))

    def _refused(self, error: msgspec.ValidationError) -> BadRequest:
        takes = ", ".join(
            f"{p.name}: {p.type}" + ("" if p.required else f" = {p.default!r}")
            for p in self.parameters
        )
        message = f"op {self.name!r}: {error} (it takes: {takes or 'nothing'})"
        return BadRequest(message, details={"op": self.name})


class CommandOp(Op):
    """An op that is a command; what asks for it is checked before its content is read."""

    __slots__ = ()
    is_command = True

    def __init__(self, name: str, method: Callable[..., Any], owner: str) -> None:
        super().__init__(name, method, owner)
        if self.raw:
            message = f"{owner}.{method.__name__}: a command cannot take content, headers, msg"
            raise TypeError(message)

    def bind(self, envelope: Envelope) -> Arguments:
        """Return the handler's arguments for a message that may command; errors as of :class:`Op`.

        :raises Forbidden: it may not.
        """
        demand()
        return super().bind(envelope)


def op_table(cls: type) -> dict[str, Op]:
    """Return the ops of a process class by name, inherited ones included.

    :raises TypeError: a handler is not async, or its signature or annotations cannot be used.
    """
    table: dict[str, Op] = {}
    for attribute in dir(cls):
        if not attribute.startswith(PREFIX) or len(attribute) == len(PREFIX):
            continue
        method = inspect.getattr_static(cls, attribute)
        where = f"{cls.__qualname__}.{attribute}"
        if not inspect.isfunction(method) or not _is_async(method):
            message = (
                f"{where} must be an async method: async def {attribute}(self, ...); "
                "one that yields is called as a stream"
            )
            raise TypeError(message)
        if not inspect.signature(method).parameters:
            message = f"{where} lacks self: async def {attribute}(self, ...)"
            raise TypeError(message)
        name = attribute.removeprefix(PREFIX)
        kind = CommandOp if _is_command(cls, attribute) else Op
        table[name] = kind(name, method, cls.__qualname__)
    return table


def _is_command(cls: type, attribute: str) -> bool:
    """Tell whether a handler is marked; one in place of a marked one is a command, too."""
    return any(hasattr(vars(base).get(attribute), _MARK) for base in cls.__mro__)


def _is_async(method: Any) -> bool:
    return inspect.iscoroutinefunction(inspect.unwrap(method)) or _is_generator(method)


def _is_generator(method: Any) -> bool:
    """Return whether a call of the method gives an async generator; a wrapper may hide one."""
    if inspect.iscoroutinefunction(method):
        return False
    return inspect.isasyncgenfunction(inspect.unwrap(method))


def _hints(method: Callable[..., Any], owner: str) -> dict[str, Any]:
    try:
        return typing.get_type_hints(method, include_extras=True)
    except NameError as error:
        message = (
            f"{owner}.{method.__name__}: annotation {error.name!r} cannot be resolved; "
            "values are checked against annotations, so import it at run time"
        )
        raise TypeError(message) from error


def _check_signature(signature: list[inspect.Parameter], where: str) -> None:
    for parameter in signature:
        if parameter.kind is parameter.VAR_POSITIONAL:
            message = f"{where}: *{parameter.name} cannot be bound from content by name"
            raise TypeError(message)


def _described(parameter: inspect.Parameter, hint: Any) -> Parameter:
    required = parameter.default is parameter.empty
    default = None if required else parameter.default
    if not isinstance(default, (str, int, float, bool, type(None))):
        default = repr(default)
    return Parameter(parameter.name, _type_name(hint), required, default)


def _type_name(hint: Any) -> str:
    if hint is Any:
        return "any"
    return hint.__name__ if isinstance(hint, type) and not hasattr(hint, "__args__") else str(hint)


def _struct(
    name: str,
    parameters: list[inspect.Parameter],
    hints: Mapping[str, Any],
    strict: bool,
    where: str,
) -> Any:
    fields: list[Any] = []
    for parameter in parameters:
        hint = hints.get(parameter.name, Any)
        if parameter.default is parameter.empty:
            fields.append((parameter.name, hint))
        else:
            fields.append((parameter.name, hint, _default(parameter.default)))
    try:
        struct = msgspec.defstruct(name, fields, forbid_unknown_fields=strict, kw_only=True)
        msgspec.convert({}, msgspec.defstruct("Probe", [(f[0], f[1], None) for f in fields]))
    except TypeError as error:
        message = f"{where}: its annotations cannot be checked: {error}"
        raise TypeError(message) from error
    return struct


def _default(value: Any) -> Any:
    """Return a default as a struct has it: the very same object; msgspec would copy some."""
    if type(value) in _NEVER_COPIED:
        return value
    return msgspec.field(default_factory=functools.partial(_same, value))


def _same(value: Any) -> Any:
    return value


def _foreign(type_: Any, value: Any) -> Any:
    """Take objects of types that msgspec does not know only where they are that type already."""
    if isinstance(type_, type) and isinstance(value, type_):
        return value
    name = getattr(type_, "__name__", str(type_))
    message = f"Expected `{name}`, got `{type(value).__name__}`"
    raise ValueError(message)
