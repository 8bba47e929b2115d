"""The scheduler: what fires, when, how often, and what is known of it."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from ion import Container, Process, Service, StartError, Unavailable
from ion.base import clock
from ion.base.clock import SystemClock
from ion.base.errors import Conflict, ContentTooLarge, InvalidRequest, NotFound, ReceivedError
from ion.process.events.types import TimerFired
from ion.process.identity import acting, current_identity
from ion.process.identity.trust import issuer_of
from ion.services.scheduler import deciding, receivers, taskstore, ticker
from ion.services.scheduler.client import SchedulerClient
from ion.services.scheduler.model import Kept, Schedule, Target, Task
from ion.services.scheduler.service import SchedulerService

YEAR = 365 * 86400.0
_names = itertools.count(1)


class Listener(Process):
    """Keeps the events of tasks."""

    def __init__(self) -> None:
        self.heard: list[TimerFired] = []

    async def on_init(self) -> None:
        await self.subscribe_events(TimerFired, self.on_event)

    async def on_event(self, event: TimerFired) -> None:
        self.heard.append(event)


class Worker(Service, name="worker"):
    """Is called by tasks."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.gate = asyncio.Event()

    async def op_work(self, what: Any = None) -> Any:
        self.asked.append((self.message.envelope.message_id, what))
        return what

    async def op_fail(self) -> None:
        message = "no"
        raise ValueError(message)

    async def op_who(self) -> list[Any]:
        return [str(current_identity()), self.message.stack]

    async def op_note(self) -> None:
        self.asked.append((self.message.envelope.message_id, str(current_identity())))

    async def op_wait(self) -> str:
        self.asked.append((self.message.envelope.message_id, None))
        await self.gate.wait()
        return "done"


class Scene:
    """A container with a scheduler, and who hears of it."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self.client = SchedulerClient(container)
        self.listener = Listener()
        self.worker = Worker()

    async def start(self) -> None:
        await self.container.start_app("scheduler")
        pid = await self.container.spawn(Listener)
        self.listener = self.container.processes[pid]  # type: ignore[assignment]
        pid = await self.container.spawn(Worker)
        self.worker = self.container.processes[pid]  # type: ignore[assignment]

    @property
    def ids(self) -> list[str]:
        return [event.id for event in self.listener.heard]


@pytest.fixture(params=["memory", "amqp"])
async def scene(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Scene]:
    is_memory = request.param == "memory"
    url = "memory://" if is_memory else request.getfixturevalue("amqp_url")
    store = "memory://" if is_memory else f"sqlite:///{tmp_path}/store.db"
    async with Container(url, sysname="test", config={"store.url": store}) as container:
        scene = Scene(container)
        await scene.start()
        yield scene


@pytest.fixture
async def near() -> AsyncIterator[Scene]:
    async with Container("memory://", config={"store.url": "memory://"}) as container:
        scene = Scene(container)
        await scene.start()
        yield scene


async def until(condition: Callable[[], Any], patience: float = 20) -> None:
    async with asyncio.timeout(patience):
        while not condition():
            await asyncio.sleep(0.005)


async def until_of(scene: Scene, name: str, condition: Callable[[Task], Any]) -> Task:
    async with asyncio.timeout(20):
        while not condition(task := await scene.client.get(name)):
            await asyncio.sleep(0.005)
        return task


class SetClock(SystemClock):
    """A clock that somebody sets."""

    ahead = 0.0

    def now(self) -> float:
        return time.time() + self.ahead


@contextmanager
def set_clock() -> Iterator[SetClock]:
    own = SetClock()
    with clock.using(own):
        yield own


async def test_an_interval_fires_events_at_its_due_times(scene: Scene) -> None:
    task = await scene.client.add("tick", every=0.05, content={"a": 1}, sub_type="s")
    await until(lambda: len(scene.listener.heard) >= 4)
    assert await scene.client.remove("tick")
    assert not await scene.client.remove("tick")
    events = scene.listener.heard[:4]
    start = task.schedule.start
    assert start is not None
    assert [event.due for event in events] == [round(start + n * 0.05, 6) for n in range(1, 5)]
    assert [event.number for event in events] == [1, 2, 3, 4]
    first = events[0]
    assert (first.origin, first.task, first.sub_type, first.content) == (
        "tick",
        "tick",
        "s",
        {"a": 1},
    )
    assert first.id.startswith("tick/20")
    assert first.created >= first.due
    with pytest.raises(NotFound, match="no task 'tick'"):
        await scene.client.get("tick")


async def test_a_call_a_message_and_what_came_of_them(scene: Scene) -> None:
    now = time.time()
    await scene.client.add("call", at=now, call="worker.work", content={"what": 5})
    await scene.client.add("send", at=now, send="worker.work", content={"what": 6})
    await scene.client.add("fails", at=now, call="worker.fail")
    await scene.client.add("nobody", at=now, call="nobody.work", call_timeout=0.5)
    await until(lambda: len(scene.worker.asked) == 2)
    called = await until_of(scene, "call", lambda task: task.state == "done")
    assert called.last is not None
    assert (called.last.outcome, called.last.result, called.fired) == ("done", 5, 1)
    sent = await until_of(scene, "send", lambda task: task.state == "done")
    assert sent.last is not None
    assert sent.last.outcome == "fired"
    assert sorted(scene.worker.asked) == [(called.last.id, 5), (sent.last.id, 6)]
    for name, kind in (("fails", "ValueError"), ("nobody", "ServiceNotFound")):
        failed = await until_of(scene, name, lambda task: task.state == "done")
        assert failed.last is not None
        assert failed.last.outcome == "failed"
        assert kind in str(failed.last.error), failed.last.error


class Late(Service, name="late"):
    """Is not there at first."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def op_work(self) -> None:
        self.asked.append(self.message.envelope.message_id)


