"""Check app, rel and config files, and all that they name, without importing or starting anything.

Contract: what would make a start fail because of a file is an error here; what a person should
know besides is a warning. A file is looked at once, however many others name it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ion.base import document, plugin
from ion.base.builder import KeyPath
from ion.base.config import of_file
from ion.base.document import Document
from ion.base.errors import ConfigurationError
from ion.base.findings import ERROR, WARNING, Finding
from ion.base.layers import findings_of
from ion.base.schema import did_you_mean
from ion.container import urls
from ion.container.apps import arguments
from ion.container.apps.app import BUILT_IN, AppSpec, app_of, read_app
from ion.container.apps.lookup import APP, REL, app_names, find, find_app
from ion.container.apps.mod import ModSpec, not_a_process, only_keywords
from ion.container.apps.plan import plan
from ion.container.apps.release import RelEntry, RelSpec, read_rel, rel_of
from ion.process.policy import reading
from ion.process.process import Process

__all__ = ["Finding", "check"]

CONFIG = frozenset({".yml", ".yaml"})


def check(paths: Iterable[str | Path]) -> list[Finding]:
    """Return what is wrong with the files, and with the apps that they name; in file order.

    :param paths: of ``.app``, ``.rel`` and ``.yml`` files; names of apps and rels will do.
    """
    checker = _Checker()
    for path in paths:
        checker.check(path)
    found = dict.fromkeys([*checker.findings, *checker.lacking()])
    errors = {(each.file, each.message) for each in found if each.severity == ERROR}
    return [
        each for each in found if each.severity == ERROR or (each.file, each.message) not in errors
    ]


class _Checker:
    """Goes from file to file, and remembers which ones it has seen."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.seen: set[Path] = set()
        self._alone: dict[Path, AppSpec] = {}
        self._released: set[Path] = set()

    def lacking(self) -> list[Finding]:
        """Return what apps cannot do without that no release of these files gives arguments to."""
        apps = [app for path, app in self._alone.items() if path not in self._released]
        return [each for app in apps for each in _unnamed(app, {})]

    def check(self, given: str | Path) -> None:
        path = Path(given)
        if path.suffix in CONFIG:
            self.findings += _in_yaml(path)
            return
        try:
            path = path if path.is_file() else find(str(given))
        except (ConfigurationError, ValueError, OSError) as error:
            self.findings.append(Finding(str(error), str(given)))
            return
        if path.suffix in {APP, REL}:
            self.file(path)
            self.ordered(path)
        else:
            self.findings.append(Finding("is no .app, .rel or .yml file", str(path)))

    def file(self, path: Path) -> None:
        """Check an app or rel file that is there."""
        if path.resolve() in self.seen:
            return
        self.seen.add(path.resolve())
        try:
            read = document.read(path)
        except ConfigurationError as error:
            self.findings += findings_of(error, str(path))
            return
        if path.suffix == APP:
            app, findings = app_of(read, path)
            self.findings += findings
            if app is not None:
                self.app(app, read, path)
        else:
            rel, findings = rel_of(read, path)
            self.findings += findings
            if rel is not None:
                self.release(rel, read, path)

    def app(self, app: AppSpec, read: Document, path: Path) -> None:
        """Check what a well-formed app names."""
        self.findings += _about_app(app, read, path)
        if app.built_in:
            return
        self.findings += _missing_of_app(app, read)
        self._alone[path.resolve()] = app
        for index, name in enumerate(app.applications):
            self.needed(name, read, ("applications", index), path)

    def release(self, rel: RelSpec, read: Document, path: Path) -> None:
        """Check what a well-formed release names."""
        names: set[str] = set()
        for entry in rel.apps:
            place = ("apps", entry.index)
            if entry.name in names and not entry.mult:
                message = f"{entry.name!r} is named before, and starts once: say 'mult' for more"
                self.findings.append(read.finding((*place, "name"), message, WARNING))
            names.add(entry.name)
            if entry.processapp is not None:
                name, key = entry.processapp.name, (*place, "processapp")
                self.findings += _no_process(name, read, key) or [
                    *_lacking(name, read, key),
                    *arguments.of_entry(entry, None, read),
                ]
            else:
                self.entry(entry, read, path)

    def entry(self, entry: RelEntry, read: Document, path: Path) -> None:
        """Check an entry that stands for an app file."""
        place = ("apps", entry.index)
        found = self.needed(entry.name, read, (*place, "name"), path)
        if found is None:
            return
        try:
            app, _ = app_of(document.read(found), found)
        except ConfigurationError:
            return  # said where that file was checked
        if app is None:
            return
        if entry.version and app.version and app.version != entry.version:
            message = f"is {entry.version!r}, but {found} is version {app.version!r}"
            self.findings.append(read.finding((*place, "version"), message, WARNING))
        self._released.add(found.resolve())
        self.findings += [*arguments.of_entry(entry, app, read), *_unnamed(app, entry.args)]
        if entry.mult and app.takeover is not None:
            message = f"app {entry.name!r} fails over: it runs once in the system, not once more"
            self.findings.append(read.finding((*place, "mult"), message))

    def needed(self, name: str, read: Document, place: KeyPath, near: Path) -> Path | None:
        """Check an app that a file names; return its file."""
        if name in BUILT_IN:
            return None
        found = find_app(name, near)
        if found is None:
            message = f"there is no app {name!r}{did_you_mean(name, app_names(near))}"
            self.findings.append(read.finding(place, message))
            return None
        self.file(found)
        return found

    def ordered(self, path: Path) -> None:
        """Check that there is an order to start in; what is said already is not said again."""
        try:
            plan(read_app(path) if path.suffix == APP else read_rel(path))
        except ConfigurationError as error:
            file, line, key = (error.details.get(name) for name in ("file", "line", "key"))
            said = {(f.file, f.line, f.key) for f in self.findings if f.severity == ERROR}
            if (file, line, key) not in said:
                self.findings.append(Finding(error.message, file, line, key))


