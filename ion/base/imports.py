"""What a module needs that is not installed: read from its source, never imported.

Followed is what its own package, and ION, import, and what its own package names as text
("package.module:Name"). Contract: a guess is no answer. What is tried, and done without, is not
needed; what only some function imports may be.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ion.base.source import FindSpec, ModuleSpec, absolute, tree_of

_OURS = __name__.partition(".")[0]
_MISSING = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}
_REMEDY = "pip install "
_PLACES = {"sys.path", "sys.meta_path", "sys.modules", "site.addsitedir"}
_NAMED = re.compile(r"([^\W\d][\w.]*):[^\W\d][\w.]*")


class Need(NamedTuple):
    """Something that is not installed.

    :param message: what, who needs it, and what to do.
    :param always: whether the module cannot be imported without.
    """

    message: str
    always: bool


class _Import(NamedTuple):
    """An import, as it stands in a source.

    :param always: whether it is done when the module is.
    :param remedy: what its module says where it fails; "" where it says nothing.
    """

    node: ast.Import | ast.ImportFrom
    always: bool
    remedy: str


class _Source(NamedTuple):
    """What a module's source says.

    :param named: the modules that it may name as text; finds: whether it says where modules are.
    """

    spec: ModuleSpec
    imports: list[_Import]
    named: frozenset[str]
    finds: bool


def needs(module: str, loaded: Mapping[str, Any], find_spec: FindSpec) -> list[Need]:
    """Return what ``module`` needs and has not, each thing once, the surest first.

    :param loaded: module name -> module, those that were imported: ``sys.modules``.
    :param find_spec: where the others are.
    """
    walk = _Walk(module, loaded, find_spec)
    walk.follow(module, always=True)
    found: dict[str, Need] = {}
    for need in sorted([*walk.told, *walk.bare.values()], key=lambda need: not need.always):
        found.setdefault(need.message, need._replace(always=need.always and not walk.is_open))
    return list(found.values())


class _Walk:
    """Goes from module to module.

    :ivar told: what is not there, as those say it that need it; bare: by package, what nobody says.
    :ivar is_open: whether modules may be in places that are not known yet.
    """

    def __init__(self, module: str, loaded: Mapping[str, Any], find_spec: FindSpec) -> None:
        self.told: list[Need] = []
        self.bare: dict[str, Need] = {}
        self.is_open = False
        self._said: set[str] = set()
        self._top = module.partition(".")[0]
        self._package = module.rpartition(".")[0] or module
        self._loaded = loaded
        self._find_spec = find_spec
        self._seen: set[tuple[str, bool, bool]] = set()
        self._read: dict[str, _Source | None] = {}

    def follow(self, module: str, *, always: bool, is_near: bool = False) -> None:
        """Look at a module of ours, or of its own package, and at what that imports.

        :param is_near: whether its own package imports it: what its functions say to install is
            for who calls them.
        """
        if not self._seen.isdisjoint({(module, always, is_near), (module, True, True)}):
            return
        self._seen.add((module, always, is_near))
        if module not in self._read:
            self._read[module] = _source(self._find_spec(module))
        source = self._read[module]
        if source is None:
            return
        self.is_open |= source.finds and module.partition(".")[0] != _OURS
        is_own = module == self._package or module.startswith(f"{self._package}.")
        for each in source.imports:
            if each.always and module in self._loaded:
                continue  # it has them
            if each.always or is_own or (is_near and each.remedy):
                self._imported(source.spec, each, always=always and each.always, is_near=is_own)
        for name in source.named if is_own else ():
            if name.partition(".")[0] in (self._top, _OURS):
                self.follow(name, always=False, is_near=True)

    def _imported(self, spec: ModuleSpec, each: _Import, *, always: bool, is_near: bool) -> None:
        for target in _targets(spec, each.node):
            top = target.partition(".")[0]
            if top in sys.stdlib_module_names:
                continue
            if self._loaded.get(top) is None and self._find_spec(top) is None:
                self._lacks(top, spec.name, each.remedy, always=always)
            elif top in (self._top, _OURS):
                for end in range(1, target.count(".") + 2):  # the packages above are imported, too
                    above = ".".join(target.split(".")[:end])
                    self.follow(above, always=always, is_near=is_near)

    def _lacks(self, package: str, module: str, remedy: str, *, always: bool) -> None:
        if remedy:
            self.told.append(Need(remedy, always))
            self._said.add(package)
            self.bare.pop(package, None)
        elif package not in self._said and not (package in self.bare and not always):
            said = f"{module} imports {package!r}, which is not installed"
            self.bare[package] = Need(said, always)


def _source(spec: ModuleSpec | None) -> _Source | None:
    """Return what is to be known of a module; None where it cannot be read."""
    tree = tree_of(spec) if spec is not None else None
    if spec is None or tree is None:
        return None
    texts: list[str] = []
    finds = False
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.append(node.value)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            finds |= f"{node.value.id}.{node.attr}" in _PLACES
    named = frozenset(match[1] for text in texts if (match := _NAMED.fullmatch(text)) is not None)
    return _Source(spec, list(_imports(tree.body, True, None)), named, finds)


def _targets(spec: ModuleSpec, node: ast.Import | ast.ImportFrom) -> list[str]:
    """Return what may be modules of what an import names."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    source = absolute(spec, node)
    return [source, *(f"{source}.{alias.name}" for alias in node.names if alias.name != "*")]


def _imports(body: list[ast.stmt], always: bool, remedy: str | None) -> Iterator[_Import]:
    """Give the imports among some statements, and below them, that must not fail.

    :param remedy: what is said where they fail; None: they are not tried.
    """
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield _Import(node, always, remedy or "")
        elif isinstance(node, ast.Try):
            yield from _tried(node, always, remedy)
        else:
            is_done = always and isinstance(node, ast.ClassDef | ast.With)
            for below in _below(node):
                yield from _imports(below, is_done, remedy)


def _below(node: ast.stmt) -> Iterator[list[ast.stmt]]:
    """Give the statements in a statement, but those that are for types, or that may fail."""
    is_for_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
    may_fail = isinstance(node, ast.With | ast.AsyncWith) and any(
        "suppress" in ast.dump(item.context_expr) for item in node.items
    )
    for name in ("body", "orelse"):
        below = getattr(node, name, None)
        if isinstance(below, list) and not (may_fail or (is_for_types and name == "body")):
            yield below


def _tried(node: ast.Try, always: bool, remedy: str | None) -> Iterator[_Import]:
    """Give those of a ``try``: where its handler raises nothing, it does without them."""
    handlers = [each for each in node.handlers if _catches(each)]
    raising = [each for each in handlers if any(isinstance(n, ast.Raise) for n in ast.walk(each))]
    if not handlers:
        yield from _imports(node.body, always, remedy)
    elif raising:
        yield from _imports(node.body, always, _said(raising[0]))
    if raising or not handlers:
        yield from _imports(node.orelse, always, remedy)
    yield from _imports(node.finalbody, always, remedy)


def _catches(handler: ast.ExceptHandler) -> bool:
    """Tell whether a handler is for imports that fail."""
    if handler.type is None:
        return True
    return any(getattr(node, "id", "") in _MISSING for node in ast.walk(handler.type))


def _said(handler: ast.ExceptHandler) -> str:
    """Return the text of a handler that says what to install, or ""."""
    texts = [node.value for node in ast.walk(handler) if isinstance(node, ast.Constant)]
    return next((text for text in texts if isinstance(text, str) and _REMEDY in text), "")
