"""``check``: everything wrong in files, and in what they name; nothing is imported or started."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ion.container.apps.check import check

LEGACY = Path(__file__).parents[2] / "data" / "legacy"

SERVICE = """
from ion import Process, Service as Base
from .app import start as begin
from .plain import Plain as Other
class Service(Base, name="checked"): ...
class Late(Service): ...
class Mixed(Other, Process): ...
class Odd(Other): ...
class Failing(Exception): ...
Made = type("Made", (Process,), {})
def make(): ...
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project: a package ``checked``, and files that use it."""
    package = tmp_path / "checked"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('was imported')\n")
    (package / "app.py").write_text("def start(c): ...\ndef stop(c, state): ...\n")
    (package / "half.py").write_text("def start(c): ...\n")
    (package / "service.py").write_text(SERVICE)
    (package / "plain.py").write_text("from json import JSONDecoder\nclass Plain: ...\n")
    (package / "torn.py").write_text("class Service(\n    pass\n")
    (tmp_path / "res" / "apps").mkdir(parents=True)
    (tmp_path / "res" / "deploy").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def app(name: str, rest: str = "mod: checked.app\n") -> str:
    path = f"res/apps/{name}.app"
    Path(path).write_text(f"type: application\nname: {name}\n{rest}")
    return path


def said(*paths: str) -> list[str]:
    return [f"{finding.severity}: {finding}" for finding in check(paths)]


def test_good_files(here: Path) -> None:
    good = app("good", "mod: [checked.app]\nmodules: [checked.*, checked.app]\n")
    child = app("child", "processes: [{id: x, class: 'checked.service:Service'}]\n")
    other = app("other", "mod: checked.service.Service\napplications: [good, ioncore]\n")
    Path("ionlocal.yml").write_text("messaging.interceptors.in: [checked.service:Service]\n")
    assert said(good, child, other, "ionlocal.yml", "good", "child.app") == []
    assert "checked" not in sys.modules


def test_missing_modules(here: Path) -> None:
    path = app(
        "bad",
        "mod: checked.ap\nmodules: [checkd.*]\nprocesses:\n"
        "  - {id: x, class: 'checked.service:Servce'}\n",
    )
    no_class = "there is no module or class 'checked.service:Servce': "
    no_class += "'checked.service' has no 'Servce'"
    no_module = "there is no module 'checkd': 'checkd' is not installed "
    no_module += "(check the spelling, or install the package that holds it; if it is your own, "
    no_module += "start in the folder that it is in, or name that in PYTHONPATH)"
    assert said(path) == [
        f"error: {path}:3: mod: there is no module or class 'checked.ap': 'checked' has no 'ap'",
        f"error: {path}:6: processes.0.class: {no_class}",
        f"error: {path}:4: modules.0: {no_module}",
    ]
    half = app("half", "mod: checked.half\n")
    assert said(half) == [f"error: {half}:3: mod: module 'checked.half' has no function 'stop'"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Late", ""),
        ("Mixed", ""),
        ("Made", ""),  # nobody knows
        ("Odd", "is no process class"),
        ("Other", "is no process class"),
        ("Failing", "is no process class"),
        ("make", "is no process class"),
        ("begin", "is no process class"),
    ],
)
def test_a_class_that_is_no_process(here: Path, name: str, said: str) -> None:
    path = app("odd", f"processes: [{{id: a, class: 'checked.service:{name}'}}]\n")
    findings = check([path])
    assert [said in str(finding) for finding in findings] == [True] * bool(said)
    as_mod = app("mod", f"mod: checked.service.{name}\n")
    assert len(check([as_mod])) == bool(said)
    assert "checked" not in sys.modules


TAKERS = """
from dataclasses import dataclass
from ion import Process
from .base import Meter, Reader
class Port(Process):
    def __init__(self, port, *, rate=1): ...
class Near(Port): ...
class Far(Meter): ...
class All(Process):
    def __init__(self, **more): ...
class Under(Reader): ...
@dataclass
class Data(Process):
    unit: str = "C"
class Mixed(Port, Meter): ...
class Either(Process):
    if hasattr(Process, "port"):
        def __init__(self, **more): ...
class Lent(Process):
    __init__ = All.__init__