async def test_who_is_not_there_to_be_sent_to_is_told_of_and_waited_for(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deciding, "PAUSE", 0.1)
    monkeypatch.setattr(receivers, "FRESH", 0.05)
    now = time.time()
    await scene.client.add("send", at=now, send="late.work")
    await scene.client.add("skips", at=now, send="late.work", misfire="skip", grace=0.2)
    await scene.client.add("pid", at=now, send="nowhere.1.work")
    await scene.client.add("tick", every=0.05)
    task = await until_of(scene, "send", lambda task: task.trouble)
    assert task.trouble is not None
    assert task.last is not None
    assert (task.state, task.last.outcome, task.fired) == ("active", "failed", 0)
    assert (task.trouble["type"], task.last.error) == ("ServiceNotFound", task.trouble)
    assert "no service 'late'" in task.trouble["message"]
    with pytest.raises(Unavailable, match=r"'send' cannot fire: there is no service 'late'"):
        await scene.client.fire("send")
    skipped = await until_of(scene, "skips", lambda task: task.state == "done")
    assert (skipped.fired, skipped.missed) == (0, 1)
    nowhere = await until_of(scene, "pid", lambda task: task.trouble)
    assert "no process 'nowhere.1'" in str(nowhere.trouble)
    late = scene.container.processes[await scene.container.spawn(Late)]
    done = await until_of(scene, "send", lambda task: task.state == "done")
    assert done.last is not None
    await until(lambda: late.asked)  # type: ignore[attr-defined]
    assert late.asked == [done.last.id]  # type: ignore[attr-defined]
    assert (done.last.outcome, done.fired, done.trouble) == ("fired", 1, None)
    assert len(scene.listener.heard) > 3  # others do not wait for it


