"""Read YAML as data, from the parser's events, with the line of every key.

Contract: the types of YAML's safe schema, except that dates stay text; a key that occurs twice,
tags beyond that schema, merge keys and several documents are errors. No recursion in C, so no
nesting can overflow the stack.
"""

from __future__ import annotations

from typing import Any

import yaml

from ion.base.builder import Builder, KeyPath

# libyaml's parser where PyYAML was built with it: ten times as fast
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PREFIX = "tag:yaml.org,2002:"
_SCALARS = {_PREFIX + name for name in ("str", "int", "float", "bool", "null")}
_TEXT = {_PREFIX + "timestamp"}


def build_yaml(text: str, builder: Builder) -> Any:
    """Return the data that ``text`` says; None where it says nothing.

    :raises ConfigurationError: it is not YAML, or not in the bounds above.
    """
    try:
        return _Reader(text, builder).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = " ".join(part for part in (error.problem, error.context) if part)
        builder.fail(mark.line + 1 if mark else 1, f"not YAML: {said}")
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        said = str(error).partition("\n")[0]
        odd = yaml.reader.Reader.NON_PRINTABLE.search(text)
        line = text.count("\n", 0, odd.start()) + 1 if odd is not None else 1
        builder.fail(line, f"not YAML: {said}")


def parse_scalar(text: str) -> Any:
    """Return what ``text`` means as one value in a YAML file: ``5``, ``true``, ``[a, b]``.

    What is no YAML is itself, as text.
    """
    from ion.base.errors import ConfigurationError

    try:
        return build_yaml(text, Builder("value"))
    except ConfigurationError:
        return text


class _Reader:
    """Turns the events of one document into data."""

    def __init__(self, text: str, builder: Builder) -> None:
        self.loader = _Loader(text)
        self.builder = builder
        self.anchors: dict[str, tuple[Any, int]] = {}

    def document(self) -> Any:
        loader = self.loader
        loader.get_event()  # the stream's start
        if loader.check_event(yaml.StreamEndEvent):
            return None
        loader.get_event()  # the document's start
        data = self.value(())
        loader.get_event()  # the document's end
        if not loader.check_event(yaml.StreamEndEvent):
            line = loader.peek_event().start_mark.line + 1
            self.builder.fail(line, "a second document: one file is one document")
        return data

    def value(self, path: KeyPath) -> Any:
        event = self.loader.get_event()
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event, path, line)
        before = self.builder.values
        self.builder.count(line, path)
        data = self.built(event, path, line)
        if event.anchor is not None:
            self.anchors[event.anchor] = (data, self.builder.values - before)
        return data

    def built(self, event: Any, path: KeyPath, line: int) -> Any:
        if isinstance(event, yaml.ScalarEvent):
            data = self.scalar(event, path, line)
            if type(data) in {int, float}:
                self.builder.texts[path] = event.value
            return data
        kind = "map" if isinstance(event, yaml.MappingStartEvent) else "seq"
        if event.tag not in {None, "!", _PREFIX + kind}:
            self.builder.fail(line, f"tag {event.tag!r} is not known here", path)
        return self.map(path) if kind == "map" else self.sequence(path)

    def alias(self, event: Any, path: KeyPath, line: int) -> Any:
        if event.anchor not in self.anchors:
            self.builder.fail(line, f"alias {event.anchor!r} has no anchor before it", path)
        data, values = self.anchors[event.anchor]
        self.builder.count(line, path, values)
        return data

    def map(self, path: KeyPath) -> dict[Any, Any]:
        result: dict[Any, Any] = {}
        while not self.loader.check_event(yaml.MappingEndEvent):
            event = self.loader.get_event()
            line = event.start_mark.line + 1
            if not isinstance(event, yaml.ScalarEvent):
                self.builder.fail(line, "a key must be text or a number", path)
            key = self.scalar(event, path, line)
            if key == "<<" and event.implicit[0]:  # quoted, it is a key like any other
                self.builder.fail(line, "merge keys ('<<') are not known here", path)
            result[key] = self.value(self.builder.put(result, key, path, line))
        self.loader.get_event()
        return result

    def sequence(self, path: KeyPath) -> list[Any]:
        result: list[Any] = []
        while not self.loader.check_event(yaml.SequenceEndEvent):
            result.append(self.value((*path, len(result))))
        self.loader.get_event()
        return result

    def scalar(self, event: Any, path: KeyPath, line: int) -> Any:
        tag = event.tag
        if tag in {None, "!"}:
            tag = self.loader.resolve(yaml.ScalarNode, event.value, event.implicit)
            if tag not in _SCALARS:  # dates, and the signs '=' and '<<'
                tag = _PREFIX + "str"
        if tag not in _SCALARS | _TEXT:
            self.builder.fail(line, f"tag {tag!r} is not known here", path)
        if tag not in _SCALARS:
            return event.value
        node = yaml.ScalarNode(tag, event.value)
        try:
            return self.loader.yaml_constructors[tag](self.loader, node)
        except (ValueError, KeyError, IndexError, OverflowError):
            self.builder.fail(line, f"{event.value!r} is no {tag.removeprefix(_PREFIX)}", path)