def _about_app(app: AppSpec, read: Document, path: Path) -> list[Finding]:
    said = []
    if app.built_in:
        said.append((("name",), f"{app.name!r} is built into every container: starts nothing"))
    elif app.name != path.stem:
        said.append((("name",), f"others find this app as {path.stem!r}, the name of its file"))
    return [read.finding(place, message, WARNING) for place, message in said]


def _missing_of_app(app: AppSpec, read: Document) -> list[Finding]:
    findings = []
    if app.mod is not None:
        found = _missing(app.mod.name, read, ("mod",)) or _no_mod(app.mod, read)
        findings += found or [
            *_lacking(app.mod.name, read, ("mod",)),
            *arguments.of_mod(app, app.mod, app.mod.name),
        ]
    for index, child in enumerate(app.processes):
        found = _no_process(child.class_, read, ("processes", index, "class"))
        findings += found or [
            *_lacking(child.class_, read, ("processes", index, "class")),
            *arguments.of_child(app, index, child.class_),
        ]
    for index, pattern in enumerate(app.modules):
        module = pattern.partition("*")[0].rstrip(".")
        findings += _missing(module, read, ("modules", index))
    return findings


def _unnamed(app: AppSpec, given: Mapping[str, Any]) -> list[Finding]:
    """Return what the classes of an app cannot do without, and neither it nor ``given`` says; and
    what is wrong with classes that its arguments name.
    """
    mod = app.mod.name if app.mod is not None else None
    classes = [child.class_ for child in app.processes]
    return [
        *arguments.lacking_in(app, given, classes, mod),
        *arguments.of_classes(app, given, classes),
    ]


def _missing(name: str, read: Document, place: KeyPath) -> list[Finding]:
    try:
        said = plugin.missing(name)
    except ConfigurationError as error:
        said = error.message
    return [read.finding(place, said)] if said else []


def _no_process(name: str, read: Document, place: KeyPath) -> list[Finding]:
    """Check that there is a class of that name, and that it is one of a process."""
    missing = _missing(name, read, place)
    if missing or plugin.derives(name, Process) is not False:
        return missing
    return [read.finding(place, not_a_process(name))]


def _lacking(name: str, read: Document, place: KeyPath) -> list[Finding]:
    """Check that what the module of a class needs is installed; what only some of its functions
    need is a warning.
    """
    return [
        read.finding(place, need.message, ERROR if need.always else WARNING)
        for need in plugin.needs(name)
    ]


def _no_mod(mod: ModSpec, read: Document) -> list[Finding]:
    """Check that a module has what starts and stops it, and that a class is one of a process."""
    name = mod.name
    if plugin.module_exists(name):
        said = [
            f"module {name!r} has no function {function!r}"
            for function in ("start", "stop")
            if plugin.missing(f"{name}:{function}")
        ]
    elif plugin.derives(name, Process) is False:
        said = [not_a_process(name)]
    elif mod.args and plugin.derives(name, Process):
        said = [only_keywords(mod.args)]
    else:
        said = []
    return [read.finding(("mod",), message) for message in said]


def _in_yaml(path: Path) -> list[Finding]:
    """Check a file of settings, or of rules."""
    try:
        read = document.read(path)
    except ConfigurationError as error:
        return findings_of(error, str(path))
    if reading.is_policy(read):
        return reading.findings_in(read)
    configuration, findings = of_file(path)
    return findings or [*_interceptors(read), *urls.findings_in(configuration)]


def _interceptors(read: Document) -> list[Finding]:
    """Check the dotted names in a file of settings that is well-formed."""
    data = read.data if isinstance(read.data, dict) else {}
    messaging = data.get("messaging") or {}
    named = messaging.get("interceptors") or {}
    findings = []
    for way in ("in", "out"):
        for index, name in enumerate(named.get(way) or ()):
            place = ("messaging", "interceptors", way, index)
            findings += _missing(name, read, place) or _lacking(name, read, place)
    return findings