async def test_who_is_asked_about_for_long_keeps_nobody_else_waiting(
    near: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receivers, "PATIENCE", 20.0)
    transport = near.container.endpoint.transport
    answers, look = asyncio.Event(), transport.queue_info

    async def slow(name: str, timeout: float = 5.0) -> Any:
        await answers.wait()
        return await look(name, timeout)

    monkeypatch.setattr(transport, "queue_info", slow)
    for n in range(20):
        await near.client.add(f"slow{n}", at=time.time(), send=f"worker{n}.work")
    await near.client.add("works", at=time.time(), send="worker.work")
    by_hand = asyncio.ensure_future(near.client.fire("works", timeout=20))
    await near.client.add("tick", every=0.02)
    await until(lambda: len(near.listener.heard) > 5)
    assert (await near.client.pause("tick")).state == "paused"
    assert not near.worker.asked
    assert not (await near.client.get("slow7")).last
    answers.set()
    await by_hand
    await until(lambda: len(near.worker.asked) == 2)
    assert (await until_of(near, "slow7", lambda task: task.trouble)).fired == 0


async def test_what_is_added_waits_for_no_look_at_another_line(
    near: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is called has a line of its own, which is looked at when something of it is due."""
    monkeypatch.setattr(ticker, "LOOK", YEAR)
    seen, first = service(near)._ticker, time.time() + 0.3
    await near.client.add("first", at=first)
    await until(lambda: seen._until < first + 0.1 or near.listener.heard)
    await near.client.add("second", at=first + 0.2, call="worker.work")
    await until(lambda: near.worker.asked)


async def test_calls_of_one_task_do_not_overlap(near: Scene) -> None:
    await near.client.add("skip", every=0.02, call="worker.wait")
    await near.client.add("queue", every=0.02, call="worker.wait", overlap="queue")
    await until(lambda: len(near.worker.asked) == 2)
    with pytest.raises(Conflict, match="goes on"):
        await near.client.fire("skip")
    skipped = await until_of(near, "skip", lambda task: task.missed > 3)
    assert skipped.running is not None
    history = await near.client.history("skip")
    assert {firing.outcome for firing in history} == {"skipped"}
    assert len(near.worker.asked) == 2
    near.worker.gate.set()
    task = await until_of(near, "queue", lambda task: task.fired > 5)
    assert task.missed == 0
    dues = sorted({firing.due for firing in await near.client.history("queue")})
    assert dues == pytest.approx([dues[0] + n * 0.02 for n in range(len(dues))], abs=1e-5)


async def test_an_op_that_hangs_holds_up_its_own_tasks_only(
    near: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticker, "MAX_OF_ONE", 5)
    monkeypatch.setattr(ticker, "BATCH", 2)
    now = time.time()
    for n in range(20):
        await near.client.add(f"hangs{n}", at=now, call="worker.wait")
    await near.client.add("works", at=now, call="worker.work")
    await until_of(near, "works", lambda task: task.state == "done")
    assert len(near.worker.asked) <= 5 + 2 + 1
    near.worker.gate.set()
    for n in range(20):
        await until_of(near, f"hangs{n}", lambda task: task.state == "done")


async def test_pause_resume_and_by_hand(near: Scene) -> None:
    await near.client.add("later", every=1000.0, end=time.time() + YEAR)
    await near.client.add("tick", every=0.02)
    await until(lambda: near.listener.heard)
    assert (await near.client.pause("tick")).state == "paused"
    count = (await near.client.get("tick")).fired
    resumed = await near.client.resume("tick")
    assert (resumed.fired, resumed.missed) == (count, 0)
    await until_of(near, "tick", lambda task: task.fired > count)
    firing = await near.client.fire("later")
    await until(lambda: firing.id in near.ids)
    assert (await near.client.get("later")).fired == 1
    # what the broker delivers twice fires once
    for _ in range(2):
        content, name = {"id": "later"}, "by-hand-1"
        await near.container.rpc_send("scheduler", "fire", content, message_id=name)
    assert (await near.client.get("later")).fired == 2


async def test_a_call_is_on_behalf_of_nobody(near: Scene) -> None:
    issuer = issuer_of(near.container.endpoint.permission, near.container.settings.identity, "ion")
    assert issuer is not None
    with acting(issuer.token("ann", [])):
        assert (await near.container.rpc_send("worker", "who"))[0] == "ann"
        added = await near.client.add("who", every=3600.0, call="worker.who")
        assert (added.by, added.owner) == ("ann", "ann")
        await near.client.fire("who")
    task = await until_of(near, "who", lambda task: task.last)
    assert task.last is not None
    assert task.last.result == ["None", []]
    with acting(issuer.token("ann", [])):
        await near.client.add("note", every=3600.0, send="worker.note")
        await near.client.fire("note")
    await until(lambda: near.worker.asked)
    assert near.worker.asked[0][1] == "None"


async def test_the_same_once_more_is_that_task_and_another_one_a_conflict(near: Scene) -> None:
    task = await near.client.add("a", every=60.0, content=[1])
    assert await near.client.add("a", every=60.0, content=[1]) == task
    with pytest.raises(Conflict, match="another task 'a'"):
        await near.client.add("a", every=61.0, content=[1])
    assert len((await near.client.add(every=60.0)).id) > 8


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        ({"cron": "0 0 30 2 *"}, InvalidRequest, "never fires"),
        ({"cron": "every noon"}, InvalidRequest, "no cron expression"),
        ({"every": 1.0, "start": "2040-01-02", "end": "2040-01-01"}, InvalidRequest, "its start"),
        ({"at": "noon"}, InvalidRequest, "no time"),
        ({"every": 1.0, "misfire": "skip", "grace": 0.0}, InvalidRequest, "grace"),
        ({"every": 1.0, "call": "a.b", "send": "a.b"}, InvalidRequest, "not both"),
        ({"every": 1.0, "call": "hello"}, InvalidRequest, "service.op"),
        ({"every": 1.0, "call": "a.b", "call_timeout": 0.0}, InvalidRequest, "timeout"),
        ({"every": 1.0, "content": b"x" * 70_000}, ContentTooLarge, "65536"),
        ({"every": 1.0, "origin": "x" * 300}, InvalidRequest, "255"),
        ({"every": 1.0, "id": "x" * 201}, InvalidRequest, "200 bytes"),
        ({"every": 1.0, "id": "a\nb"}, InvalidRequest, "printable"),
        ({"every": 1.0, "keep": 1000}, InvalidRequest, "keep"),
        ({"every": 1.0, "owner": "a\0"}, InvalidRequest, "owner"),
    ],
)
async def test_what_cannot_be_is_refused(words: Any, error: type[Exception], says: str) -> None:
    async with Container("memory://", config={"store.url": "memory://"}) as container:
        await container.spawn(SchedulerService)
        with pytest.raises((error, ReceivedError), match=says) as raised:
            await SchedulerClient(container).add(**words)
        assert 400 <= raised.value.code < 500  # type: ignore[attr-defined]


async def test_tasks_are_found_in_order_page_by_page(near: Scene) -> None:
    for n in range(7):
        owner = "ann" if n % 2 else "bob"
        await near.client.add(f"t{n}", at=time.time() + YEAR - n * 60, owner=owner, send=f"s.o{n}")
    await near.client.pause("t3")
    found = [task.id async for task in near.client.tasks(limit=2)]
    assert found == [f"t{n}" for n in reversed(range(7))]
    ann = await near.client.page(owner="ann", order="-due")
    assert [task.id for task in ann.items] == ["t1", "t3", "t5"]
    assert [task.id for task in (await near.client.page(state="paused")).items] == ["t3"]
    assert [task.id for task in (await near.client.page(target="s.o4")).items] == ["t4"]
    for wrong in ({"order": ["look"]}, {"limit": 0}, {"cursor": "x"}, {"state": "actve"}):
        with pytest.raises(InvalidRequest):
            await near.client.page(**wrong)  # type: ignore[arg-type]


async def test_large_tasks_come_in_more_pages(near: Scene) -> None:
    for n in range(20):
        await near.client.add(f"t{n}", at=time.time() + YEAR + n, content=b"x" * 60_000)
    await service(near)._rows.put("bad", b"\xc1", index={"due": 1.0})  # which cannot be read
    page = await near.client.page()
    assert 0 < len(page.items) < 20
    assert page.cursor is not None
    found = [task.id async for task in near.client.tasks()]
    assert len(found) == len(set(found)) == 20


async def test_a_clock_set_back_and_forward(near: Scene) -> None:
    with set_clock() as own:
        for misfire in ("skip", "once", "all"):
            await near.client.add(misfire, every=60.0, misfire=misfire, grace=5.0, most=3)
        ids = near.ids
        own.ahead = 3600 + 7  # the last one is over by seven seconds
        await until(lambda: len(near.listener.heard) == 4)
        told = {
            name: [e for e in near.listener.heard if e.task == name] for name in ("once", "all")
        }
        assert [event.missed for event in told["once"]] == [59]
        assert [event.missed for event in told["all"]] == [57, 0, 0]
        skipped = await until_of(near, "skip", lambda task: task.missed)
        assert (skipped.fired, skipped.missed) == (0, 60)
        fired = {name: (await near.client.get(name)).due for name in told}
        own.ahead = 0.0
        await near.client.add("now", every=0.02)
        await until(lambda: [e for e in near.listener.heard if e.task == "now"])
        assert {name: (await near.client.get(name)).due for name in told} == fired
        own.ahead = 3600 + 67
        await until(lambda: len([e for e in near.listener.heard if e.task != "now"]) == 6)
        assert len(set(near.ids)) == len(near.ids) > len(ids)


async def test_what_is_over_is_kept_for_a_while(near: Scene, monkeypatch: Any) -> None:
    monkeypatch.setattr(ticker, "SWEEP", 0.0)
    with set_clock() as own:
        await near.client.add("once", at=time.time())
        task = await until_of(near, "once", lambda task: task.state == "done")
        assert (task.due, task.fired) == (None, 1)
        own.ahead = 86400 + 60
        await near.client.add("wake", every=60.0)
        async with asyncio.timeout(20):
            while [t async for t in near.client.tasks() if t.id == "once"]:
                await asyncio.sleep(0.02)


async def test_much_that_is_over_goes_in_one_sweep_and_keeps_nothing_waiting(near: Scene) -> None:
    process = service(near)
    schedule, target = Schedule(at=1.0), Target(origin="x")
    over = [Task(id=f"{n}", schedule=schedule, target=target, state="done") for n in range(1100)]
    await process._rows.write([taskstore.put_of(Kept(task=task, ended=2.0), 0) for task in over])
    process._ticker._swept = -YEAR  # as it is once a minute
    await near.client.add("tick", every=0.02)
    async with asyncio.timeout(20):
        while (await near.client.page(state="done", limit=1)).items:
            await asyncio.sleep(0.01)
    await until(lambda: len(near.listener.heard) > 3)


async def test_two_at_the_same_book_fire_each_once(near: Scene) -> None:
    await near.container.spawn(SchedulerService)  # no failover: both look
    for n in range(5):
        await near.client.add(f"t{n}", every=0.02)
    for _ in range(10):  # ops that meet the other one are run again
        await near.client.fire("t0")
    await until(lambda: len(near.listener.heard) > 100)
    assert len(set(near.ids)) == len(near.ids)
    for n in range(5):
        heard = [event for event in near.listener.heard if event.task == f"t{n}"]
        dues = [event.due for event in heard if "by-hand" not in event.id]
        steps = [b - a for a, b in itertools.pairwise(sorted(dues))]
        assert steps == pytest.approx([0.02] * len(steps), abs=1e-5)


async def test_a_task_that_cannot_be_read_or_sent_holds_no_other_up(near: Scene) -> None:
    process = service(near)
    rows = process._rows
    await rows.put("bad", b"\xc1", index={taskstore.SENDS: 1.0, taskstore.CALLS: 1.0})
    target = Target(origin="x" * 300)  # no topic
    schedule = Schedule(at=1.0, grace=1e9)
    await rows.write(
        [taskstore.put_of(Kept(task=Task(id="mad", schedule=schedule, target=target, due=1.0)), 0)]
    )
    gone = Schedule(cron="* * * * *", timezone="Atlantis/Centre")  # as it was known elsewhere
    lost = Kept(task=Task(id="lost", schedule=gone, target=Target(origin="lost"), due=1.0))
    await rows.write([taskstore.put_of(lost, 0)])
    await near.client.add("good", every=0.02)
    await until(lambda: len(near.listener.heard) > 3)
    lost.task = await until_of(near, "lost", lambda task: task.trouble)
    assert "Atlantis" in str(lost.task.trouble)
    assert (lost.task.fired, lost.task.due) == (0, 1.0)
    assert {task.id async for task in near.client.tasks()} == {"good", "lost", "mad"}
    task = await until_of(near, "mad", lambda task: task.state == "done")
    assert task.last is not None
    assert (task.last.outcome, task.fired) == ("failed", 1)
    assert "255" in str(task.last.error)
    assert await rows.has("bad")
    await rows.update_index("bad", {"due": 2.0})
    assert "good" in {task.id async for task in near.client.tasks()}


async def test_what_is_not_due_is_not_read(near: Scene) -> None:
    process = service(near)
    due = time.time() + YEAR
    schedule, target = Schedule(at=due), Target(origin="x")
    for first in range(0, 2000, 500):
        kept = [
            Kept(task=Task(id=f"{n}", schedule=schedule, target=target, due=due))
            for n in range(first, first + 500)
        ]
        await process._rows.write([taskstore.put_of(each, 0) for each in kept])
    read = 0
    decode = taskstore._decode

    def counted(data: bytes) -> Kept:
        nonlocal read
        read += 1
        return decode(data)

    taskstore._decode = counted  # type: ignore[assignment]
    try:
        await near.client.add("tick", every=0.02)
        await until(lambda: len(near.listener.heard) > 10)
    finally:
        taskstore._decode = decode
    assert read < 100


async def test_settings_that_cannot_be() -> None:
    for words, says in (
        ({"keep": -1.0}, "keep: seconds"),
        ({"book": "No Name"}, "no name of a store"),
    ):
        async with Container("memory://", config={"store.url": "memory://"}) as container:
            with pytest.raises(StartError, match=says):
                await container.spawn(SchedulerService, args=words)


async def test_a_store_without_transactions_is_refused(redis_url: str) -> None:
    async with Container("memory://", config={"store.url": redis_url}) as container:
        with pytest.raises(StartError, match="needs a store with transactions"):
            await container.spawn(SchedulerService)


async def test_a_store_that_is_away_loses_no_firing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ticker, "PAUSE", 0.01)
    config = {"store.url": f"sqlite:///{tmp_path}/store.db", "store.timeout": 1.0}
    async with Container("memory://", config=config) as container:
        scene = Scene(container)
        await scene.start()
        await scene.client.add("tick", every=0.05, misfire="all", most=1000)
        await until(lambda: scene.listener.heard)
        scheduler = service(scene)
        with closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")  # somebody else writes, and takes his time
            await until(lambda: scheduler._ticker.trouble)
            with pytest.raises(Unavailable, match="tasks have to wait"):
                await scheduler.on_health()
            count = len(scene.listener.heard)
            first = scheduler._ticker.trouble
            await until(lambda: scheduler._ticker.trouble is not first)
            other.execute("ROLLBACK")
        await until(lambda: len(scene.listener.heard) > count + 20)
        await scheduler.on_health()
    assert len([record for record in caplog.records if record.name == ticker.__name__]) == 1
    dues = [event.due for event in scene.listener.heard]
    assert dues == sorted(dues)
    steps = [b - a for a, b in itertools.pairwise(dues)]
    assert steps == pytest.approx([0.05] * len(steps), abs=1e-5)


def service(scene: Scene) -> Any:
    processes = scene.container.processes.values()
    return next(each for each in processes if isinstance(each, SchedulerService))
