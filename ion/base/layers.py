"""Where settings come from: files, environment, options, a program's own map; each one a layer.

A layer is a list of entries: a key's path, its value, and the place it came from. Contract: a
layer reader reports every fault of its source as a finding and reads on.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ion.base.builder import dotted
from ion.base.document import Document, read
from ion.base.errors import ConfigurationError
from ion.base.findings import Finding
from ion.base.schema import Fault, check, child_of, did_you_mean, fields_of, item_of, struct_of
from ion.base.settings import Settings

KeyPath = tuple[str, ...]

# names that are shorter than the keys they mean
ALIASES: Mapping[KeyPath, KeyPath] = {
    ("sysname",): ("container", "sysname"),
    ("broker", "urls"): ("broker", "url"),
}
SECTION_VALUE: Mapping[str, str] = {"broker": "url", "store": "url"}
ENVIRONMENT: Mapping[str, str] = {
    "ION_BROKER": "broker.url",
    "ION_SYSNAME": "container.sysname",
    "ION_STORE": "store.url",
    "ION_TOKEN": "identity.token",
}
PREFIX = "ION_"
_NULLS = {"", "~", "null"}


class Origin(NamedTuple):
    """The place that a value came from: a file and line, or what stands for one."""

    place: str
    line: int | None = None

    def __str__(self) -> str:
        return self.place if self.line is None else f"{self.place}:{self.line}"


class Entry(NamedTuple):
    """One value of a layer."""

    path: KeyPath
    value: Any
    origin: Origin


class Layer(NamedTuple):
    """What one source says, and what is wrong with it."""

    entries: list[Entry]
    findings: list[Finding]


def from_map(data: Mapping[str, Any], place: str) -> Layer:
    """Read a map, nested or with dotted keys.

    :raises ConfigurationError: it is no map.
    """
    if not isinstance(data, Mapping):
        message = (
            f'{place} is a map of settings, as {{"store.url": "memory://"}}, not {data!r:.100}; a '
            "file of them: Container(settings=ion.base.config.load(files=[...]))"
        )
        raise ConfigurationError(message)
    return _checked(_entries(data, Settings, (), lambda _: Origin(place)), [])


def from_file(path: Path, *, patience: float | None = None) -> Layer:
    """Read a YAML file of settings; parameters as of :func:`ion.base.document.read`."""
    try:
        document = read(path, patience=patience)
    except ConfigurationError as error:
        return Layer([], findings_of(error, str(path)))
    if document.data is None:
        return Layer([], [])
    if not isinstance(document.data, Mapping):
        return Layer([], [document.finding((), "settings must be a map of sections")])
    return from_document(document)


def from_document(document: Document) -> Layer:
    """Read a document whose data is a map."""

    def origin(path: tuple[str | int, ...]) -> Origin:
        return Origin(document.name, document.line_of(path))

    return _checked(_entries(document.data, Settings, (), origin), [])


def files_in(directory: Path) -> list[Path]:
    """Return the files of settings of a working directory, the weakest first."""
    folder = directory / "res" / "config"
    found = sorted(folder.glob("*.yml"), key=lambda path: (path.name != "ion.yml", path.name))
    local = directory / "ionlocal.yml"
    return [*found, local] if local.is_file() else found


def from_environment(environ: Mapping[str, str]) -> Layer:
    """Read ``ION_BROKER`` and what else has a name of its own, and ``ION_<SECTION>__<KEY>``.

    An empty variable counts as not set.
    """
    entries: list[Entry] = []
    findings: list[Finding] = []
    for name in sorted(name for name, text in environ.items() if text):
        origin = Origin(f"environment {name}")
        if name in ENVIRONMENT:
            path = split_key(ENVIRONMENT[name])
        elif name.startswith(PREFIX) and "__" in name:
            path = tuple(part.lower() for part in name.removeprefix(PREFIX).split("__"))
        else:
            continue
        entries.append(Entry(path, typed(environ[name], path), origin))
    return _checked(entries, findings)


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Return the ``ION_*`` variables that mean nothing here; they may be somebody else's."""
    return [
        name
        for name in sorted(environ)
        if name.startswith(PREFIX) and "__" not in name and name not in ENVIRONMENT
    ]


def from_assignments(assignments: Iterable[str], option: str) -> Layer:
    """Read ``section.key=value`` texts, as given to ``option``."""
    entries: list[Entry] = []
    findings: list[Finding] = []
    for text in assignments:
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals or not key:
            findings.append(Finding(f"{text!r} is not 'section.key=value'", option))
            continue
        path = split_key(key)
        entries.append(Entry(path, typed(value, path), Origin(f"{option} {key}")))
    return _checked(entries, findings)


