"""What a module's source says of a name: read, never imported.

Contract: a guess is no answer. Where the source cannot be read, or binds a name in ways unseen
here, nothing is said.
"""

from __future__ import annotations

import ast
import builtins
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

MAX_STEPS = 20  # from a class to its bases, and from module to module


class ModuleSpec(Protocol):
    """What is asked of a spec of the import system."""

    name: str
    origin: str | None
    submodule_search_locations: list[str] | None

    @property
    def parent(self) -> str | None:
        """The package that it is in, or is."""


FindSpec = Callable[[str], ModuleSpec | None]


class Parameters(NamedTuple):
    """What a class is made with, by name.

    :ivar names: None: any, or they cannot be seen.
    :ivar required: those without a default, as far as can be seen.
    :ivar texts: the defaults that are texts.
    """

    names: frozenset[str] | None = None
    required: frozenset[str] = frozenset()
    texts: Mapping[str, str] = MappingProxyType({})


UNSEEN = Parameters()


def syntax_error(spec: ModuleSpec) -> str | None:
    """Say what is wrong with the syntax of a module, and where; None where nothing is."""
    content = _content(spec)
    if content is None:
        return None
    try:
        ast.parse(content)
    except SyntaxError as error:
        return f"{spec.origin}:{error.lineno or 1}: {error.msg}"
    except (ValueError, RecursionError, MemoryError) as error:
        return f"{spec.origin}: {error}"
    return None


def binds(spec: ModuleSpec, name: str) -> bool:
    """Tell whether a module binds ``name``, as far as can be seen."""
    tree = tree_of(spec)
    if tree is None:
        return True
    bound: set[str] = set()
    for node in ast.walk(tree):
        bound.update(_bound_by(node))
    return bool({name, "*", "__getattr__"} & bound)


class Ancestry:
    """Tells what classes are derived from.

    :param loaded: module name -> module, those that need not be read: ``sys.modules``.
    :param find_spec: where the others are.
    """

    def __init__(self, loaded: dict[str, Any], find_spec: FindSpec) -> None:
        self._loaded = loaded
        self._find_spec = find_spec

    def derives(self, module: str, name: str, root: type, steps: int = MAX_STEPS) -> bool | None:
        """Tell whether ``name`` of a module is a class derived from ``root``; None: unknown."""
        if module in self._loaded:
            value = getattr(self._loaded[module], name, None)
            return None if value is None else isinstance(value, type) and issubclass(value, root)
        spec = self._find_spec(module) if steps else None
        tree = tree_of(spec) if spec is not None else None
        if spec is None or tree is None:
            return None
        nodes = [node for node in tree.body if name in _bound_by(node)]
        if not nodes:
            return False if hasattr(builtins, name) and not _is_odd(tree) else None
        node = nodes[-1]
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            return False
        if isinstance(node, ast.ImportFrom):
            return self._imported(spec, node, name, root, steps - 1)
        if not isinstance(node, ast.ClassDef):
            return None
        return self._any_base(module, node, root, steps - 1)

    def parameters(
        self, module: str, name: str, root: type, kept: str, steps: int = MAX_STEPS
    ) -> Parameters:
        """Return what a class derived from ``root`` is made with, as far as can be seen.

        One that has no ``__init__`` but that of ``root`` takes none; but any, where the word
        ``kept`` stands in its module: that is what ``root`` keeps them as.
        """
        if module in self._loaded:
            return self.parameters_of(getattr(self._loaded[module], name, None), root, kept)
        spec = self._find_spec(module) if steps else None
        tree = tree_of(spec) if spec is not None else None
        if spec is None or tree is None:
            return UNSEEN
        nodes = _binding(tree.body, name)
        if nodes and isinstance(nodes[-1], ast.ImportFrom):
            target, origin = _origin(spec, nodes[-1], name)
            return self.parameters(target, origin, root, kept, steps - 1)
        if not nodes or not isinstance(nodes[-1], ast.ClassDef) or nodes[-1].decorator_list:
            return UNSEEN
        node = nodes[-1]
        inits = _binding(node.body, "__init__")
        if inits:
            return _parameters(inits[-1], tree)
        if len(node.bases) != 1 or not isinstance(node.bases[0], ast.Name) or _says(spec, kept):
            return UNSEEN
        return self.parameters(module, node.bases[0].id, root, kept, steps - 1)

    def parameters_of(self, cls: Any, root: type, kept: str) -> Parameters:
        """Return the same of a class that is there."""
        if not (isinstance(cls, type) and issubclass(cls, root)):
            return UNSEEN
        if inspect.getattr_static(cls, "__init__") is inspect.getattr_static(root, "__init__"):
            own = {each.__module__ for each in cls.__mro__ if each not in root.__mro__}
            specs = [self._find_spec(module) for module in own]
            is_kept = any(spec is None or _says(spec, kept) for spec in specs)
            return UNSEEN if is_kept else Parameters(frozenset())
        parameters = inspect.signature(cls).parameters.values()
        by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        named = [each for each in parameters if each.kind in by_name]
        takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters)
        return Parameters(
            None if takes_any else frozenset(each.name for each in named),
            frozenset(each.name for each in named if each.default is each.empty),
            {each.name: each.default for each in named if isinstance(each.default, str)},
        )

    def _imported(
        self, spec: ModuleSpec, node: ast.ImportFrom, name: str, root: type, steps: int
    ) -> bool | None:
        target, origin = _origin(spec, node, name)
        return self.derives(target, origin, root, steps)

    def _any_base(self, module: str, node: ast.ClassDef, root: type, steps: int) -> bool | None:
        found = [self._base(module, base, root, steps) for base in node.bases]
        if True in found:
            return True
        return None if None in found else False

    def _base(self, module: str, base: ast.expr, root: type, steps: int) -> bool | None:
        if isinstance(base, ast.Name):
            return self.derives(module, base.id, root, steps)
        return None