class Made(Process): ...
Made = dataclass(Made)
"""
BASE = "from ion import Process\nclass Meter(Process): ...\n"
READER = "from ion import Process\nclass Reader(Process):\n    def x(self): self.spawn_args\n"


@pytest.mark.parametrize(
    ("cls", "refused"),
    [
        ("Port", "(did you mean 'port'?)"),
        ("Near", "(did you mean 'port'?)"),
        ("Far", ": it has no __init__ that names it"),
        ("All", ""),  # from here on, nobody can tell
        ("Under", ""),
        ("Data", ""),
        ("Mixed", ""),
        ("Either", ""),
        ("Lent", ""),
        ("Made", ""),
    ],
)
def test_an_argument_that_no_class_takes(here: Path, cls: str, refused: str) -> None:
    (here / "checked" / "takers.py").write_text(TAKERS)
    (here / "checked" / "base.py").write_text(f"from .reader import Reader\n{BASE}")
    (here / "checked" / "reader.py").write_text(READER)
    name = f"checked.takers:{cls}"
    path = app("takes", f"mod:\n  - {name}\n  - prot: 7\n")
    message = f"error: {path}:5: mod.1.prot: {name} does not take argument 'prot'{refused}"
    expected = [message.replace("'prot'(", "'prot' (")] if refused else []
    assert said(path) == expected


NEEDERS = """
from ion import Process
class Port(Process):
    def __init__(self, port, baud=9600, *, site, **more): self.port = port
class Near(Port): ...
class Made(Process):
    @wrapped
    def __init__(self, port): ...
