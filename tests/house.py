"""The rules of the house, as data, and the functions that hold a source tree against them.

Contract: each check takes a :class:`Tree` and returns one line for each fault, ``file:line: what``;
no fault, no line. The tree is read, never imported. Imports for typing and those inside functions
count like all others: a room that needs another, even late, is not a stranger to it.
"""

from __future__ import annotations

import ast
import graphlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

FLOORS = {
    "base": 0,
    "observe": 1,
    "messaging": 2,
    "stores": 2,
    "conversation": 3,
    "objects": 3,
    "process": 4,
    "container": 5,
    "services": 5,
    "gateway": 6,
    "shell": 6,
    "testing": 6,
}
ROOF = {"__init__", "__main__", "public"}  # may use everything; nothing inside uses them

MAX_FOLDER = 30  # modules: more beside each other, and nobody guesses which it is
MAX_FILE = 400  # lines
MAX_FUNCTION = 50  # lines without the docstring
MOST_FUNCTIONS = 25  # most are shorter than this
MOST = 0.9
MAX_NESTING = 3

IMPORTS_BY_NAME = {"ion/base/plugin.py"}
IMPORTERS = {"importlib", "imp", "pkgutil", "runpy"}
UNPICKLERS = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "jsonpickle"}
EVALUATORS = {"eval", "exec", "compile", "__import__"}
MAY_EVALUATE = {"ion/shell/prompt/evaluation.py"}  # the shell runs what the person at it types

# A service knows another one by these of its modules only.
OPEN_TO_SERVICES = {"client", "model"}


@dataclass(frozen=True)
class Module:
    """One source file: its dotted name, path from the root, text and syntax tree."""

    name: str
    path: str
    text: str
    syntax: ast.Module
    is_package: bool = False

    @property
    def room(self) -> str:
        """The room, or the name of the module where it stands on the roof."""
        parts = self.name.split(".")
        return parts[1] if len(parts) > 1 else "__init__"


@dataclass(frozen=True)
class Import:
    """An import: the dotted name that is wanted, and where."""

    target: str
    line: int


