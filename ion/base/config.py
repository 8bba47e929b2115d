"""Layered settings: read, merged, checked, and able to say where each value came from.

From weak to strong: the defaults (:mod:`ion.base.settings`) < ``res/config/*.yml`` of the working
directory < ``ionlocal.yml`` there < environment ``ION_*`` < files given with ``-c`` < ``--set`` and
other options < the ``config=`` of a Container. Contract: everything wrong in any layer is said in
one ConfigurationError, each with its place; nothing is half applied.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ion.base import layers
from ion.base.errors import ConfigurationError
from ion.base.files import PATIENCE
from ion.base.findings import Finding, raise_errors
from ion.base.layers import Entry, KeyPath, Origin
from ion.base.masking import masked
from ion.base.merging import merge
from ion.base.schema import child_of, did_you_mean, nearest, struct_of
from ion.base.settings import Settings

__all__ = ["Configuration", "Explanation", "Settings", "load", "read"]

DEFAULT = Origin("default")


class Explanation(NamedTuple):
    """Where a value came from.

    :param key: dotted.
    :param value: with secrets masked.
    :param origin: file and line, ``environment NAME``, an option, or ``default``.
    :param overridden: (value, origin) of the weaker layers that set the key too, strongest first.
    """

    key: str
    value: Any
    origin: str
    overridden: list[tuple[Any, str]]


class Configuration:
    """Settings, and the origin of each.

    :param settings: typed.
    :param unknown_variables: ``ION_*`` variables that mean nothing here (maybe misspelt).
    """

    def __init__(self, entries: Sequence[Entry], unknown_variables: Sequence[str] = ()) -> None:
        self.unknown_variables = list(unknown_variables)
        self._entries = entries
        tree: dict[str, Any] = {}
        for entry in entries:
            _put(tree, entry.path, entry.value)
        self.settings = msgspec.convert(tree, Settings)

    def explain(self, key: str) -> Explanation:
        """Return the value at ``key`` and where it came from.

        :raises ConfigurationError: there is no such key.
        """
        path = layers.split_key(key)
        path = layers.ALIASES.get(path, path)
        value = _at(msgspec.to_builtins(self.settings), path, key)
        said = [e for e in reversed(self._entries) if e.path == path or _within(e.path, path)]
        history = [(_shown(e), _origin_under(e, path)) for e in said]
        if not said or len(said[0].path) > len(path):
            places = "; ".join(dict.fromkeys(place for _, place in history))
            return Explanation(key, masked(value, ".".join(path)), places or str(DEFAULT), [])
        default = _default_at(path)
        if default is not msgspec.UNSET:
            history.append((default, str(DEFAULT)))
        return Explanation(key, masked(value, ".".join(path)), history[0][1], history[1:])

    def finding(self, key: str, message: str) -> Finding:
        """Return a finding about the value of ``key``, at the place that it came from."""
        path = layers.split_key(key)
        origins = [entry.origin for entry in self._entries if entry.path == path]
        place, line = origins[-1] if origins else DEFAULT
        return Finding(message, place, line, key)

    def explanations(self) -> Iterator[Explanation]:
        """Explain every key there is, in the order of the schema."""
        for path in _leaves(msgspec.to_builtins(self.settings), Settings, ()):
            yield self.explain(".".join(path))

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as nested maps, with secrets masked."""
        result: dict[str, Any] = masked(msgspec.to_builtins(self.settings))
        return result


def read(
    config: Mapping[str, Any] | None = None,
    *,
    files: Sequence[str | Path] = (),
    assignments: Sequence[str] = (),
    options: Mapping[str, Mapping[str, Any]] | None = None,
    environ: Mapping[str, str] | None = None,
    directory: str | Path | None = None,
) -> Configuration:
    """Read and merge all layers.

    :param config: the strongest layer, nested or with dotted keys.
    :param files: further files (``-c``), the weakest first.
    :param assignments: ``section.key=value`` texts (``--set``), the weakest first.
    :param options: option name -> map of what it sets, such as
        ``{"--sysname": {"container.sysname": "x"}}``; stronger than ``assignments``.
    :param environ: variables; by default those of this OS process.
    :param directory: the working directory; by default the present one.
    :raises ConfigurationError: anything is wrong anywhere; all of it, each with its place.
    """
    configuration, findings = examine(
        config,
        files=files,
        assignments=assignments,
        options=options,
        environ=environ,
        directory=directory,
    )
    raise_errors(findings)
    return configuration


