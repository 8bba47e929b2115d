"""Apps and releases in a running container: order, arguments, rollback, reverse stop."""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ion import (
    ConfigurationError,
    Container,
    IonError,
    LifecycleError,
    Process,
    Service,
    StartError,
)

EVENTS: list[str] = []


class Noted(Process):
    """Notes what happens to it."""

    def __init__(self, note: str = "", fail: bool = False) -> None:
        self.note = note
        self.fail = fail

    async def on_activate(self) -> None:
        if self.fail:
            raise RuntimeError("told to fail")
        EVENTS.append(f"+{self.name}{self.note}")

    async def on_terminate(self) -> None:
        if not self.fail:
            EVENTS.append(f"-{self.name}{self.note}")

    async def op_config(self) -> Any:
        return dict(self.app_config)


class Named(Service, name="named"):
    """A service with an argument."""

    def __init__(self, greeting: str = "hi") -> None:
        self.greeting = greeting

    async def op_greet(self) -> str:
        return self.greeting


async def start(container: Container, start_type: str, app: Any, *args: Any, **kwargs: Any) -> Any:
    """Start as a module of the original does."""
    EVENTS.append(f"+module {app.name} {start_type} {args} {kwargs}")
    if app.name == "endless":
        await asyncio.Event().wait()
    return {"given": kwargs}


async def stop(container: Container, state: Any) -> None:
    """Stop as a module of the original does."""
    EVENTS.append(f"-module {state}")


