"""What would be started, told: the order, and for each app what it runs and where its settings
come from. Nothing is imported or started.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ion.base.config import Configuration
from ion.base.errors import ConfigurationError
from ion.base.masking import masked
from ion.base.merging import merge
from ion.container.apps.app import AppSpec, load_app
from ion.container.apps.lookup import APP, REL, find
from ion.container.apps.plan import Start, plan
from ion.container.apps.release import RelSpec, load_rel

Key = tuple[str, ...]
Place = Callable[[Key], str]  # -> file and line


class Layer(NamedTuple):
    """What one place says of an app's settings, the weakest layer first."""

    data: Mapping[str, Any]
    place: Place


class Value(NamedTuple):
    """One setting of an app.

    :ivar key: dotted.
    :ivar value: with secrets masked.
    :ivar origin: file and line, ``environment NAME`` or an option.
    :ivar overridden: (value, origin) of the weaker places that say it, too, strongest first.
    """

    key: str
    value: Any
    origin: str
    overridden: list[tuple[Any, str]]

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        over = [{"value": value, "origin": origin} for value, origin in self.overridden]
        return {**self._asdict(), "overridden": over}


class Planned(NamedTuple):
    """One app that would be started."""

    start: Start
    config: list[Value]
    args: list[Value]

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        app = self.start.app
        return {
            "app": app.name,
            "version": app.version,
            "file": str(app.file) if app.file is not None else None,
            "start_type": app.start_type,
            "mult": self.start.mult,
            "needs": list(app.applications),
            "runs": runs(app),
            "strategy": app.supervision.strategy,
            "config": [value.as_dict() for value in self.config],
            "args": [value.as_dict() for value in self.args],
        }


def planned(paths: Iterable[str | Path], configuration: Configuration) -> list[Planned]:
    """Return what the files would start, in order.

    :param paths: of apps and releases, or their names; other files are passed over.
    :param configuration: the settings that hold; ``apps.<name>`` is laid over what files say.
    :raises ConfigurationError: a file is wrong, or there is no order to start in.
    """
    items: list[AppSpec | RelSpec] = []
    for given in paths:
        path = Path(given) if Path(given).is_file() else find(str(given))
        if path.suffix == APP:
            items.append(load_app(path))
        elif path.suffix == REL:
            items.append(load_rel(path))
    return [_planned(start, configuration) for start in plan(items)]


def runs(app: AppSpec) -> list[dict[str, str]]:
    """Return the processes and the module of an app: id, class or module, restart."""
    listed = [{"id": c.id, "class": c.class_, "restart": c.restart} for c in app.processes]
    if app.mod is not None:
        listed.append({"id": app.mod.process_name or "", "class": app.mod.name, "restart": ""})
    return listed


def _planned(start: Start, configuration: Configuration) -> Planned:
    app = start.app
    config = [Layer(app.config, lambda key: app.where("config", *key))]
    kwargs = app.mod.kwargs if app.mod is not None else {}
    args = [Layer(kwargs, lambda key: app.where("mod", "kwargs", *key))]
    if start.said is not None:
        rel, entry = start.said
        config.append(
            Layer(entry.config, lambda key: rel.where("apps", entry.index, "config", *key))
        )
        args.append(Layer(entry.args, lambda key: rel.where("apps", entry.index, "args", *key)))
    settings = configuration.settings.apps.get(app.name, {})
    config.append(Layer(settings, lambda key: _origin(configuration, app.name, key)))
    return Planned(start, list(_values(config)), list(_values(args)))


def _origin(configuration: Configuration, app: str, key: Key) -> str:
    try:
        return configuration.explain(".".join(("apps", app, *key))).origin
    except ConfigurationError:  # a key with dots of its own
        return f"settings apps.{app}"


def _values(layers: list[Layer]) -> Iterator[Value]:
    together: dict[str, Any] = {}
    for layer in layers:
        merge(together, layer.data)
    for key, value in _leaves(together, ()):
        said = [
            (masked(found[0], key[-1]), layer.place(key))
            for layer in reversed(layers)
            if (found := _at(layer.data, key))
        ]
        origin = said[0][1] if said else ""
        yield Value(".".join(key), masked(value, key[-1]), origin, said[1:])


def _leaves(
    data: Mapping[str, Any], above: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in data.items():
        key = (*above, str(name))
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, key)
        else:
            yield key, value


def _at(data: Any, key: Key) -> list[Any]:
    """Return what stands at a key, in a list, or an empty list."""
    for part in key:
        if not isinstance(data, Mapping) or part not in data:
            return []
        data = data[part]
    return [data]
