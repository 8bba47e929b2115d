"""Protobuf files as data, and classes of their messages: no compiler is needed."""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

F = descriptor_pb2.FieldDescriptorProto
TYPES = {
    "string": F.TYPE_STRING, "bytes": F.TYPE_BYTES, "double": F.TYPE_DOUBLE, "bool": F.TYPE_BOOL,
    "int32": F.TYPE_INT32, "int64": F.TYPE_INT64, "uint32": F.TYPE_UINT32,
    "sint32": F.TYPE_SINT32, "fixed32": F.TYPE_FIXED32,
}  # fmt: skip
LABELS = {
    "optional": F.LABEL_OPTIONAL, "repeated": F.LABEL_REPEATED, "required": F.LABEL_REQUIRED
}  # fmt: skip


def field(text: str) -> F:
    """Return a field of ``[repeated|oneof NAME] TYPE name = number``; see :func:`message`."""
    left, number = text.split("=")
    words = left.split()
    label = words.pop(0) if words[0] in LABELS else "optional"
    kind, name = words
    made = F(name=name, number=int(number), label=LABELS[label])
    if kind.startswith("enum:"):
        made.type, made.type_name = F.TYPE_ENUM, kind.removeprefix("enum:")
    elif kind in TYPES:
        made.type = TYPES[kind]
    else:
        made.type, made.type_name = F.TYPE_MESSAGE, kind
    return made


def message(name: str, *fields: str, nested=(), enums=(), reserved=(), names=()) -> Any:
    """Return a message; ``oneof NAME: FIELD`` is a field of a oneof, ``map: FIELD`` of a map."""
    made = descriptor_pb2.DescriptorProto(name=name)
    for text in fields:
        group = ""
        if text.startswith("oneof "):
            group, _, text = text.removeprefix("oneof ").partition(": ")  # noqa: PLW2901
        one = field(text)
        if group:
            known = [oneof.name for oneof in made.oneof_decl]
            if group not in known:
                made.oneof_decl.add(name=group)
                known.append(group)
            one.oneof_index = known.index(group)
        made.field.append(one)
    made.nested_type.extend(nested)
    made.enum_type.extend(enums)
    for number in reserved:
        made.reserved_range.add(start=number, end=number + 1)
    made.reserved_name.extend(names)
    return made


def map_entry(name: str, key: str, value: str) -> Any:
    """Return the entry message that a map field is made of."""
    made = message(name, f"{key} key = 1", f"{value} value = 2")
    made.options.map_entry = True
    return made


def enum(name: str, **values: int) -> Any:
    made = descriptor_pb2.EnumDescriptorProto(name=name)
    for key, number in values.items():
        made.value.add(name=key, number=number)
    return made


def file(*messages: Any, enums=(), package="lab", name="lab.proto", syntax="proto3") -> Any:
    made = descriptor_pb2.FileDescriptorProto(name=name, package=package, syntax=syntax)
    made.message_type.extend(messages)
    made.enum_type.extend(enums)
    return made


def file_set(*files: Any) -> bytes:
    return descriptor_pb2.FileDescriptorSet(file=files).SerializeToString()


def classes(made: Any) -> dict[str, Any]:
    """Return the classes of a file's messages, of a pool of their own."""
    pool = descriptor_pool.DescriptorPool()
    pool.Add(made)
    found = {}
    for each in made.message_type:
        full_name = f"{made.package}.{each.name}"
        found[each.name] = message_factory.GetMessageClass(pool.FindMessageTypeByName(full_name))
    return found
