"""Rel files as data, and the lookup of files by name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ion.base.document import parse
from ion.base.errors import ConfigurationError
from ion.container.apps import lookup
from ion.container.apps.app import find, load_app
from ion.container.apps.release import load_rel, rel_of

LEGACY = Path(__file__).parents[2] / "data" / "legacy"

FULL = """\
type: release
name: Whole System
version: 0.10
description: All of it
ioncore: 0.1.0
apps:
  - name: hello
    version: 1.0
    config: {greeting: Hi}
    args: {more: here}
    mult: true
  - name: one
    processapp: [proc, pkg.mod, Class]
  - {name: two, processapp: [proc, 'pkg.mod:Class']}
  - {name: three, processapp: 'pkg.mod:Class', args: }
"""


def test_every_key() -> None:
    rel, findings = rel_of(parse(FULL, "s.rel", either=True))
    assert not findings
    assert rel is not None
    assert (rel.name, rel.version, rel.description) == ("Whole System", "0.10", "All of it")
    assert rel.ioncore == "0.1.0"
    hello, one, two, three = rel.apps
    assert (hello.name, hello.version, hello.mult) == ("hello", "1.0", True)
    assert (hello.config, hello.args) == ({"greeting": "Hi"}, {"more": "here"})
    assert hello.processapp is None
    for entry, process in ((one, "proc"), (two, "proc"), (three, "three")):
        assert entry.processapp is not None
        assert entry.processapp.name == "pkg.mod:Class"
        assert entry.processapp.process_name == process
        assert (entry.mult, entry.args) == (False, {})
    assert rel.where("apps", 2) == "s.rel:14"


def test_everything_wrong_is_said_with_its_line() -> None:
    text = FULL.replace("mult: true", "mult: 'yes'").replace("config: {", "konfig: {")
    text = text.replace("name: one", "version: '1'").replace("ioncore: 0.1.0", "ioncore: yes")
    _, findings = rel_of(parse(text, "s.rel"))
    assert [str(finding) for finding in findings] == [
        "s.rel:5: ioncore: must be text, not True",
        "s.rel:9: apps.0.konfig: unknown key (did you mean 'config'?)",
        "s.rel:11: apps.0.mult: must be true or false, not 'yes'",
        "s.rel:12: apps.1: key 'name' is missing",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("type: release\nname: a\n", "s.rel:1: key 'apps' is missing"),
        ("type: release\nname: a\napps: hello\n", "s.rel:3: apps: must be a list, not 'hello'"),
        ("type: release\nname: a\napps: [hello]\n", "s.rel:3: apps.0: must be a map, not 'hello'"),
        ("type: application\nname: a\napps: []\n", "s.rel:1: type: no such choice: 'application'"),
        (
            "type: release\nname: a\napps:\n- name: b\n  processapp: [x]\n",
            "s.rel:5: apps.0.processapp: must be (process name, module, class), not ['x']",
        ),
    ],
)
def test_single_faults(text: str, said: str) -> None:
    rel, (finding,) = rel_of(parse(text, "s.rel"))
    assert rel is None
    assert str(finding).startswith(said)


@pytest.mark.parametrize("path", sorted(LEGACY.glob("deploy/*.rel")), ids=lambda path: path.stem)
def test_releases_of_the_original(path: Path) -> None:
    rel = load_rel(path)
    assert rel.apps
    assert rel.file == path


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with its own files, and a package with others."""
    for place in ("here/res/apps", "here/res/deploy", "installed/apps", "installed/deploy"):
        (tmp_path / place).mkdir(parents=True)
    app, rel = "type: application\nname: x\nmod: m\n", "type: release\nname: x\napps: []\n"
    (tmp_path / "here/res/apps/both.app").write_text(app)
    (tmp_path / "here/res/deploy/both.rel").write_text(rel)
    (tmp_path / "here/res/deploy/level4.rel").write_text(rel)
    (tmp_path / "here/one.app").write_text(app)
    (tmp_path / "here/notes.txt").write_text("")
    (tmp_path / "installed/apps/both.app").write_text(app)
    (tmp_path / "installed/apps/shipped.app").write_text(app)
    (tmp_path / "installed/deploy/shipped.rel").write_text(rel)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(lookup, "resource_folder", lambda: tmp_path / "installed")
    return tmp_path


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("both", "here/res/apps/both.app"),
        ("both.app", "here/res/apps/both.app"),
        ("both.rel", "here/res/deploy/both.rel"),
        ("level4", "here/res/deploy/level4.rel"),
        ("level4.rel", "here/res/deploy/level4.rel"),
        ("shipped", "installed/apps/shipped.app"),
        ("shipped.rel", "installed/deploy/shipped.rel"),
        ("one.app", "here/one.app"),
        ("./one.app", "here/one.app"),
        ("res/apps/both.app", "here/res/apps/both.app"),
        ("res/apps/both", "here/res/apps/both.app"),
        (Path("one.app"), "here/one.app"),
    ],
)
def test_find(tree: Path, given: str | Path, expected: str) -> None:
    assert find(given).resolve() == tree / expected


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("bth", "there is no app or rel 'bth' (did you mean 'both'?); looked in res/apps, res/dep"),
        ("both.rle", "there is no app or rel 'both.rle' (did you mean 'both.rel'?)"),
        ("./gone.app", "there is no file gone.app"),
        ("./notes.txt", "notes.txt is neither an .app nor a .rel file"),
        ("one", "there is no app or rel 'one'"),
        ("", "'' names no app or rel"),
        ("a\0b", "names no app or rel"),
    ],
)
def test_find_what_is_not_there(tree: Path, given: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        find(given)


def test_each_name_that_is_known_is_told_once(tree: Path) -> None:
    with pytest.raises(ConfigurationError, match="known: ") as raised:
        find("qqqq")
    known = raised.value.message.partition("known: ")[2].partition(")")[0].split(", ")
    assert known == ["both", "both.rel", "level4", "shipped", "shipped.rel"]


def test_an_app_is_no_release(tree: Path) -> None:
    assert load_rel("both").file == Path("res/deploy/both.rel")
    with pytest.raises(ConfigurationError, match=r"both\.app is an app, not a release"):
        load_rel("both.app")
    with pytest.raises(ConfigurationError, match=r"level4\.rel is a release, not an app"):
        load_app("level4")