@pytest.fixture
def app_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give a function that writes files below res/ of the working directory."""
    monkeypatch.chdir(tmp_path)
    EVENTS.clear()

    def write(**files: str) -> None:
        for name, text in files.items():
            stem, _, kind = name.rpartition("_")
            folder = tmp_path / "res" / ("deploy" if kind == "rel" else "apps")
            folder.mkdir(parents=True, exist_ok=True)
            content = textwrap.dedent(text).replace("HERE", __name__)
            (folder / f"{stem}.{kind}").write_text(content)

    return write


@pytest.fixture
async def embedded(app_files: Any) -> AsyncIterator[Container]:
    async with Container("memory://", sysname="apps") as container:
        yield container


async def test_dependencies_first_and_stop_in_reverse(embedded: Container, app_files: Any) -> None:
    app_files(
        low_app="""
            type: application
            name: low
            processes: [{id: a, class: "HERE:Noted"}, {id: b, class: "HERE:Noted"}]
        """,
        high_app="""
            type: application
            name: high
            applications: [low]
            mod: ["HERE:Noted", [], {note: "!"}]
        """,
    )
    await embedded.start_app("high")
    assert list(embedded.apps) == ["low", "high"]
    assert EVENTS == ["+a", "+b", "+Noted!"]
    with pytest.raises(LifecycleError, match="high depend"):
        await embedded.stop_app("low")
    await embedded.start_app("high")
    assert len(EVENTS) == 3
    await embedded.stop()
    assert EVENTS == ["+a", "+b", "+Noted!", "-Noted!", "-b", "-a"]


async def test_modules_of_the_original_start_and_stop(embedded: Container, app_files: Any) -> None:
    app_files(
        old_app="""
            {
                'type': 'application', 'name': 'old', 'version': '0.1',
                'mod': ('HERE', ['one'], {'two': 2}),
                'applications': ['ioncore', 'ccagent'],
            }
        """
    )
    await embedded.start_app("old", args={"three": 3})
    assert EVENTS == ["+module old temporary ('one',) {'two': 2, 'three': 3}"]
    await embedded.stop_app("old")
    assert EVENTS[1:] == ["-module {'given': {'two': 2, 'three': 3}}"]
    with pytest.raises(IonError) as raised:
        await embedded.stop_app("old")
    assert raised.value.code == 404


async def test_a_module_whose_start_never_ends_has_its_time_or_until_the_app_stops(
    app_files: Any,
) -> None:
    app_files(endless_app="{type: application, name: endless, mod: [HERE]}")
    config = {"container.start_timeout": 0.1}
    async with Container("memory://", sysname="apps", config=config) as container:
        with pytest.raises(StartError, match=r"'endless'.*container\.start_timeout \(0\.1 s\)"):
            await asyncio.wait_for(container.start_app("endless"), 10)
        assert EVENTS == ["+module endless temporary () {}", "-module None"]
        assert not container.apps
    async with Container("memory://", sysname="apps") as container:
        starting = asyncio.create_task(container.start_app("endless"))
        while len(EVENTS) < 3:
            await asyncio.sleep(0)
        await asyncio.wait_for(container.stop_app("endless"), 10)
        with pytest.raises(StartError, match="cancelled as the app was stopped"):
            await asyncio.wait_for(starting, 10)
        assert EVENTS[3:] == ["-module None"]


async def test_a_release_with_args_config_and_mult(embedded: Container, app_files: Any) -> None:
    app_files(
        one_app="""
            {type: application, name: one, mod: "HERE:Noted", config: {key: file, kept: yes}}
        """,
        all_rel="""
            type: release
            name: all
            apps:
              - {name: one, config: {key: rel}}
              - {name: one, args: {note: second}, mult: true}
              - {name: extra, processapp: [named, "HERE", Named], args: {greeting: hello}}
        """,
    )
    await embedded.start_rel("all")
    assert list(embedded.apps) == ["one", "one#2", "extra"]
    assert EVENTS == ["+Noted", "+Notedsecond"]
    assert await embedded.rpc_send("named", "greet") == "hello"
    pid = embedded.apps["one"].pids[0]
    assert await embedded.rpc_send(pid, "config") == {"key": "rel", "kept": True}


async def test_a_failed_start_undoes_itself(embedded: Container, app_files: Any) -> None:
    app_files(
        good_app="""{type: application, name: good, mod: "HERE:Noted"}""",
        bad_app="""
            type: application
            name: bad
            processes:
              - {id: first, class: "HERE:Noted"}
              - {id: second, class: "HERE:Noted", args: {fail: true}}
        """,
        both_rel="{type: release, name: both, apps: [{name: good}, {name: bad}]}",
    )
    before = dict(embedded.processes)
    with pytest.raises(StartError, match=r"'bad' did not start.*'second'.*told to fail"):
        await embedded.start_rel("both")
    assert EVENTS == ["+Noted", "+first", "-first", "-Noted"]
    assert embedded.processes == before
    assert not embedded.apps


async def test_what_is_wrong_is_said_before_anything_starts(
    embedded: Container, app_files: Any
) -> None:
    app_files(
        typo_app="{type: application, name: typo, mode: x}",
        loop_app="{type: application, name: loop, applications: [pool], mod: 'HERE:Noted'}",
        pool_app="{type: application, name: pool, applications: [loop], mod: 'HERE:Noted'}",
        gone_app="{type: application, name: gone, mod: 'no.such.module'}",
        noproc_app="{type: application, name: noproc, processes: [{id: x, class: 'builtins:int'}]}",
        args_app="{type: application, name: args, processes: [{id: x, class: 'HERE:Noted'}]}",
    )
    with pytest.raises(ConfigurationError, match=r"typo\.app:1.*mode"):
        await embedded.start_app("typo")
    with pytest.raises(ConfigurationError, match="circle"):
        await embedded.start_app("loop")
    with pytest.raises(IonError, match=r"no\.such\.module|no such module|no module"):
        await embedded.start_app("gone")
    with pytest.raises(ConfigurationError, match=r"noproc\.app:1.*no process class"):
        await embedded.start_app("noproc")
    with pytest.raises(StartError, match="'nonsense'"):
        await embedded.start_app("args", args={"nonsense": 1})
    with pytest.raises(ConfigurationError, match="nobody"):
        await embedded.start_app("nobody")
    assert not embedded.apps
    assert len(embedded.processes) == 1