"""


@pytest.mark.parametrize("cls", ["Port", "Near"])
def test_an_argument_that_a_class_cannot_do_without(here: Path, cls: str) -> None:
    (here / "needers.py").write_text(NEEDERS)
    name = f"needers:{cls}"
    path = app("needs", f"processes:\n  - id: a\n    class: {name}\n    args: {{baud: 1}}\n")
    lacks = [f"error: {path}:6: processes.0.args: {name} needs argument 'port'"]
    lacks.append(lacks[0].replace("'port'", "'site'"))
    assert said(path) == lacks
    deploy, rel = Path("needs.rel"), "type: release\nname: needs\napps:\n"
    deploy.write_text(rel + "  - {name: needs, args: {port: 7}}\n")
    assert said(path, str(deploy)) == lacks[1:]
    mod = app("mod", f"mod: ['{name}', {{site: north}}]\n")
    assert said(mod) == [f"error: {mod}:3: mod: {name} needs argument 'port'"]
    made = app("made", "mod: needers:Made\n")  # nobody can tell
    deploy.write_text(
        rel + "  - {name: needs, args: {port: 7, site: a}}\n  - {name: mod, args: {port: 1}}\n"
    )
    assert said(made, path, str(deploy), mod) == []


def test_what_a_start_would_stumble_over_in_a_module(here: Path) -> None:
    torn = app("torn", "mod: checked.torn\nprocesses: [{id: a, class: 'checked.torn:Service'}]\n")
    where = f"{here}/checked/torn.py:1: '(' was never closed"
    message = f"module 'checked.torn' cannot be imported: {where}"
    assert said(torn) == [
        f"error: {torn}:3: mod: {message}",
        f"error: {torn}:4: processes.0.class: {message}",
    ]
    given = app("given", "mod: ['checked.service:Service', [1]]\n")
    assert said(given) == [
        f"error: {given}:3: mod: a process class takes keyword arguments only, not [1]"
    ]


def test_a_release_and_all_it_names(here: Path) -> None:
    bad = app("bad", "modd: x\n")
    app("good", "mod: checked.app\nversion: '2'\napplications: [bad]\n")
    rel = Path("res/deploy/r.rel")
    rel.write_text(
        "type: release\nname: r\napps:\n  - name: ccagent\n  - {name: good, version: '1'}\n"
        "  - name: goood\n  - {name: p, processapp: [p, checked.service, Nope]}\n  - name: good\n"
    )
    no_class = "there is no module or class 'checked.service:Nope': "
    no_class += "'checked.service' has no 'Nope'"
    twice = "'good' is named before, and starts once: say 'mult' for more"
    assert said("r.rel") == [
        f"error: {bad}:3: modd: unknown key (did you mean 'mod'?)",
        f"warning: {rel}:5: apps.1.version: is '1', but res/apps/good.app is version '2'",
        f"error: {rel}:6: apps.2.name: there is no app 'goood' (did you mean 'good'?)",
        f"error: {rel}:7: apps.3.processapp: {no_class}",
        f"warning: {rel}:8: apps.4.name: {twice}",
    ]


def test_what_fails_over_is_not_started_once_more(here: Path) -> None:
    app("once", "mod: checked.app\nstart_type: permanent\nfailover: true\n")
    rel = Path("res/deploy/r.rel")
    rel.write_text(
        "type: release\nname: r\napps:\n  - {name: once}\n  - {name: once, mult: true}\n"
    )
    message = "app 'once' fails over: it runs once in the system, not once more"
    assert said("r.rel") == [f"error: {rel}:5: apps.1.mult: {message}"]


def test_a_cycle(here: Path) -> None:
    one = app("one", "mod: checked.app\napplications: [two]\n")
    two = app("two", "mod: checked.app\napplications: [one]\n")
    circle = f"apps need each other in a circle: one ({one}:4) -> two ({two}:4) -> one"
    assert said(one) == [
        f"error: {one}:4: applications: {circle}",
    ]


def test_warnings(here: Path) -> None:
    Path("x.app").write_text("type: application\nname: y\nmod: checked.app\n")
    Path("ccagent.app").write_text("type: application\nname: ccagent\nmod: not.there\n")
    assert said("x.app", "ccagent.app") == [
        "warning: x.app:2: name: others find this app as 'x', the name of its file",
        "warning: ccagent.app:2: name: 'ccagent' is built into every container: starts nothing",
    ]


def test_files_of_settings(here: Path) -> None:
    Path("a.yml").write_text("broker:\n  ulr: x\nmessaging: {rpc_timeout: -1}\n")
    Path("b.yml").write_text("messaging:\n  interceptors:\n    out:\n      - checked.nope:X\n")
    Path("c.yml").write_text("")
    Path("e.yml").write_text("store:\n  url: postgresql://h:bad/\n")
    nope = "there is no module 'checked.nope': 'checked' has no module 'nope'"
    *found, port = said("a.yml", "b.yml", "c.yml", "d.yml", "e.yml")
    assert port.startswith("error: e.yml:2: store.url: the store URL: a port is a number")
    assert found == [
        "error: a.yml:2: broker.ulr: unknown key (did you mean 'url'?)",
        "error: a.yml:3: messaging.rpc_timeout: must be a number > 0.0, not -1",
        f"error: b.yml:4: messaging.interceptors.out.0: {nope}",
        "error: d.yml: cannot be read: No such file or directory",
    ]


def test_a_class_that_an_argument_names(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in sys.modules if each.startswith("ion.services.instrument")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pynmeagps", None)
    app = "type: application\nname: {}\nversion: 1.0.0\nprocesses:\n  - id: gps\n    class: {}\n"
    app += "    args:\n      resource: gps\n"
    agent = "ion.services.instrument.agent:InstrumentAgent"
    Path("usual.app").write_text(app.format("usual", agent))
    Path("own.app").write_text(app.format("own", agent) + "      driver: checked.service:Service\n")
    Path("none.app").write_text(app.format("none", agent) + "      driver: checked.nope:Driver\n")
    extra = "pynmeagps is not installed: pip install 'ioncore[instruments]'"
    assert said("usual.app") == [f"error: usual.app:6: processes.0.class: {extra}"]
    assert said("own.app") == [f"warning: own.app:6: processes.0.class: {extra}"]
    assert "error: none.app:9: processes.0.args.driver: there is no" in said("none.app")[-1]


def test_an_extra_that_is_not_installed(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    for name in [each for each in sys.modules if each.startswith("ion.stores.postgres")]:
        monkeypatch.delitem(sys.modules, name)
    Path("pg.yml").write_text("store:\n  url: postgresql://h/d\n")
    needs = "postgresql:// needs asyncpg: pip install 'ioncore[postgres]'"
    assert said("pg.yml") == [f"error: pg.yml:2: store.url: {needs}"]
    (here / "checked" / "half.py").write_text(
        "import no_such_thing\nfrom .service import Service\n"
    )
    (here / "checked" / "__init__.py").write_text("")
    path = app("child", "processes: [{id: x, class: 'checked.half:Service'}]\n")
    lacks = "checked.half imports 'no_such_thing', which is not installed"
    assert said(path) == [f"error: {path}:3: processes.0.class: {lacks}"]


def test_files_that_are_none(here: Path) -> None:
    Path("x.txt").write_text("")
    Path("bad.app").write_text("a: ]")
    assert said("x.txt")[0] == "error: x.txt: is no .app, .rel or .yml file"
    assert said("bad.app")[0].startswith("error: bad.app:1: not YAML: ")
    assert said("gone.app")[0].startswith("error: gone.app: there is no app or rel 'gone.app'")
    assert said("./gone.app") == ["error: ./gone.app: there is no file gone.app"]


@pytest.mark.parametrize("path", sorted(LEGACY.glob("*/*")), ids=lambda path: path.name)
def test_files_of_the_original_only_miss_their_modules(path: Path) -> None:
    """The modules of the original are not here; nothing else is wrong in its files."""
    errors = [finding for finding in check([path]) if finding.severity == "error"]
    for finding in errors:
        known_gap = finding.message.startswith("there is no app 'resource'")
        assert finding.message.startswith("there is no module") or known_gap
        assert finding.line
    assert errors or path.stem in {"ioncore", "ccagent"}
