"""What was found: cases of faults."""

from __future__ import annotations

from dataclasses import dataclass

from ion.shell.doctor.faults import FAULTS


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One case of a fault.

    :ivar message: what was found, where.
    :ivar remedy: a command or setting that helps here.
    """

    code: str
    severity: str
    message: str
    remedy: str

    def as_dict(self) -> dict[str, str]:
        """Return code, severity, message and remedy, in this order."""
        return {
            "code": self.code,
            "severity": self.severity,
            "message": self.message,
            "remedy": self.remedy,
        }


def found(code: str, message: str, remedy: str = "") -> Diagnosis:
    """Return a case of the fault ``code``; its remedy is the general one where none is given."""
    fault = FAULTS[code]
    return Diagnosis(code, fault.severity, message, remedy or fault.remedy)
