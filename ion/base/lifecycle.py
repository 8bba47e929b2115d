"""The life cycle of containers, apps and processes, as one machine.

INIT -initialize-> READY -activate-> ACTIVE -terminate-> TERMINATED; any failure -> ERROR. A
process in ERROR can still be terminated, so that what it holds is given back. A container is
DEGRADED while its broker is away or takes no messages; processes and apps never are.
"""

from __future__ import annotations

from ion.base.fsm import MachineSpec

INIT = "INIT"
READY = "READY"
ACTIVE = "ACTIVE"
DEGRADED = "DEGRADED"
TERMINATED = "TERMINATED"
ERROR = "ERROR"

LIFECYCLE = MachineSpec(
    "lifecycle",
    [INIT, READY, ACTIVE, DEGRADED, TERMINATED, ERROR],
    [
        ("initialize", INIT, READY),
        ("activate", READY, ACTIVE),
        ("degrade", ACTIVE, DEGRADED),
        ("recover", DEGRADED, ACTIVE),
        ("terminate", [INIT, READY, ACTIVE, DEGRADED, ERROR], TERMINATED),
        ("fail", [INIT, READY, ACTIVE, DEGRADED, ERROR], ERROR),
    ],
)
RUNNING = frozenset({READY, ACTIVE, DEGRADED})  # processes may be started and stopped
