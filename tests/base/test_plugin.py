"""resolve() finds what it should, and says precisely what is wrong where it cannot."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ion.base import plugin
from ion.base.errors import ConfigurationError


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package ``plugged`` on the path; its modules are forgotten afterwards."""
    root = tmp_path / "plugged"
    (root / "space" / "deep").mkdir(parents=True)
    (root / "__init__.py").write_text("loaded = True\n")
    (root / "good.py").write_text("class Thing:\n    class Inner:\n        pass\n")
    (root / "broken.py").write_text("import not_there_at_all\n")
    (root / "lacks.py").write_text(
        "from ion.base import errors\nraise errors.ConfigurationError('pip install it')\n"
    )
    (root / "wrong.py").write_text("x = = 1\n")
    (root / "space" / "deep" / "leaf.py").write_text("from json import dumps\nvalue: int = 7\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield root
    for name in [m for m in sys.modules if m.partition(".")[0] == "plugged"]:
        del sys.modules[name]


@pytest.mark.parametrize("name", ["json:dumps", "json.dumps"])
def test_both_spellings(name: str) -> None:
    assert plugin.resolve(name) is json.dumps


def test_modules_and_nested_attributes(package: Path) -> None:
    assert plugin.resolve("json") is json
    assert plugin.resolve("plugged.good:Thing.Inner").__name__ == "Inner"
    assert plugin.resolve("plugged.good.Thing.Inner").__name__ == "Inner"
    assert plugin.resolve("plugged.space.deep.leaf:value") == 7


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no_such_thing.mod:Name", "'no_such_thing' is not installed"),
        ("plugged.nope:Thing", "'plugged' has no module 'nope'"),
        ("plugged.good:Think", "'plugged.good' has no 'Think'"),
        ("plugged.good:Thing.Outer", "'Thing' has no 'Outer'"),
        ("plugged.broken:Thing", "fails when imported: ModuleNotFoundError: No module named"),
        ("plugged.wrong:Thing", "fails when imported: SyntaxError"),
        ("plugged.lacks:Thing", "module 'plugged.lacks': pip install it"),
        ("plugged.good.deeper.Name", "has no 'deeper'"),
        ("", "not a dotted name"),
        ("a b", "not a dotted name"),
        ("a..b", "not a dotted name"),
        ("a:b:c", "not a dotted name"),
        ("os.path;evil", "not a dotted name"),
    ],
)
def test_what_is_wrong(package: Path, name: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(said)) as caught:
        plugin.resolve(name)
    assert caught.value.details["name"] == name


def test_missing_imports_nothing(package: Path) -> None:
    assert plugin.missing("plugged.good:Thing") is None
    assert plugin.missing("plugged.broken") is None
    assert plugin.missing("plugged.space.deep.leaf:value") is None
    assert plugin.missing("plugged.space.deep.leaf:dumps") is None
    assert "has no 'Think'" in str(plugin.missing("plugged.good:Think"))
    assert "no module 'plugged.space.gone'" in str(plugin.missing("plugged.space.gone:X"))
    assert "plugged" not in sys.modules


def test_a_module_made_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    made = type(sys)("made_by_hand")
    made.__dict__["thing"] = 1
    monkeypatch.setitem(sys.modules, "made_by_hand", made)
    assert plugin.resolve("made_by_hand:thing") == 1
    assert plugin.missing("made_by_hand:thing") is None
    assert "has no 'other'" in str(plugin.missing("made_by_hand:other"))
