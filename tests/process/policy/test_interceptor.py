"""The gate: each message that arrives is decided, whatever it is addressed to."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import Counter
from collections.abc import Callable
from typing import ClassVar, NoReturn

import msgspec
import pytest

from ion import Container, Forbidden, Operator, Process, ProcessNotFound, Service, Supervisor
from ion.base.errors import ConfigurationError, DeadlineExceeded, OpNotFound, Unauthorized
from ion.messaging.envelope import Envelope
from ion.process.discovery import survey
from ion.process.events import Event
from ion.process.identity.acting import acting
from ion.process.policy.decision_log import DecisionLog
from ion.process.policy.decisions import Judge
from ion.process.policy.model import Decision, Rules, Subject
from ion.process.redelivery.deadletters import peek
from tests.process.policy.policed import call, policed, token, write

PATIENCE = 30.0


class Lab(Service, name="lab"):
    """Has ops that not everybody may call."""

    done: ClassVar[list[str]] = []

    async def op_look(self) -> str:
        return "seen"

    async def op_set(self, resource: str, value: int = 0) -> str:
        self.done.append(resource)
        return resource

    async def op_raw(self, content, headers, msg):
        self.done.append(str(content))

    async def op_ask(self, to: str) -> str:
        return await self.rpc_send(to, "look", {})


class Once(Lab, name="once", delivery="effectively-once"):
    """Answers from memory what it has handled."""


class Probe(Process, name="probe"):
    """Is reached by its pid alone."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.down: list[str] = []

    async def op_look(self) -> str:
        return "seen"

    async def op_hang(self) -> None:
        await asyncio.Event().wait()

    async def op_watch(self, pid: str) -> None:
        await self.monitor(pid)

    async def on_down(self, notice) -> None:
        self.down.append(notice.pid)

    async def on_activate(self) -> None:
        await self.subscribe_events(Event, self.on_event)
        await self.subscribe("news", "#", self.on_news)

    async def on_event(self, event: Event) -> None:
        self.heard.append(f"{event.type} {event.origin}")

    async def on_news(self, text: str) -> None:
        self.heard.append(text)


class Spill(Event):
    """Something was spilt."""


async def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_who_may_call_a_service_and_what_the_others_are_told(bus, tmp_path, caplog):
    path = write(
        tmp_path / "p.yml",
        "{id: look, allow: lab.look, to: [anonymous]}",
        "{id: use, allow: 'lab.*', to: [OPERATOR]}",
        "{id: never, deny: lab.raw, to: [anyone], description: it is broken}",
    )
    async with policed(bus, path) as container:
        await container.spawn(Lab)
        assert await call(container, "lab", "look") == "seen"
        for _ in range(2):  # and once more, from what is remembered
            answer = await call(
                container, "lab", "set", {"resource": "x"}, actor="ann", roles=["ADMIN"]
            )
            assert answer == "x"
        with pytest.raises(Forbidden) as denied:
            await call(container, "lab", "set", {"resource": "x"})
        assert denied.value.code == 403
        assert "anonymous (no role) may not call lab.set" in denied.value.message
        assert "it takes OPERATOR; the message has no token" in denied.value.message
        with pytest.raises(Forbidden, match=r"ann \(OPERATOR\).*rule 'never'.*it is broken"):
            await call(container, "lab", "raw", "x", actor="ann", roles=["OPERATOR"])
        with pytest.raises(Forbidden, match=r"bob \(VISITOR\).*no rule allows it; it takes OPERA"):
            await call(container, "lab", "set", {"resource": "x"}, actor="bob", roles=["VISITOR"])
        assert denied.value.details == {
            "action": "lab.set",
            "rule": None,
            "reason": "no rule allows it",
            "needs": ["OPERATOR"],
            "actor": None,
            "roles": [],
        }
        with pytest.raises(OpNotFound):  # to who may call all ops, that there is none is no secret
            await call(container, "lab", "Look", actor="ann", roles=["OPERATOR"])
        with pytest.raises(Forbidden, match=r"may not call lab\.<unknown op>"):
            await call(container, "lab", "Look")
        assert container.endpoint.counts["policy denied"] == 4
        told = [r for r in caplog.records if r.name == "ion.policy" and r.levelname == "WARNING"]
        told = [record for record in told if record.action == "lab.set"]
        assert [(record.actor, record.rule) for record in told] == [
            ("anonymous", None),
            ("bob", None),
        ]
        await until(lambda: container.endpoint.counts["policy allowed"] >= 4)


