"""App files as data: every form that is allowed, and the place of everything that is wrong."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ion.base.document import parse
from ion.base.errors import ConfigurationError
from ion.container.apps.app import app_of, load_app
from ion.container.apps.release import rel_of

LEGACY = Path(__file__).parents[2] / "data" / "legacy"

FULL = """\
type: application
name: weather
version: 0.1.0
description: Watches the weather
mod: [pkg.weather, [1, two], {unit: C}]
modules: [pkg.weather]
registered: [weather]
applications: [ioncore, hello]
config:
  station: north
processes:
  - id: sensor
    class: pkg.sensor:Sensor
    args: {port: 7}
    restart: transient
    shutdown: 2
  - {id: logger, class: pkg.logger.Logger}
supervision: {strategy: rest_for_one, intensity: 3, period: 60}
start_type: permanent
failover: true
"""


def app_from(text: str) -> Any:
    spec, findings = app_of(parse(text, "w.app", either=True))
    assert not findings
    return spec


def faults_of(text: str) -> list[str]:
    spec, findings = app_of(parse(text, "w.app", either=True))
    assert spec is None
    return [str(finding) for finding in findings]


def test_every_key() -> None:
    app = app_from(FULL)
    assert (app.name, app.version, app.description) == ("weather", "0.1.0", "Watches the weather")
    assert (app.mod.name, app.mod.args, app.mod.kwargs) == (
        "pkg.weather",
        (1, "two"),
        {"unit": "C"},
    )
    assert app.modules == ("pkg.weather",)
    assert app.registered == ("weather",)
    assert app.applications == ("ioncore", "hello")
    assert app.config == {"station": "north"}
    sensor, logger = app.processes
    assert (sensor.id, sensor.class_, sensor.args) == ("sensor", "pkg.sensor:Sensor", {"port": 7})
    assert (sensor.restart, sensor.shutdown) == ("transient", 2)
    assert (logger.restart, logger.shutdown, logger.args) == ("permanent", 5.0, {})
    assert app.supervision.strategy == "rest_for_one"
    assert (app.supervision.intensity, app.supervision.period) == (3, 60)
    assert app.start_type == "permanent"
    assert app.failover is True
    assert app.where("processes", 1) == "w.app:17"


def test_what_is_left_out() -> None:
    app = app_from("type: application\nname: a\nmod: m\nconfig:\napplications: null\n")
    assert (app.version, app.config, app.applications, app.processes) == ("", {}, (), ())
    assert app.supervision.strategy == "one_for_one"
    assert app.start_type == "temporary"
    assert app.failover is False


@pytest.mark.parametrize("version", ["0.10", "1", "1e3", "0x1f", "1.2.3", "'0.10'"])
def test_a_version_needs_no_quotes(version: str) -> None:
    app = app_from(f"type: application\nname: a\nmod: m\nversion: {version}\n")
    assert app.version == version.strip("'")
    (fault,) = faults_of("{'type': 'application', 'name': 'a', 'mod': 'm', 'version': 0.10}")
    assert fault == "w.app:1: version: must be text, not 0.1 (put it in quotes)"


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("m.n", ("m.n", (), {})),
        ("m.n:Class", ("m.n:Class", (), {})),
        ("[m.n]", ("m.n", (), {})),
        ("[m.n, [1]]", ("m.n", (1,), {})),
        ("[m.n, [1], {a: 2}]", ("m.n", (1,), {"a": 2})),
        ("[m.n, null, {a: 2}]", ("m.n", (), {"a": 2})),
        ("[m.n, {a: 2}]", ("m.n", (), {"a": 2})),
        ("{name: m.n}", ("m.n", (), {})),
        ("{name: m.n, args: [1], kwargs: {a: 2}}", ("m.n", (1,), {"a": 2})),
        ("{class: 'm.n:C', kwargs: {a: 2}}", ("m.n:C", (), {"a": 2})),
        ("[ion.core.pack.processapp, [p, m.n, C], {a: 2}]", ("m.n:C", (), {"a": 2})),
    ],
)
def test_forms_of_mod(form: str, expected: tuple[Any, ...]) -> None:
    mod = app_from(f"type: application\nname: a\nmod: {form}\n").mod
    assert (mod.name, mod.args, mod.kwargs) == expected
    assert mod.process_name == ("p" if "processapp" in form else None)


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("3", "mod: must be a dotted name, or (dotted name, list of args, map of kwargs), not 3"),
        ("[]", "mod: must be a dotted name, or"),
        ("[a, [], {}, 1]", "mod: must be a dotted name, or"),
        ("[a b]", "mod.0: 'a b' is not a dotted name"),
        ("a..b", "mod: 'a..b' is not a dotted name"),
        ("[a, 1]", "mod.1: must be a list, not 1"),
        ("[a, [], 1]", "mod.2: must be a map, not 1"),
        ("{args: []}", "mod: needs one key 'name'"),
        ("{name: a, arg: []}", "mod.arg: unknown key (known: name, args, kwargs)"),
        ("{name: 1}", "mod.name: 1 is not a dotted name"),
        ("[ion.core.pack.processapp, [p]]", "mod.1: must be (process name, module, class)"),
        ("[ion.core.pack.processapp, [p, 'm n', C]]", "mod.1.1: 'm n:C' is not a dotted name"),
    ],
)
def test_wrong_forms_of_mod(form: str, said: str) -> None:
    (fault,) = faults_of(f"type: application\nname: a\nmod: {form}\n")
    assert fault.startswith(f"w.app:3: {said}")


def test_everything_wrong_is_said_with_its_line() -> None:
    text = FULL.replace("application\n", "aplication\n", 1).replace(
        "version: 0.1.0", "version: [1]"
    )
    text = text.replace("registered:", "registred:").replace("station: north", "7: north")
    text = text.replace("restart: transient", "restart: permant").replace(
        "intensity: 3", "intensity: no"
    )
    text = text.replace("[ioncore, hello]", "[ioncore, a.b]").replace(
        "[pkg.weather]", "pkg.weather"
    )
    assert faults_of(text) == [
        "w.app:1: type: no such choice: 'aplication' (did you mean 'application'?)",
        "w.app:3: version: must be text, not [1]",
        "w.app:6: modules: must be a list, not 'pkg.weather'",
        "w.app:7: registred: unknown key (did you mean 'registered'?)",
        "w.app:8: applications.1: must be a name of letters, digits, '_' and '-', not 'a.b'",
        "w.app:10: config.7: keys are text, not int 7",
        "w.app:15: processes.0.restart: no such choice: 'permant' (did you mean 'permanent'?)",
        "w.app:18: supervision.intensity: must be a whole number, not False",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "w.app:1: must be a map, not None"),
        ("- a\n", "w.app:1: must be a map, not ['a']"),
        ("name: a\nmod: m\n", "w.app:1: key 'type' is missing"),
        ("type: application\nmod: m\n", "w.app:1: key 'name' is missing"),
        ("type: release\nname: a\nmod: m\n", "w.app:1: type: no such choice: 'release'"),
        ("type: application\nname: a\n", "w.app:1: starts nothing: give 'mod', 'processes' or"),
        (
            "type: application\nname: a\nprocesses:\n- {id: x, class: 'm n'}\n",
            "w.app:4: processes.0.class: 'm n' is not a dotted name",
        ),
        (
            "type: application\nname: a\nprocesses:\n- {id: x, class: m}\n- {id: x, class: m}\n",
            "w.app:5: processes.1.id: id 'x' is given twice",
        ),
        (
            "type: application\nname: a\nprocesses:\n- {id: x}\n",
            "w.app:4: processes.0: key 'class'",
        ),
    ],
)
def test_single_faults(text: str, said: str) -> None:
    (fault,) = faults_of(text)
    assert fault.startswith(said)


@pytest.mark.parametrize("path", sorted(LEGACY.glob("apps/*.app")), ids=lambda path: path.stem)
def test_apps_of_the_original(path: Path) -> None:
    app = load_app(path)
    assert app.name
    assert app.mod is not None
    assert app.file == path


def test_an_app_of_the_original_in_full() -> None:
    app = load_app(LEGACY / "apps" / "example_std.app")
    assert app.mod is not None
    assert app.mod.name == "ion.play.hello_service:HelloService"
    assert app.mod.process_name == "hello_service"
    assert app.mod.kwargs == {"firstSpawnArg": "Here"}
    assert app.applications == ("ioncore", "ccagent")


def test_a_wrong_file_is_one_error(tmp_path: Path) -> None:
    path = tmp_path / "bad.app"
    path.write_text("type: application\nname: 3\nmodule: x\n")
    with pytest.raises(ConfigurationError) as caught:
        load_app(path)
    assert str(caught.value) == (
        f"{path}:2: name: must be text, not 3 (put it in quotes); "
        f"{path}:3: module: unknown key (did you mean 'modules'?)"
    )
    assert caught.value.details["file"] == str(path)
    assert caught.value.details["line"] == 2
    assert caught.value.details["key"] == "name"
    assert len(caught.value.details["findings"]) == 2


def test_a_name_that_names_nothing_is_told_with_its_place() -> None:
    app = app_from("type: application\nname: a\nprocesses:\n- {id: x, class: json:Nope}\n")
    assert app.resolved("json:JSONDecoder", "mod").__name__ == "JSONDecoder"
    with pytest.raises(ConfigurationError) as caught:
        app.resolved(app.processes[0].class_, "processes", 0, "class")
    said = "there is no module or class 'json:Nope': 'json' has no 'Nope'"
    assert str(caught.value) == f"w.app:4: processes.0.class: {said}"
    assert caught.value.details["line"] == 4


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
good: dict[str, Any] = {**yaml.safe_load(FULL)}
keys = st.sampled_from([*good, "apps", "ioncore", "x"])


@given(st.dictionaries(keys, values, max_size=5), st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_data_is_a_spec_or_findings(changes: dict[str, Any], base: bool) -> None:
    data = {**good, **changes} if base else changes
    document = parse(yaml.safe_dump(data), "w.app")
    spec, findings = app_of(document)
    assert (spec is None) == bool(findings)
    rel, findings = rel_of(parse(yaml.safe_dump({**changes, "type": "release"}), "w.rel"))
    assert (rel is None) == bool(findings)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_a_damaged_file_is_a_spec_or_a_configuration_error(data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(LEGACY.glob("*/*"))))
    text = path.read_text()
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 20)))
    damaged = text[:start] + data.draw(st.text(max_size=3)) + text[end:]
    with contextlib.suppress(ConfigurationError):
        app_of(parse(damaged, path.name, either=True))
        rel_of(parse(damaged, path.name, either=True))