def examine(
    config: Mapping[str, Any] | None = None,
    *,
    files: Sequence[str | Path] = (),
    assignments: Sequence[str] = (),
    options: Mapping[str, Mapping[str, Any]] | None = None,
    environ: Mapping[str, str] | None = None,
    directory: str | Path | None = None,
) -> tuple[Configuration, list[Finding]]:
    """Return the settings without what is wrong in them, and what that is.

    Parameters as of :func:`read`.
    """
    environ = layers.process_environment() if environ is None else environ
    found = layers.files_in(Path(directory) if directory is not None else Path())
    stack = [layers.from_file(path) for path in found]
    stack.append(layers.from_environment(environ))
    stack += [layers.from_file(Path(path), patience=PATIENCE) for path in files]
    stack.append(layers.from_assignments(assignments, "--set"))
    stack += [layers.from_map(data, f"option {name}") for name, data in (options or {}).items()]
    stack.append(layers.from_map(config if config is not None else {}, "config="))
    entries = [entry for layer in stack for entry in layer.entries]
    findings = [finding for layer in stack for finding in layer.findings]
    return Configuration(entries, layers.unknown_variables(environ)), findings


def load(config: Mapping[str, Any] | None = None, **sources: Any) -> Settings:
    """Return just the settings; parameters and errors as of :func:`read`."""
    return read(config, **sources).settings


def of_file(path: str | Path) -> tuple[Configuration, list[Finding]]:
    """Return the settings of one file alone, without what is wrong in them, and what that is."""
    entries, findings = layers.from_file(Path(path))
    return Configuration(entries), findings


def _put(tree: dict[str, Any], path: KeyPath, value: Any) -> None:
    for part in reversed(path):
        value = {part: value}
    merge(tree, value)


def _at(tree: Any, path: KeyPath, key: str) -> Any:
    for depth, part in enumerate(path):
        if not isinstance(tree, Mapping) or part not in tree:
            known = tree if isinstance(tree, Mapping) else {}
            hint = _meant(known, path, depth) or did_you_mean(part, known)
            message = f"there is no setting {key!r}{hint}"
            raise ConfigurationError(message, details={"key": key})
        tree = tree[part]
    return tree


def _meant(known: Mapping[str, Any], path: KeyPath, depth: int) -> str:
    """Return a hint at the whole key that is meant by ``path``, or "" where none is like it.

    :param known: what there is where its part at ``depth`` should be.
    """
    near = nearest(path[depth], known)
    if near is None:
        return ""
    meant, below = [*path[:depth], near], known[near]
    for part in path[depth + 1 :]:
        if not isinstance(below, Mapping) or part not in below:
            break
        meant.append(part)
        below = below[part]
    return f" (did you mean {'.'.join(meant)!r}?)"


def _default_at(path: KeyPath) -> Any:
    tree = msgspec.to_builtins(Settings())
    for part in path:
        if not isinstance(tree, Mapping) or part not in tree:
            return msgspec.UNSET
        tree = tree[part]
    return tree


def _within(path: KeyPath, outer: KeyPath) -> bool:
    return path[: len(outer)] == outer


def _shown(entry: Entry) -> Any:
    return masked(entry.value, ".".join(entry.path))


def _origin_under(entry: Entry, path: KeyPath) -> str:
    if entry.path == path:
        return str(entry.origin)
    return f"{'.'.join(entry.path)} from {entry.origin}"


def _leaves(tree: Any, schema: Any, path: KeyPath) -> Iterator[KeyPath]:
    if isinstance(tree, Mapping) and (tree or struct_of(schema) is not None):
        for key, value in tree.items():
            yield from _leaves(value, child_of(schema, key), (*path, key))
    else:
        yield path