async def test_a_message_to_a_pid_is_decided_as_to_its_process(bus, tmp_path):
    path = write(
        tmp_path / "p.yml",
        "{allow: 'probe.*', to: [OPERATOR]}",
        "{allow: lab.look, to: [anyone]}",
        "{allow: agent.info, to: [authenticated]}",
        "{allow: '@*', to: [OPERATOR]}",
    )
    async with policed(bus, path) as container:
        pid, lab = await container.spawn(Probe), await container.spawn(Lab)
        assert await call(container, pid, "look", actor="ann", roles=["OPERATOR"]) == "seen"
        assert await call(container, lab, "look") == "seen"
        for to in (pid, f"{container.id}.0"):
            with pytest.raises(Forbidden):
                await call(container, to, "info" if to != pid else "look")
        info = await call(container, f"{container.id}.0", "info", actor="bob")
        assert info["container"] == container.id
        with pytest.raises(Forbidden, match=r"may not call agent\.stats"):
            await call(container, f"{container.id}.0", "stats", actor="bob")
        with pytest.raises(Forbidden, match=r"may not call lab\.set"):  # by any other way, too
            await call(container, lab, "set", {"resource": "x"})
        # who has the key of the system may command; notices of deaths are no messages
        await call(container, pid, "watch", {"pid": lab}, actor="ann", roles=["OPERATOR"])
        await Operator(container).terminate(lab)
        await until(lambda: container.processes[pid].down == [lab])
        with pytest.raises(ProcessNotFound):
            await call(container, lab, "look")


async def test_a_call_within_a_call_is_made_for_the_same_actor(bus, tmp_path):
    path = write(
        tmp_path / "p.yml",
        "{allow: lab.ask, to: [anyone]}",
        "{allow: probe.look, to: [OPERATOR]}",
    )
    async with policed(bus, path) as container:
        pid = await container.spawn(Probe)
        await container.spawn(Lab)
        ann = {"actor": "ann", "roles": ["OPERATOR"]}
        assert await call(container, "lab", "ask", {"to": pid}, **ann) == "seen"
        with pytest.raises(Exception, match=r"bob \(no role\) may not call probe\.look") as raised:
            await call(container, "lab", "ask", {"to": pid}, actor="bob")
        assert raised.value.code == 500  # it is the service that was refused


async def test_conditions_on_the_content_hold_or_fail_closed(bus, tmp_path):
    path = write(
        tmp_path / "p.yml",
        "{allow: lab.set, to: [OPERATOR], when: {owner: resource}}",
        "{allow: lab.set, to: [authenticated], when: {fields: {resource: [common]}}}",
        "{deny: lab.set, to: [anyone], when: {fields: {value: [13]}}}",
        "{allow: lab.raw, to: [anyone], when: {fields: {kind: [good]}}}",
    )
    async with policed(bus, path, owners=None) as container:
        await container.spawn(Lab)
        assert container.active_rules is not None
        container.active_rules.owners.learn("mine", "ann", 0)

        async def sets(content: object, actor: str = "ann") -> bool:
            try:
                await call(container, "lab", "set", content, actor=actor, roles=["OPERATOR"])
            except Forbidden:
                return False
            return True

        assert await sets({"resource": "mine", "value": 1})
        assert not await sets({"resource": "mine", "value": 13})  # what denies is stronger
        assert not await sets({"resource": "mine"})  # the value is not known: it may be 13
        assert not await sets({"resource": "mine", "value": 1}, actor="bob")
        assert not await sets({"resource": "unheard-of", "value": 1})
        assert await sets({"resource": "common", "value": 1}, actor="bob")
        assert not await sets("common")  # bound to the first parameter; the value is not known
        assert not await sets([1, 2])
        odd = msgspec.Raw(b"\xc1\xc1 not msgpack")
        for op in ("set", "raw"):
            with pytest.raises(Forbidden):
                await call(container, "lab", op, odd, actor="ann", roles=["OPERATOR"])
        twice = msgspec.Raw(b"\x82\xa4kind\xa4good\xa4kind\xa3bad")  # the last one is bound
        with pytest.raises(Forbidden):
            await call(container, "lab", "raw", twice)
        assert container.active_rules.owners.wanted(9) == ["unheard-of", "common"]


