"""In what order apps start: each after the apps it names, depth first.

Contract: files are read, nothing is imported or started. What cannot be put in order (a cycle, an
app that is not there, two files of one name) is a ConfigurationError that names the files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ion.base.errors import ConfigurationError
from ion.base.merging import merge
from ion.base.schema import did_you_mean
from ion.container.apps.app import BUILT_IN, AppSpec, load_app, read_app
from ion.container.apps.lookup import app_names, find_app
from ion.container.apps.release import RelEntry, RelSpec

Said = tuple[RelSpec, RelEntry]


@dataclass(frozen=True, slots=True)
class Start:
    """One app to start.

    :param app: what to start.
    :param config: the app's, with the release's laid over it; ``apps.<name>`` of the settings
        comes on top (:meth:`ion.base.settings.Settings.app_config`).
    :param args: keyword arguments: of the file's ``mod``, with the release's laid over them.
    :param mult: start it even where an app of that name runs already.
    :param said: the release and its entry that say it; None where no release does.
    """

    app: AppSpec
    config: Mapping[str, Any]
    args: Mapping[str, Any]
    mult: bool = False
    said: Said | None = None

    @property
    def name(self) -> str:
        """The app's name."""
        return self.app.name


def plan(
    items: AppSpec | RelSpec | str | Path | Iterable[AppSpec | RelSpec | str | Path],
    *,
    running: Mapping[str, AppSpec] | Iterable[str] = (),
) -> list[Start]:
    """Return what to start, in order; each app once, save those that a release says ``mult`` of.

    :param items: apps and releases; a name or path is that of an app.
    :param running: apps that run already by name, or their names; they are not started again.
    :raises ConfigurationError: see above; ``details`` holds file, line and key.
    """
    if isinstance(items, AppSpec | RelSpec | str | Path):
        items = [items]
    planner = _Planner(running)
    for item in items:
        if isinstance(item, RelSpec):
            planner.add_release(item)
        else:
            planner.add(item if isinstance(item, AppSpec) else load_app(item))
    return planner.starts


def renewed(start: Start, running: Iterable[str]) -> list[Start]:
    """Return what to start in place of an app that runs, as its file says it now.

    Apps that it needs by now, and that do not run, come before it. One that a release makes of a
    process stays as it was: the release is not read again.

    :raises ConfigurationError: the file is wrong, or is that of another app.
    """
    app = start.app
    if app.file is None or app.place:
        return [start]
    again = read_app(app.file)
    if again.name != app.name:
        message = f"{again.where('name')}: name: is {again.name!r} now, and was {app.name!r}"
        raise ConfigurationError(message, details=_place(again, "name"))
    planner = _Planner({*running} - {app.name})
    planner.add(again)
    return [*planner.starts[:-1], _start(again, start.said)]


