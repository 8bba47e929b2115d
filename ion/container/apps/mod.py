"""What an app runs, as its file says it: the forms of ``mod`` and ``processapp``.

Contract: a form is read into one :class:`ModSpec`, or into faults that tell where in the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ion.base.builder import KeyPath
from ion.base.errors import ConfigurationError
from ion.base.plugin import checked_dotted_name
from ion.base.schema import Fault, check, shown
from ion.base.settings import Word

# The original's app module for apps of one process: (process name, module, class).
PROCESS_APP = "ion.core.pack.processapp"
MAX_PARTS = 3
_NAME_KEYS = ("name", "module", "class")


@dataclass(frozen=True, slots=True)
class ModSpec:
    """What an app runs: a module with ``start`` and ``stop``, or a process class.

    :param name: dotted name, ``pkg.mod`` or ``pkg.mod:Class``.
    :param args: positional arguments of a module's ``start``.
    :param kwargs: keyword arguments of it, or the arguments of the process.
    :param process_name: the process's name, where the file gives one.
    :param keeps: whether a class without an ``__init__`` keeps what it never looks for, as the
        original's did: its app files give such arguments.
    """

    name: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    process_name: str | None = None
    keeps: bool = False


Reading = tuple[ModSpec | None, list[Fault]]


def mod_of(value: Any, path: KeyPath) -> Reading:
    """Read a ``mod``: a dotted name, ``(name, args, kwargs)``, or a map of these three.

    The last two may be left out; a map in place of the arguments is the keyword arguments.
    """
    if value is None:
        return None, []
    if isinstance(value, str):
        return _mod(value, None, None, [path, path, path])
    if isinstance(value, Mapping):
        return _mod_of_map(value, path)
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= MAX_PARTS:
        form = "a dotted name, or (dotted name, list of args, map of kwargs)"
        return None, [Fault(path, f"must be {form}, not {shown(value)}")]
    name, args, kwargs = (*value, None, None)[:MAX_PARTS]
    if isinstance(args, Mapping) and kwargs is None:
        args, kwargs = None, args
    return _mod(name, args, kwargs, [(*path, index) for index in range(MAX_PARTS)])


def _mod_of_map(value: Mapping[Any, Any], path: KeyPath) -> Reading:
    given = [key for key in value if key in _NAME_KEYS]
    unknown = [key for key in value if key not in {*_NAME_KEYS, "args", "kwargs"}]
    faults = [
        Fault((*path, str(key)), "unknown key (known: name, args, kwargs)") for key in unknown
    ]
    if len(given) != 1:
        faults.append(Fault(path, "needs one key 'name': a dotted name"))
    if faults:
        return None, faults
    places = [(*path, key) for key in (given[0], "args", "kwargs")]
    return _mod(value[given[0]], value.get("args"), value.get("kwargs"), places)


def _mod(name: Any, args: Any, kwargs: Any, places: Sequence[KeyPath]) -> Reading:
    faults = name_faults(name, places[0])
    args = [] if args is None else args
    kwargs = {} if kwargs is None else kwargs
    faults += check(args, list[Any], places[1]) + check(kwargs, dict[str, Any], places[2])
    if faults:
        return None, faults
    if name == PROCESS_APP:
        mod, faults = process_mod(args, kwargs, places[1])
        return (mod and replace(mod, keeps=True)), faults
    return ModSpec(name, tuple(args), kwargs), []


def process_mod(
    value: Any, kwargs: Mapping[str, Any], path: KeyPath, default_name: str = ""
) -> Reading:
    """Read an app of one process: (process name, module, class), or (process name, dotted name).

    :param default_name: the process's name where ``value`` is just a dotted name.
    """
    parts = [default_name, value] if isinstance(value, str) else value
    is_list = isinstance(parts, list | tuple) and all(isinstance(part, str) for part in parts)
    if not is_list or len(parts) not in {2, 3}:
        return None, [Fault(path, f"must be (process name, module, class), not {shown(value)}")]
    name = ":".join(parts[1:])
    faults = check(parts[0], Word, (*path, 0)) + name_faults(name, (*path, 1))
    return (None, faults) if faults else (ModSpec(name, (), kwargs, parts[0]), [])


def name_faults(name: Any, path: KeyPath) -> list[Fault]:
    """Return the fault of what should be a dotted name, if any."""
    try:
        checked_dotted_name(name)
    except ConfigurationError as error:
        return [Fault(path, error.message)]
    return []


def not_a_process(name: str) -> str:
    """Return what is said where a process class should be."""
    return f"{name!r} is no process class: it must derive from ion.Process or ion.Service"


def only_keywords(args: Sequence[Any]) -> str:
    """Return what is said where a process class is given positional arguments."""
    return f"a process class takes keyword arguments only, not {list(args)!r}"