async def test_a_message_that_nobody_awaits_is_a_dead_letter(bus, tmp_path):
    path = write(tmp_path / "p.yml", "{allow: lab.look, to: [anyone]}")
    async with policed(bus, path) as container:
        await container.spawn(Lab)
        with acting(""):
            await container.send("lab", "raw", "bad")
        deadline = time.monotonic() + PATIENCE
        while not (letters := await peek(container.endpoint, "lab", 5)):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        assert letters[0].cause_code == 403
        assert "may not call lab.raw" in letters[0].cause
        assert "bad" not in Lab.done


async def test_a_foreign_client_is_anonymous(bus, tmp_path):
    path = write(tmp_path / "p.yml", "{allow: lab.look, to: [anonymous]}")
    async with policed(bus, path) as container:
        await container.spawn(Lab)
        endpoint, answers = container.endpoint, []
        open_ = endpoint.conversations.open

        class Waiting:
            state = "REQUESTED"

            def receive(self, envelope: Envelope) -> None:
                answers.append(msgspec.msgpack.decode(envelope.body))

        for n, (op, body) in enumerate([("look", b""), ("set", b"\xa1x"), ("", b"\xff\xff")]):
            open_[f"foreign-{n}"] = Waiting()  # type: ignore[assignment]
            envelope = Envelope(
                op, body, reply_to=endpoint.reply_queue, correlation_id=f"foreign-{n}"
            )
            endpoint.transport.publish("", "test.lab", envelope)
        await until(lambda: len(answers) == 3)
        for n in range(3):
            del open_[f"foreign-{n}"]
        assert "seen" in answers
        assert sorted(a["code"] for a in answers if a != "seen") == [403, 403]


async def test_events_are_decided_where_they_arrive(bus, tmp_path):
    path = write(
        tmp_path / "p.yml",
        "{allow: '@events/Event.Spill._._.lab*', to: [OPERATOR]}",
        "{allow: '@news/*', to: [anyone]}",
    )
    async with policed(bus, path) as container, container.expect_event(Spill) as expected:
        probe = container.processes[await container.spawn(Probe)]
        with acting(token(container, "bob")):
            await container.publish_event(Spill(origin="lab 1"))
            forged = {"path": "Event.Spill", "origin": "lab 2", "id": "f"}
            await container.publish("events", "Event.Spill._._.lab", forged)
        with acting(token(container, "ann", ["OPERATOR"])):
            await container.publish_event(Spill(origin="lab 3"))
            await container.publish_event(Spill(origin="kitchen"))
            # whatever its topic, it is what its content says
            lie = {"path": "Event.ContainerEvent", "origin": "x", "id": "l"}
            await container.publish("events", "Event.Spill._._.lab", lie)
            await container.publish("news", "any", {"text": "hear, hear"})
        await until(lambda: "hear, hear" in probe.heard)
        # the process and who waits beside all processes have refused the same four
        await until(lambda: container.endpoint.counts["policy denied"] == 8)
        assert container.endpoint.counts["events that were not let in"] == 4
        assert sorted(probe.heard) == ["Spill lab 3", "hear, hear"]
        assert (await expected.wait(timeout=30)).origin == "lab 3"
        with pytest.raises(DeadlineExceeded):
            await expected.wait(timeout=0)


