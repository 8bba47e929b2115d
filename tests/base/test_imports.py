"""What is not installed, told from sources: nothing is imported."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from ion.base import plugin

SERVICE = """
from __future__ import annotations
import asyncio, os.path
from typing import TYPE_CHECKING
from . import helper
from .parts.engine import Engine
if TYPE_CHECKING:
    import only_for_types
try:
    import nice_to_have
except ImportError:
    nice_to_have = None
else:
    import nice_to_have.more
def draw():
    import for_drawing.lines
    from lab_imports.late import x
DRIVER = "lab_imports.driver:Driver"
class Meter: ...
"""
ENGINE = """
try:
    from needed_by_engine import Thing
except ImportError as error:
    message = "engines need it: pip install 'lab[engine]'"
    raise RuntimeError(message) from error
from needed_by_engine.more import Other
class Engine: ...
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = tmp_path / "lab_imports"
    (package / "parts").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('was imported')\n")
    (package / "parts" / "__init__.py").write_text("import needed_by_parts\n")
    (package / "parts" / "engine.py").write_text(ENGINE)
    (package / "helper.py").write_text("from lab_imports import service\n")
    (package / "driver.py").write_text("import needed_by_driver, made_by_hand\n")
    (package / "late.py").write_text("import needed_later\n")
    (package / "service.py").write_text(SERVICE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, "made_by_hand", ModuleType("made_by_hand"))  # has no spec
    return package


def test_what_is_needed_at_once_and_what_only_somewhere(lab: Path) -> None:
    said = plugin.needs("lab_imports.service:Meter")
    assert [(need.message, need.always) for need in said] == [
        ("engines need it: pip install 'lab[engine]'", True),
        ("lab_imports.parts imports 'needed_by_parts', which is not installed", True),
        ("lab_imports.service imports 'for_drawing', which is not installed", False),
        ("lab_imports.late imports 'needed_later', which is not installed", False),
        ("lab_imports.driver imports 'needed_by_driver', which is not installed", False),
    ]
    assert "lab_imports" not in sys.modules


def test_where_a_package_says_itself_where_modules_are_nothing_is_sure(lab: Path) -> None:
    (lab / "places.py").write_text("import sys\nsys.path.append('/lab')\nimport from_there\n")
    assert [need.always for need in plugin.needs("lab_imports.places")] == [False]


@pytest.mark.parametrize(
    ("package", "name", "said", "always"),
    [
        ("redis", "ion.stores.redis.datastore:RedisDatastore", "'ioncore[redis]'", True),
        ("h5py", "ion.services.contexts.service:ContextsService", "'ioncore[contexts]'", False),
        ("re2", "ion.services.contexts.service", "'ioncore[patterns]'", True),
        ("pynmeagps", "ion.services.instrument.agent", "'ioncore[instruments]'", False),
        ("cronsim", "ion.services.scheduler.service", "'ioncore[scheduler]'", False),
    ],
)
def test_which_extra_ion_lacks(
    monkeypatch: pytest.MonkeyPatch, package: str, name: str, said: str, always: bool
) -> None:
    there = ("ion.stores.redis", "ion.services", package)  # others may have imported them
    for module in [each for each in sys.modules if each.startswith(there)]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not there
    (need,) = plugin.needs(name)
    assert need.message.endswith(f"pip install {said}")
    assert need.always is always
