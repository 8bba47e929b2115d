"""Run the checks, one after the other, and report.

A check that cannot be made says so, and hides no other: each has a deadline, and whatever it raises
ends it alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from ion.base.config import examine
from ion.base.errors import IonError
from ion.base.findings import ERROR
from ion.shell import exits
from ion.shell.advice import advise
from ion.shell.commandline.options import Options
from ion.shell.commands.config import said
from ion.shell.doctor import broker, connecting, local, management, queues, system
from ion.shell.doctor.context import Check, Context, Look, NotLooked
from ion.shell.doctor.diagnosis import Diagnosis
from ion.shell.render import printable, show_json

CHECK_WITHIN = 15.0  # seconds; connecting to several brokers takes longest
ALL_WITHIN = 40.0


def _at_once(look: Callable[[Context], Iterable[Diagnosis]]) -> Look:
    """Return a check that blocks as one that is run in a thread."""

    async def looked(context: Context) -> Iterable[Diagnosis]:
        return await asyncio.to_thread(lambda: list(look(context)))

    return looked


CHECKS = (
    Check("settings", _at_once(local.settings)),
    Check("overridden settings", _at_once(local.overrides)),
    Check("Python and packages", _at_once(local.packages)),
    Check("file descriptors", _at_once(local.file_descriptors)),
    Check("data folder", _at_once(local.data_folder)),
    Check("store file", _at_once(local.store_file)),
    Check("runtime folder", _at_once(local.runtime_folder)),
    Check("runtime file", _at_once(local.runtime_file)),
    Check("connection to the broker", connecting.connect),
    Check("broker version", broker.version),
    Check("login", broker.login),
    Check("heartbeats and frames", broker.agreement),
    Check("alarms", broker.alarm),
    Check("permissions", broker.permissions),
    Check("message size", broker.message_size),
    Check("exchanges", queues.exchanges),
    Check("container name", queues.container_name),
    Check("containers", system.survey),
    Check("key", system.key_file),
    Check("one system of the name", system.one_system),
    Check("clocks", system.clocks),
    Check("versions of ION", system.ion_versions),
    Check("versions of services", system.service_versions),
    Check("health of containers", system.health),
    Check("queues of services", queues.services),
    Check("retry ladder", queues.ladder),
    Check("queues without consumers", queues.unconsumed),
    Check("dead letters", queues.dead_letters),
    Check("management", management.look),
)


@dataclass
class Report:
    """What came of it.

    :ivar unchecked: name of a check -> why it could not be made.
    """

    diagnoses: list[Diagnosis] = field(default_factory=list)
    unchecked: dict[str, str] = field(default_factory=dict)
    checked: int = 0

    @property
    def errors(self) -> int:
        """How many diagnoses are errors."""
        return sum(diagnosis.severity == ERROR for diagnosis in self.diagnoses)


async def doctor(options: Options) -> int:
    """Look at everything, print what was found, and return 1 where there is an error, else 0."""
    # What goes wrong is reported; the libraries and ION itself need not log it, too.
    logging.getLogger().setLevel(logging.CRITICAL)
    context = context_of(options)
    report = Report()
    try:
        await examine_all(context, report)
    finally:
        await leave(context)
    if options.json:
        _show_json(context, report)
    else:
        for line in _lines(context, report):
            print(printable(line))
    return exits.FAILED if report.errors else exits.OK


def context_of(options: Options) -> Context:
    """Read the settings, as far as they can be."""
    configuration, findings = examine(
        files=options.config_files, assignments=options.settings, options=said(options)
    )
    return Context(options, configuration, findings)


async def examine_all(context: Context, report: Report, checks: Iterable[Check] = CHECKS) -> None:
    """Make all checks."""
    loop = asyncio.get_running_loop()
    end = loop.time() + ALL_WITHIN
    for check in checks:
        within = min(CHECK_WITHIN, end - loop.time())
        if within <= 0:
            report.unchecked[check.name] = "the others took too long"
            continue
        await _make(check, context, report, within)


async def _make(check: Check, context: Context, report: Report, within: float) -> None:
    try:
        async with asyncio.timeout(within):
            report.diagnoses += await check.look(context)
    except NotLooked as reason:
        report.unchecked[check.name] = str(reason)
    except IonError as error:
        report.unchecked[check.name] = exits.one_line(advise(error))
    except TimeoutError:
        report.unchecked[check.name] = f"no result within {within:g} s"
    except OSError as error:
        report.unchecked[check.name] = exits.one_line(error)
    except Exception as error:  # noqa: BLE001 - a check that is broken must not hide the others
        report.unchecked[check.name] = f"{type(error).__name__}: {exits.one_line(error)}"
    else:
        report.checked += 1


async def leave(context: Context) -> None:
    """Close the connection to the broker, where there is one. Never raises."""
    try:
        reached = context.broker
    except NotLooked:
        return
    await reached.close()


# the report


def _lines(context: Context, report: Report) -> Iterator[str]:
    yield _title(context)
    for diagnosis in report.diagnoses:
        yield f"{diagnosis.severity}: {diagnosis.code}: {diagnosis.message}"
        yield f"    remedy: {diagnosis.remedy}"
    reasons: dict[str, list[str]] = defaultdict(list)
    for name, reason in report.unchecked.items():
        reasons[reason].append(name)
    for reason, names in reasons.items():
        yield f"not checked: {', '.join(names)}: {reason}"
    errors = report.errors
    yield ", ".join(
        (
            _count(report.checked, "check"),
            _count(errors, "error"),
            _count(len(report.diagnoses) - errors, "warning"),
            f"{len(report.unchecked)} not checked",
        )
    )


def _title(context: Context) -> str:
    one = context.configuration.explain("broker.url")
    return f"system {context.sysname} on {_shown(one.value)} (from {one.origin}){_known(context)}"


def _known(context: Context) -> str:
    known: list[str] = []
    try:
        known.append(context.broker.product)
        known.append(_count(len(context.answers.infos), "container"))
    except NotLooked:
        pass
    return f": {', '.join(known)}" if known else ""


def _shown(url: object) -> str:
    return ", ".join(map(str, url)) if isinstance(url, list) else str(url)


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _show_json(context: Context, report: Report) -> None:
    one = context.configuration.explain("broker.url")
    show_json(
        {
            "sysname": context.sysname,
            "broker": one.value,
            "from": one.origin,
            "containers": [info.get("container") for info in context.known_infos],
            "findings": [diagnosis.as_dict() for diagnosis in report.diagnoses],
            "unchecked": [{"check": k, "reason": v} for k, v in report.unchecked.items()],
        }
    )
