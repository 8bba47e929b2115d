"""Check data from files against typed structures, and gather everything wrong.

A schema is a :class:`msgspec.Struct`, nested as the data is. Unlike ``msgspec.convert``, which
stops at the first fault, :func:`check` finds them all, with the path of each. No coercion: the
text ``"5"`` is no number; a whole number may stand for a float.
"""

from __future__ import annotations

import difflib
import functools
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from ion.base.masking import masked

Path = tuple[str | int, ...]
MAX_SHOWN = 60
NAME_PATTERN = r"\A[A-Za-z0-9_][A-Za-z0-9_-]*\Z"


class Fault(msgspec.Struct, frozen=True):
    """A value that the schema does not allow: where, and why."""

    path: Path
    message: str


def check(data: Any, schema: Any, path: Path = ()) -> list[Fault]:
    """Return all faults of ``data``; none where it fits ``schema``.

    Required fields that are absent are faults of the map that should hold them.
    """
    struct = struct_of(schema)
    if struct is not None and isinstance(data, Mapping):
        return _check_struct(data, struct, path)
    item = item_of(schema)
    if item is not None and isinstance(data, Mapping):
        return _check_map(data, item, path)
    element = _element_of(schema)
    if element is not None and isinstance(data, list | tuple):
        faults = [f for i, value in enumerate(data) for f in check(value, element, (*path, i))]
        is_bounded = get_origin(schema) is Annotated  # how many there may be
        return faults or (_check_leaf(data, schema, path) if is_bounded else [])
    return _check_leaf(data, schema, path)


def child_of(schema: Any, key: str) -> Any:
    """Return the schema of what stands under ``key``, or None where the schema has no such key."""
    struct = struct_of(schema)
    if struct is not None:
        return fields_of(struct).get(key)
    if schema is Any:
        return Any
    return item_of(schema)


def struct_of(schema: Any) -> type[msgspec.Struct] | None:
    """Return the struct that ``schema`` is, or None; an optional struct counts."""
    for option in _options(schema):
        if isinstance(option, type) and issubclass(option, msgspec.Struct):
            return option
    return None


def item_of(schema: Any) -> Any:
    """Return the type of the values of a map, or None where ``schema`` is no map."""
    for option in _options(schema):
        if get_origin(option) is dict:
            return get_args(option)[1]
        if option is dict:
            return Any
    return None


@functools.cache
def fields_of(struct: type[msgspec.Struct]) -> Mapping[str, Any]:
    """Return the names (as in files) and types of the struct's fields."""
    return {field.encode_name: field.type for field in msgspec.structs.fields(struct)}


@functools.cache
def required_of(struct: type[msgspec.Struct]) -> tuple[str, ...]:
    """Return the names (as in files) of the struct's fields that have no default."""
    return tuple(f.encode_name for f in msgspec.structs.fields(struct) if f.required)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a hint at the known word that is meant, or at all of them; starts with a blank."""
    words = sorted(known)
    near = nearest(word, words)
    if near is not None:
        return f" (did you mean {near!r}?)"
    return f" (known: {', '.join(words)})" if words else ""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that is meant, or None where none is like it."""
    folded = {name.casefold(): name for name in sorted(known)}
    near = difflib.get_close_matches(word.casefold(), folded, n=1, cutoff=0.6)
    return folded[near[0]] if near else None


def _check_struct(data: Mapping[Any, Any], struct: type[msgspec.Struct], path: Path) -> list[Fault]:
    fields = fields_of(struct)
    faults = []
    for key, value in data.items():
        if key in fields:
            faults += check(value, fields[key], (*path, key))
        else:
            faults.append(
                Fault((*path, _part(key)), f"unknown key{did_you_mean(str(key), fields)}")
            )
    missing = [name for name in required_of(struct) if name not in data]
    faults += [Fault(path, f"key {name!r} is missing") for name in missing]
    return faults


def _check_map(data: Mapping[Any, Any], item: Any, path: Path) -> list[Fault]:
    faults = []
    for key, value in data.items():
        if isinstance(key, str):
            faults += check(value, item, (*path, key))
        else:
            faults.append(Fault((*path, _part(key)), f"keys are text, not {_kind(key)}"))
    return faults


def _check_leaf(data: Any, schema: Any, path: Path) -> list[Fault]:
    if schema is Any:
        return []
    choices = [
        c for option in _options(schema) if get_origin(option) is Literal for c in get_args(option)
    ]
    if choices and isinstance(data, str) and data not in choices:
        return [Fault(path, f"no such choice: {data!r}{did_you_mean(data, choices)}")]
    try:
        msgspec.convert(data, schema, strict=True)
    except msgspec.ValidationError as error:
        said = f"{_readable(str(error))}, not {shown(data, path)}"
        hint = _quotes(data, choices) if said.startswith("must be text") else ""
        return [Fault(path, said + hint)]
    return []


def _quotes(data: Any, choices: Sequence[Any]) -> str:
    """Say that quotes are missing, where YAML has taken a text for something else."""
    if isinstance(data, bool):
        word = "on" if data else "off"
        return f' (YAML takes {word} for that: write "{word}")' if word in choices else ""
    return " (put it in quotes)" if isinstance(data, int | float) else ""


def _element_of(schema: Any) -> Any:
    for option in _options(schema):
        if get_origin(option) in {list, tuple} and get_args(option):
            return get_args(option)[0]
    return None


def _options(schema: Any) -> tuple[Any, ...]:
    if get_origin(schema) is Annotated:
        return _options(get_args(schema)[0])
    if get_origin(schema) in {Union, types.UnionType}:
        return get_args(schema)
    return (schema,)


_WORDS = {
    "`object`": "a map",
    "`array`": "a list",
    "`str`": "text",
    "`int`": "a whole number",
    "`float`": "a number",
    "`bool`": "true or false",
    "`null`": "null",
}


def _readable(message: str) -> str:
    """Say a msgspec message in the words of the files."""
    message = message.partition(", got ")[0].partition(" - at ")[0]
    message = message.removeprefix("Expected ")
    if message.endswith(f"matching regex {NAME_PATTERN!r}"):
        return "must be a name of letters, digits, '_' and '-'"
    message, _, pattern = message.partition(" matching regex ")
    for word, plain in _WORDS.items():
        message = message.replace(word, plain)
    if "|" in message:
        names = [_WORDS.get(f"`{name.strip()}`", name) for name in message.strip("`").split("|")]
        message = " or ".join(names)
    form = pattern.strip("'").removeprefix(r"\\A").removesuffix(r"\\Z")
    return f"must be {message} of the form {form}" if form else f"must be {message}"


def shown(value: Any, path: Path = ()) -> str:
    """Return ``value`` for a message: short, and without secrets.

    :param path: where it stands.
    """
    text = repr(masked(value, ".".join(map(str, path))))
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


def _part(key: Any) -> str | int:
    return key if isinstance(key, int) else str(key)


def _kind(value: Any) -> str:
    return "null" if value is None else f"{type(value).__name__} {shown(value)}"