async def test_a_ping_is_decided_though_no_hand_is_free_to_answer_it(bus, tmp_path):
    path = write(tmp_path / "p.yml", "{allow: 'probe.hang', to: [anyone]}")
    async with policed(bus, path) as container:
        await container.spawn(Lab)
        pid = await container.spawn(Probe)
        probe = container.processes[pid]
        hanging = asyncio.ensure_future(call(container, pid, "hang"))
        await until(lambda: probe._active)

        async def pong(bearer: str) -> list[str]:
            with acting(bearer):
                one = await container.rpc_send(pid, "ping", {}, 30)
                return [each["pong"] for each in [one, *await survey(endpoint, "ctl.lab", "ping")]]

        endpoint, bob = container.endpoint, token(container, "bob")
        for bearer in (bob, ""):
            for to in (pid, "ctl.lab"):
                with acting(bearer), pytest.raises(Forbidden, match="no rule allows it"):
                    await container.rpc_send(to, "ping", {}, 30)
        with pytest.raises(Unauthorized):
            await pong(f"{bob}x")
        write(path, "{allow: '*.ping', to: [authenticated]}")
        await until(lambda: container.active_rules.rules.rules[0].actions == ("*.ping",))
        assert await pong(bob) == ["pong", "pong"]
        with pytest.raises(Forbidden):
            await pong("")
        hanging.cancel()


async def test_what_was_answered_once_is_not_given_to_another(bus, tmp_path):
    path = write(tmp_path / "p.yml", "{allow: 'once.*', to: [OPERATOR]}")
    async with policed(bus, path) as container:
        await container.spawn(Once)
        endpoint = container.endpoint

        async def ask(bearer: str) -> object:
            with acting(bearer):
                return await endpoint.rpc("", "once", "set", {"resource": "s"}, message_id="m-1")

        ann = token(container, "ann", ["OPERATOR"])
        before = len(Lab.done)
        assert await ask(ann) == "s"
        assert await ask(ann) == "s"
        assert len(Lab.done) == before + 1  # the second was answered from memory
        with pytest.raises(Forbidden):
            await ask(token(container, "bob"))
        # nor to who may ask, and has guessed the id of a message that was another's
        assert await ask(token(container, "eve", ["OPERATOR"])) == "s"
        assert len(Lab.done) == before + 2


async def test_other_rules_hold_at_once_and_wrong_ones_never(bus, tmp_path, caplog):
    health = "{allow: agent.health, to: [anyone]}"
    path = write(tmp_path / "p.yml", "{allow: lab.look, to: [OPERATOR]}")
    async with policed(bus, path) as container:
        await container.spawn(Lab)
        active_rules = container.active_rules
        assert active_rules is not None

        async def is_allowed() -> bool:
            try:
                await call(container, "lab", "look")
            except Forbidden:
                return False
            return True

        assert not await is_allowed()
        async with container.expect_event(Event, origin_type="Container") as expected:
            write(path, "{allow: lab.look, to: [anyone]}", health)
            assert (await expected.wait(timeout=PATIENCE)).type == "PolicyReloaded"
        assert await is_allowed()
        write(path, "{alow: lab.look, to: [anyone]}")
        await until(lambda: active_rules.problem)
        assert "p.yml:4: rules.0.alow: unknown key (did you mean 'allow'?)" in active_rules.problem
        assert await is_allowed()  # the old rules are in force
        path.unlink()
        await until(lambda: "cannot be read" in active_rules.problem)
        assert await is_allowed()
        os.mkfifo(path)  # nobody writes to it: who read it would wait for ever
        await until(lambda: "it is a pipe" in active_rules.problem)
        assert await is_allowed()
        said = [r for r in caplog.records if "stay in force" in r.getMessage()]
        assert len(said) == 3
        report = await Operator(container).health(container.id)
        assert any("old rules are in force" in str(check) for check in report["checks"])
        write(path, "{deny: lab.look, to: [anyone]}")
        await until(lambda: not active_rules.problem)
        assert not await is_allowed()


async def test_whatever_goes_wrong_in_a_decision_the_message_is_refused(bus, tmp_path, caplog):
    path = write(tmp_path / "p.yml", "{allow: lab.look, to: [anyone]}")
    async with policed(bus, path) as container:
        await container.spawn(Lab)
        assert container.active_rules is not None

        class Broken(Judge):
            def decide(self, *_: object) -> NoReturn:
                raise RuntimeError("out of order")

        container.active_rules.interceptor.use(Broken(Rules()))
        with pytest.raises(Forbidden, match="deciding failed: RuntimeError"):
            await call(container, "lab", "look")
        assert any(record.exc_info for record in caplog.records)