def typed(text: str, path: KeyPath) -> Any:
    """Return what a text from outside means: text where the key wants text, else a YAML value."""
    kind = schema_at(path)
    if kind is not None and kind is not Any:
        if text in _NULLS and not check(None, kind):
            return None
        is_list = text.startswith("[") and not check([], kind)
        if not is_list and not check(text, kind):
            return text
    from ion.base.yamlreader import parse_scalar

    return parse_scalar(text)


def split_key(key: str) -> KeyPath:
    """Part a dotted key as the schema has it: names of loggers keep their dots."""
    return _split(key, Settings)


def schema_at(path: KeyPath) -> Any:
    """Return the schema of the key at ``path``, or None where there is none."""
    schema: Any = Settings
    for part in path:
        schema = child_of(schema, part)
        if schema is None:
            return None
    return schema


def findings_of(error: ConfigurationError, place: str) -> list[Finding]:
    """Return the findings that an error carries, or the error as one."""
    found = error.details.get("findings")
    if found:
        return [Finding(**finding) for finding in found]
    return [Finding(error.message, place)]


def _split(key: str, schema: Any) -> KeyPath:
    if "." not in key or not _has_branches(schema):
        return (key,)
    first, _, rest = key.partition(".")
    return (first, *_split(rest, child_of(schema, first)))


def _has_branches(schema: Any) -> bool:
    """Tell whether keys under ``schema`` may have keys of their own."""
    if schema is None or schema is Any or struct_of(schema) is not None:
        return True
    item = child_of(schema, "")
    return item is Any or struct_of(item) is not None or child_of(item, "") is not None


def _entries(
    data: Mapping[Any, Any], schema: Any, path: KeyPath, origin: Any, raw: tuple[Any, ...] = ()
) -> Iterator[Entry]:
    for key, value in data.items():
        # Free data keeps its keys as they are: the original's are dotted module names.
        parts = (str(key),) if _is_free(schema) else _split(str(key), schema)
        inner, inner_raw = (*path, *parts), (*raw, key)
        inner_schema = schema
        for part in parts:
            inner_schema = child_of(inner_schema, part)
        is_branch = inner_schema is not None and _is_map(inner_schema)
        if is_branch and isinstance(value, Mapping) and value and _all_text(value):
            yield from _entries(value, inner_schema, inner, origin, inner_raw)
        elif value is not None or struct_of(inner_schema) is None:
            yield Entry(inner, value, origin(inner_raw))


def _is_free(schema: Any) -> bool:
    return schema is Any or item_of(schema) is Any


def _all_text(data: Mapping[Any, Any]) -> bool:
    return all(isinstance(key, str) for key in data)


def _is_map(schema: Any) -> bool:
    return schema is Any or struct_of(schema) is not None or child_of(schema, "") is not None


def _checked(entries: Iterable[Entry], findings: list[Finding]) -> Layer:
    """Put aliases right, and drop what does not fit the schema, with a finding each."""
    good = []
    for entry in entries:
        path = ALIASES.get(entry.path, entry.path)
        value = list(entry.value) if isinstance(entry.value, tuple) else entry.value
        if len(path) == 1 and path[0] in SECTION_VALUE and not isinstance(value, Mapping):
            path = (path[0], SECTION_VALUE[path[0]])
        faults = faults_at(path, value)
        findings += [_finding(fault, entry.origin) for fault in faults]
        if not faults:
            good.append(Entry(path, value, entry.origin))
    return Layer(good, findings)


def faults_at(path: KeyPath, value: Any) -> list[Fault]:
    """Return what is wrong with giving ``value`` to the key at ``path``."""
    schema: Any = Settings
    for depth, part in enumerate(path):
        child = child_of(schema, part)
        if child is None:
            struct = struct_of(schema)
            hint = did_you_mean(part, fields_of(struct)) if struct else " (it has no keys)"
            return [Fault(path[: depth + 1], f"unknown key{hint}")]
        schema = child
    return check(value, schema, path)


def _finding(fault: Fault, origin: Origin) -> Finding:
    return Finding(fault.message, origin.place, origin.line, dotted(fault.path))


def process_environment() -> Mapping[str, str]:
    """Return the variables of this OS process."""
    return os.environ
