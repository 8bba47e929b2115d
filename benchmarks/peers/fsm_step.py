"""One step of a state machine: from ION's compiled table, and triggered on ``transitions`` itself.

Variants: ``table`` (as the message path steps its conversations), ``machine`` (for comparison).
"""

from __future__ import annotations

import time

from benchmarks import role
from ion.conversation import conversation as c
from ion.conversation.conversation import Conversation
from ion.conversation.rpc import RPC

WALKS = 50_000
STEPS = 2  # request, inform_result


class Model:
    """What a machine of ``transitions`` walks through its states."""

    state = c.INIT


def table_us() -> float:
    """Return microseconds a step of a conversation."""
    conversation = Conversation("c-1", RPC)
    begun = time.perf_counter()
    for _ in range(WALKS):
        conversation.state = c.INIT
        conversation.step(c.REQUEST)
        conversation.step(c.INFORM_RESULT)
    return (time.perf_counter() - begun) * 1e6 / WALKS / STEPS


def machine_us() -> float:
    """Return microseconds a step of the same machine, triggered on ``transitions``."""
    model, walks = Model(), WALKS // 20
    machine = RPC.machine.machine()
    machine.add_model(model, initial=c.INIT)
    begun = time.perf_counter()
    for _ in range(walks):
        model.state = c.INIT
        model.trigger(c.REQUEST)  # type: ignore[attr-defined]
        model.trigger(c.INFORM_RESULT)  # type: ignore[attr-defined]
    return (time.perf_counter() - begun) * 1e6 / walks / STEPS


if __name__ == "__main__":
    us = machine_us() if role.options().variant == "machine" else min(table_us() for _ in range(3))
    role.report({"us": round(us, 4)})
