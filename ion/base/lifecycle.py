"""The life cycle of containers, apps and processes, as one machine.

INIT -initialize-> READY -activate-> ACTIVE -terminate-> TERMINATED; any failure -> ERROR. A
process in ERROR can still be terminated, so that what it holds is given back.
"""

from __future__ import annotations

from ion.base.fsm import MachineSpec

INIT = "INIT"
READY = "READY"
ACTIVE = "ACTIVE"
TERMINATED = "TERMINATED"
ERROR = "ERROR"

LIFECYCLE = MachineSpec(
    "lifecycle",
    [INIT, READY, ACTIVE, TERMINATED, ERROR],
    [
        ("initialize", INIT, READY),
        ("activate", READY, ACTIVE),
        ("terminate", [INIT, READY, ACTIVE, ERROR], TERMINATED),
        ("fail", [INIT, READY, ACTIVE, ERROR], ERROR),
    ],
)
