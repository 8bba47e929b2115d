"""The faults that the doctor knows: each is reported by a check, told in the reference, tested."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ion.base.errors import Unavailable
from ion.messaging.amqp.failures import CAUSES
from ion.shell.commandline.options import Options
from ion.shell.doctor import command, connecting
from ion.shell.doctor.command import CHECKS, Report, context_of, examine_all
from ion.shell.doctor.context import Check, NotLooked
from ion.shell.doctor.faults import FAULTS, GROUPS
from tests.shell.doctoring import faults_table

ROOT = Path(__file__).parents[3]
SOURCES = {path.name: path.read_text() for path in (ROOT / "ion/shell/doctor").glob("*.py")}
TESTS = "\n".join(
    path.read_text()
    for path in Path(__file__).parent.glob("test_doctor_*.py")
    if path != Path(__file__)
)


def test_codes_are_unique():
    assert len(FAULTS) == sum(map(len, GROUPS.values()))


def test_each_fault_is_reported_somewhere():
    code = "\n".join(text for name, text in SOURCES.items() if name != "faults.py")
    assert {fault for fault in FAULTS if f'"{fault}"' not in code} == set()


def test_each_fault_is_made_by_a_test():
    assert {fault for fault in FAULTS if f'"{fault}"' not in TESTS} == set()


def test_what_is_reported_is_known():
    said = re.findall(r'found\(\s*"([\w-]+)"', "\n".join(SOURCES.values()))
    assert said
    assert set(said) <= set(FAULTS)


def test_each_cause_of_a_failed_connect_is_a_fault():
    assert set(connecting._CODES) == set(CAUSES)
    assert set(connecting._CODES.values()) <= set(FAULTS)


def test_the_reference_shows_all_faults():
    page = (ROOT / "docs/reference/doctor.md").read_text()
    assert faults_table() in page


def test_names_of_checks_are_unique():
    assert len({check.name for check in CHECKS}) == len(CHECKS)


# how checks are run


async def never(context):
    await command.asyncio.Event().wait()


def raising(error):
    async def look(context):
        raise error

    return look


@pytest.mark.parametrize(
    ("look", "reason"),
    [
        (raising(NotLooked("no reason to")), "no reason to"),
        (raising(Unavailable("it is away")), "it is away"),
        (raising(OSError(5, "Input/output error")), "[Errno 5] Input/output error"),
        (raising(KeyError("x")), "KeyError: 'x'"),
        (never, "no result within 0.05 s"),
    ],
)
async def test_a_check_that_cannot_be_made_hides_no_other(look, reason, monkeypatch):
    monkeypatch.setattr(command, "CHECK_WITHIN", 0.05)
    made = []

    async def last(context):
        made.append(context)
        return []

    context, report = context_of(Options("doctor")), Report()
    await examine_all(context, report, [Check("first", look), Check("last", last)])
    assert report.unchecked == {"first": reason}
    assert made == [context]


async def test_checks_that_take_too_long_together(monkeypatch):
    monkeypatch.setattr(command, "ALL_WITHIN", 0.05)
    context, report = context_of(Options("doctor")), Report()
    await examine_all(context, report, [Check("first", never), Check("last", never)])
    assert report.unchecked["last"] == "the others took too long"
