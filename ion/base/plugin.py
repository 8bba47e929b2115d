"""Turn a dotted name in a file into the thing it names; the only importlib in the house.

Whatever must point up the floors is a dotted name in ``res/`` or configuration, and comes through
here. Contract: whatever is wrong with the name is a ConfigurationError that says what to do.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any, NamedTuple

from ion.base import imports
from ion.base.errors import ConfigurationError
from ion.base.imports import Need
from ion.base.source import UNSEEN, Ancestry, Parameters, binds, syntax_error

_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*(:[^\W\d]\w*(\.[^\W\d]\w*)*)?\Z")


def resolve(name: str) -> Any:
    """Return what ``name`` names: ``pkg.mod:Name``, ``pkg.mod.Name``, or the module ``pkg.mod``.

    :raises ConfigurationError: it is no dotted name; there is no such module; the module fails
        while it is imported; the module has no such attribute. ``details["name"]`` is the name.
    """
    module_name, attributes = _split(checked_dotted_name(name))
    module = _import(module_name, name)
    return _attribute(module, attributes, name) if attributes else module


def is_dotted(name: Any) -> bool:
    """Tell whether ``name`` has the form of a dotted name."""
    return isinstance(name, str) and _DOTTED.match(name) is not None


def checked_dotted_name(name: Any) -> str:
    """Return ``name`` where it has the form of a dotted name.

    :raises ConfigurationError: it has not.
    """
    if is_dotted(name):
        return str(name)
    message = f"{name!r} is not a dotted name: write 'package.module:Name'"
    raise _error(message, name)


def missing(name: str) -> str | None:
    """Say what of ``name`` is not there, or return None; imports nothing.

    Sees what a module binds at its top level, and errors of syntax. A module that cannot be read as
    source, or that binds names in ways unseen here, gets the benefit of the doubt.

    :raises ConfigurationError: ``name`` is no dotted name.
    """
    module_name, attributes = _split(checked_dotted_name(name))
    loaded = sys.modules.get(module_name)
    if loaded is not None:
        lacks = attributes and not hasattr(loaded, attributes[0])
        return _no_attribute(name, module_name, attributes[0]) if lacks else None
    spec = _find_spec(module_name)
    if spec is None:
        return _no_module(module_name)
    fault = syntax_error(spec)
    if fault is not None:
        return f"module {module_name!r} cannot be imported: {fault}"
    if attributes and not binds(spec, attributes[0]):
        return _no_attribute(name, module_name, attributes[0])
    return None


def derives(name: str, root: type) -> bool | None:
    """Tell whether ``name`` names a class derived from ``root``, or None where that cannot be seen;
    imports nothing.

    :raises ConfigurationError: ``name`` is no dotted name.
    """
    module_name, attributes = _split(checked_dotted_name(name))
    if not attributes:
        return False
    if len(attributes) > 1:  # a class within a class
        return None
    return Ancestry(sys.modules, _find_spec).derives(module_name, attributes[0], root)


def parameters(target: str | type, root: type, kept: str) -> Parameters:
    """Return what a class derived from ``root`` is made with, as its ``__init__`` says it, and as
    far as can be seen. Imports nothing.

    :param target: the class, or its dotted name.
    :param kept: the word that code has which reads what ``root`` was made with.
    """
    ancestry = Ancestry(sys.modules, _find_spec)
    if not isinstance(target, str):
        return ancestry.parameters_of(target, root, kept)
    module_name, attributes = _split(target)
    if len(attributes) != 1:
        return UNSEEN
    return ancestry.parameters(module_name, attributes[0], root, kept)


def needs(name: str) -> list[Need]:
    """Return what the module that ``name`` is in needs, and is not installed; imports nothing."""
    module_name, _ = _split(name)
    return imports.needs(module_name, sys.modules, _find_spec)


def module_exists(module_name: str) -> bool:
    """Tell whether there is such a module, without importing it or its packages."""
    return module_name in sys.modules or _find_spec(module_name) is not None


class Installed(NamedTuple):
    """An installed package: its version, what it requires, which Python; as its metadata says."""

    version: str
    requires: list[str]
    python: str


def installed(package: str) -> Installed | None:
    """Return what the metadata of a package says; None where it is not installed."""
    from importlib import metadata

    try:
        found = metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return None
    needs: Any = found.metadata  # a mapping with `get`, which its type is told of from 3.12 on
    return Installed(found.version, found.requires or [], needs.get("Requires-Python", ""))


def _split(name: str) -> tuple[str, list[str]]:
    """Part the module from the attributes; without a colon, by the longest module there is."""
    if ":" in name:
        module_name, _, path = name.partition(":")
        return module_name, path.split(".")
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        if module_exists(".".join(parts[:length])):
            return ".".join(parts[:length]), parts[length:]
    return name, []


def _import(module_name: str, name: str) -> Any:
    if not module_exists(module_name):
        raise _error(_no_module(module_name), name)
    try:
        return importlib.import_module(module_name)
    except ConfigurationError as error:  # it says itself what to do, as where an extra is missing
        message = f"module {module_name!r}: {error.message}"
        raise _error(message, name) from error
    # Importing runs code that is not ours: whatever it raises is this name's fault.
    except (Exception, SystemExit) as error:
        said = f"{type(error).__name__}: {error}"
        message = f"module {module_name!r} fails when imported: {said}"
        raise _error(message, name) from error


def _attribute(module: Any, attributes: Sequence[str], name: str) -> Any:
    value = module
    for attribute in attributes:
        try:
            value = getattr(value, attribute)
        except AttributeError:
            owner = getattr(value, "__name__", type(value).__name__)
            raise _error(_no_attribute(name, owner, attribute), name) from None
    return value


def _no_attribute(name: str, owner: str, attribute: str) -> str:
    return f"there is no module or class {name!r}: {owner!r} has no {attribute!r}"


def _no_module(module_name: str) -> str:
    parts = module_name.split(".")
    for length in range(1, len(parts) + 1):
        prefix = ".".join(parts[:length])
        if not module_exists(prefix):
            break
    if length == 1:
        hint = (
            "check the spelling, or install the package that holds it; if it is your own, start in "
            "the folder that it is in, or name that in PYTHONPATH"
        )
        return f"there is no module {module_name!r}: {prefix!r} is not installed ({hint})"
    inside = ".".join(parts[: length - 1])
    return f"there is no module {module_name!r}: {inside!r} has no module {parts[length - 1]!r}"


def _find_spec(module_name: str) -> ModuleSpec | None:
    """Find a module as the import system would, but without importing its packages."""
    loaded = sys.modules.get(module_name)
    if loaded is not None and getattr(loaded, "__spec__", None) is not None:
        return loaded.__spec__
    first, *rest = module_name.split(".")
    try:
        spec = importlib.util.find_spec(first)
    except ValueError:  # a module made by hand, without a spec
        return None
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        spec = _find_inside(f"{spec.name}.{part}", list(spec.submodule_search_locations))
    return spec


def _find_inside(name: str, folders: list[str]) -> ModuleSpec | None:
    try:
        return PathFinder.find_spec(name, folders)
    except KeyError:
        # A namespace package: Python works its path out from its parent, which is not imported.
        spec = ModuleSpec(name, None, is_package=True)
        part = name.rpartition(".")[2]
        spec.submodule_search_locations = [
            str(Path(folder, part)) for folder in folders if Path(folder, part).is_dir()
        ]
        return spec


def _error(message: str, name: Any) -> ConfigurationError:
    return ConfigurationError(message, details={"name": str(name)})
