"""``ioncc check``: show what is wrong with app, rel and config files, and with the settings that
they would be started with here; with ``--plan`` what would be. Nothing is started.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ion.shell import exits
from ion.shell.commandline.options import Options
from ion.shell.commands.config import read_settings
from ion.shell.render import printable, to_json

if TYPE_CHECKING:
    from ion.base.config import Configuration
    from ion.base.findings import Finding
    from ion.container.apps.explain import Planned, Value


def check(options: Options) -> int:
    """Check the files and return 1 where any has an error, else 0."""
    from ion.container.apps.check import check as findings_of

    findings = findings_of([Path(name) for name in options.files])
    configuration = _settings(options, findings)
    plan = _plan(options, configuration, findings) if options.plan else None
    errors = sum(finding.severity == "error" for finding in findings)
    if options.json:
        said: Any = [finding.as_dict() for finding in findings]
        if plan is not None:
            said = {"plan": [app.as_dict() for app in plan], "findings": said}
        print(to_json(said))
    else:
        for number, app in enumerate(plan or (), 1):
            print(printable(_title(number, app)))
            for line in _lines(app):
                print(printable(f"   {line}"))
        for finding in findings:
            print(printable(f"{finding.severity}: {finding}"))
        print(_summary(len(options.files), errors, len(findings) - errors))
    return exits.FAILED if errors else exits.OK


def _settings(options: Options, findings: list[Finding]) -> Configuration | None:
    """Return the settings that hold here; what is wrong with them is added to the findings."""
    from ion.base.errors import ConfigurationError
    from ion.base.layers import findings_of
    from ion.container.urls import findings_in

    configuration = None
    try:
        configuration = read_settings(options)
        found = findings_in(configuration)
    except ConfigurationError as error:
        found = findings_of(error, "settings")
    findings += [each for each in found if each not in findings]
    return configuration


def _plan(
    options: Options, configuration: Configuration | None, findings: list[Finding]
) -> list[Planned]:
    """Return what would be started; what stands against it is added to the findings."""
    from ion.base.errors import ConfigurationError
    from ion.base.layers import findings_of
    from ion.container.apps.explain import planned

    if configuration is None or any(finding.severity == "error" for finding in findings):
        return []
    try:
        return planned(options.files, configuration)
    except ConfigurationError as error:  # two files that do not go together
        findings += findings_of(error, "plan")
        return []


def _title(number: int, planned: Planned) -> str:
    app = planned.start.app
    needs = f", after {', '.join(app.applications)}" if app.applications else ""
    again = ", once more" if planned.start.mult else ""
    version = f" {app.version}" if app.version else ""
    return f"{number}. {app.name}{version} ({app.start_type}{again}{needs}) from {app.file}"


def _lines(planned: Planned) -> Iterator[str]:
    from ion.container.apps.explain import runs

    for row in runs(planned.start.app):
        name = f"{row['id']}: " if row["id"] else ""
        restart = f", {row['restart']}" if row["restart"] else ""
        yield f"runs {name}{row['class']}{restart}"
    for value in planned.config:
        yield f"config {_value(value)}"
    for value in planned.args:
        yield f"argument {_value(value)}"


def _value(value: Value) -> str:
    over = "".join(f", over {to_json(other)} from {place}" for other, place in value.overridden)
    return f"{value.key} = {to_json(value.value)} from {value.origin}{over}"


def _summary(files: int, errors: int, warnings: int) -> str:
    counted = [(files, "file"), (errors, "error"), (warnings, "warning")]
    return ", ".join(f"{n} {word}{'' if n == 1 else 's'}" for n, word in counted)
