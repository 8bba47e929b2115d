"""Layered settings: precedence, checks that name the place, and where each value came from."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ion.base import config as configuration
from ion.base.config import Settings, load, read
from ion.base.document import read as read_document
from ion.base.errors import ConfigurationError
from ion.base.schema import check

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def nowhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A working directory without any settings."""
    with contextlib.chdir(tmp_path_factory.mktemp("nowhere")):
        yield


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A working directory with all kinds of files of settings."""
    folder = tmp_path / "res" / "config"
    folder.mkdir(parents=True)
    (folder / "ion.yml").write_text("messaging:\n  rpc_timeout: 1\n  clock_skew: 1\n")
    (folder / "a.yml").write_text("messaging:\n  rpc_timeout: 2\nprocess.mailbox: 2\n")
    (tmp_path / "ionlocal.yml").write_text("messaging: {rpc_timeout: 3}\n")
    (tmp_path / "extra.yml").write_text("messaging:\n\n  rpc_timeout: 5\n")
    return tmp_path


def test_defaults_without_any_file(tmp_path: Path) -> None:
    assert load(environ={}, directory=tmp_path) == Settings()


def test_each_layer_beats_the_one_before(here: Path) -> None:
    environ = {"ION_MESSAGING__RPC_TIMEOUT": "4"}
    sources: dict[str, Any] = {"environ": {}, "directory": here}

    def timeout(config: dict[str, Any] | None = None) -> float:
        return load(config, **sources).messaging.rpc_timeout

    assert timeout() == 3
    sources["environ"] = environ
    assert timeout() == 4
    sources["files"] = [here / "extra.yml"]
    assert timeout() == 5
    sources["assignments"] = ["messaging.rpc_timeout=6"]
    assert timeout() == 6
    sources["options"] = {"--rpc-timeout": {"messaging.rpc_timeout": 7}}
    assert timeout() == 7
    assert timeout({"messaging": {"rpc_timeout": 8}}) == 8
    said = read({"messaging.rpc_timeout": 8}, **sources).explain("messaging.rpc_timeout")
    folder = here / "res" / "config"
    assert said.value == 8.0
    assert said.origin == "config="
    assert said.overridden == [
        (7, "option --rpc-timeout"),
        (6, "--set messaging.rpc_timeout"),
        (5, f"{here / 'extra.yml'}:3"),
        (4, "environment ION_MESSAGING__RPC_TIMEOUT"),
        (3, f"{here / 'ionlocal.yml'}:1"),
        (2, f"{folder / 'a.yml'}:2"),
        (1, f"{folder / 'ion.yml'}:2"),
        (15.0, "default"),
    ]


def test_layers_merge_key_by_key(here: Path) -> None:
    settings = load(environ={}, directory=here)
    assert settings.messaging.clock_skew == 1
    assert settings.process.mailbox == 2
    assert settings.messaging.max_content == 1_048_576


def test_short_names_in_the_environment(tmp_path: Path) -> None:
    environ = {
        "ION_BROKER": "amqp://a:1@h1/v, amqp://a:1@h2/v",
        "ION_SYSNAME": "123",
        "ION_STORE": "sqlite:///x.db",
        "ION_SERVICES__HELLO__QUEUE": "quorum",
        "ION_LOGGING__LEVEL": "",
        "ION_BROKER_PORT": "tcp://1.2.3.4:5",
        "HOME": "/x",
    }
    read_ = read(environ=environ, directory=tmp_path)
    assert read_.settings.broker.urls == ["amqp://a:1@h1/v", "amqp://a:1@h2/v"]
    assert read_.settings.container.sysname == "123"
    assert read_.settings.store_url() == "sqlite:///x.db"
    assert read_.settings.service_settings("hello").queue == "quorum"
    assert read_.settings.logging.level == "INFO"
    assert read_.unknown_variables == ["ION_BROKER_PORT"]


def test_broker_urls_in_every_form() -> None:
    for value in ("amqp://h1,amqp://h2", ["amqp://h1", "amqp://h2"], ("amqp://h1", "amqp://h2")):
        for key in ("broker", "broker.url", "broker.urls"):
            assert load({key: value}, environ={}).broker.urls == ["amqp://h1", "amqp://h2"]
    assert load(assignments=["broker.url=[amqp://h1, amqp://h2]"], environ={}).broker.urls == [
        "amqp://h1",
        "amqp://h2",
    ]


def test_texts_become_what_the_key_wants() -> None:
    settings = load(
        environ={},
        assignments=[
            "container.sysname=007",
            "broker.lean=false",
            "service.prefetch=5",
            "store.url=",
            "messaging.interceptors.in=[a.b:C, d.e:F]",
            "logging.levels.ion.messaging=DEBUG",
            "apps.hello.greeting=Hi",
            "apps.hello.deep.count=3",
        ],
    )
    assert settings.container.sysname == "007"
    assert settings.broker.lean is False
    assert settings.service.prefetch == 5
    assert settings.store.url is None
    assert settings.messaging.interceptors.in_ == ["a.b:C", "d.e:F"]
    assert settings.logging.levels == {"ion.messaging": "DEBUG"}
    assert settings.apps == {"hello": {"greeting": "Hi", "deep": {"count": 3}}}


def test_free_data_of_apps_keeps_its_keys(tmp_path: Path) -> None:
    (tmp_path / "ionlocal.yml").write_text("apps:\n  x:\n    a.b: {1: one, c.d: [1]}\n    e: {}\n")
    settings = load({"apps": {"x": {"f": (1, 2)}}}, environ={}, directory=tmp_path)
    assert settings.apps == {"x": {"a.b": {1: "one", "c.d": [1]}, "e": {}, "f": [1, 2]}}


def test_the_config_of_an_app() -> None:
    settings = load({"apps": {"x": {"a": {"b": 3}}}}, environ={})
    of_file = {"a": {"b": 1, "c": 1}, "d": 1}
    assert settings.app_config("x", of_file, {"d": 2}) == {"a": {"b": 3, "c": 1}, "d": 2}
    assert settings.app_config("y", of_file) == of_file
    assert of_file == {"a": {"b": 1, "c": 1}, "d": 1}


def test_settings_of_one_service() -> None:
    settings = load({"service.concurrency": 8, "services": {"a": {"queue": "quorum"}}}, environ={})
    assert settings.service_settings("a").queue == "quorum"
    assert settings.service_settings("a").concurrency == 8
    assert settings.service_settings("b") == settings.service


def test_the_default_store_is_a_file_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert Settings().store_url("demo") == "sqlite:////data/ion/demo.db"


def test_everything_wrong_is_said_at_once_with_its_place(here: Path) -> None:
    (here / "ionlocal.yml").write_text("mesaging: {}\nbroker:\n  heartbeat: 0\n  lean: 'yes'\n")
    (here / "res" / "config" / "b.yml").write_text("- a list\n")
    (here / "res" / "config" / "c.yml").write_text("a: [\n")
    with pytest.raises(ConfigurationError) as caught:
        load(
            {"container": {"sysname": "a.b"}, "logging": 3},
            environ={"ION_SERVICE__QUEUE": "clasic", "ION_NO__SUCH": "1"},
            directory=here,
            files=[here / "none.yml"],
            assignments=["foo", "process.mailbox.x=1"],
        )
    message = caught.value.message
    folder = here / "res" / "config"
    for said in [
        f"{folder / 'b.yml'}:1: settings must be a map of sections",
        f"{folder / 'c.yml'}:2: not YAML: ",
        f"{here / 'ionlocal.yml'}:1: mesaging: unknown key (did you mean 'messaging'?)",
        f"{here / 'ionlocal.yml'}:3: broker.heartbeat: must be a whole number >= 1, not 0",
        f"{here / 'ionlocal.yml'}:4: broker.lean: must be true or false, not 'yes'",
        "environment ION_SERVICE__QUEUE: service.queue: no such choice: 'clasic' (did you mean",
        "environment ION_NO__SUCH: no: unknown key",
        f"{here / 'none.yml'}: cannot be read: No such file or directory",
        "--set: 'foo' is not 'section.key=value'",
        "--set process.mailbox.x: process.mailbox.x: unknown key (it has no keys)",
        "config=: container.sysname: must be a name of letters",
        "config=: logging: must be a map, not 3",
    ]:
        assert said in message
    assert "\n" not in message
    assert len(caught.value.details["findings"]) == 12
    assert json.dumps(caught.value.details)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"messaging.rpc_timeout": 0}, "must be a number > 0"),
        ({"messaging.rpc_timeout": float("inf")}, "must be a number <="),
        ({"messaging.rpc_timeout": "5"}, "must be a number, not '5'"),
        ({"messaging.rpc_timeout": True}, "must be a number"),
        ({"logging.level": "debug"}, "no such choice: 'debug' (did you mean 'DEBUG'?)"),
        ({"service.prefetch": 70000}, "must be a whole number <= 65535"),
        ({"service.retry_delays": []}, "must be a list of length >= 1"),
        ({"service.retry_delays": [0.1, "soon"]}, "must be a number"),
        ({"identity.verify": False}, 'not False (YAML takes off for that: write "off")'),
        ({"messaging.interceptors.in": "a.b"}, "must be a list"),
        ({"messaging.interceptors.in": [1]}, "messaging.interceptors.in.0: must be text"),
        ({"services": {"a": {"queu": 1}}}, "services.a.queu: unknown key (did you mean 'queue'?)"),
        ({"apps": {"a": 1}}, "apps.a: must be a map"),
        ({"apps": {"a": {}, 3: {}}}, "apps.3: keys are text, not int 3"),
        ({3: {}}, "3: unknown key"),
    ],
)
def test_wrong_values(config: dict[Any, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        load(config, environ={})


def test_secrets_are_masked_wherever_they_are_shown() -> None:
    url = "amqp://me:sesame@host/v"
    read_ = read(
        {"broker.url": [url], "apps": {"x": {"password": "sesame"}}}, environ={"ION_STORE": url}
    )
    shown = f"{read_.as_dict()} {list(read_.explanations())} {read_.explain('broker')}"
    assert "sesame" not in shown
    assert "amqp://me:***@host/v" in shown
    assert read_.settings.broker.urls == [url]
    with pytest.raises(ConfigurationError) as caught:
        load({"broker.heartbeat": url}, environ={})
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("broker.ulr", r"\(did you mean 'broker\.url'\?\)"),
        ("stor.url", r"\(did you mean 'store\.url'\?\)"),
        ("broker.tls.cafile", r"\(did you mean 'broker\.tls\.ca_file'\?\)"),
        ("brokr.nope", r"\(did you mean 'broker'\?\)"),
        ("store.nope", r"\(known: .*timeout"),
        ("nope", r"\(known: agent, "),
    ],
)
def test_explain_keys_that_do_not_exist(key: str, hint: str) -> None:
    with pytest.raises(ConfigurationError, match=f"there is no setting '{key}' {hint}"):
        read(environ={}).explain(key)


def test_every_key_is_explained(here: Path) -> None:
    said = {e.key: e for e in read(environ={}, directory=here).explanations()}
    assert said["messaging.rpc_timeout"].origin == f"{here / 'ionlocal.yml'}:1"
    assert said["broker.url"].origin == "default"
    assert "messaging.interceptors.in" in said


def test_the_documented_defaults_are_the_defaults() -> None:
    document = read_document(ROOT / "res" / "config" / "ion.yml")
    assert document.data == msgspec.to_builtins(Settings())
    assert configuration.of_file(ROOT / "res" / "config" / "ion.yml")[1] == []


def test_importing_it_is_light() -> None:
    code = "import sys, ion.base.config; print('yaml' in sys.modules, 'aio_pika' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=ROOT)
    assert done.stdout.split() == [b"False", b"False"]


names = st.sampled_from(["a", "b", "c.d"])
trees = st.recursive(
    st.integers() | st.lists(st.integers(), max_size=2) | st.none() | st.text(max_size=3),
    lambda inner: st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
maps = st.dictionaries(st.sampled_from(["x", "y"]), st.dictionaries(names, trees, max_size=3))


def deep_merge(below: Any, over: Any) -> Any:
    """What merging means, said once more in another way."""
    if not (isinstance(below, dict) and isinstance(over, dict)):
        return over
    both = {key: deep_merge(below[key], over[key]) for key in below.keys() & over.keys()}
    return {**below, **over, **both}


@given(st.lists(maps, max_size=5))
@settings(max_examples=100, deadline=None)
def test_merging_is_a_deep_merge(layers: list[dict[str, Any]]) -> None:
    expected: Any = {}
    for layer in layers:
        expected = deep_merge(expected, layer)
    options = {str(n): {"apps": layer} for n, layer in enumerate(layers)}
    assert load(options=options, environ={}).apps == expected


@given(st.lists(st.integers(1, 100), max_size=5), st.none() | st.integers(1, 100))
@settings(max_examples=100, deadline=None)
def test_the_last_one_that_speaks_wins(said: list[int], config: int | None) -> None:
    own = {} if config is None else {"process.mailbox": config}
    read_ = read(own, environ={}, assignments=[f"process.mailbox={n}" for n in said])
    spoken = [10_000, *said, *([] if config is None else [config])]
    explained = read_.explain("process.mailbox")
    assert read_.settings.process.mailbox == spoken[-1]
    assert [value for value, _ in explained.overridden] == spoken[:-1][::-1]


anything = st.recursive(
    st.integers() | st.text(max_size=3),
    lambda inner: (
        st.dictionaries(st.text(max_size=3), inner, max_size=2) | st.lists(inner, max_size=2)
    ),
    max_leaves=5,
)


@given(anything)
@settings(max_examples=100, deadline=None)
def test_any_data_is_settings_or_a_configuration_error(data: Any) -> None:
    try:
        load({"broker": data, "apps": {"x": {"y": data}}}, environ={})
    except ConfigurationError:
        assert check({"broker": data}, Settings) or not isinstance(data, dict)


@given(st.text(), st.text())
@settings(max_examples=200, deadline=None)
def test_any_text_is_an_assignment_or_a_configuration_error(key: str, value: str) -> None:
    for text in (f"{key}={value}", f"apps.x.{key}={value}", f"broker.url={value}"):
        with contextlib.suppress(ConfigurationError):
            load(assignments=[text], environ={})
