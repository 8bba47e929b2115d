"""Rel files: which apps to start, in order, each with its settings and arguments.

Contract: as for app files. A release says nothing that an app file could not also say for itself,
but what it says about an app is stronger.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from ion.base.builder import KeyPath
from ion.base.document import Document, read
from ion.base.errors import ConfigurationError
from ion.base.findings import Finding, raise_errors
from ion.base.schema import Fault, check
from ion.base.settings import Word
from ion.container.apps.app import without_nulls
from ion.container.apps.lookup import REL, find
from ion.container.apps.mod import ModSpec, process_mod


@dataclass(frozen=True, slots=True)
class RelEntry:
    """One app of a release.

    :param config: laid over the ``config`` of the app's file.
    :param args: laid over the keyword arguments of its ``mod``.
    :param mult: start it even where an app of that name runs already.
    :param processapp: start this process instead of reading an app file.
    :param index: its place in the release.
    """

    name: str
    version: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    args: Mapping[str, Any] = field(default_factory=dict)
    mult: bool = False
    processapp: ModSpec | None = None
    index: int = 0


@dataclass(frozen=True, slots=True)
class RelSpec:
    """A rel file, well-formed. Fields are the keys of the file, and ``file``."""

    name: str
    apps: tuple[RelEntry, ...]
    version: str = ""
    description: str = ""
    ioncore: str = ""
    file: Path | None = None
    document: Document | None = field(default=None, compare=False, repr=False)

    def where(self, *path: str | int) -> str:
        """Return file and line of a key, for messages."""
        if self.document is None:
            return f"release {self.name!r}"
        return f"{self.document.name}:{self.document.line_of(path)}"


class _EntryFile(msgspec.Struct, kw_only=True):
    """The keys of one app in a rel file, and their types."""

    name: Word
    version: str = ""
    config: dict[str, Any] = {}
    args: dict[str, Any] = {}
    mult: bool = False
    processapp: Any = None


class _RelFile(msgspec.Struct, kw_only=True):
    """The keys of a rel file, and their types."""

    type: Literal["release"]
    name: str
    apps: list[_EntryFile]
    version: str = ""
    description: str = ""
    ioncore: str = ""


def load_rel(name_or_path: str | Path) -> RelSpec:
    """Find and read a rel file; a name without suffix may be given.

    :raises ConfigurationError: there is none, it is an app, or anything in it is wrong.
    """
    text = str(name_or_path)
    path = find(name_or_path if text.endswith((REL, ".app")) else type(name_or_path)(text + REL))
    if path.suffix != REL:
        message = f"{path} is an app, not a release"
        raise ConfigurationError(message, details={"file": str(path)})
    return read_rel(path)


def read_rel(path: Path) -> RelSpec:
    """Read the rel file at ``path``.

    :raises ConfigurationError: anything in it is wrong; the message says all of it.
    """
    document = read(path)
    spec, findings = rel_of(document, path)
    raise_errors(findings)
    assert spec is not None
    return spec


def rel_of(document: Document, path: Path | None = None) -> tuple[RelSpec | None, list[Finding]]:
    """Return the release that a document says (None where it is wrong), and what is wrong."""
    data = _tidied(document)
    faults = check(data, _RelFile)
    entries: list[RelEntry] = []
    if not faults:
        entries, faults = _entries_of(data["apps"])
    if faults:
        return None, [document.finding(fault.path, fault.message) for fault in faults]
    read_ = msgspec.convert(data, _RelFile)
    spec = RelSpec(
        name=read_.name,
        apps=tuple(entries),
        version=read_.version,
        description=read_.description,
        ioncore=read_.ioncore,
        file=path,
        document=document,
    )
    return spec, []


def _tidied(document: Document) -> Any:
    """Return the data without keys that have no value, and with versions as text."""
    data = document.with_texts(without_nulls(document.data), (), "version", "ioncore")
    if isinstance(data, Mapping) and isinstance(data.get("apps"), list | tuple):
        entries = [
            document.with_texts(without_nulls(entry), ("apps", index), "version")
            for index, entry in enumerate(data["apps"])
        ]
        return {**data, "apps": entries}
    return data


def _entries_of(data: list[Mapping[str, Any]]) -> tuple[list[RelEntry], list[Fault]]:
    entries: list[RelEntry] = []
    faults: list[Fault] = []
    for index, raw in enumerate(data):
        path: KeyPath = ("apps", index, "processapp")
        mod = None
        if "processapp" in raw:
            mod, mod_faults = process_mod(raw["processapp"], {}, path, raw["name"])
            faults += mod_faults
        read_ = msgspec.convert(raw, _EntryFile)
        entries.append(
            RelEntry(
                name=read_.name,
                version=read_.version,
                config=read_.config,
                args=read_.args,
                mult=read_.mult,
                processapp=mod,
                index=index,
            )
        )
    return entries, faults