async def test_a_container_does_not_start_with_rules_that_cannot_be_read(bus, tmp_path):
    path = tmp_path / "p.yml"
    with pytest.raises(ConfigurationError, match="cannot be read"):
        async with policed(bus, path):
            pass
    path.write_text("type: policy\nrules: [{allow: a.b, to: [NOBODY]}]\n")
    with pytest.raises(ConfigurationError, match=r"p\.yml:2: rules\.0\.to\.0: there is no role"):
        async with policed(bus, path):
            pass


async def test_a_keeper_that_has_failed_is_started_again(tmp_path):
    path = write(tmp_path / "p.yml", "{allow: lab.look, to: [anyone]}")
    async with policed(("memory://", {}), path) as container:
        await container.spawn(Lab)
        keeper = next(p for p in container.processes.values() if p.name == "policy_keeper")
        keeper.fail("to be started again")
        write(path, "{deny: lab.look, to: [anyone]}")

        async def is_denied() -> bool:
            try:
                await call(container, "lab", "look")
            except Forbidden:
                return True
            return False

        def keepers() -> list[Process]:
            return [p for p in container.processes.values() if p.name == "policy_keeper"]

        deadline = time.monotonic() + PATIENCE
        # the one that failed may have had the new rules in its hands
        while not await is_denied() or keepers() in ([], [keeper]):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        assert len([each for each in keepers() if each is not keeper]) == 1


async def test_without_rules_nothing_is_decided():
    async with Container("memory://", sysname="test") as container:
        assert container.active_rules is None
        assert container.endpoint.inbound == ()
        assert len(container.processes) == 1


async def test_a_supervisor_and_its_children_live_under_rules(bus, tmp_path):
    path = write(tmp_path / "p.yml", "{allow: lab.look, to: [anyone]}")
    async with policed(bus, path) as container:
        args = {"children": [{"id": "lab", "target": f"{__name__}:Lab"}]}
        supervisor = await container.spawn(Supervisor, args=args)
        assert await call(container, "lab", "look") == "seen"
        with pytest.raises(Forbidden, match=r"may not call Supervisor\."):
            await call(container, supervisor, "children")
        old = next(pid for pid, p in container.processes.items() if isinstance(p, Lab))
        container.processes[old].fail("to be restarted")
        await until(
            lambda: any(isinstance(p, Lab) for pid, p in container.processes.items() if pid != old)
        )
        assert await call(container, "lab", "look") == "seen"


async def test_the_same_denial_is_logged_once_in_a_while(tmp_path, caplog):
    path = write(tmp_path / "p.yml", "{allow: lab.look, to: [OPERATOR]}")
    with caplog.at_level(logging.DEBUG, "ion.policy"):
        async with policed(("memory://", {}), path) as container:
            await container.spawn(Lab)
            for _ in range(20):
                with pytest.raises(Forbidden):
                    await call(container, "lab", "look")
            await call(container, "lab", "look", actor="ann", roles=["OPERATOR"])
    said = [record.getMessage() for record in caplog.records]
    assert said.count("denied: anonymous (no role) to lab.look: no rule allows it") == 1
    assert "allowed: lab.look" in said


def test_a_flood_of_denials_makes_few_lines_and_none_that_its_actors_write(caplog):
    counts = Counter()
    decision_log = DecisionLog(counts)
    denied = Decision(allowed=False, rule="r", reason="rule 'r' denies it")
    for number in range(5_000):
        actor = f"eve{number}\n2026-01-01 root was let in" + "x" * 500
        decision_log.deny(Subject(actor, frozenset({"A", "B"})), f"lab.op{number}", denied)
    decision_log.count(0)
    decision_log.count(0)
    lines = [record.getMessage() for record in caplog.records]
    assert counts["policy denied"] == 5_000
    assert len(lines) < 200
    assert all("\n" not in line and len(line) < 1_000 for line in lines)
    assert lines[0].startswith("denied: eve0?2026-01-01 root was let in")
    assert lines[0].endswith("... (A, B) to lab.op0: rule 'r' denies it")
    (omitted,) = [line for line in lines if "were not logged" in line]
    assert int(omitted.split()[0]) + len(lines) - 1 == 5_000
