"""Arguments that files give to processes: one that no class takes is an error, not silence; so is
one that a class cannot do without, and that nobody gives.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from ion.base import plugin
from ion.base.builder import KeyPath
from ion.base.document import Document
from ion.base.errors import ConfigurationError, StartError
from ion.base.findings import ERROR, WARNING, Finding, error_of
from ion.base.schema import did_you_mean
from ion.container.apps.app import AppSpec
from ion.container.apps.mod import ModSpec
from ion.container.apps.plan import Start
from ion.container.apps.release import RelEntry
from ion.process.process import Process

_KEPT = "spawn_args"  # what Process calls the arguments of a class without an __init__
Target = str | type[Process]


class Kept(dict[str, Any]):
    """Arguments that a class without an ``__init__`` keeps, whether it looks for them or not."""


def strangers(given: Collection[str], targets: Iterable[Target]) -> list[tuple[str, str]]:
    """Return the arguments that none of the classes takes, each with what is to be said of it.

    :param targets: process classes, or their dotted names; one that cannot be seen may take all.
    """
    if not given:
        return []
    known: set[str] = set()
    names = []
    for target in targets:
        own = plugin.parameters(target, Process, _KEPT).names
        if own is None:
            return []
        known |= own
        names.append(_said(target))
    takers = " or ".join(names) or "nobody"
    hint = "" if known or not names else ": it has no __init__ that names it"
    verb = "does not take" if names else "takes"
    return [
        (name, f"{takers} {verb} argument {name!r}{did_you_mean(name, known)}{hint}")
        for name in given
        if name not in known
    ]


def lacking(given: Collection[str], target: Target) -> list[str]:
    """Say which arguments a class cannot do without, and is not given.

    Where it is given one that it does not take, that is the fault, and nothing more is said.
    """
    if strangers(given, [target]):
        return []
    required = plugin.parameters(target, Process, _KEPT).required
    return [f"{_said(target)} needs argument {name!r}" for name in sorted(required - set(given))]


def _said(target: Target) -> str:
    return target if isinstance(target, str) else target.__qualname__


class Heedless:
    """Looks after classes without an ``__init__``: made with anything, they would say nothing.

    What was found out of a class is kept, for as long as there is the class.
    """

    def __init__(self) -> None:
        self._takes: WeakKeyDictionary[type[Process], bool] = WeakKeyDictionary()

    def refuse(self, cls: type[Process], given: Mapping[str, Any]) -> None:
        """Check that a class takes what it is to be made with, unless its ``__init__`` does.

        :raises StartError: it does not.
        """
        if isinstance(given, Kept) or cls.__init__ is not Process.__init__:
            return
        takes = self._takes.get(cls)
        if takes is None:
            known = plugin.parameters(cls, Process, _KEPT).names
            takes = self._takes[cls] = known is None
        if not takes:
            raise StartError("; ".join(said for _, said in strangers(given, [cls])))


def taken(given: Mapping[str, Any], target: Target) -> dict[str, Any]:
    """Return those of the arguments that a process class takes."""
    names = plugin.parameters(target, Process, _KEPT).names
    return {name: value for name, value in given.items() if names is None or name in names}


def of_child(app: AppSpec, index: int, target: Target) -> list[Finding]:
    """Return what is wrong with the arguments of a process that an app lists."""
    place = ("processes", index, "args")
    found = strangers(app.processes[index].args, [target])
    return [app.finding((*place, name), message) for name, message in found]


def of_mod(app: AppSpec, mod: ModSpec, target: Target) -> list[Finding]:
    """Return what is wrong with the arguments of the process class that an app runs."""
    lines = app.document.lines if app.document is not None else {}
    findings = []
    for name, message in strangers(mod.kwargs, [target]):
        forms: list[KeyPath] = [("mod", part, name) for part in ("kwargs", 2, 1)]
        place = next((form for form in forms if form in lines), ("mod",))
        findings.append(app.finding(place, message, WARNING if mod.keeps else ERROR))
    return findings


def lacking_in(
    app: AppSpec, given: Mapping[str, Any], targets: Iterable[Target], mod: Target | None = None
) -> list[Finding]:
    """Return what the processes of an app cannot do without, and nobody gives; the file is told.

    :param given: by a release, or by whoever starts the app.
    :param targets: the classes of the processes that it lists.
    :param mod: the process class that it runs, if it does.
    """
    lines = app.document.lines if app.document is not None else {}
    findings = []
    for index, target in enumerate(targets):
        own = app.processes[index].args
        more = given if app.mod is None else {}
        form: KeyPath = ("processes", index, "args")
        place = form if form in lines else form[:2]
        mine = {*own, *(taken(more, target) if more else ())}
        findings += [app.finding(place, said) for said in lacking(mine, target)]
    if mod is not None and app.mod is not None:
        place = ("processapp",) if app.place else ("mod",)  # a release has its own word for it
        found = lacking({*app.mod.kwargs, *given}, mod)
        findings += [app.finding(place, said) for said in found]
    return findings


def of_classes(app: AppSpec, given: Mapping[str, Any], targets: Iterable[Target]) -> list[Finding]:
    """Return what is wrong with the process classes that arguments name, by default or as given:
    there is none, or what it needs is not installed.

    :param given: by a release; targets: the classes of the processes that the app lists.
    """
    lines = app.document.lines if app.document is not None else {}
    findings = []
    for index, target in enumerate(targets):
        more = taken(given, target) if given and app.mod is None else {}
        for name, usual in plugin.parameters(target, Process, _KEPT).texts.items():
            if not _is_process(usual):
                continue
            form: KeyPath = ("processes", index, "args", name)
            place = form if form in lines else ("processes", index, "class")
            value = {**app.processes[index].args, **more}.get(name, usual)
            findings += [app.finding(place, said) for said in _unusable(value)]
    return findings


def _is_process(name: str) -> bool:
    return ":" in name and plugin.is_dotted(name) and plugin.derives(name, Process) is True


def _unusable(name: Any) -> list[str]:
    """Say what is wrong with what an argument names a process class by."""
    try:
        missing = plugin.missing(name)
    except ConfigurationError as error:
        return [error.message]
    if missing:
        return [missing]
    return [need.message for need in plugin.needs(name) if need.always]


def of_entry(entry: RelEntry, app: AppSpec | None, read: Document) -> list[Finding]:
    """Return what is wrong with the arguments that a release gives to an app.

    :param app: None: the release names a process in its place.
    :param read: the release.
    """
    mod = app.mod if app is not None else entry.processapp
    if mod is not None and plugin.module_exists(mod.name):
        return []  # its start takes what it takes
    children = app.processes if app is not None else ()
    targets = [mod.name] if mod is not None else [child.class_ for child in children]
    place: KeyPath = ("apps", entry.index, "args")
    severity = WARNING if mod is not None and mod.keeps else ERROR
    found = strangers(entry.args, targets)
    said = [read.finding((*place, name), message, severity) for name, message in found]
    if app is None and mod is not None:
        place = ("apps", entry.index, "processapp")
        lacks = lacking({*mod.kwargs, *entry.args}, mod.name)
        said += [read.finding(place, message) for message in lacks]
    return said


def refuse_strangers(start: Start, given: Collection[str], targets: Iterable[Target]) -> None:
    """Refuse what a release, or whoever starts an app, gives that none of its processes takes.

    :raises ConfigurationError: the release says it; the message has file, line and key.
    :raises StartError: nobody but who starts it says it.
    """
    found = strangers(given, targets)
    if not found:
        return
    if start.said is not None:
        rel, entry = start.said
        place: KeyPath = ("apps", entry.index, "args")
        if rel.document is not None and all(name in entry.args for name, _ in found):
            raise error_of(rel.document.finding((*place, n), said) for n, said in found)
    message = f"app {start.name!r}: {'; '.join(said for _, said in found)}"
    raise StartError(message)
