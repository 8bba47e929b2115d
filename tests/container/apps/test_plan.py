"""The order in which apps start."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ion.base.errors import ConfigurationError
from ion.container.apps.app import load_app
from ion.container.apps.plan import plan
from ion.container.apps.release import load_rel

LEGACY = Path(__file__).parents[2] / "data" / "legacy"


class Files:
    """Writes apps and releases into a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def app(self, name: str, *needs: str, file: str = "", **keys: Any) -> Path:
        path = self.folder / f"{file or name}.app"
        data = {"type": "application", "name": name, "mod": "m", "applications": list(needs)}
        path.write_text(yaml.safe_dump({**data, **keys}, sort_keys=False))
        return path

    def rel(self, *entries: Mapping[str, Any] | str) -> Path:
        apps = [{"name": entry} if isinstance(entry, str) else entry for entry in entries]
        path = self.folder / "r.rel"
        path.write_text(yaml.safe_dump({"type": "release", "name": "r", "apps": apps}))
        return path


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def names(starts: list[Any]) -> list[str]:
    return [start.name for start in starts]


def test_what_is_needed_starts_first_and_once(files: Files) -> None:
    files.app("a")
    files.app("b", "a")
    files.app("c", "a")
    top = files.app("d", "b", "ioncore", "c", "ccagent", "a")
    assert names(plan(load_app(top))) == ["a", "b", "c", "d"]
    assert names(plan([top, files.folder / "b.app"])) == ["a", "b", "c", "d"]


def test_what_runs_is_not_started_again(files: Files) -> None:
    files.app("a")
    files.app("b", "a")
    top = files.app("c", "b")
    assert names(plan(load_app(top), running=["b"])) == ["c"]
    assert plan(load_app(top), running=["c"]) == []


def test_a_release_starts_in_its_order(files: Files) -> None:
    for name in "abc":
        files.app(name)
    assert names(plan(load_rel(files.rel("ccagent", "c", "a", "b", "a")))) == ["c", "a", "b"]


def test_what_a_release_says_of_an_app_is_stronger(files: Files) -> None:
    files.app("a", mod=["m", [], {"x": 1, "y": 1}], config={"p": {"q": 1, "r": 1}})
    files.app("b", "a")
    entry = {"name": "a", "config": {"p": {"r": 2}}, "args": {"y": 2, "z": 2}}
    first, second = plan(load_rel(files.rel("b", entry)))
    assert (first.name, second.name) == ("a", "b")
    assert first.config == {"p": {"q": 1, "r": 2}}
    assert first.args == {"x": 1, "y": 2, "z": 2}
    assert first.app.config == {"p": {"q": 1, "r": 1}}


def test_one_app_several_times(files: Files) -> None:
    files.app("a")
    more = {"name": "a", "mult": True, "args": {"n": 2}}
    starts = plan(load_rel(files.rel("a", more, more)))
    assert [(start.name, start.mult, start.args) for start in starts] == [
        ("a", False, {}),
        ("a", True, {"n": 2}),
        ("a", True, {"n": 2}),
    ]
    assert names(plan(load_rel(files.rel(more)), running=["a"])) == ["a"]


def test_an_app_of_one_process_needs_no_file(files: Files) -> None:
    entry = {"name": "p", "processapp": ["proc", "m", "C"], "args": {"n": 1}, "config": {"k": 1}}
    files.app("a", "p")
    first, second = plan(load_rel(files.rel("a", entry)))
    assert (first.name, second.name) == ("p", "a")
    assert first.app.mod is not None
    assert (first.app.mod.name, first.app.mod.process_name) == ("m:C", "proc")
    assert (first.args, first.config) == ({"n": 1}, {"k": 1})
    assert first.app.where("mod") == f"{files.folder / 'r.rel'}:3"


def test_a_cycle_names_its_files(files: Files) -> None:
    a = files.app("a", "b")
    b = files.app("b", "c")
    c = files.app("c", "b")
    said = f"apps need each other in a circle: b ({b}:4) -> c ({c}:4) -> b"
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        plan(a)
    own = files.app("d", "d")
    with pytest.raises(ConfigurationError, match=re.escape(f"in a circle: d ({own}:4) -> d")):
        plan(own)


def test_an_app_that_is_not_there_is_named_where_it_is_needed(files: Files) -> None:
    files.app("weather")
    a = files.app("a", "ioncore", "wether")
    said = f"{a}:6: applications.1: there is no app 'wether' (did you mean 'weather'?)"
    with pytest.raises(ConfigurationError, match=re.escape(said)) as caught:
        plan(a)
    assert caught.value.details == {"file": str(a), "line": 6, "key": "applications.1"}
    rel = files.rel("weather", "gone")
    with pytest.raises(
        ConfigurationError, match=r"r\.rel:3: apps\.1\.name: there is no app 'gone'"
    ):
        plan(load_rel(rel))


def test_two_files_of_one_name(files: Files) -> None:
    one = files.app("same", file="one")
    two = files.app("same", file="two")
    said = f"two apps are named 'same': {one}:2 and {two}:2"
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        plan([one, two])


def test_the_original_apps_that_every_container_has(tmp_path: Path) -> None:
    assert plan(LEGACY / "apps" / "ioncore.app") == []
    assert names(plan(load_rel(LEGACY / "deploy" / "example.rel"))) == ["example", "example"]
    started = names(plan(load_rel(LEGACY / "deploy" / "bootlevel5.rel")))
    assert started == ["datastore", "association", "resource_registry"]


graphs = st.dictionaries(
    st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdef"), unique=True), min_size=1
)


@given(graph=graphs, start=st.sampled_from("abcdef"))
@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_graph(files: Files, graph: dict[str, list[str]], start: str) -> None:
    """Either an order in which each follows what it needs, or a true cycle."""
    for name in "abcdef":
        files.app(name, *graph.get(name, []))
    cyclic = any(name in reachable(graph, name) for name in [start, *reachable(graph, start)])
    if cyclic:
        with pytest.raises(ConfigurationError, match="in a circle"):
            plan(files.folder / f"{start}.app")
        return
    order = names(plan(files.folder / f"{start}.app"))
    assert sorted(order) == sorted({start, *reachable(graph, start)})
    for index, name in enumerate(order):
        assert set(graph.get(name, [])) <= set(order[:index])


def reachable(graph: dict[str, list[str]], start: str) -> Iterator[str]:
    seen: list[str] = []
    todo = list(graph.get(start, []))
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.append(name)
            todo += graph.get(name, [])
    return seen  # type: ignore[return-value]
