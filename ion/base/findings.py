"""What was found wrong in a file, an option or a variable: where, and what.

Contract: all findings of one reading are gathered and raised together, so that a person mends
them in one go.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from ion.base.errors import ConfigurationError

ERROR = "error"
WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong.

    :param message: for people: what is wrong, and what to do.
    :param file: the file, or what stands for one (``environment ION_BROKER``, ``--set``).
    :param line: counted from 1; None where the place has no lines.
    :param key: the dotted key; None where the place as a whole is meant.
    :param severity: ``error`` or ``warning``.
    """

    message: str
    file: str | None = None
    line: int | None = None
    key: str | None = None
    severity: str = ERROR

    def __str__(self) -> str:
        place = self.file or ""
        if place and self.line is not None:
            place = f"{place}:{self.line}"
        return ": ".join(part for part in (place, self.key, self.message) if part)

    def as_dict(self) -> dict[str, str | int | None]:
        """Return file, line, key, severity and message, in this order."""
        fields = asdict(self)
        return {name: fields[name] for name in ("file", "line", "key", "severity", "message")}


def error_of(findings: Iterable[Finding]) -> ConfigurationError:
    """Return one error that says all findings, on one line.

    ``details`` holds file, line and key of the first one, and all of them as ``findings``.
    """
    found = list(findings)
    first = found[0].as_dict()
    details = {name: first[name] for name in ("file", "line", "key")}
    message = "; ".join(str(finding) for finding in found)
    return ConfigurationError(
        message, details={**details, "findings": [finding.as_dict() for finding in found]}
    )


def raise_errors(findings: Iterable[Finding]) -> None:
    """Raise where there is any error among the findings.

    :raises ConfigurationError: with all the errors.
    """
    errors = [finding for finding in findings if finding.severity == ERROR]
    if errors:
        raise error_of(errors)
