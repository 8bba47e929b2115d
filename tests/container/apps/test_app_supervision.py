"""Apps under their supervisors: what is restarted, and what the end of an app means."""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from ion import (
    ConfigurationError,
    Container,
    IonError,
    Process,
    Service,
    StartError,
)
from ion.container.apps.check import check
from ion.process.process import Process as AnyProcess

EVENTS: list[str] = []


async def until(condition: Callable[[], Any]) -> None:
    """Return once a condition holds."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


class Part(Process):
    """Notes its starts and ends."""

    broken = False

    async def on_activate(self) -> None:
        if Part.broken:
            raise RuntimeError("not now")
        EVENTS.append(f"+{self.name}")

    async def on_terminate(self) -> None:
        EVENTS.append(f"-{self.name}")

    async def op_end(self) -> None:
        await self.terminate()


class Slow(Service, name="slow", concurrency=2):
    """Takes its time."""

    release = asyncio.Event()

    async def op_work(self) -> str:
        await Slow.release.wait()
        return self.id

    async def op_pid(self) -> str:
        return self.id


async def start(container: Container, *_: Any) -> None:
    """Start as a module does."""


async def stop(container: Container, state: Any) -> None:
    """Stop as a module does."""
    EVENTS.append("-module")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Give a function that writes an app file into the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Part, "broken", False)
    monkeypatch.setattr(Slow, "release", asyncio.Event())
    EVENTS.clear()

    def write(name: str, text: str) -> Path:
        path = tmp_path / f"{name}.app"
        head = f"type: application\nname: {name}\n"
        path.write_text(head + textwrap.dedent(text).replace("HERE", __name__))
        return path

    return write


@pytest.fixture
async def embedded(files: Any) -> AsyncIterator[Container]:
    async with Container("memory://", sysname="apps") as container:
        yield container


def process(container: Container, name: str) -> AnyProcess:
    return next(p for p in container.processes.values() if p.name == name)


THREE = """
processes:
  - {id: a, class: "HERE:Part"}
  - {id: b, class: "HERE:Part"}
  - {id: c, class: "HERE:Part"}
