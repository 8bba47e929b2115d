"""Whether what was written by one release of protobuf files can be read by the next, and back.

``python -m ion.objects.compatibility OLD NEW`` compares two FileDescriptorSets, as ``protoc
--include_imports -o FILE`` writes them. Each line of what it prints is a finding: file, message,
field, and what is wrong. It exits 0 where there is none, 1 where there is, 2 where a file cannot be
read.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ion.base.errors import ConfigurationError

Findings = Iterator["Finding"]

# Types of fields that are written the same way, so that one can be read as the other.
_ALIKE = (
    frozenset({"INT32", "UINT32", "INT64", "UINT64", "BOOL", "ENUM"}),
    frozenset({"SINT32", "SINT64"}),
    frozenset({"FIXED32", "SFIXED32"}),
    frozenset({"FIXED64", "SFIXED64"}),
)
_NARROW = {"INT32": 32, "UINT32": 32, "BOOL": 1, "ENUM": 32, "INT64": 64, "UINT64": 64}


class Finding(msgspec.Struct, frozen=True):
    """One thing that breaks older or newer readers.

    :ivar message: full name of the message or enumeration; "" for a file.
    :ivar field: "" for all of it.
    :ivar rule: a word for the rule that is broken.
    """

    file: str
    message: str
    field: str
    rule: str
    text: str

    def __str__(self) -> str:
        where = ".".join(part for part in (self.message, self.field) if part)
        return f"{self.file}: {where}: {self.text} [{self.rule}]"


class _Found(msgspec.Struct):
    """A message or enumeration, and the file that it is in."""

    file: str
    body: Any


def compare(old: bytes, new: bytes) -> list[Finding]:
    """Return what breaks between two FileDescriptorSets, in the order of the old one.

    :raises ConfigurationError: one is none; or protobuf is not installed.
    """
    before, after = _read(old, "the old one"), _read(new, "the new one")
    return [*_files(before, after), *_messages(before, after), *_enums(before, after)]


def _read(data: bytes, which: str) -> Any:
    try:
        from google.protobuf import descriptor_pb2
        from google.protobuf.message import DecodeError
    except ImportError as error:
        message = "protobuf is not installed: pip install 'ioncore[protobuf]'"
        raise ConfigurationError(message) from error
    try:
        found = descriptor_pb2.FileDescriptorSet.FromString(data)
    except DecodeError as error:
        message = f"{which} is no FileDescriptorSet: {error}"
        raise ConfigurationError(message) from error
    if not found.file:
        message = f"{which} has no files: write it with protoc -o"
        raise ConfigurationError(message)
    return found


def _files(old: Any, new: Any) -> Findings:
    after = {file.name: file for file in new.file}
    for file in old.file:
        now = after.get(file.name)
        if now is not None and now.package != file.package:
            text = f"package {file.package!r} became {now.package!r}: all names in it changed"
            yield Finding(file.name, "", "", "package", text)


def _messages(old: Any, new: Any) -> Findings:
    after = _all(new, "message_type")
    for name, found in _all(old, "message_type").items():
        now = after.get(name)
        if now is None:
            yield Finding(found.file, name, "", "message", "it was removed, moved or renamed")
        else:
            yield from _message(found.file, name, found.body, now.body)


def _message(file: str, name: str, old: Any, new: Any) -> Findings:
    for field in old.field:
        for rule, text in _field(field, old, new):
            yield Finding(file, name, field.name, rule, text)
    before = {field.number: field for field in old.field}
    names = {field.name: field for field in old.field}
    for field in new.field:
        if field.number not in before and field.name not in names:
            for rule, text in _fresh(field, old):
                yield Finding(file, name, field.name, rule, text)
    yield from _unreserved(file, name, old, new)


def _field(old: Any, owner: Any, new: Any) -> Iterator[tuple[str, str]]:
    """Iterate what became of a field that was there."""
    same = next((field for field in new.field if field.number == old.number), None)
    named = next((field for field in new.field if field.name == old.name), None)
    if same is None:
        if named is not None:
            yield "number", f"its number {old.number} became {named.number}"
        elif not _is_reserved(old.number, new.reserved_range):
            yield "removed", f"it was removed, and its number {old.number} is not reserved"
        elif old.name not in new.reserved_name:
            yield "removed", f"it was removed, and its name {old.name!r} is not reserved"
        return
    if same.name != old.name:
        if named is not None:
            yield "number", f"its number {old.number} became {named.number}"
        yield "reused", f"its number {old.number} is now that of {same.name!r}"
    yield from _type(old, same)
    yield from _label(old, same)
    before, after = _oneof(old, owner), _oneof(same, new)
    if before != after:
        text = f"it was moved from {before or 'no oneof'} to {after or 'no oneof'}"
        yield "oneof", text


def _fresh(field: Any, old: Any) -> Iterator[tuple[str, str]]:
    """Iterate what is wrong with a field that is new."""
    if _is_reserved(field.number, old.reserved_range):
        yield "reserved", f"it has the number {field.number}, which was reserved"
    if field.name in old.reserved_name:
        yield "reserved", f"it has the name {field.name!r}, which was reserved"
    if _word(field, "label") == "REQUIRED":
        yield "label", "it is required, and older writers do not know it"


def _type(old: Any, new: Any) -> Iterator[tuple[str, str]]:
    before, after = _word(old, "type"), _word(new, "type")
    if before == after:
        if old.type_name != new.type_name:
            yield "type", f"its type {old.type_name} became {new.type_name}"
        return
    pair = {before, after}
    if pair == {"STRING", "BYTES"}:
        yield "type", f"its type {before} became {after}: bytes that are no UTF-8 cannot be read"
    elif not any(pair <= alike for alike in _ALIKE):
        yield "type", f"its type {before} became {after}, which is written in another way"
    elif _NARROW.get(after, 0) != _NARROW.get(before, 0):
        yield "type", f"its type {before} became {after}: values of the wider one are cut"


def _label(old: Any, new: Any) -> Iterator[tuple[str, str]]:
    before, after = _word(old, "label"), _word(new, "label")
    if before != after:
        yield "label", f"it was {before.lower()}, and is {after.lower()}"


def _unreserved(file: str, name: str, old: Any, new: Any) -> Findings:
    """Iterate numbers and names that were reserved, and are free now."""
    used = {field.number for field in new.field}
    for span in old.reserved_range:
        for number in range(span.start, min(span.end, span.start + 1000)):
            if number not in used and not _is_reserved(number, new.reserved_range):
                text = f"number {number} was reserved, and is free now"
                yield Finding(file, name, "", "reserved", text)
                break
    used = {field.name for field in new.field}
    for each in old.reserved_name:
        if each not in new.reserved_name and each not in used:
            text = f"name {each!r} was reserved, and is free now"
            yield Finding(file, name, "", "reserved", text)


def _enums(old: Any, new: Any) -> Findings:
    after = _all(new, "enum_type")
    for name, found in _all(old, "enum_type").items():
        now = after.get(name)
        if now is None:
            yield Finding(found.file, name, "", "enum", "it was removed, moved or renamed")
            continue
        for value in found.body.value:
            text = _value(value, now.body)
            if text is not None:
                yield Finding(found.file, name, value.name, "value", text)


def _value(old: Any, new: Any) -> str | None:
    numbers = {value.number for value in new.value}
    names = {value.name: value.number for value in new.value}
    if names.get(old.name, old.number) != old.number:
        return f"its number {old.number} became {names[old.name]}"
    if old.name in names:
        return None
    if old.number in numbers:
        return f"its number {old.number} has another name now"
    for span in new.reserved_range:  # of enumerations: its end is in it
        if span.start <= old.number <= span.end and old.name in new.reserved_name:
            return "it was removed: older writers may still send it"
    return f"it was removed, and {old.number} and its name are not reserved"


def _all(files: Any, kind: str) -> Mapping[str, _Found]:
    """Return messages or enumerations by their full names, those within messages too."""
    found: dict[str, _Found] = {}
    for file in files.file:
        waiting = [(file.package, file)]
        while waiting:
            above, body = waiting.pop(0)
            inner = body.message_type if body is file else body.nested_type
            for each in inner:
                name = f"{above}.{each.name}".lstrip(".")
                waiting.append((name, each))
            kinds = inner if kind == "message_type" else body.enum_type
            for each in kinds:
                found[f"{above}.{each.name}".lstrip(".")] = _Found(file.name, each)
    return found


def _is_reserved(number: int, spans: Any) -> bool:
    return any(span.start <= number < span.end for span in spans)


def _oneof(field: Any, owner: Any) -> str:
    """Return the oneof that a field is in; "": none, or that of an optional field alone."""
    if not field.HasField("oneof_index") or field.proto3_optional:
        return ""
    return str(owner.oneof_decl[field.oneof_index].name)


def _word(field: Any, kind: str) -> str:
    """Return the name of a field's type or label."""
    descriptor = field.DESCRIPTOR.fields_by_name[kind].enum_type
    name: str = descriptor.values_by_number[getattr(field, kind)].name
    return name.split("_", 1)[1]


def main(arguments: Sequence[str]) -> int:
    """Compare two files; return the exit code."""
    if len(arguments) != 2:  # noqa: PLR2004
        sys.stderr.write("usage: python -m ion.objects.compatibility OLD NEW\n")
        return 2
    try:
        old, new = (Path(argument).read_bytes() for argument in arguments)
        findings = compare(old, new)
    except (OSError, ConfigurationError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    for finding in findings:
        sys.stdout.write(f"{finding}\n")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
