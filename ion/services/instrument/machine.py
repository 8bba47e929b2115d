"""What an agent may do when: its states, and the ways between them. Pure.

The commands are those of people; the rest happens to an agent: the line to its device is lost, and
comes back to the state that it was lost in.
"""

from __future__ import annotations

from collections import deque

from ion.base.fsm import MachineSpec
from ion.services.instrument.model import WrongState

UNINITIALIZED = "UNINITIALIZED"
INACTIVE = "INACTIVE"
IDLE = "IDLE"
STOPPED = "STOPPED"
COMMAND = "COMMAND"
STREAMING = "STREAMING"
DIRECT_ACCESS = "DIRECT_ACCESS"
LOST_CONNECTION = "LOST_CONNECTION"

CONNECTED = (IDLE, STOPPED, COMMAND, STREAMING, DIRECT_ACCESS)
STATES = (UNINITIALIZED, INACTIVE, *CONNECTED, LOST_CONNECTION)

LOSE = "lose_connection"
COMMANDS: tuple[tuple[str, str | list[str], str], ...] = (
    ("initialize", UNINITIALIZED, INACTIVE),
    ("go_active", INACTIVE, IDLE),
    ("run", IDLE, COMMAND),
    ("pause", COMMAND, STOPPED),
    ("resume", STOPPED, COMMAND),
    ("clear", [COMMAND, STOPPED], IDLE),
    ("start_streaming", COMMAND, STREAMING),
    ("stop_streaming", STREAMING, COMMAND),
    ("go_direct_access", COMMAND, DIRECT_ACCESS),
    ("go_command", DIRECT_ACCESS, COMMAND),
    ("go_inactive", [*CONNECTED, LOST_CONNECTION], INACTIVE),
    ("reset", [INACTIVE, *CONNECTED, LOST_CONNECTION], UNINITIALIZED),
)
COMMAND_NAMES = tuple(name for name, _, _ in COMMANDS)

# Direct access is somebody's, who may be gone when the line is there again.
BACK = {state: f"back_to_{state.lower()}" for state in CONNECTED if state != DIRECT_ACCESS}

AGENT = MachineSpec(
    "agent",
    STATES,
    [
        *COMMANDS,
        (LOSE, [INACTIVE, *CONNECTED], LOST_CONNECTION),  # inactive: it was not to be had at all
        *[(event, LOST_CONNECTION, state) for state, event in BACK.items()],
    ],
    error=WrongState,
)


def allowed(state: str) -> list[str]:
    """Return the commands that are allowed in a state."""
    return [name for name in COMMAND_NAMES if (state, name) in AGENT.table]


def returns_to(state: str) -> str:
    """Return the state that an agent comes back to when the line was lost in ``state``."""
    return state if state in BACK else COMMAND


def way(state: str, target: str) -> list[str]:
    """Return the fewest commands that lead from a state to another one.

    :raises WrongState: none do.
    """
    ways: dict[str, list[str]] = {state: []}
    queue = deque([state])
    while queue and target not in ways:
        here = queue.popleft()
        for name in allowed(here):
            there = AGENT.table[here, name]
            if there not in ways:
                ways[there] = [*ways[here], name]
                queue.append(there)
    if target not in ways:
        message = f"agent: no command leads from {state} to {target} (states: {', '.join(STATES)})"
        raise WrongState(message)
    return ways[target]