supervision: {strategy: rest_for_one, intensity: 1, period: 60, backoff: {first: 0.001}}
"""


async def test_an_app_s_processes_are_restarted_as_its_file_says(
    embedded: Container, files: Any
) -> None:
    await embedded.start_app(files("three", THREE))
    before = embedded.apps["three"].pids
    process(embedded, "b").fail("told to")
    await until(lambda: EVENTS[3:] == ["-b", "-c", "+b", "+c"])
    await until(lambda: len(embedded.apps["three"].pids) == 3)
    after = embedded.apps["three"].pids
    assert (after[0], len(set(after) & set(before))) == (before[0], 1)
    described = embedded.apps["three"].describe()
    assert (described["restarts"], described["processes"]) == (2, after)
    assert process(embedded, "b").parent == described["supervisor"]


@pytest.mark.parametrize("start_type", ["permanent", "transient", "temporary"])
@pytest.mark.parametrize("reason", ["error", "shutdown"])
async def test_what_the_end_of_an_app_means_for_its_container(
    embedded: Container, files: Any, start_type: str, reason: str, caplog: Any
) -> None:
    path = files(
        "short",
        f"""
        mod: HERE
        start_type: {start_type}
        processes:
          - {{id: a, class: "HERE:Part", restart: transient, significant: true}}
        supervision: {{intensity: 0, auto_shutdown: any_significant}}
        """,
    )
    await embedded.start_app(path)
    part = process(embedded, "a")
    if reason == "error":
        part.fail("no disk")
    else:
        await embedded.rpc_send(part.id, "end")
    await until(lambda: "short" not in embedded.apps)
    assert EVENTS == ["+a", "-a", "-module"]
    is_end = start_type == "permanent" or (start_type == "transient" and reason == "error")
    assert embedded.gave_up.is_set() == is_end
    if is_end:
        await until(lambda: embedded.state == "TERMINATED")
        assert ("no disk" in embedded.failure) == (reason == "error")
    else:
        assert embedded.state == "ACTIVE"
    assert ("app 'short' has ended" in caplog.text) == (reason == "error")


async def test_an_app_of_one_process_is_restarted_too(embedded: Container, files: Any) -> None:
    await embedded.start_app(files("one", 'mod: "HERE:Part"\n'))
    process(embedded, "Part").fail("told to")
    await until(lambda: EVENTS == ["+Part", "-Part", "+Part"])
    await embedded.stop_app("one")
    assert EVENTS[3:] == ["-Part"]
    assert len(embedded.processes) == 1


async def test_an_app_is_restarted_drained_and_keeps_its_place(
    embedded: Container, files: Any
) -> None:
    files("low", 'processes: [{id: slow, class: "HERE:Slow"}]\n')
    path = files("high", 'applications: [low]\nprocesses: [{id: b, class: "HERE:Part"}]\n')
    await embedded.start_app(path)
    first = await embedded.rpc_send("slow", "pid")
    works = [asyncio.create_task(embedded.rpc_send("slow", "work", timeout=60)) for _ in range(5)]
    await until(lambda: embedded.processes[first]._active == 2)
    restart = asyncio.create_task(embedded.restart_app("low"))
    await until(lambda: not embedded.processes.get(first))
    Slow.release.set()
    await restart
    pids = await asyncio.gather(*works)
    assert pids.count(first) == 2  # what it had begun; the rest waited for the new one
    assert len(set(pids)) == 2
    assert list(embedded.apps) == ["low", "high"]
    assert EVENTS == ["+b"]
    with pytest.raises(IonError, match="not running here"):
        await embedded.restart_app("nobody")


async def test_a_restart_that_fails_leaves_nothing(embedded: Container, files: Any) -> None:
    await embedded.start_app(files("three", THREE))
    Part.broken = True
    with pytest.raises(StartError, match=r"app 'three' did not start: child 'a'.*not now"):
        await embedded.restart_app("three")
    assert not embedded.apps
    assert len(embedded.processes) == 1
    assert embedded.state == "ACTIVE"


async def test_a_restart_takes_its_file_as_it_is_now(embedded: Container, files: Any) -> None:
    path = files("one", "processes: [{id: a, class: 'HERE:Part'}]\nconfig: {depth: 1, k: 0}\n")
    files("user", "applications: [one]\nprocesses: [{id: u, class: 'HERE:Part'}]\n")
    await embedded.start_app(path, config={"k": 5})
    await embedded.start_app("./user.app")
    files("low", "processes: [{id: l, class: 'HERE:Part'}]\n")
    files(
        "one",
        """
        version: 2.0.0
        applications: [low]
        processes: [{id: a, class: "HERE:Part"}, {id: b, class: "HERE:Part"}]
        config: {depth: 2, k: 0}
        """,
    )
    await embedded.restart_app("one")
    assert EVENTS == ["+a", "+u", "+l", "-a", "+a", "+b"]
    assert embedded.apps["one"].spec.version == "2.0.0"
    assert embedded.config_for("one") == {"depth": 2, "k": 5}  # what it was given still holds
    assert list(embedded.apps) == ["low", "one", "user"]
    await embedded.stop()
    assert EVENTS[6:] == ["-u", "-b", "-a", "-l"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "processes: [{id: a, class: 'HERE:Part', restart: often}]",
            r"one\.app:3: processes\.0\.re",
        ),
        (
            "processes: [{id: a, class: 'HERE:Nope'}]",
            r"one\.app:3: processes\.0\.class: .* no 'Nope'",
        ),
        ("processes: [{id: a, class: 'json:dumps'}]", r"one\.app:3: .*no process class"),
        ("applications: [gone]", r"one\.app:3: applications\.0: there is no app 'gone'"),
        ("applications: [one]", "in a circle"),
        ("]", "one.app:3: not YAML"),
    ],
)
async def test_a_file_that_is_broken_by_now_leaves_the_app_as_it_was(
    embedded: Container, files: Any, text: str, said: str
) -> None:
    await embedded.start_app(files("one", "processes: [{id: a, class: 'HERE:Part'}]\n"))
    before = embedded.apps["one"].pids
    files("one", text + "\n")
    with pytest.raises(ConfigurationError, match=said):
        await embedded.restart_app("one")
    assert (embedded.apps["one"].pids, EVENTS) == (before, ["+a"])
    files("one", "processes: [{id: a, class: 'HERE:Part'}]\n").rename("two.app")
    with pytest.raises(ConfigurationError, match=r"one\.app: cannot be read"):
        await embedded.restart_app("one")
    (embedded.apps["one"].spec.file or Path()).write_text(
        "type: application\nname: two\napplications: [ioncore]\n"
    )
    with pytest.raises(ConfigurationError, match=r"one\.app:2: name: is 'two' now, and was 'one'"):
        await embedded.restart_app("one")
    assert (embedded.apps["one"].pids, EVENTS) == (before, ["+a"])


async def test_two_apps_of_one_name_are_not_taken_for_one(embedded: Container, files: Any) -> None:
    path = files("one", "processes: [{id: a, class: 'HERE:Part'}]\n")
    files("user", "applications: [one]\nprocesses: [{id: u, class: 'HERE:Part'}]\n")
    other = path.with_name("two.app")
    other.write_text(path.read_text())
    await embedded.start_app(path)
    said = r"two apps are named 'one': .*one\.app:2, which runs here, and .*two\.app:2"
    with pytest.raises(ConfigurationError, match=said):
        await embedded.start_app(other)
    await embedded.start_app("./one.app")  # it runs already
    await embedded.start_app("./user.app")
    assert EVENTS == ["+a", "+u"]
    await embedded.stop_app("user")
    await embedded.stop_app("one")
    await embedded.start_app(other)
    assert EVENTS[-1] == "+a"


async def test_a_restart_of_an_app_that_a_release_makes(embedded: Container, files: Any) -> None:
    rel = Path("r.rel")
    entry = "{name: p, processapp: [p, " + __name__ + ", Part], config: {k: 1}}"
    rel.write_text(f"type: release\nname: r\napps:\n  - {entry}\n")
    await embedded.start_rel(rel)
    rel.unlink()
    await embedded.restart_app("p")
    assert EVENTS == ["+p", "-p", "+p"]
    assert embedded.config_for("p") == {"k": 1}


async def test_a_process_that_is_gone_before_the_app_is_up_fails_its_start(
    embedded: Container, files: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def start_late(container: Container, *_: Any) -> None:
        process(container, "a").fail("too early")
        await until(lambda: not any(p.name == "a" for p in container.processes.values()))
        await until(lambda: not any("supervisor" in p.name for p in container.processes.values()))

    monkeypatch.setattr(__import__(__name__, fromlist=["start"]), "start", start_late)
    path = files(
        "short",
        'mod: HERE\nprocesses: [{id: a, class: "HERE:Part"}]\nsupervision: {intensity: 0}\n',
    )
    with pytest.raises(StartError, match="too early"):
        await embedded.start_app(path)
    assert EVENTS == ["+a", "-a", "-module"]
    assert not embedded.apps


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("supervision: {strategy: pool}", r"4: supervision\.strategy: no such choice"),
        ("supervision: {backoff: {frist: 1}}", r"4: supervision\.backoff\.frist: unknown key"),
        ("supervision: {auto_shutdown: soon}", r"4: supervision\.auto_shutdown"),
    ],
)
def test_what_is_wrong_in_supervision_is_told_by_line(files: Any, text: str, said: str) -> None:
    path = files("wrong", f'processes: [{{id: a, class: "HERE:Part"}}]\n{text}\n')
    (finding,) = check([path])
    assert __import__("re").search(said, str(finding))


@pytest.mark.parametrize(
    ("child", "said"),
    [
        ("significant: true", "a permanent one is always restarted"),
        ("significant: true, restart: transient", "auto_shutdown is never"),
        ("shutdown: -1", "shutdown"),
    ],
)
async def test_what_does_not_fit_together_is_an_error(
    embedded: Container, files: Any, child: str, said: str
) -> None:
    path = files("wrong", f'processes: [{{id: a, class: "HERE:Part", {child}}}]\n')
    with pytest.raises(ConfigurationError, match=said):
        await embedded.start_app(path)


async def test_supervision_is_acted_upon_and_so_no_warning(files: Any) -> None:
    assert check([files("three", THREE)]) == []
