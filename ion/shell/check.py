"""``ioncc check``: show what is wrong with app, rel and config files; nothing is started."""

from __future__ import annotations

from pathlib import Path

from ion.shell import exits
from ion.shell.options import Options
from ion.shell.render import printable, to_json


def check(options: Options) -> int:
    """Check the files and return 1 where any has an error, else 0."""
    from ion.container.check import check as findings_of

    findings = findings_of([Path(name) for name in options.files])
    errors = sum(finding.severity == "error" for finding in findings)
    if options.json:
        print(to_json([finding.as_dict() for finding in findings]))
    else:
        for finding in findings:
            print(printable(f"{finding.severity}: {finding}"))
        print(_summary(len(options.files), errors, len(findings) - errors))
    return exits.FAILED if errors else exits.OK


def _summary(files: int, errors: int, warnings: int) -> str:
    counted = [(files, "file"), (errors, "error"), (warnings, "warning")]
    return ", ".join(f"{n} {word}{'' if n == 1 else 's'}" for n, word in counted)