@dataclass
class Tree:
    """All modules of the package, by dotted name; generated code left out."""

    modules: dict[str, Module] = field(default_factory=dict)

    @classmethod
    def read(cls, root: Path, package: str = "ion") -> Tree:
        """Read the package below ``root``."""
        tree = cls()
        for path in sorted((root / package).rglob("*.py")):
            relative = path.relative_to(root)
            hidden = any(part.startswith(".") for part in relative.parts)
            if hidden or path.stem.endswith(("_pb2", "_pb2_grpc")):
                continue
            parts = relative.with_suffix("").parts
            is_package = parts[-1] == "__init__"
            name = ".".join(parts[:-1] if is_package else parts)
            text = path.read_text(encoding="utf-8")
            syntax = ast.parse(text, str(relative))
            tree.modules[name] = Module(name, relative.as_posix(), text, syntax, is_package)
        return tree

    def imports(self, module: Module) -> Iterator[Import]:
        """Give what ``module`` imports, wherever it stands; a module of the tree by its name."""
        for node in ast.walk(module.syntax):
            if isinstance(node, ast.Import):
                yield from (Import(alias.name, node.lineno) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = _absolute(module, node)
                for alias in node.names:
                    whole = f"{base}.{alias.name}"
                    yield Import(whole if whole in self.modules else base, node.lineno)

    def edges(self) -> Iterator[tuple[Module, Import]]:
        """Give all imports of modules of the package."""
        for module in self.modules.values():
            for wanted in self.imports(module):
                if wanted.target.split(".")[0] == "ion":
                    yield module, wanted


def _absolute(module: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = module.name.split(".")
    keep = len(parts) - node.level + (1 if module.is_package else 0)
    return ".".join([*parts[:keep], *([node.module] if node.module else [])])


def floors(tree: Tree) -> list[str]:
    """Find imports that point up, and rooms of one floor that are no strangers."""
    faults = []
    for module, wanted in tree.edges():
        parts = wanted.target.split(".")
        room = parts[1] if len(parts) > 1 else "__init__"
        where = f"{module.path}:{wanted.line}: {wanted.target}"
        if module.room in ROOF or room == module.room:
            continue
        if room in ROOF:
            faults.append(f"{where} is the roof; nothing inside may use it")
        elif room not in FLOORS or module.room not in FLOORS:
            unknown = room if room not in FLOORS else module.room
            faults.append(f"{where}: room {unknown!r} has no floor")
        elif FLOORS[room] > FLOORS[module.room]:
            faults.append(f"{where} is on a floor above {module.room}")
        elif FLOORS[room] == FLOORS[module.room]:
            faults.append(f"{where} is a stranger to {module.room}, on the same floor")
    return faults


def tenants(tree: Tree) -> list[str]:
    """Find services that know more of another service than its client and its model."""
    faults = []
    for module, wanted in tree.edges():
        own, other = module.name.split("."), wanted.target.split(".")
        if own[1:2] != ["services"] or other[1:2] != ["services"] or len(own) < 3:
            continue
        if len(other) < 3 or other[2] == own[2]:
            continue
        if len(other) < 4 or other[3] not in OPEN_TO_SERVICES:
            faults.append(
                f"{module.path}:{wanted.line}: {wanted.target}: of another service, only "
                f"{' and '.join(sorted(OPEN_TO_SERVICES))} are open"
            )
    return faults


def cycles(tree: Tree) -> list[str]:
    """Find modules that import each other, directly or by way of others."""
    graph: dict[str, set[str]] = {name: set() for name in tree.modules}
    for module, wanted in tree.edges():
        if wanted.target in graph and wanted.target != module.name:
            graph[module.name].add(wanted.target)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return ["a cycle: " + " <- ".join(error.args[1])]
    return []


def docstrings(tree: Tree) -> list[str]:
    """Find modules, and public classes, functions and methods, without a docstring."""
    faults = []
    for module in tree.modules.values():
        if not ast.get_docstring(module.syntax):
            faults.append(f"{module.path}:1: the module has no docstring")
        faults += [
            f"{module.path}:{node.lineno}: {node.name} has no docstring"
            for node in _public(module.syntax.body)
            if not ast.get_docstring(node)
        ]
    return faults


Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
Function = ast.FunctionDef | ast.AsyncFunctionDef


def _public(body: list[ast.stmt]) -> Iterator[Definition]:
    for node in body:
        if not isinstance(node, Definition) or node.name.startswith("_"):
            continue
        if isinstance(node, ast.ClassDef):
            yield node
            yield from _public(node.body)
        elif not _is_variant(node):
            yield node


def _is_variant(function: Function) -> bool:
    """Tell whether it is an overload, or the setter of a property that has its docstring."""
    names = {ast.unparse(d).rpartition(".")[2] for d in function.decorator_list}
    return bool(names & {"overload", "setter", "deleter", "override"})


def budgets(tree: Tree) -> list[str]:
    """Find files and functions that are too long, and functions that are nested too deep."""
    faults = []
    for module in tree.modules.values():
        lines = len(module.text.splitlines())
        if lines > MAX_FILE:
            faults.append(f"{module.path}:1: {lines} lines, more than {MAX_FILE}")
        for function in _functions(module.syntax):
            where = f"{module.path}:{function.lineno}: {function.name}"
            if length(function) > MAX_FUNCTION:
                faults.append(f"{where}: {length(function)} lines, more than {MAX_FUNCTION}")
            if nesting(function) > MAX_NESTING:
                faults.append(f"{where}: nested {nesting(function)} deep, not {MAX_NESTING}")
    return faults


def crowding(tree: Tree) -> list[str]:
    """Find folders with so many modules that they should be grouped."""
    folders = Counter(str(Path(module.path).parent) for module in tree.modules.values())
    return [
        f"{folder}: {count} modules, more than {MAX_FOLDER}"
        for folder, count in folders.items()
        if count > MAX_FOLDER
    ]


_BESIDE = re.compile(r":mod:`\.([a-z_0-9]+)`")


def maps(tree: Tree) -> list[str]:
    """Find modules that the docstring of a package names as its own, and that it does not have."""
    return [
        f"{module.path}:1: names {name}, which is not there"
        for module in tree.modules.values()
        if module.is_package
        for name in _BESIDE.findall(ast.get_docstring(module.syntax) or "")
        if f"{module.name}.{name}" not in tree.modules
    ]


def long_share(tree: Tree) -> float:
    """Return the share of functions that are not shorter than most should be."""
    lengths = [length(f) for m in tree.modules.values() for f in _functions(m.syntax)]
    return sum(n >= MOST_FUNCTIONS for n in lengths) / max(len(lengths), 1)


def _functions(syntax: ast.Module) -> Iterator[Function]:
    return (node for node in ast.walk(syntax) if isinstance(node, Function))


def length(function: Function) -> int:
    """Return how many lines a function has, from its ``def`` on, without its docstring."""
    total = (function.end_lineno or function.lineno) - function.lineno + 1
    if ast.get_docstring(function):
        first = function.body[0]
        total -= (first.end_lineno or first.lineno) - first.lineno + 1
    return total


_BLOCKS = (
    ast.If,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.With,
    ast.AsyncWith,
    ast.Try,
    ast.TryStar,
    ast.Match,
)


def nesting(node: ast.AST, inside: int = 0) -> int:
    """Return how deep blocks stand in blocks; an ``elif`` stands beside its ``if``."""
    deepest = inside
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Definition):
            continue  # measured by itself
        if isinstance(child, _BLOCKS):
            is_elif = isinstance(node, ast.If) and node.orelse == [child]
            is_elif = is_elif and isinstance(child, ast.If) and child.col_offset == node.col_offset
            deepest = max(deepest, nesting(child, inside if is_elif else inside + 1))
        else:
            deepest = max(deepest, nesting(child, inside))
    return deepest


def dangers(tree: Tree) -> list[str]:
    """Find evaluation, unpickling, and imports by name outside of the one place for them."""
    faults = []
    for module in tree.modules.values():
        for wanted in tree.imports(module):
            top = wanted.target.split(".")[0]
            where = f"{module.path}:{wanted.line}: {wanted.target}"
            if top in UNPICKLERS:
                faults.append(f"{where}: nothing is unpickled")
            elif top in IMPORTERS and module.path not in IMPORTS_BY_NAME:
                faults.append(f"{where}: only {', '.join(IMPORTS_BY_NAME)} imports by name")
        if module.path not in MAY_EVALUATE:
            faults += [
                f"{module.path}:{node.lineno}: {node.id}: nothing is evaluated"
                for node in ast.walk(module.syntax)
                if isinstance(node, ast.Name) and node.id in EVALUATORS
            ]
    return faults


def front_door(tree: Tree) -> list[str]:
    """Find what is wrong with ``__all__`` of the package: it is literal, sorted and exact."""
    roof = tree.modules["ion.public"]
    offered = _all_of(roof.syntax)
    if offered is None:
        return [f"{roof.path}:1: __all__ is no literal list"]
    faults = []
    if offered != sorted(offered):
        faults.append(f"{roof.path}: __all__ is not sorted")
    bound = {
        alias.asname or alias.name.split(".")[0]
        for node in roof.syntax.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        and getattr(node, "module", "") != "__future__"
        for alias in node.names
    }
    bound |= {node.name for node in roof.syntax.body if isinstance(node, Definition)}
    public = {name for name in bound if not name.startswith("_") or name == "__version__"}
    faults += [f"{roof.path}: {name} is not in __all__" for name in sorted(public - set(offered))]
    faults += [f"{roof.path}: {name} is only in __all__" for name in sorted(set(offered) - bound)]
    return faults


def _all_of(syntax: ast.Module) -> list[str] | None:
    for node in syntax.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            try:
                return list(ast.literal_eval(node.value))
            except ValueError:
                return None
    return None