class _Planner:
    """Walks from app to app; ``trail`` is the way from the one that was asked for."""

    def __init__(self, running: Mapping[str, AppSpec] | Iterable[str]) -> None:
        self.starts: list[Start] = []
        self.planned: dict[str, AppSpec] = {}
        self.running = set(running)
        self.specs = running if isinstance(running, Mapping) else {}
        self.trail: list[AppSpec] = []
        self.entries: dict[str, Said] = {}

    def add_release(self, rel: RelSpec) -> None:
        """Plan the apps of a release. An entry also holds where its app is needed by another."""
        for entry in rel.apps:
            if not entry.mult:
                self.entries.setdefault(entry.name, (rel, entry))
        for entry in rel.apps:
            if entry.name not in BUILT_IN or entry.processapp is not None:
                self.add(_app_of(rel, entry), (rel, entry))
        self.entries.clear()

    def add(self, app: AppSpec, said: Said | None = None) -> None:
        """Plan an app, after all that it needs."""
        entry = said[1] if said is not None else None
        self.refuse_cycle(app)
        if app.built_in or self.is_planned(app, entry):
            return
        self.trail.append(app)
        for index, name in enumerate(app.applications):
            if name not in BUILT_IN and name not in self.running:
                self.add(*self.needed(app, index, name))
        self.trail.pop()
        self.planned.setdefault(app.name, app)
        self.starts.append(_start(app, said))

    def needed(self, app: AppSpec, index: int, name: str) -> tuple[AppSpec, Said | None]:
        """Return the app that ``app`` names."""
        if name in self.entries:
            return _app_of(*self.entries[name]), self.entries[name]
        path = find_app(name, near=app.file)
        if path is None:
            key = f"applications.{index}"
            raise _unknown(name, app.where("applications", index), key, app.file)
        return read_app(path), None

    def is_planned(self, app: AppSpec, entry: RelEntry | None) -> bool:
        """Tell whether the app needs no (further) start."""
        if entry is not None and entry.mult:
            return False
        other = self.planned.get(app.name)
        runs = self.specs.get(app.name)
        if other is not None and not _same(other, app):
            raise _two(app, other.where("name"))
        if runs is not None and not _same_file(runs, app):
            raise _two(app, f"{runs.where('name')}, which runs here,")
        return other is not None or app.name in self.running

    def refuse_cycle(self, app: AppSpec) -> None:
        """Check that an app is not on the way to itself.

        :raises ConfigurationError: it is; the message names all of that circle.
        """
        on_trail = [index for index, other in enumerate(self.trail) if _same(other, app)]
        if not on_trail:
            return
        cycle = self.trail[on_trail[0] :]
        steps = " -> ".join(f"{other.name} ({other.where('applications')})" for other in cycle)
        message = f"apps need each other in a circle: {steps} -> {app.name}"
        raise ConfigurationError(message, details=_place(app, "applications"))


def _app_of(rel: RelSpec, entry: RelEntry) -> AppSpec:
    if entry.processapp is not None:
        return AppSpec(
            name=entry.name,
            version=entry.version,
            mod=entry.processapp,
            file=rel.file,
            document=rel.document,
            place=("apps", entry.index),
        )
    path = find_app(entry.name, near=rel.file)
    if path is None:
        key = f"apps.{entry.index}.name"
        raise _unknown(entry.name, rel.where("apps", entry.index, "name"), key, rel.file)
    return read_app(path)


def _start(app: AppSpec, said: Said | None) -> Start:
    entry = said[1] if said is not None else None
    config: dict[str, Any] = {}
    args = dict(app.mod.kwargs) if app.mod is not None else {}
    merge(config, app.config)
    if entry is not None:
        merge(config, entry.config)
        args.update(entry.args)
    return Start(app, config, args, entry is not None and entry.mult, said)


def _place(app: AppSpec, key: str) -> dict[str, Any]:
    line = app.finding((key,), "").line
    return {"file": str(app.file) if app.file is not None else None, "line": line, "key": key}


def _same(one: AppSpec, other: AppSpec) -> bool:
    return one.name == other.name and one.file == other.file and one.mod == other.mod


def _same_file(one: AppSpec, other: AppSpec) -> bool:
    """Tell whether two are of one file, which may have been edited meanwhile."""
    if one.file is None or other.file is None:
        return one.file is other.file
    return one.file.resolve() == other.file.resolve()


def _two(app: AppSpec, other: str) -> ConfigurationError:
    message = f"two apps are named {app.name!r}: {other} and {app.where('name')}"
    return ConfigurationError(message, details=_place(app, "name"))


def _unknown(name: str, where: str, key: str, near: Path | None) -> ConfigurationError:
    hint = did_you_mean(name, app_names(near))
    message = f"{where}: {key}: there is no app {name!r}{hint}"
    file, _, line = where.rpartition(":")
    details = {"file": file, "line": int(line) if line.isdigit() else None, "key": key}
    return ConfigurationError(message, details=details)
