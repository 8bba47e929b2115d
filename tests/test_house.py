"""The house stands: the tree keeps its rules, and trees that break one are found out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import conftest, house
from tests.house import Tree

ROOT = Path(__file__).parent.parent
LIGHT = 460  # modules that `from ion import ...` may load, ION's own (227) and Python's
HEAVY = (
    "aio_pika", "aiormq", "asyncpg", "cronsim", "cryptography", "fsspec", "google.protobuf", "h5py",
    "jwt", "numpy", "prompt_toolkit", "ptpython", "pynmeagps", "redis", "rich", "sqlite3", "uvloop",
    "yaml",
)  # fmt: skip
CHECKS = (
    house.floors,
    house.tenants,
    house.cycles,
    house.docstrings,
    house.budgets,
    house.crowding,
    house.maps,
    house.dangers,
    house.front_door,
)


@pytest.fixture(scope="module")
def tree() -> Tree:
    return Tree.read(ROOT)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_house_keeps_its_rules(tree, check):
    assert tree.modules, "nothing was read"
    assert check(tree) == []


def test_most_functions_are_short(tree):
    assert house.long_share(tree) <= 1 - house.MOST


def test_every_room_is_known_and_has_its_sign():
    rooms = {path.name for path in (ROOT / "ion").iterdir() if any(path.glob("*.py"))}
    assert rooms - set(house.FLOORS) == set()
    for room in rooms:
        assert (ROOT / "ion" / room / "__init__.py").is_file()


def test_tests_and_benchmarks_say_what_they_are():
    for folder in ("tests", "benchmarks"):
        for name, module in Tree.read(ROOT, folder).modules.items():
            assert house.ast.get_docstring(module.syntax), f"{name} has no docstring"


def test_the_front_door_is_light():
    code = (
        "import sys; before = len(sys.modules); import ion.public\n"
        "print(len(sys.modules) - before)\n"
        f"print(*[name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    modules, heavy = done.stdout.splitlines()
    assert heavy == "", f"`from ion import ...` loads {heavy}"
    assert int(modules) <= LIGHT


# Trees that break one rule each: what stands in which file, and what is found.

DOC = '"""What it is."""\n'


def body(lines: int) -> str:
    return "".join(f"    x{n} = {n}\n" for n in range(lines))


WRONG = {
    "an import that points up": (
        house.floors,
        {"ion/base/a.py": "from ion.observe import b\n", "ion/observe/b.py": ""},
        "ion/base/a.py:2: ion.observe.b is on a floor above base",
    ),
    "for typing only": (
        house.floors,
        {"ion/base/a.py": "if TYPE_CHECKING:\n    import ion.process.process\n"},
        "ion/base/a.py:3: ion.process.process is on a floor above base",
    ),
    "late, in a function": (
        house.floors,
        {"ion/base/a.py": "def f():\n    from ion.process import x\n"},
        "ion/base/a.py:3: ion.process is on a floor above base",
    ),
    "relative": (
        house.floors,
        {"ion/base/a.py": "from ..process import x\n"},
        "ion/base/a.py:2: ion.process is on a floor above base",
    ),
    "a stranger": (
        house.floors,
        {"ion/stores/a.py": "from ion.messaging.codec import x\n"},
        "ion/stores/a.py:2: ion.messaging.codec is a stranger to stores, on the same floor",
    ),
    "the roof from within": (
        house.floors,
        {"ion/shell/a.py": "from ion import Container\n"},
        "ion/shell/a.py:2: ion is the roof; nothing inside may use it",
    ),
    "a room without a floor": (
        house.floors,
        {"ion/attic/a.py": "import ion.base.ids\n"},
        "ion/attic/a.py:2: ion.base.ids: room 'attic' has no floor",
    ),
    "a service inside another": (
        house.tenants,
        {"ion/services/a/service.py": "from ion.services.b.service import B\n"},
        "ion/services/a/service.py:2: ion.services.b.service: of another service, only",
    ),
    "a cycle": (
        house.cycles,
        {
            "ion/base/a.py": "import ion.base.b\n",
            "ion/base/b.py": "def f():\n    from ion.base import c\n",
            "ion/base/c.py": "from ion.base.a import x\n",
        },
        "a cycle: ion.base.",
    ),
    "a public method without a docstring": (
        house.docstrings,
        {"ion/base/a.py": f"class A:\n    {DOC}\n    def b(self): ...\n"},
        "ion/base/a.py:5: b has no docstring",
    ),
    "a public function without a docstring": (
        house.docstrings,
        {"ion/base/a.py": "async def f(): ...\n"},
        "ion/base/a.py:2: f has no docstring",
    ),
    "a long file": (
        house.budgets,
        {"ion/base/a.py": "\n" * 400},
        "ion/base/a.py:1: 401 lines, more than 400",
    ),
    "a long function": (
        house.budgets,
        {"ion/base/a.py": f"def f():\n    {DOC}{body(50)}"},
        "ion/base/a.py:2: f: 51 lines, more than 50",
    ),
    "a deep nest": (
        house.budgets,
        {
            "ion/base/a.py": "def f():\n    for a in b:\n        with c:\n            try:\n"
            "                if d: pass\n            finally: pass\n"
        },
        "ion/base/a.py:2: f: nested 4 deep, not 3",
    ),
    "a crowded folder": (
        house.crowding,
        {f"ion/base/a{n}.py": DOC for n in range(31)},
        "ion/base: 31 modules, more than 30",
    ),
    "importlib": (
        house.dangers,
        {"ion/base/a.py": "from importlib import import_module\n"},
        "ion/base/a.py:2: importlib: only ion/base/plugin.py imports by name",
    ),
    "pickle": (
        house.dangers,
        {"ion/base/plugin.py": "import importlib\n", "ion/base/a.py": "import pickle\n"},
        "ion/base/a.py:2: pickle: nothing is unpickled",
    ),
    "eval": (
        house.dangers,
        {"ion/base/a.py": "f = map(eval, 'x')\n"},
        "ion/base/a.py:2: eval: nothing is evaluated",
    ),
    "an unsorted front door": (
        house.front_door,
        {"ion/public.py": "from a import b, c\n__all__ = ['c', 'b']\n"},
        "ion/public.py: __all__ is not sorted",
    ),
    "a front door that hides something": (
        house.front_door,
        {"ion/public.py": "from a import b, c\n__all__ = ['b']\n"},
        "ion/public.py: c is not in __all__",
    ),
    "a front door that promises too much": (
        house.front_door,
        {"ion/public.py": "from a import b\n__all__ = ['b', 'c']\n"},
        "ion/public.py: c is only in __all__",
    ),
}


def build(root: Path, files: dict[str, str]) -> Tree:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(DOC + text)
    return Tree.read(root)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_tree_is_found_out(tmp_path, name):
    check, files, found = WRONG[name]
    faults = check(build(tmp_path, files))
    assert len(faults) == 1
    assert faults[0].startswith(found)


def test_a_module_without_a_docstring_is_found_out(tmp_path):
    (tmp_path / "ion").mkdir()
    (tmp_path / "ion/a.py").write_text("x = 1\n")
    faults = house.docstrings(Tree.read(tmp_path))
    assert faults == ["ion/a.py:1: the module has no docstring"]


def test_a_map_that_names_what_is_not_there_is_found_out(tmp_path):
    (tmp_path / "ion/base").mkdir(parents=True)
    (tmp_path / "ion/base/b.py").write_text(DOC)
    (tmp_path / "ion/base/__init__.py").write_text('"""First :mod:`.b`, then :mod:`.c`."""\n')
    faults = house.maps(Tree.read(tmp_path))
    assert faults == ["ion/base/__init__.py:1: names c, which is not there"]


def test_a_right_tree_has_no_fault(tmp_path):
    chain = "".join(f"    {'el' * (n > 0)}if a == {n}: pass\n" for n in range(9))
    tree = build(
        tmp_path,
        {
            "ion/public.py": "from ion.base.b import B, _private\n__all__ = ['B']\n",
            "ion/base/__init__.py": "",
            "ion/base/b.py": f"class B:\n    {DOC}\n    def _b(self): ...\n"
            f"    @property\n    def p(self):\n        {DOC}\n"
            "    @p.setter\n    def p(self, v): ...\n",
            "ion/base/generated_pb2.py": "import pickle\n" * 900,
            "ion/base/plugin.py": "import importlib\n",
            "ion/process/a.py": f"import re\nfrom ion.base import b\ndef _f(a):\n{chain}",
            "ion/services/x/service.py": "from ion.services.y.client import Y\nre.compile('x')\n",
            "ion/services/y/client.py": "",
        },
    )
    assert [fault for check in CHECKS for fault in check(tree)] == []


@pytest.mark.parametrize("named", [*conftest.SEEN_ON_BOTH, *conftest.EACH_WITH_ANOTHER])
def test_what_the_selection_of_tests_names_is_there(named):
    assert [*ROOT.glob(f"{named}*")], "moved or renamed: its tests are left out in silence"
