"""Conversation machines, declared with transitions, stepped from compiled tables."""

from __future__ import annotations

import pytest

from ion.base.errors import ConversationError
from ion.conversation import conversation as c
from ion.conversation.conversation import Conversation
from ion.conversation.generic import GENERIC
from ion.conversation.oneway import ONE_WAY
from ion.conversation.request import REQUEST_PROTOCOL
from ion.conversation.rpc import RPC
from ion.conversation.stream import STREAM
from ion.conversation.table import TOMBSTONES, ConversationTable

ALL = [RPC, REQUEST_PROTOCOL, ONE_WAY, STREAM, GENERIC]


@pytest.mark.parametrize("protocol", ALL, ids=lambda p: p.name)
def test_the_compiled_table_walks_as_the_transitions_machine_does(protocol: c.Protocol) -> None:
    machine = protocol.machine.machine()
    for state in protocol.machine.states:
        allowed = set(machine.get_triggers(state))
        assert allowed == {event for at, event in protocol.table if at == state}
        for event in allowed:
            walk = type("Walk", (), {"state": state})()
            machine.add_model(walk, initial=state)
            walk.trigger(event)
            assert walk.state == protocol.table[state, event]


@pytest.mark.parametrize(
    ("protocol", "events", "state"),
    [
        (RPC, [c.REQUEST, c.INFORM_RESULT], c.DONE),
        (RPC, [c.REQUEST, c.FAILURE], c.FAILED),
        (RPC, [c.REQUEST, c.TIMEOUT], c.TIMED_OUT),
        (RPC, [c.REQUEST, c.CANCEL], c.CANCELLED),
        (REQUEST_PROTOCOL, [c.REQUEST, c.REFUSE], c.REFUSED),
        (REQUEST_PROTOCOL, [c.REQUEST, c.AGREE, c.PROGRESS, c.PROGRESS, c.INFORM_RESULT], c.DONE),
        (REQUEST_PROTOCOL, [c.REQUEST, c.AGREE, c.FAILURE], c.FAILED),
        (REQUEST_PROTOCOL, [c.REQUEST, c.INFORM_RESULT], c.DONE),
        (REQUEST_PROTOCOL, [c.REQUEST, c.AGREE, c.CANCEL], c.CANCELLED),
        (STREAM, [c.REQUEST, c.INFORM_RESULT], c.DONE),
        (STREAM, [c.REQUEST, c.INFORM, c.CREDIT, c.INFORM, c.INFORM_RESULT], c.DONE),
        (STREAM, [c.REQUEST, c.INFORM, c.FAILURE], c.FAILED),
        (STREAM, [c.REQUEST, c.CREDIT, c.REFUSE], c.REFUSED),
        (STREAM, [c.REQUEST, c.INFORM, c.CANCEL], c.CANCELLED),
        (STREAM, [c.REQUEST, c.INFORM, c.TIMEOUT], c.TIMED_OUT),
        (GENERIC, [c.REQUEST, c.AGREE, c.INFORM, c.INFORM, c.INFORM_RESULT], c.DONE),
        (GENERIC, [c.REQUEST, c.AGREE, c.REFUSE], c.REFUSED),
        (GENERIC, [c.REQUEST, c.FAILURE], c.FAILED),
    ],
)
def test_walks(protocol: c.Protocol, events: list[str], state: str) -> None:
    conversation = Conversation("1", protocol)
    for event in events:
        assert not conversation.final
        conversation.step(event)
    assert conversation.state == state
    assert conversation.final


@pytest.mark.parametrize(
    ("protocol", "events", "wrong"),
    [
        (RPC, [], c.INFORM_RESULT),
        (RPC, [c.REQUEST], c.AGREE),
        (RPC, [c.REQUEST], c.PROGRESS),
        (RPC, [c.REQUEST, c.INFORM_RESULT], c.INFORM_RESULT),
        (REQUEST_PROTOCOL, [c.REQUEST], c.PROGRESS),
        (REQUEST_PROTOCOL, [c.REQUEST, c.AGREE], c.REFUSE),
        (REQUEST_PROTOCOL, [c.REQUEST, c.AGREE], c.AGREE),
        (REQUEST_PROTOCOL, [c.REQUEST, c.REFUSE], c.INFORM_RESULT),
        (STREAM, [c.REQUEST], c.AGREE),
        (STREAM, [c.REQUEST, c.INFORM], c.REFUSE),
        (STREAM, [c.REQUEST, c.INFORM, c.INFORM_RESULT], c.CREDIT),
        (GENERIC, [c.REQUEST], c.INFORM),
        (GENERIC, [c.REQUEST, c.AGREE, c.INFORM_RESULT], c.INFORM),
    ],
)
def test_what_is_not_allowed_raises_and_changes_nothing(
    protocol: c.Protocol, events: list[str], wrong: str
) -> None:
    conversation = Conversation("1", protocol)
    for event in events:
        conversation.step(event)
    before = conversation.state
    with pytest.raises(ConversationError, match=wrong):
        conversation.step(wrong)
    assert conversation.state == before


@pytest.mark.parametrize("protocol", ALL, ids=lambda p: p.name)
def test_nobody_may_say_what_is_the_runtimes_or_the_other_sides(protocol: c.Protocol) -> None:
    for steps in (protocol.answered, protocol.said):
        assert not {event for _, event in steps} & {c.REQUEST, c.TIMEOUT}
        assert steps.items() <= protocol.table.items()
    assert (c.REQUESTED, c.CREDIT) not in protocol.answered
    assert (c.OPEN, c.AGREE) not in protocol.said


def test_an_rpc_is_not_cancelled_by_the_participant_and_one_way_has_no_answers() -> None:
    assert (c.REQUESTED, c.CANCEL) not in RPC.answered
    assert (c.REQUESTED, c.CANCEL) in REQUEST_PROTOCOL.answered
    assert not ONE_WAY.answered
    assert ONE_WAY.table == RPC.table


@pytest.mark.parametrize("protocol", ALL, ids=lambda p: p.name)
def test_every_state_is_reached_and_every_open_one_can_end(protocol: c.Protocol) -> None:
    assert set(protocol.machine.states) == {c.INIT, *protocol.table.values()}
    for state in set(protocol.machine.states) - c.FINAL - {c.INIT}:
        for event in (c.INFORM_RESULT, c.FAILURE, c.CANCEL, c.TIMEOUT):
            assert protocol.table[state, event] in c.FINAL
    assert not [row for row in protocol.table if row[0] in c.FINAL]


def test_the_table_keeps_bounded_tombstones_and_counts_strays() -> None:
    table: ConversationTable[Conversation] = ConversationTable()
    for n in range(TOMBSTONES + 10):
        conversation = Conversation(str(n), RPC)
        table.add(conversation)
        table.close(conversation, answered=False)
    assert not table.open
    assert table.stray(str(TOMBSTONES + 9))
    assert not table.stray("0")
    assert not table.stray("never")
    assert (table.late, table.unknown) == (1, 2)


def test_machines_draw_themselves() -> None:
    assert "REQUESTED --> DONE: inform_result" in RPC.machine.mermaid()
