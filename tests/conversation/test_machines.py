"""Conversation machines, declared with transitions, stepped from compiled tables."""

from __future__ import annotations

import pytest

from ion.base.errors import ConversationError
from ion.conversation import conversation as c
from ion.conversation.conversation import Conversation
from ion.conversation.oneway import ONE_WAY
from ion.conversation.request import REQUEST_PROTOCOL
from ion.conversation.rpc import RPC
from ion.conversation.table import TOMBSTONES, ConversationTable


@pytest.mark.parametrize("protocol", [RPC, REQUEST_PROTOCOL, ONE_WAY])
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
