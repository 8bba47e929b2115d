"""Look at a set-up with the doctor, in this OS process, or as `ioncc doctor`."""

from __future__ import annotations

import json
from dataclasses import dataclass

from ion.shell.commandline.options import Options
from ion.shell.doctor.command import Report, context_of, examine_all, leave
from ion.shell.doctor.faults import FAULTS, GROUPS


async def diagnose(*urls, settings=(), sysname="test"):
    """Make all checks of the system on a broker, by the settings of this repository."""
    context = context_of(
        Options("doctor", brokers=list(urls), sysname=sysname, settings=[*settings])
    )
    report = Report()
    try:
        await examine_all(context, report)
    finally:
        await leave(context)
    return Seen([each.as_dict() for each in report.diagnoses], report.unchecked)


def run(ioncc, *words):
    """Run `ioncc doctor`; its exit code must fit what it says."""
    done = ioncc.run("doctor", "--json", *words)
    assert not done.stderr, done.stderr
    said = json.loads(done.stdout)
    seen = Seen(said["findings"], {each["check"]: each["reason"] for each in said["unchecked"]})
    assert done.returncode == any(each["severity"] == "error" for each in seen.findings), said
    return seen


@dataclass
class Seen:
    """What was found, and what could not be looked at."""

    findings: list[dict[str, str]]
    unchecked: dict[str, str]

    @property
    def codes(self):
        """The codes of what was found, sorted."""
        return sorted({each["code"] for each in self.findings})

    def one(self, code):
        """Return the one finding of that code: its message and remedy; it must have both."""
        found = [each for each in self.findings if each["code"] == code]
        assert len(found) == 1, (code, self.findings, self.unchecked)
        assert found[0]["severity"] == FAULTS[code].severity
        assert found[0]["message"]
        assert found[0]["remedy"]
        return found[0]["message"], found[0]["remedy"]


def faults_table():
    """Return the faults as the reference shows them: a table a group, a row a fault."""
    lines = []
    for title, faults in GROUPS.items():
        lines += [
            f"### {title}",
            "",
            "| code | | what it means | what helps |",
            "|---|---|---|---|",
        ]
        for fault in faults:
            cells = (f"`{fault.code}`", fault.severity, fault.meaning, fault.remedy)
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        lines.append("")
    return "\n".join(lines[:-1])