def _origin(spec: ModuleSpec, node: ast.ImportFrom, name: str) -> tuple[str, str]:
    """Return the module that ``name`` is imported from, and what it is called there."""
    origin = next(a.name for a in node.names if name in (a.asname, a.name))
    return absolute(spec, node), origin


def absolute(spec: ModuleSpec, node: ast.ImportFrom) -> str:
    """Return the module that something is imported from."""
    target = node.module or ""
    if node.level:
        package = (spec.parent or "").split(".")
        above = package[: len(package) - node.level + 1]
        target = ".".join([*above, *target.split(".")]).rstrip(".")
    return target


def _binding(body: list[ast.stmt], name: str) -> list[ast.stmt]:
    """Return the statements that bind ``name``, or may, somewhere below."""
    scopes = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = []
    for node in body:
        below = [node] if isinstance(node, scopes) else ast.walk(node)
        if any({name, "*"} & set(_bound_by(each)) for each in below):
            found.append(node)
    return found


def _parameters(init: ast.stmt, tree: ast.Module) -> Parameters:
    """Return what an ``__init__`` can be called with, by name.

    :param tree: the module that it is in.
    """
    if not isinstance(init, ast.FunctionDef) or init.decorator_list:
        return UNSEEN
    given = init.args
    by_place = [each.arg for each in (*given.posonlyargs, *given.args)]
    of_self = max(1, len(given.posonlyargs))
    keywords = list(zip(given.kwonlyargs, given.kw_defaults, strict=True))
    names = [*by_place[of_self:], *(each.arg for each, _ in keywords)]
    required = [
        *by_place[of_self : len(by_place) - len(given.defaults)],
        *(each.arg for each, default in keywords if default is None),
    ]
    defaults = dict(zip(reversed(by_place), reversed(given.defaults), strict=False))
    defaults |= {each.arg: default for each, default in keywords if default is not None}
    said = {name: _text(default, tree) for name, default in defaults.items()}
    texts = {name: text for name, text in said.items() if text is not None}
    return Parameters(None if given.kwarg else frozenset(names), frozenset(required), texts)


def _text(value: ast.expr, tree: ast.Module) -> str | None:
    """Return the text that an expression is: a literal one, or a name that its module gives it."""
    if isinstance(value, ast.Name):
        bound = _binding(tree.body, value.id)
        if len(bound) != 1 or not isinstance(bound[0], ast.Assign) or len(bound[0].targets) != 1:
            return None
        value = bound[0].value
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return value.value
    return None


def _says(spec: ModuleSpec, word: str) -> bool:
    """Tell whether a word stands in the source of a module; of one that cannot be read, it may."""
    content = _content(spec)
    return content is None or word.encode() in content


def tree_of(spec: ModuleSpec) -> ast.Module | None:
    """Return the source of a module, parsed; None where it cannot be."""
    content = _content(spec)
    try:
        return None if content is None else ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _content(spec: ModuleSpec) -> bytes | None:
    if spec.origin is None or not spec.origin.endswith(".py"):
        return None
    try:
        return Path(spec.origin).read_bytes()
    except OSError:
        return None


def _is_odd(tree: ast.Module) -> bool:
    """Tell whether a module may bind any name."""
    return any({"*", "__getattr__"} & set(_bound_by(node)) for node in ast.walk(tree))


def _bound_by(node: ast.AST) -> list[str]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return [node.name]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [alias.asname or alias.name.partition(".")[0] for alias in node.names]
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return [node.id]
    return []
